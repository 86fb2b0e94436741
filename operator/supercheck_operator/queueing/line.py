"""The order in which what waits may start. Pure.

Priority first (higher), then ``creationTimestamp``, then numeric ``resourceVersion``: creation
times have whole seconds only, and the operator never writes a waiting object, so its
resourceVersion still tells which of two in the same second came first.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from sortedcontainers import SortedKeyList

from supercheck_operator.resources import Ordering

_Key = tuple[int, str, int, str]


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

    @property
    def key(self) -> _Key:
        return (-self.priority, self.created, self.version, self.uid)


class Line:
    """What waits in one queue. Adding, removing and looking at the head are O(log n)."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._by_namespace: dict[str, SortedKeyList[Entry, _Key]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, uid: str) -> bool:
        return uid in self._entries

    def put(self, entry: Entry) -> None:
        """Add ``entry``, or move it to where its new key belongs."""
        if self._entries.get(entry.uid) == entry:
            return
        self.discard(entry.uid)
        self._entries[entry.uid] = entry
        entries = self._by_namespace.get(entry.namespace)
        if entries is None:
            entries = self._by_namespace[entry.namespace] = SortedKeyList(key=_key)
        entries.add(entry)

    def discard(self, uid: str) -> None:
        entry = self._entries.pop(uid, None)
        if entry is None:
            return
        entries = self._by_namespace[entry.namespace]
        entries.remove(entry)
        if not entries:
            del self._by_namespace[entry.namespace]

    def next(
        self,
        running: Mapping[str, int],
        ordering: Ordering = Ordering.FIFO,
        namespace_capacity: int | None = None,
    ) -> Entry | None:
        """Who starts next, given what each namespace has ``running``; None if nobody may.

        A namespace at its capacity never blocks what waits behind it in other namespaces.
        """
        rank = _rank(ordering, running)
        heads = (
            entries[0]
            for namespace, entries in self._by_namespace.items()
            if namespace_capacity is None or running.get(namespace, 0) < namespace_capacity
        )
        return min(heads, key=rank, default=None)

    def order(
        self, running: Mapping[str, int], ordering: Ordering = Ordering.FIFO
    ) -> Iterator[Entry]:
        """Everyone in the order of their start, if nothing ended and nobody came meanwhile."""
        counts = dict(running)
        rank = _rank(ordering, counts)
        rest = {namespace: iter(entries) for namespace, entries in self._by_namespace.items()}
        heads = [(rank(head), head) for entries in rest.values() if (head := next(entries, None))]
        heapq.heapify(heads)
        while heads:
            _, entry = heapq.heappop(heads)
            yield entry
            counts[entry.namespace] = counts.get(entry.namespace, 0) + 1
            if follower := next(rest[entry.namespace], None):
                heapq.heappush(heads, (rank(follower), follower))


def _key(entry: Entry) -> _Key:
    return entry.key


def _rank(
    ordering: Ordering, running: Mapping[str, int]
) -> Callable[[Entry], tuple[int, int, _Key]]:
    """FairShare: at equal priority, the namespace with the fewest running goes first."""
    fair = ordering is Ordering.FAIR_SHARE

    def rank(entry: Entry) -> tuple[int, int, _Key]:
        share = running.get(entry.namespace, 0) if fair else 0
        return (-entry.priority, share, entry.key)

    return rank
