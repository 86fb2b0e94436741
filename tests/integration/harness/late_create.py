"""A way to the API server on which creates and deletions of Jobs can be kept back, unanswered.

One of the creates is carried out later, when nobody waits for it any more.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

from harness.api import session
from harness.slow_api import served

_FORWARDED = ("Accept", "Content-Type")


class LateCreate:
    """Everything else goes through, watches as they come."""

    def __init__(self, upstream: aiohttp.ClientSession) -> None:
        self._upstream = upstream
        self._held: tuple[str, bytes] | None = None
        self.keeps_back = {"POST", "DELETE"}
        """Methods of requests for Jobs that are not let through."""

    @property
    def holds(self) -> bool:
        return self._held is not None

    async def carry_out(self) -> None:
        """What was asked for first, though nobody waits for it any more."""
        assert self._held is not None
        path, body = self._held
        async with self._upstream.post(path, data=body, headers=_JSON) as answer:
            assert answer.status == 201, await answer.text()

    async def forward(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if request.method in self.keeps_back and "/jobs" in request.path:
            if request.method == "POST":
                self._held = self._held or (request.path_qs, body)
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        headers = {name: request.headers[name] for name in _FORWARDED if name in request.headers}
        async with self._upstream.request(
            request.method, request.path_qs, data=body or None, headers=headers, timeout=_ENDLESS
        ) as answer:
            response = web.StreamResponse(status=answer.status)
            response.headers["Content-Type"] = answer.headers["Content-Type"]
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            return response


_JSON = {"Content-Type": "application/json"}
_ENDLESS = aiohttp.ClientTimeout(total=None)


@asynccontextmanager
async def late_create(kubeconfig: Path, folder: Path) -> AsyncIterator[tuple[Path, LateCreate]]:
    """While it serves: a kubeconfig that leads over it, and what it does."""
    async with session(kubeconfig) as upstream:
        way = LateCreate(upstream)
        async with served(way.forward, folder) as leads:
            yield leads, way
