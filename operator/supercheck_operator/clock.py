"""The time of day by which deadlines are kept: the API server's.

Deadlines are computed from times that the cluster has stored, so they survive a restart, and mean
its clock, not that of this machine. In between they are driven by a monotonic clock. When the
cluster's clock is set, what is already timed has neither more time nor less.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

_TOLERANCE: Final = timedelta(seconds=2)
"""Less is how exactly two clocks agree, of which one tells whole seconds."""
_CUT: Final = timedelta(seconds=1)
"""By so much at most is a time earlier that is told in whole seconds."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class Clock:
    """Begins with this machine's time of day, and is put right by ``heard``.

    ``now`` and ``monotonic`` (seconds) are parameters, so that tests need not wait.
    """

    def __init__(
        self,
        now: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._began = now() - timedelta(seconds=monotonic())
        self._stepped = timedelta()
        self._known = False

    def now(self) -> datetime:
        return self._began + timedelta(seconds=self._monotonic())

    def heard(self, told: datetime, since: datetime) -> None:
        """The API server told this time, in whole seconds, between ``since`` and now.

        What it took to answer, or to look at the answer, is no error of the clock.
        """
        error = timedelta()
        if told > self.now() + _TOLERANCE:
            error = told + _CUT / 2 - self.now()
        elif told + _CUT < since - _TOLERANCE:
            error = told + _CUT / 2 - since
        self._began += error
        if self._known:  # by the first time it tells, nothing has been timed
            self._stepped += error
        self._known = True

    def stepped(self) -> timedelta:
        """How far the cluster's clock was set since it was first heard of."""
        return self._stepped
