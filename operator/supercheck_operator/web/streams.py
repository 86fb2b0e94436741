"""Server-sent events: everybody who follows a topic gets its newest state, nobody a backlog.

https://html.spec.whatwg.org/multipage/server-sent-events.html

The state is read, not pushed: whoever changes it need not know who looks. A topic is read once for
all its followers. A follower who comes back gets the state at once, so nothing has to be resumed.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from aiohttp import web

from supercheck_operator.kube import KubeError
from supercheck_operator.ledger.contract import UNVERIFIABLE, LedgerUnavailableError
from supercheck_operator.reporting.figures import UnknownQueueError
from supercheck_operator.web.access import DeniedError, UnauthenticatedError
from supercheck_operator.web.rates import TooManyError

HEARTBEAT_SECONDS: Final = 15.0
_HEARTBEAT: Final = b": heartbeat\n\n"
_RETRY: Final = b"retry: 5000\n\n"
_TAKEN_WITHIN: Final = 10.0
"""Seconds in which a follower takes what is sent, or is dropped."""
_UNSENT: Final = 64 * 1024
"""Bytes that the kernel may keep for one follower."""
_FOLLOWERS: Final = 2000
_UNAVAILABLE: Final = (
    'event: unavailable\ndata: {"error":"Service unavailable","message":"' + UNVERIFIABLE + '"}\n\n'
).encode()

_OVER: Final = (
    ConnectionError,  # gone
    TimeoutError,  # too slow
    DeniedError,
    UnauthenticatedError,
    TooManyError,
    UnknownQueueError,
    LedgerUnavailableError,
    KubeError,  # nobody can tell whether they may still see it
)
"""What ends a stream; who may follow again does so by itself."""

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)


class TooManyFollowersError(Exception):
    """There is no room for another stream."""


class _Topic:
    def __init__(self) -> None:
        self.message = b""
        self.beats = 0
        self.checks = 0
        self.closed = False
        self.followers = 0
        self._changed = asyncio.Event()

    def publish(self, message: bytes) -> None:
        if message != self.message:
            self.message = message
            self._wake()

    def check(self, *, beat: bool) -> None:
        """Let everybody look whether they may still follow, and how."""
        self.checks += 1
        self.beats += beat
        self._wake()

    def close(self) -> None:
        self.closed = True
        self._wake()

    async def changed(self) -> None:
        await self._changed.wait()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


@dataclass(slots=True)
class _Place(Generic[K]):
    """Where one follower stands."""

    key: K
    topic: _Topic


class Streams(Generic[K]):
    """``read`` tells the state of a topic as JSON: it is read every ``tick`` seconds.

    Where ``mark`` differs from before, everybody is looked at again: they may see another topic.
    """

    def __init__(
        self,
        read: Callable[[K], Awaitable[str]],
        *,
        tick: float,
        mark: Callable[[], Hashable] = lambda: None,
    ) -> None:
        self._read = read
        self._tick = tick
        self._mark = mark
        self._topics: dict[K, _Topic] = {}
        self._anybody = asyncio.Event()
        self._closed = False

    @property
    def followers(self) -> int:
        return sum(topic.followers for topic in self._topics.values())

    async def running(self, _: web.Application) -> AsyncIterator[None]:
        """For ``cleanup_ctx``: the two tasks that serve all followers."""
        tasks = [asyncio.create_task(self._refresh()), asyncio.create_task(self._beat())]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self, _: web.Application) -> None:
        """For ``on_shutdown``: nobody keeps the server from ending."""
        self._closed = True
        for topic in self._topics.values():
            topic.close()

    async def follow(
        self, request: web.Request, topic_of: Callable[[], Awaitable[K]]
    ) -> web.StreamResponse:
        """Send until the follower goes, or may not see it any more.

        ``topic_of`` tells which topic they may see, and raises if none; so does this, before
        anything is sent.
        """
        if self.followers >= _FOLLOWERS:
            raise TooManyFollowersError("There are too many streams already.")
        key = await topic_of()
        place = _Place(key, await self._join(key))
        try:
            response = await _open(request)
            with suppress(*_OVER):
                await self._serve(request, response, place, topic_of)
        finally:
            self._leave(place)
        return response

    async def _serve(
        self,
        request: web.Request,
        response: web.StreamResponse,
        place: _Place[K],
        topic_of: Callable[[], Awaitable[K]],
    ) -> None:
        await self._send(request, response, _RETRY)
        seen, beats, checks = b"", place.topic.beats, place.topic.checks
        while not (topic := place.topic).closed:
            if topic.message != seen:
                seen = topic.message
                await self._send(request, response, seen)
            elif topic.beats != beats:
                beats = topic.beats
                await self._send(request, response, _HEARTBEAT)
            elif topic.checks != checks:
                checks = topic.checks
                if (key := await topic_of()) != place.key:
                    joined = await self._join(key)
                    self._leave(place)
                    place.key, place.topic = key, joined
                    beats, checks = joined.beats, joined.checks
            else:
                await topic.changed()

    async def _join(self, key: K) -> _Topic:
        topic = self._topics.get(key)
        if topic is None:
            message = _data(await self._read(key))
            topic = self._topics.setdefault(key, _Topic())
            topic.message = topic.message or message
        topic.closed |= self._closed
        topic.followers += 1
        self._anybody.set()
        return topic

    def _leave(self, place: _Place[K]) -> None:
        place.topic.followers -= 1
        if not place.topic.followers and self._topics.get(place.key) is place.topic:
            del self._topics[place.key]

    async def _send(
        self, request: web.Request, response: web.StreamResponse, message: bytes
    ) -> None:
        try:
            async with asyncio.timeout(_TAKEN_WITHIN):
                await response.write(message)
        except TimeoutError:
            _drop(request)
            raise

    async def _refresh(self) -> None:
        mark = self._mark()
        while True:
            await self._anybody.wait()
            await asyncio.sleep(self._tick)
            for key, topic in list(self._topics.items()):
                await self._look(key, topic)
            if (now := self._mark()) != mark:
                mark = now
                for topic in self._topics.values():
                    topic.check(beat=False)
            if not self._topics:
                self._anybody.clear()

    async def _look(self, key: K, topic: _Topic) -> None:
        try:
            topic.publish(_data(await self._read(key)))
        except UnknownQueueError:
            topic.close()
        except LedgerUnavailableError:
            # Never zeros: figures that are not known are not shown.
            topic.publish(_UNAVAILABLE)
        except Exception:
            # A state that cannot be told must not end every other stream.
            logger.exception("the state of %s cannot be told", key)
            topic.close()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            for topic in self._topics.values():
                topic.check(beat=True)


def _data(text: str) -> bytes:
    return f"data: {text}\n\n".encode()


async def _open(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
        }
    )
    if (connection := _connection(request)) is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNSENT)
    await response.prepare(request)
    return response


def _drop(request: web.Request) -> None:
    """Without a goodbye: the kernel would keep what is unsent, and try for minutes."""
    if (connection := _connection(request)) is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if request.transport is not None:
        request.transport.abort()


def _connection(request: web.Request) -> socket.socket | None:
    transport = request.transport
    return transport.get_extra_info("socket") if transport is not None else None
