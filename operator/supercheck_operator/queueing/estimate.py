"""When those who wait are likely to start. Pure.

A guess from what is known: each run takes as long as most of the latest ones took, and nobody comes
between. It is told as an estimate, and nothing is decided by it.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from statistics import median
from typing import Final

_LATEST: Final = 20


def typical(durations: Sequence[float]) -> float | None:
    """What a run takes, from ``durations`` in seconds, the latest first; None if none is known."""
    return median(durations[:_LATEST]) if durations else None


def starts(
    *, capacity: int, running: Sequence[float], takes: float | None, count: int
) -> list[float | None]:
    """Seconds until each of the first ``count`` of the line starts; None where nobody can tell.

    ``running`` has for how many seconds each of the running ones has run; one that has run for
    longer than a run ``takes`` is expected to end at once.
    """
    if takes is None or capacity < 1:
        return [None] * count
    ends = sorted(max(0.0, takes - elapsed) for elapsed in running)
    # Where more run than there are slots, the first to end give theirs to nobody.
    surplus = max(0, len(ends) - capacity)
    slots = ends[surplus:] + [0.0] * (capacity - len(ends))
    heapq.heapify(slots)
    told: list[float | None] = []
    for _ in range(count):
        start = slots[0]
        heapq.heapreplace(slots, start + takes)
        told.append(start)
    return told
