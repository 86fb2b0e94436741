"""The ledger of a single process. Every call is atomic: it runs between two awaits."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from supercheck_operator.ledger.capacity import Limits, Occupancy, full, stats
from supercheck_operator.ledger.contract import (
    CREATE_TIMEOUT,
    Answer,
    Holder,
    LedgerClosedError,
    Reservation,
    State,
)

_Name = tuple[str, str]
"""Namespace and name of an object."""


@dataclass(frozen=True, slots=True)
class _Unseen:
    """A reservation whose object has not been seen."""

    since: float
    name: _Name


@dataclass(slots=True)
class _Book:
    """One queue: counts by namespace and state, kept so that no call ever counts."""

    by_namespace: defaultdict[str, Counter[State]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    total: Counter[State] = field(default_factory=Counter)

    def add(self, holder: Holder, amount: int) -> None:
        self.total[holder.state] += amount
        counts = self.by_namespace[holder.namespace]
        counts[holder.state] += amount
        if not any(counts.values()):
            del self.by_namespace[holder.namespace]

    def occupancy(self, share: int | None) -> Occupancy:
        whole = _occupancy(self.total)
        if share is None:
            return whole
        parts = (_occupancy(counts) for counts in self.by_namespace.values())
        return replace(whole, held_back=sum(_held_back(part, share) for part in parts))


class MemoryLedger:
    """Closed until its first ``reconcile``."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._holders: dict[str, Holder] = {}
        self._reserved: dict[str, _Unseen] = {}
        self._by_name: dict[_Name, str] = {}
        self._books: defaultdict[str, _Book] = defaultdict(_Book)
        self._open = False
        self._begun = -math.inf

    async def reserve(self, wanted: Reservation, limits: Limits, *, dry_run: bool) -> Answer:
        self._must_be_open()
        name = (wanted.namespace, wanted.name)
        if wanted.uid not in self._holders and not dry_run and name in self._by_name:
            self._drop(self._by_name[name])
        book = self._books[wanted.queue]
        whole = book.occupancy(limits.namespace_running)
        figures = stats(whole, limits)
        if wanted.uid in self._holders:
            return Answer(admitted=True, stats=figures)
        part = _occupancy(book.by_namespace.get(wanted.namespace, Counter()))
        barred = _held_back(replace(part, waiting=part.waiting + 1), limits.namespace_running) > 0
        if full(whole, limits, parked=wanted.parked or barred):
            return Answer(admitted=False, stats=figures)
        share = limits.of_namespace()
        if share is not None and full(part, share, parked=wanted.parked):
            refused = stats(part, share)
            return Answer(admitted=False, stats=refused, namespace=wanted.namespace)
        if not dry_run:
            self._put(wanted.holder())
            self._reserved[wanted.uid] = _Unseen(self._monotonic(), name)
            if wanted.name:
                self._by_name[name] = wanted.uid
        return Answer(admitted=True, stats=figures)

    async def occupancy(self, queue: str, share: int | None = None) -> Occupancy:
        self._must_be_open()
        book = self._books.get(queue)
        return book.occupancy(share) if book else Occupancy()

    async def hold(self, holder: Holder) -> None:
        self._put(holder)

    async def release(self, uid: str, queue: str) -> None:  # noqa: ARG002 - part of the contract
        self._drop(uid)

    async def begin(self) -> None:
        self._begun = self._monotonic()

    async def reconcile(self, found: Mapping[str, Holder]) -> Counter[str]:
        corrections: Counter[str] = Counter()
        for uid in self._holders.keys() - found.keys():
            unseen = self._reserved.get(uid)
            if unseen is not None and unseen.since + CREATE_TIMEOUT > self._begun:
                continue
            corrections["holder" if unseen is None else "reservation"] += 1
            self._drop(uid)
        for uid, holder in found.items():
            known = self._holders.get(uid) == holder
            if not known:
                corrections["missing"] += 1
            if not known or uid in self._reserved:
                self._put(holder)
        if not self._open:
            self._open = True
            corrections.clear()  # a first filling corrects nothing
        return corrections

    def _must_be_open(self) -> None:
        if not self._open:
            raise LedgerClosedError("the ledger has not been rebuilt yet")

    def _put(self, holder: Holder) -> None:
        self._drop(holder.uid)
        self._holders[holder.uid] = holder
        self._books[holder.queue].add(holder, 1)

    def _drop(self, uid: str) -> None:
        if unseen := self._reserved.pop(uid, None):
            self._by_name.pop(unseen.name, None)
        if holder := self._holders.pop(uid, None):
            book = self._books[holder.queue]
            book.add(holder, -1)
            if not any(book.total.values()):
                del self._books[holder.queue]


def _occupancy(counts: Counter[State]) -> Occupancy:
    return Occupancy(
        running=counts[State.RUNNING],
        waiting=counts[State.WAITING],
        parked=counts[State.PARKED],
    )


def _held_back(part: Occupancy, share: int | None) -> int:
    """How many of one namespace's waiting exceed its share."""
    return 0 if share is None else max(0, part.waiting - max(0, share - part.running))
