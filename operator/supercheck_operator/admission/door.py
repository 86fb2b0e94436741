"""Who gets in: a bounded number of connections, none of which takes long to say what it wants.

aiohttp bounds what a request may hold, not how long it may take to arrive, nor how many come. So
the connection is accepted here, TLS is agreed on here, and what follows is handed on to aiohttp.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain
from typing import Final, cast

from aiohttp import web

CONNECTIONS: Final = 1000
"""More than an API server opens: it works on 600 requests at once, each by a connection.
https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/ (400 + 200)"""
ARRIVAL_SECONDS: Final = 5.0
"""From the first sign to the last byte of a request; the API server itself gives up after 10 s."""
IDLE_SECONDS: Final = 120.0
"""The API server drops what it has not used for 90 s. Closing is left to it: it would otherwise
send a review into a connection that is being closed."""
_HESITATION: Final = 1.0
"""Seconds; an API server needs some milliseconds."""
_GOODBYE_SECONDS: Final = 2.0

_HERE: ContextVar[_Connection | None] = ContextVar("_HERE", default=None)


@contextmanager
def answering() -> Iterator[None]:
    """Meanwhile the request that is handled, which has arrived as a whole, keeps its connection."""
    connection = _HERE.get()
    if connection is None:
        yield
        return
    connection.busy()
    try:
        yield
    finally:
        connection.idle()


class Door(web.BaseSite):
    """At most ``limit`` connections are there at a time, each for ``arrival`` seconds or a review.

    One more takes the place of who hesitates the longest to say what it wants; if nobody does, of
    who has been idle the longest. Nobody whose review is being answered has to go.
    """

    def __init__(
        self,
        runner: web.AppRunner,
        host: str | None,
        port: int,
        tls: ssl.SSLContext,
        *,
        limit: int = CONNECTIONS,
        arrival: float = ARRIVAL_SECONDS,
    ) -> None:
        super().__init__(runner, ssl_context=tls)
        self._host = host
        self._port = port
        self._limit = limit
        self.tls = tls
        self.arrival = arrival
        self._all: set[_Connection] = set()
        self.arriving: dict[_Connection, float] = {}
        """Since when; the oldest first, as are the idle ones."""
        self.idle: dict[_Connection, None] = {}

    @property
    def name(self) -> str:
        return f"https://{self._host or '*'}:{self._port}"

    async def start(self) -> None:
        """Raises OSError if the port cannot be used."""
        await super().start()
        server, loop = cast("web.Server", self._runner.server), asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self, server()), self._host, self._port
        )

    def admit(self, connection: _Connection) -> bool:
        if len(self._all) >= self._limit:
            victim = self._hesitant() or next(chain(self.idle, self.arriving), None)
            if victim is None:
                return False
            victim.end()
        self._all.add(connection)
        return True

    def _hesitant(self) -> _Connection | None:
        slow = time.monotonic() - _HESITATION
        return next((each for each, since in self.arriving.items() if since <= slow), None)

    def forget(self, connection: _Connection) -> None:
        self._all.discard(connection)


class _Connection(asyncio.Protocol):
    """Between the socket and ``http``, which is aiohttp's part of it."""

    def __init__(self, door: Door, http: asyncio.Protocol) -> None:
        self._door = door
        self._http = http
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] | None = []
        """What came right behind the handshake, before ``http`` knows of the connection."""
        self._over = False
        self._limit: asyncio.TimerHandle | None = None
        self._agreeing: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if not self._door.admit(self):
            self._transport.abort()
            return
        self._arrives()
        self._transport.pause_reading()
        self._agreeing = asyncio.create_task(self._agree(self._transport))

    async def _agree(self, plain: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        try:
            transport = await loop.start_tls(
                plain,
                self,
                self._door.tls,
                server_side=True,
                ssl_shutdown_timeout=_GOODBYE_SECONDS,
            )
        except OSError:  # no TLS, or none that we speak, or no certificate that we ask for
            self.end()
            return
        if self._over or transport is None or transport.is_closing():
            self.end()
            return
        self._transport = transport
        _HERE.set(self)  # for the task that handles its requests
        self._http.connection_made(transport)
        early, self._early = self._early or [], None
        for data in early:
            self._http.data_received(data)

    def data_received(self, data: bytes) -> None:
        if self in self._door.idle:
            self._arrives()
        if self._early is not None:
            self._early.append(data)
        else:
            self._http.data_received(data)

    def eof_received(self) -> None:
        if self._early is None:
            self._http.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        if self._early is None:
            self._http.connection_lost(exc)

    def pause_writing(self) -> None:
        self._http.pause_writing()

    def resume_writing(self) -> None:
        self._http.resume_writing()

    def busy(self) -> None:
        self._waits_no_more()

    def idle(self) -> None:
        if not self._over:
            self._door.idle[self] = None

    def end(self) -> None:
        self._forget()
        if self._transport is not None:
            self._transport.abort()

    def _arrives(self) -> None:
        self._waits_no_more()
        self._door.arriving[self] = time.monotonic()
        self._limit = asyncio.get_running_loop().call_later(self._door.arrival, self.end)

    def _waits_no_more(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
        self._door.arriving.pop(self, None)
        self._door.idle.pop(self, None)

    def _forget(self) -> None:
        self._over = True
        self._waits_no_more()
        self._door.forget(self)
