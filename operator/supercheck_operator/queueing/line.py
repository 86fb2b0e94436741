"""The order in which what waits may start. Pure.

Priority first (higher), then ``creationTimestamp``, then numeric ``resourceVersion``: creation
times have whole seconds only, and the operator never writes a waiting object, so its
resourceVersion still tells which of two in the same second came first.

With ageing, waiting counts as priority. Everyone ages alike, so who is ahead of whom never changes
while they wait: the key of an entry holds no time of day, needs no update, and is the same after a
restart.

Fair share looks at namespaces: of those whose first in line is of equal priority, the one with the
fewest running goes first; of equals, the one whose last start lies furthest back.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sortedcontainers import SortedList

from supercheck_operator.resources import ExecutionQueueSpec, Ordering, TestExecution

_Key = tuple[int, str, int, str]
"""Of an entry in its namespace; it ends with the uid."""
_Rank = tuple[bool, int, int, int, _Key]
"""Of a namespace by the first of its entries."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One waiting execution."""

    uid: str
    namespace: str
    name: str
    priority: int
    created: str
    """RFC 3339 in UTC, as the API server writes it: it sorts as text."""
    version: int

    @classmethod
    def of(cls, execution: TestExecution) -> Entry:
        metadata = execution.metadata
        return cls(
            uid=metadata.uid,
            namespace=metadata.namespace,
            name=metadata.name,
            priority=execution.spec.priority,
            created=metadata.creation_timestamp,
            version=metadata.resource_version,
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """What a queue says about its order."""

    ordering: Ordering = Ordering.FIFO
    ageing: int | None = None
    """Seconds of waiting that count as one more priority; None: waiting counts as none."""
    share: int | None = None
    """How many of each namespace may run; None: as many as there is room for."""


FIFO: Final = Rules()


def rules(spec: ExecutionQueueSpec) -> Rules:
    """Those of a queue."""
    share = spec.per_namespace.running_capacity if spec.per_namespace else None
    return Rules(spec.ordering, spec.ageing_seconds, share)


class Line:
    """Who waits in one queue, and how many of each namespace run.

    Every step is O(log n), whatever waits in front: only the first of each namespace is ranked
    among the others, and a namespace at its share ranks behind all that may start.
    """

    def __init__(self, rules: Rules = FIFO) -> None:
        self._rules = rules
        self._entries: dict[str, Entry] = {}
        self._waiting: dict[str, SortedList[_Key]] = {}
        self._running: Counter[str] = Counter()
        self._turns: OrderedDict[str, int] = OrderedDict()
        """When each namespace started one last, counted in starts; the longest ago first."""
        self._starts = 0
        self._ranks: dict[str, _Rank] = {}
        self._ranking: SortedList[_Rank] = SortedList()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, uid: str) -> bool:
        return uid in self._entries

    def follow(self, rules: Rules) -> None:
        """Order by ``rules`` from now on. A change of them costs O(n log n) once."""
        if rules == self._rules:
            return
        keys_change = rules.ageing != self._rules.ageing
        self._rules = rules
        if keys_change:
            keys: defaultdict[str, list[_Key]] = defaultdict(list)
            for entry in self._entries.values():
                keys[entry.namespace].append(self._key(entry))
            self._waiting = {namespace: SortedList(found) for namespace, found in keys.items()}
        self._ranks = {namespace: self._rank_of(namespace) for namespace in self._waiting}
        self._ranking = SortedList(self._ranks.values())

    def put(self, entry: Entry) -> None:
        """Add ``entry``, or move it to where its new key belongs."""
        if self._entries.get(entry.uid) == entry:
            return
        self.discard(entry.uid)
        self._entries[entry.uid] = entry
        self._waiting.setdefault(entry.namespace, SortedList()).add(self._key(entry))
        self._rank_again(entry.namespace)

    def discard(self, uid: str) -> None:
        entry = self._entries.pop(uid, None)
        if entry is None:
            return
        waiting = self._waiting[entry.namespace]
        waiting.remove(self._key(entry))
        if not waiting:
            del self._waiting[entry.namespace]
        self._rank_again(entry.namespace)

    def running(self, namespace: str) -> int:
        return self._running[namespace]

    def waiting(self) -> Counter[str]:
        """How many of each namespace wait."""
        return Counter({namespace: len(keys) for namespace, keys in self._waiting.items()})

    def start(self, namespace: str) -> None:
        """One of ``namespace`` runs from now on; it is its last turn."""
        self._running[namespace] += 1
        self._starts += 1
        self._turns[namespace] = self._starts
        self._turns.move_to_end(namespace)
        self._rank_again(namespace)
        self._forget_absent()

    def finish(self, namespace: str) -> None:
        """One of ``namespace`` runs no more."""
        self._running[namespace] -= 1
        if not self._running[namespace]:
            del self._running[namespace]
        self._rank_again(namespace)

    def next(self) -> Entry | None:
        """Who starts next; None if nobody may.

        A namespace at its share never blocks what waits behind it in other namespaces.
        """
        if not self._ranking:
            return None
        barred, *_, key = self._ranking[0]
        return None if barred else self._entries[key[-1]]

    def order(self) -> Iterator[Entry]:
        """Everyone in the order of their start, if nothing ended and nobody came meanwhile.

        Those whose namespace is at its share by then come last. The first k cost O(k log k).
        """
        counts, starts = dict(self._running), self._starts
        rest: dict[str, Iterator[_Key]] = {}
        # Of a namespace that had no turn yet in this walk, the rank still stands.
        untouched = iter(self._ranking)
        first = next(untouched, None)
        followers: list[_Rank] = []
        while first is not None or followers:
            if first is not None and not (followers and followers[0] < first):
                rank, first = first, next(untouched, None)
            else:
                rank = heapq.heappop(followers)
            entry = self._entries[rank[-1][-1]]
            yield entry
            namespace = entry.namespace
            if namespace not in rest:
                rest[namespace] = iter(self._waiting[namespace])
                next(rest[namespace])
            counts[namespace] = counts.get(namespace, 0) + 1
            starts += 1
            if follower := next(rest[namespace], None):
                heapq.heappush(followers, self._rank(follower, counts[namespace], starts))

    def _key(self, entry: Entry) -> _Key:
        ageing = self._rules.ageing
        if ageing is None:
            urgency = -entry.priority
        else:
            # One more priority is worth having been created that much earlier.
            created = datetime.fromisoformat(entry.created).timestamp()
            urgency = int(created) - entry.priority * ageing
        return (urgency, entry.created, entry.version, entry.uid)

    def _rank(self, key: _Key, running: int, turn: int) -> _Rank:
        rules = self._rules
        barred = rules.share is not None and running >= rules.share
        if rules.ordering is Ordering.FIFO:
            return (barred, 0, 0, 0, key)
        # Equal priority: with ageing, to have the same number of whole periods.
        return (barred, key[0] // (rules.ageing or 1), running, turn, key)

    def _rank_of(self, namespace: str) -> _Rank:
        first = self._waiting[namespace][0]
        return self._rank(first, self._running[namespace], self._turns.get(namespace, 0))

    def _rank_again(self, namespace: str) -> None:
        before = self._ranks.pop(namespace, None)
        after = self._rank_of(namespace) if namespace in self._waiting else None
        if after is not None:
            self._ranks[namespace] = after
        if after == before:
            return
        if before is not None:
            self._ranking.remove(before)
        if after is not None:
            self._ranking.add(after)

    def _forget_absent(self) -> None:
        """A turn before those of all that are here is as good as none."""
        oldest = next(iter(self._turns))
        while oldest not in self._waiting and not self._running[oldest]:
            del self._turns[oldest]
            oldest = next(iter(self._turns))
