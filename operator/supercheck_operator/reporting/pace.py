"""How fast a queue moves, and so when those in its line may start. Pure."""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

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

    def since(self, uid: str) -> float | None:
        """When it got its slot, if that was seen."""
        return self._began.get(uid)

    def mean(self, queue: str) -> float | None:
        """Seconds; None if none was measured."""
        held = self._held.get(queue)
        return sum(held) / len(held) if held else None


@dataclass(frozen=True, slots=True)
class Holding:
    """A slot that is taken: by which namespace, and for how many seconds so far."""

    namespace: str
    seconds: float


def estimates(
    line: Sequence[str],
    holding: Iterable[Holding],
    *,
    slots: int,
    slot_seconds: float,
    share: int | None = None,
) -> list[float | None]:
    """In how many seconds each of ``line`` (their namespaces, in order) may start.

    Everyone is taken to hold a slot as long as the others lately did; who already has it for longer
    may end any moment. ``share`` is how many each namespace may run. None: never, as things are.
    """
    ends = sorted((max(0.0, slot_seconds - each.seconds), each.namespace) for each in holding)
    if slots <= 0 or share == 0:
        return [None] * len(line)
    # Of more than there are slots (a capacity was lowered), the first to end leave none.
    free = [0.0] * (slots - len(ends)) + [end for end, _ in ends[max(0, len(ends) - slots) :]]
    heapq.heapify(free)
    shares: defaultdict[str, list[float]] = defaultdict(list)
    for end, namespace in ends:
        shares[namespace].append(end)
    found: list[float | None] = []
    for namespace in line:
        start = heapq.heappop(free)
        own = shares[namespace]
        if share is not None:
            own.sort()
            while len(own) >= share:
                start = max(start, own.pop(0))
        found.append(start)
        heapq.heappush(free, start + slot_seconds)
        own.append(start + slot_seconds)
    return found
