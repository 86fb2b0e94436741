"""How often somebody may ask: token buckets, one for each caller."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

_CALLERS: Final = 4096
"""So many are remembered; those heard of longest ago are forgotten first."""


class TooManyError(Exception):
    """Too many requests; ``retry_after`` are the seconds until another one is answered."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("Too many requests from you: wait a moment.")
        self.retry_after = retry_after


class Rates:
    def __init__(
        self, per_second: float, burst: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second = per_second
        self._burst = burst
        self._monotonic = monotonic
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> None:
        """One request of ``caller``. Raises TooManyError."""
        now = self._monotonic()
        left, since = self._left.get(caller, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._per_second)
        if left < 1:
            raise TooManyError((1 - left) / self._per_second)
        self._left[caller] = (left - 1, now)
        self._left.move_to_end(caller)
        if len(self._left) > _CALLERS:
            self._left.popitem(last=False)

    def give_back(self, caller: str) -> None:
        """The request that was taken last does not count."""
        if (known := self._left.get(caller)) is not None:
            left, since = known
            self._left[caller] = (left + 1, since)
