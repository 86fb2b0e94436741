"""A TCP proxy in the way of connections, which can drop, stall and refuse them.

What it keeps back while it stalls is lost if its sender goes meanwhile: a request that is delivered
when nobody waits for it any more is nothing that can be promised to come to no harm
(docs/availability.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Self

HOST = "127.0.0.1"
_MOST = 65536
"""Bytes taken at once."""


class _Connection:
    def __init__(self, here: asyncio.StreamWriter, there: asyncio.StreamWriter) -> None:
        self.flows = asyncio.Event()
        self.flows.set()
        self._ends = (here, there)

    def drop(self) -> None:
        for end in self._ends:
            end.transport.abort()
        self.flows.set()


class Proxy:
    """Each new connection goes to one of ``targets()``, at random, and stays there."""

    def __init__(self, targets: Callable[[], Sequence[int]], random: Random) -> None:
        self._targets = targets
        self._random = random
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stalls = False
        self.refuses = False
        """Whether new connections are closed at once."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.flow()
        self.drop()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def drop(self) -> None:
        """All connections there are, as a reset does."""
        for connection in list(self._connections):
            connection.drop()

    def stall(self, *, new: bool) -> None:
        """Nothing passes on the connections there are, and on ``new`` ones, until ``flow``."""
        self._stalls = new
        for connection in self._connections:
            connection.flows.clear()

    def flow(self) -> None:
        self._stalls = False
        for connection in self._connections:
            connection.flows.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        targets = list(self._targets())
        if self.refuses or not targets:
            return
        try:
            there, beyond = await asyncio.open_connection(HOST, self._random.choice(targets))
        except OSError:
            return
        connection = _Connection(writer, beyond)
        if self._stalls:
            connection.flows.clear()
        self._connections.add(connection)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pass_on(reader, beyond, connection.flows))
                both.create_task(_pass_on(there, writer, connection.flows))
        finally:
            beyond.close()
            self._connections.discard(connection)


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flows: asyncio.Event
) -> None:
    with suppress(OSError):
        while data := await reader.read(_MOST):
            if not flows.is_set():
                data = await _kept_back(data, reader, flows)
            writer.write(data)
            await writer.drain()
        await flows.wait()
        if writer.can_write_eof():
            writer.write_eof()


async def _kept_back(data: bytes, reader: asyncio.StreamReader, flows: asyncio.Event) -> bytes:
    """``data`` and what follows until all flows again; nothing if its sender has gone by then."""
    flowing = asyncio.ensure_future(flows.wait())
    try:
        while True:
            more = asyncio.ensure_future(reader.read(_MOST))
            await asyncio.wait({flowing, more}, return_when=asyncio.FIRST_COMPLETED)
            if not more.done():
                more.cancel()
                await asyncio.wait({more})  # before somebody else reads
                return data
            data += (came := more.result())
            if flowing.done():
                return data
            if not came:
                await flowing
                return b""
    finally:
        flowing.cancel()
