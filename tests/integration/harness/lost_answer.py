"""A way to the API server on which the answer to the first create gets lost."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from harness.api import Api
from harness.slow_api import served


@asynccontextmanager
async def lost_answer(api: Api, folder: Path) -> AsyncIterator[Path]:
    """While it serves: a kubeconfig that leads over it."""
    lost: list[str] = []

    async def forward(request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        status, answer = await api.call(request.method, request.path_qs, body)
        if request.method == "POST" and not lost:
            lost.append(request.path)
            assert status == 201, answer
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(answer, status=status)

    async with served(forward, folder) as kubeconfig:
        yield kubeconfig
    assert lost
