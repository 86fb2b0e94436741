"""A stand-in for an API server that answers everything but the LIST of Jobs."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import yaml
from aiohttp import web

from harness.api import Raw

_QUEUE: Raw = {
    "apiVersion": "supercheck.io/v1alpha1",
    "kind": "ExecutionQueue",
    "metadata": {"name": "default", "uid": "q", "resourceVersion": "7"},
    "spec": {},
}


async def _answer(request: web.Request) -> web.Response:
    if request.path == "/version":
        return web.json_response({"gitVersion": "v1.36.0"})
    if request.method == "PATCH":
        return web.json_response(json.loads(await request.text()))
    if request.path.endswith("/jobs"):
        said = {"kind": "Status", "code": 503, "message": "not now"}
        return web.json_response(said, status=503)
    if request.path.endswith("/executionqueues/default"):
        return web.json_response(_QUEUE)
    items = [_QUEUE] if request.path.endswith("/executionqueues") else []
    return web.json_response({"metadata": {"resourceVersion": "9"}, "items": items})


@asynccontextmanager
async def slow_api(folder: Path) -> AsyncIterator[Path]:
    """While it serves: a kubeconfig that leads to it."""
    async with served(_answer, folder) as kubeconfig:
        yield kubeconfig


@asynccontextmanager
async def served(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]], folder: Path
) -> AsyncIterator[Path]:
    """While ``answer`` is asked for everything: a kubeconfig that leads to it."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield write_kubeconfig(folder, f"http://{host}:{port}")
    finally:
        await runner.cleanup()


def write_kubeconfig(folder: Path, server: str) -> Path:
    """A kubeconfig that leads to ``server``, without any credentials."""
    kubeconfig = folder / "made-kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    kubeconfig.write_text(yaml.safe_dump(content))
    return kubeconfig
