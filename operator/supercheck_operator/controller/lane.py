"""One after the other, or side by side where there are too many for that."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Lane:
    """Turns in the order in which they are asked for.

    One at a time, so that what is done in them is done in that order; while more than ``patient``
    wait, ``abreast`` at a time.
    """

    def __init__(self, *, patient: int, abreast: int) -> None:
        self._patient = patient
        self._abreast = abreast
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._taken = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        self._idle.clear()
        self._go_on()
        try:
            await mine
            yield
        finally:
            if mine.cancelled():
                with suppress(ValueError):  # it was passed over already
                    self._waiting.remove(mine)
            else:
                self._taken -= 1
            self._go_on()
            if not self._taken and not self._waiting:
                self._idle.set()

    async def idle(self, at_most: float) -> None:
        """Until nobody has a turn or wants one, or so many seconds have passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(at_most):
                await self._idle.wait()

    def _go_on(self) -> None:
        while self._waiting and self._taken < self._room:
            first = self._waiting.popleft()
            if not first.cancelled():
                first.set_result(None)
                self._taken += 1

    @property
    def _room(self) -> int:
        return self._abreast if len(self._waiting) > self._patient else 1
