"""How fast a queue moves, and so when those in its line may start. Pure."""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from supercheck_operator.resources import ExecutionQueueSpec

_REMEMBERED: Final = 20
"""So many executions are enough for a mean, and few enough to follow a change."""


class Pace:
    """How long executions lately held their slot, by queue."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}
        self._held: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_REMEMBERED))

    def began(self, uid: str, now: float) -> None:
        """``uid`` has a slot from ``now`` (monotonic seconds) on."""
        self._began[uid] = now

    def freed(self, uid: str, queue: str, now: float) -> None:
        """Its slot is free; one that was taken before this process began tells nothing."""
        began = self._began.pop(uid, None)
        if began is not None:
            self._held[queue].append(now - began)

    def mean(self, queue: str) -> float | None:
        """Seconds; None if none was measured."""
        held = self._held.get(queue)
        return sum(held) / len(held) if held else None


@dataclass(frozen=True, slots=True)
class Holding:
    """A slot that is taken: by which namespace, and since when a container of it runs."""

    namespace: str
    started_at: datetime | None


def expected(
    line: Iterable[str],
    holding: Iterable[Holding],
    queue: ExecutionQueueSpec,
    *,
    slots: int,
    slot_seconds: float | None,
    now: datetime,
) -> Iterator[float | None]:
    """In how many seconds each of ``line`` (their namespaces, in order) may start; one by one.

    The one answer for everyone who shows it. It rests on nothing but what the API server shows
    too, so the operator and whoever reads its objects come to the same. None: never as things are,
    or nothing was measured yet.
    """
    if slot_seconds is None or queue.stop_policy.holds:
        return (None for _ in line)
    share = queue.per_namespace.running_capacity if queue.per_namespace else None
    ends = [(_left(slot_seconds, each.started_at, now), each.namespace) for each in holding]
    return _estimates(line, ends, slots=slots, slot_seconds=slot_seconds, share=share)


def _left(slot_seconds: float, started_at: datetime | None, now: datetime) -> float:
    """Who has its slot for longer than the others lately did may end any moment."""
    held = 0.0 if started_at is None else (now - started_at).total_seconds()
    return min(slot_seconds, max(0.0, slot_seconds - held))


def _estimates(
    line: Iterable[str],
    ends: Iterable[tuple[float, str]],
    *,
    slots: int,
    slot_seconds: float,
    share: int | None = None,
) -> Iterator[float | None]:
    """The same, where ``ends`` has in how many seconds which namespace leaves a slot.

    Everyone is taken to hold a slot for ``slot_seconds``. ``share`` is how many each namespace may
    run.
    """
    ends = sorted(ends)
    if slots <= 0 or share == 0:
        yield from (None for _ in line)
        return
    # Of more than there are slots (a capacity was lowered), the first to end leave none.
    free = [0.0] * (slots - len(ends)) + [end for end, _ in ends[max(0, len(ends) - slots) :]]
    heapq.heapify(free)
    shares: defaultdict[str, list[float]] = defaultdict(list)
    for end, namespace in ends:
        shares[namespace].append(end)
    for namespace in line:
        start = heapq.heappop(free)
        own = shares[namespace]
        if share is not None:
            own.sort()
            while len(own) >= share:
                start = max(start, own.pop(0))
        heapq.heappush(free, start + slot_seconds)
        own.append(start + slot_seconds)
        yield start
