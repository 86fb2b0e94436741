"""What a sweep of the operator costs, seen from outside: by the LIST of Jobs that is in each.

Others list Jobs at their start only; executions and queues are listed by some of Kubernetes, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import aiohttp

from benchmarks.lib.cost import Request, cpu_seconds, requests
from harness.api import Api
from harness.process import Operator
from harness.waiting import eventually

_BETWEEN: Final = 0.01
"""Seconds between two questions."""
_LISTED: Final = 0.5
"""Part of the interval after which a sweep has all pages of that list."""
_AFTER: Final = 1.0
"""Seconds after which the last one is over, too."""
_EARLY: Final = 0.4
"""Part of the interval in which the next one cannot begin yet."""


@dataclass(frozen=True)
class Sweep:
    seconds: float
    """To within some hundredths."""
    cpu_seconds: float
    """Of the operator, with all else that it does in one interval while nothing happens."""
    pause: float
    """Seconds: the longest that ``/healthz`` was without an answer meanwhile."""


async def measure(api: Api, operator: Operator, *, interval: float, count: int) -> Sweep:
    """The mean of ``count`` sweeps, while nothing else happens; it ends with one more."""
    await _lists_jobs(api, interval, await _lists_so_far(api))
    began, before = time.monotonic(), cpu_seconds(operator.pid)
    for _ in range(count):
        await _next(api, interval)
    cycle = (time.monotonic() - began) / count
    spent = (cpu_seconds(operator.pid) - before) / count
    async with _asking(operator) as longest:
        await _next(api, interval)
        await asyncio.sleep(max(0, cycle - interval) + min(_AFTER, _LISTED * interval))
    return Sweep(cycle - interval, spent, max(longest))


async def _next(api: Api, interval: float) -> None:
    """Time has to pass, since questions would disturb what is measured."""
    await asyncio.sleep(_LISTED * interval)
    known = await _lists_so_far(api)
    await asyncio.sleep(_EARLY * interval)
    await _lists_jobs(api, interval, known)


async def _lists_jobs(api: Api, interval: float, known: int) -> None:
    async def listed() -> bool:
        return await _lists_so_far(api) > known

    await eventually(listed, "a sweep lists Jobs", within=10 * interval + 60)


async def _lists_so_far(api: Api) -> int:
    return (await requests(api))[Request("LIST", "jobs")]


@asynccontextmanager
async def _asking(operator: Operator) -> AsyncIterator[list[float]]:
    """How many seconds each answer of ``/healthz`` takes, one asked after the other."""
    took: list[float] = []

    async def ask() -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                began = time.monotonic()
                async with session.get(f"{operator.url}/healthz") as response:
                    await response.read()
                took.append(time.monotonic() - began)
                await asyncio.sleep(_BETWEEN)

    asking = asyncio.create_task(ask())
    try:
        yield took
    finally:
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
