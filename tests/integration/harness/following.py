"""Watches that go on beside a test, as long as its ``with`` lasts."""

import asyncio
from contextlib import suppress
from types import TracebackType


class Following:
    """Whoever begins watches appends them to ``_tasks``; they end with the ``with``."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
