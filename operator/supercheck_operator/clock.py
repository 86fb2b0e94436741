"""The time of day, and how far it was stepped while this process runs.

Deadlines are computed from times that the cluster has stored, so they survive a restart. In between
they are driven by a monotonic clock: when somebody sets the clock, what is already timed has
neither more time nor less.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

_NOTICEABLE: Final = timedelta(seconds=1)
"""Less than this is how exactly two clocks are read, not a step."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class Clock:
    """``now`` and ``monotonic`` (seconds) are parameters, so that tests need not wait."""

    def __init__(
        self,
        now: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.now = now
        self._monotonic = monotonic
        self._began = now() - timedelta(seconds=monotonic())

    def stepped(self) -> timedelta:
        """How far the time of day is ahead of where it would be had nobody set it."""
        steady = self._began + timedelta(seconds=self._monotonic())
        step = self.now() - steady
        return step if abs(step) >= _NOTICEABLE else timedelta()
