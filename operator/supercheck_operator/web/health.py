"""Whether the process makes progress, and whether it is ready to judge."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

_BEAT: Final = 1.0
_STALLED_AFTER: Final = 30.0
"""Seconds without a beat of the event loop after which the process should be restarted."""


class Health:
    """``ready`` lists what is still missing, by name."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._last_beat = monotonic()
        self._missing: set[str] = set()

    async def run(self) -> None:
        """Beat as long as the event loop runs."""
        while True:
            self._last_beat = self._monotonic()
            await asyncio.sleep(_BEAT)

    def expect(self, name: str) -> None:
        self._missing.add(name)

    def done(self, name: str) -> None:
        self._missing.discard(name)

    @property
    def stalled_for(self) -> float | None:
        """Seconds without progress, if they are too many."""
        silent = self._monotonic() - self._last_beat
        return silent if silent > _STALLED_AFTER else None

    @property
    def missing(self) -> list[str]:
        return sorted(self._missing)
