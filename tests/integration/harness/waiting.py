"""Waiting for what must become true; never for a time to pass."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
_PAUSE = 0.05


async def eventually(
    probe: Callable[[], Awaitable[T | None]], what: str, *, within: float = 30
) -> T:
    """The first truthy answer of ``probe``; fails with ``what`` after ``within`` seconds."""
    deadline = time.monotonic() + within
    while True:
        found = await probe()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        await asyncio.sleep(_PAUSE)
