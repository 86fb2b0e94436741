"""Whether the process makes progress, and whether it is ready to judge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

STALLED_AFTER: Final = 30.0
"""Seconds that news may go unheeded before the process should be restarted."""


class Health:
    """Being alive is no health: an event loop can turn while nothing is decided any more."""

    def __init__(self) -> None:
        self._behind: Callable[[], float] = lambda: 0.0
        self._missing: set[str] = set()

    def expect(self, name: str) -> None:
        """It is not ready before ``name`` is there."""
        self._missing.add(name)

    def done(self, name: str) -> bool:
        """It is there; whether that is news."""
        news = name in self._missing
        self._missing.discard(name)
        return news

    def measure(self, behind: Callable[[], float]) -> None:
        """``behind`` tells for how many seconds the oldest news has been waiting."""
        self._behind = behind

    @property
    def stalled_for(self) -> float | None:
        """Seconds without progress, if they are too many."""
        behind = self._behind()
        return behind if behind > STALLED_AFTER else None

    @property
    def missing(self) -> list[str]:
        return sorted(self._missing)
