"""One queue as the controller and the webhook know it: its resource, its line, who holds a slot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice

from supercheck_operator.queueing.line import Entry, Line, rules
from supercheck_operator.resources import ExecutionQueue, ExecutionQueueSpec, StopPolicy


class Queue:
    def __init__(self, name: str) -> None:
        self.name = name
        self._resource: ExecutionQueue | None = None
        self.version = 0
        """Of the newest that is known of the resource; what is older is no news."""
        self._line = Line()
        self._running: dict[str, str] = {}

    @property
    def resource(self) -> ExecutionQueue | None:
        """None while the ExecutionQueue does not exist: what waits in it stays."""
        return self._resource

    @resource.setter
    def resource(self, resource: ExecutionQueue | None) -> None:
        self._resource = resource
        if resource is not None:
            self._line.follow(rules(resource.spec))

    @property
    def spec(self) -> ExecutionQueueSpec | None:
        return self.resource.spec if self.resource else None

    @property
    def drained(self) -> bool:
        return self.spec is not None and self.spec.stop_policy is StopPolicy.HOLD_AND_DRAIN

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many could start if there was room."""
        return len(self._line)

    def runs(self, uid: str) -> bool:
        return uid in self._running

    def waits(self, uid: str) -> bool:
        return uid in self._line

    def waiting_of(self) -> Counter[str]:
        """How many could start if there was room, by namespace."""
        return self._line.waiting()

    def running_of(self, namespace: str) -> int:
        return self._line.running(namespace)

    def put_running(self, uid: str, namespace: str) -> None:
        """It holds a slot, and no place in the line."""
        self._line.discard(uid)
        if uid not in self._running:
            self._running[uid] = namespace
            self._line.start(namespace)

    def put_waiting(self, entry: Entry) -> None:
        """It stands in the line, and holds no slot."""
        self._free(entry.uid)
        self._line.put(entry)

    def put_aside(self, uid: str) -> None:
        """It neither stands in the line nor holds a slot: suspended, or over."""
        self._free(uid)
        self._line.discard(uid)

    def next(self, capacity: int) -> Entry | None:
        """Who may start now, if anybody."""
        if self.spec is None or self.spec.stop_policy.holds or self.running >= capacity:
            return None
        return self._line.next()

    def upcoming(self, count: int) -> Iterator[Entry]:
        """The first ``count`` of the line, in the order of their start."""
        return islice(self._line.order(), count)

    def _free(self, uid: str) -> None:
        namespace = self._running.pop(uid, None)
        if namespace is not None:
            self._line.finish(namespace)


class Queues:
    """Every queue that exists or has something in it, by name."""

    def __init__(self) -> None:
        self._queues: dict[str, Queue] = {}

    def __iter__(self) -> Iterator[Queue]:
        return iter(self._queues.values())

    def get(self, name: str) -> Queue:
        """The queue of that name; an empty one if nothing of it was seen yet."""
        if name not in self._queues:
            self._queues[name] = Queue(name)
        return self._queues[name]

    def spec(self, name: str) -> ExecutionQueueSpec | None:
        queue = self._queues.get(name)
        return queue.spec if queue else None

    def existing(self) -> list[str]:
        """Names of the queues that may be submitted to."""
        return sorted(queue.name for queue in self if queue.resource is not None)

    def observe(self, resource: ExecutionQueue, *, deleted: bool = False) -> Queue:
        """Take over what the API server shows of a queue, if it is news."""
        queue = self.get(resource.metadata.name)
        known, version = queue.resource, resource.metadata.resource_version
        if deleted:
            if known is None or known.metadata.uid == resource.metadata.uid:
                queue.resource, queue.version = None, max(queue.version, version)
        elif version > queue.version:
            queue.resource, queue.version = resource, version
        return queue

    def missing(self, listed: set[str], version: int) -> list[Queue]:
        """Take over that what a LIST of ``version`` does not show is gone; the queues concerned."""
        concerned = [
            queue
            for queue in self
            if queue.resource is not None and queue.name not in listed and queue.version <= version
        ]
        for queue in concerned:
            queue.resource, queue.version = None, version
        return concerned
