"""A client of event streams that does what the standard says an EventSource does.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import aiohttp

_SEED_RETRY = 5.0


class Stream:
    """One connection. ``comments`` are those seen so far, ``retry`` what the server asked for."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.retry: int | None = None
        self.comments: list[str] = []

    async def event(self) -> tuple[str, str]:
        """The next event: its type and its data. Raises EOFError at the end of the stream."""
        kind, data = "message", list[str]()
        while line := await self.response.content.readline():
            field, _, value = line.decode().rstrip("\n").partition(":")
            value = value.removeprefix(" ")
            match field:
                case "":
                    if line == b"\n" and data:
                        return kind, "\n".join(data)
                    if line != b"\n":
                        self.comments.append(value)
                        return "comment", value
                case "data":
                    data.append(value)
                case "event":
                    kind = value
                case "retry":
                    self.retry = int(value)
        raise EOFError

    async def message(self, within: float = 30) -> str:
        """The data of the next unnamed event."""
        async with asyncio.timeout(within):
            while True:
                kind, data = await self.event()
                if kind == "message":
                    return data


@asynccontextmanager
async def follow(url: str, *, token: str = "") -> AsyncIterator[Stream]:
    headers = {"Accept": "text/event-stream"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    timeout = aiohttp.ClientTimeout(total=None)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.get(url, headers=headers) as response,
    ):
        yield Stream(response)


class EventSource:
    """As the seed's page uses it: 5 s after any error it is opened again, until it is left."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.messages: asyncio.Queue[str] = asyncio.Queue()
        self.opened_at: list[float] = []
        self.lost_at: list[float] = []

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def message(self, within: float = 30) -> str:
        async with asyncio.timeout(within):
            return await self.messages.get()

    async def _run(self) -> None:
        while True:
            try:
                async with follow(self._url) as stream:
                    if stream.response.status == 200:
                        self.opened_at.append(time.monotonic())
                    while stream.response.status == 200:
                        kind, data = await stream.event()
                        if kind == "message":
                            self.messages.put_nowait(data)
            except (EOFError, aiohttp.ClientError):
                if len(self.lost_at) < len(self.opened_at):
                    self.lost_at.append(time.monotonic())
            await asyncio.sleep(_SEED_RETRY)
