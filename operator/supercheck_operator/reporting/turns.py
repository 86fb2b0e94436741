"""When the status of a queue is looked at: soon after news, with a write a second at most. Pure."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

INTERVAL: Final = 1.0
"""Seconds between the beginnings of two writes, and the longest between those of two looks."""


@dataclass(slots=True)
class _Look:
    began: float
    sign: Hashable
    wrote: bool = False
    over: bool = False


class Turns:
    """By queue. A ``sign`` is cheap to have, and another when there probably is news.

    News that no sign tells of is found by the next look, so it is a second old at most in any case.
    """

    def __init__(self) -> None:
        self._looks: dict[str, _Look] = {}

    def due(self, queue: str, sign: Hashable, now: float) -> bool:
        """Whether to look at ``now`` (monotonic seconds)."""
        last = self._looks.get(queue)
        if last is None:
            return True
        soon = not last.wrote and sign != last.sign
        return last.over and (soon or now >= last.began + INTERVAL)

    def begins(self, queue: str, sign: Hashable, now: float) -> None:
        """A look: what changes from now on is news for the next one."""
        self._looks[queue] = _Look(now, sign)

    def ends(self, queue: str, *, wrote: bool) -> None:
        if (look := self._looks.get(queue)) is not None:  # else it was deleted meanwhile
            look.wrote, look.over = wrote, True

    def forget(self, queue: str) -> None:
        """It is deleted."""
        self._looks.pop(queue, None)

    def next(self, now: float) -> float:
        """Seconds from ``now`` until the first of them is due whatever its sign says."""
        began = (look.began for look in self._looks.values() if look.over)
        return max(0.0, min(began, default=now) + INTERVAL - now)
