"""Load: TestExecutions created at a steady rate, each at its time, whatever the answers do.

A helper in a process of its own. Latency counts from the time that was planned, so what is late
because something before it was slow counts as slow, too.
"""

from __future__ import annotations

import asyncio
import gc
import json
import selectors
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final

import aiohttp

from benchmarks.lib.helper import serve
from harness.api import GROUP, Raw, execution, session

_CONNECTIONS: Final = 20
"""Open before the first create; more are opened if so many are on their way."""
_LEAD: Final = 0.05
"""Seconds from the last preparation to the first create."""
_TOLD: Final = 3
"""Troubles of one block: there may be hundreds of a kind."""
_HEADERS: Final = {"Content-Type": "application/json"}


class Creates:
    """``latencies`` and ``lateness`` (of sending) are seconds, ``answers`` counts by status,
    ``troubles`` are some of the answers that are not 201, in words."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self._latencies: list[float] = []
        self._lateness: list[float] = []
        self._answers: Counter[str] = Counter()
        self._troubles: set[str] = set()

    async def connect(self) -> Raw:
        await asyncio.gather(*(self._ask() for _ in range(_CONNECTIONS)))
        return {}

    async def block(
        self, *, namespace: str, queue: str, name: str, rate: float, seconds: float
    ) -> Raw:
        path = f"{GROUP}/namespaces/{namespace}/testexecutions"
        bodies = [
            json.dumps(execution(f"{name}-{number}", queue=queue)).encode()
            for number in range(round(rate * seconds))
        ]
        self._latencies, self._lateness = [], []
        self._answers, self._troubles = Counter(), set()
        gc.collect()
        begin = time.monotonic() + _LEAD
        async with asyncio.TaskGroup() as tasks:
            for number, body in enumerate(bodies):
                due = begin + number / rate
                await asyncio.sleep(max(0, due - time.monotonic()))
                tasks.create_task(self._create(path, body, due))
        return {
            "latencies": self._latencies,
            "lateness": self._lateness,
            "answers": self._answers,
            "troubles": sorted(self._troubles)[:_TOLD],
        }

    async def _create(self, path: str, body: bytes, due: float) -> None:
        self._lateness.append(time.monotonic() - due)
        try:
            async with self._http.post(path, data=body, headers=_HEADERS) as response:
                said = await response.read()
                answer = str(response.status)
                if response.status != 201:
                    self._troubles.add(json.loads(said)["message"])
        except (aiohttp.ClientError, TimeoutError) as error:
            answer = type(error).__name__
            self._troubles.add(repr(error))
        self._latencies.append(time.monotonic() - due)
        self._answers[answer] += 1

    async def _ask(self) -> None:
        async with self._http.get("/version") as response:
            await response.read()


async def main() -> None:
    gc.disable()  # it is collected between blocks
    async with session(Path(sys.argv[1]), limit=0, keepalive_timeout=600) as http:
        creates = Creates(http)
        await serve(connect=creates.connect, block=creates.block)


def _loop() -> asyncio.AbstractEventLoop:
    """Whose timers are exact to microseconds; those of epoll are to a millisecond."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=_loop) as runner:
        runner.run(main())
