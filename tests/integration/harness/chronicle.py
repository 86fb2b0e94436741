"""Who held a slot when: every start and end in the order in which the API server stored them.

Two watches tell of Jobs and pods at different times, but resourceVersions are one sequence for
all of them, so what is computed from them afterwards has no race in it.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from harness.api import Api, Raw
from harness.following import Following

NAME = "supercheck.io/execution"
UID = "supercheck.io/execution-uid"
QUEUE = "supercheck.io/queue"
ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True)
class Execution:
    """Whose Job or pod something was. Each has one test only."""

    uid: str
    namespace: str
    name: str
    queue: str


@dataclass(frozen=True)
class Moment:
    """After a start or an end: who holds a slot, by now."""

    execution: Execution
    starts: bool
    held: frozenset[Execution]
    version: int
    """Of the API server, at which it happened."""
    seen: float
    """Monotonic time of the test."""

    def count(self, queue: str) -> int:
        return sum(each.queue == queue for each in self.held)

    def shares(self, queue: str) -> Counter[str]:
        """How many each namespace holds."""
        return Counter(each.namespace for each in self.held if each.queue == queue)


class Chronicle(Following):
    """Follows all namespaces. A slot is held from the Job's creation until its pod has ended."""

    def __init__(self, api: Api) -> None:
        super().__init__()
        self._api = api
        self._events: list[tuple[int, float, str, str, Raw]] = []

    async def __aenter__(self) -> Self:
        for path in ("/apis/batch/v1/jobs", "/api/v1/pods"):
            version = (await self._api.get(path))["metadata"]["resourceVersion"]
            self._tasks.append(asyncio.create_task(self._follow(path, version)))
        return self

    async def _follow(self, path: str, version: str) -> None:
        what = path.rpartition("/")[2]
        async for event in self._api.watch(f"{path}?labelSelector={UID}", version):
            meta = event["object"]["metadata"]
            number = int(meta["resourceVersion"])
            self._events.append((number, time.monotonic(), what, event["type"], event["object"]))

    def moments(self) -> Iterator[Moment]:
        """Every change of who holds a slot, in the order of the API server."""
        jobs: dict[str, Execution] = {}
        pods: dict[str, Execution] = {}
        had_pod: set[str] = set()
        held: set[Execution] = set()
        for version, seen, what, kind, raw in sorted(self._events, key=lambda event: event[0]):
            meta = raw["metadata"]
            labels = meta["labels"]
            whose = Execution(labels[UID], meta["namespace"], labels[NAME], labels[QUEUE])
            over = kind == "DELETED" or raw.get("status", {}).get("phase") in ENDED
            known = pods if what == "pods" else jobs
            if what == "pods":
                had_pod.add(whose.uid)
            if over:
                known.pop(meta["uid"], None)
            else:
                known[meta["uid"]] = whose
            unseen = any(job == whose for job in jobs.values()) and whose.uid not in had_pod
            holds = unseen or any(pod == whose for pod in pods.values())
            if holds is (whose in held):
                continue
            (held.add if holds else held.discard)(whose)
            yield Moment(whose, holds, frozenset(held), version, seen)

    async def caught_up(self) -> None:
        """Until what has happened so far has been seen; nothing is lost meanwhile."""
        for task in self._tasks:
            assert not task.done(), task.exception()
        await asyncio.sleep(0.5)
