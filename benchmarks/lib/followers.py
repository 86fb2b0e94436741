"""Clients of one event stream, many in one process: a helper.

What arrives is kept with its time and read when all is over, so that reading takes no time from
receiving. https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import dropwhile
from typing import Final, cast

from benchmarks.lib.helper import serve
from harness.api import Raw

HOST: Final = "127.0.0.1"
_MESSAGE: Final = re.compile(rb'data: (\{"running".*\})\n')
_AT_ONCE: Final = 50
"""Connections that are opened together."""
_PATIENCE: Final = 30.0
"""Seconds for a first message."""

Told = tuple[float, int]
"""When a message arrived, and how many executions it says there are, running or queued."""


class Follower(asyncio.Protocol):
    """One connection. ``lost`` is when it was lost, if it was."""

    def __init__(self, request: bytes) -> None:
        self.first = asyncio.Event()
        self.lost: float | None = None
        self._request = request
        self._chunks: list[tuple[float, bytes]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        self._chunks.append((time.monotonic(), data))
        if not self.first.is_set() and b'data: {"running"' in data:
            self.first.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's
        self.lost = time.monotonic()

    def told(self) -> Iterator[Told]:
        """Every message so far: a message has arrived with its last byte."""
        rest = b""
        for at, chunk in self._chunks:
            rest += chunk
            for found in _MESSAGE.finditer(rest):
                figures = json.loads(found[1])
                yield at, figures["running"] + figures["queued"]
            rest = rest[rest.rfind(b"\n") + 1 :]


class Followers:
    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._request = f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode()
        self._all: list[Follower] = []
        self._refused = 0

    async def connect(self, *, count: int) -> Raw:
        """So many, each until its first message."""
        for begun in range(0, count, _AT_ONCE):
            await asyncio.gather(*(self._one() for _ in range(min(_AT_ONCE, count - begun))))
        gc.freeze()
        return {}

    async def _one(self) -> None:
        loop = asyncio.get_running_loop()
        follower = Follower(self._request)
        try:
            async with asyncio.timeout(_PATIENCE):
                await loop.create_connection(lambda: follower, HOST, self._port)
                await follower.first.wait()
        except OSError:  # which TimeoutError is, too
            self._refused += 1
        else:
            self._all.append(follower)

    async def judge(self, *, waves: Sequence[Raw]) -> Raw:
        """Seconds from each change to each follower, and how many ``messages`` they got.

        In a wave between two times, ``begin`` and ``end``, all executions ``came`` before the first
        one ``went``. So the n-th that came is told by the first message of n or more, and the n-th
        that went by the first one after the highest that says n less. Who was not told of them all
        has ``missed`` something.
        """
        came, went = list[float](), list[float]()
        messages = missed = 0
        for follower in self._all:
            told = list(follower.told())
            for wave in waves:
                heard = [each for each in told if wave["begin"] <= each[0] <= wave["end"]]
                messages += len(heard)
                most = len(wave["came"])
                ups = list(_delays(wave["came"], heard))
                fewer = [(at, most - there) for at, there in _since(most, heard)]
                downs = list(_delays(wave["went"], fewer))
                missed += (len(ups), len(downs)) != (most, most)
                came += ups
                went += downs
        dropped = self._refused + sum(each.lost is not None for each in self._all)
        return {
            "came": came, "went": went,
            "messages": messages, "missed": missed, "dropped": dropped,
        }  # fmt: skip


def _since(most: int, told: Iterable[Told]) -> Iterator[Told]:
    """What was told from the first word of so many on."""
    return dropwhile(lambda each: each[1] < most, told)


def _delays(times: Sequence[float], told: Iterable[Told]) -> Iterator[float]:
    """From the n-th of ``times`` until somebody told of n; 0 where that was before it."""
    news = iter(told)
    at, told_of = 0.0, 0
    for number, since in enumerate(times, start=1):
        while told_of < number:
            try:
                at, told_of = next(news)
            except StopIteration:
                return
        yield max(0.0, at - since)


async def main() -> None:
    followers = Followers(int(sys.argv[1]), sys.argv[2])
    await serve(connect=followers.connect, judge=followers.judge)


if __name__ == "__main__":
    asyncio.run(main())
