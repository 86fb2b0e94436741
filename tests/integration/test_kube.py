"""What the client learns from a real API server beside its answers."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from conftest import Cluster
from harness.slow_api import served
from supercheck_operator import kube as module
from supercheck_operator.clock import Clock, utc_now
from supercheck_operator.kube import (
    JOBS,
    QUEUES,
    Kube,
    NotFoundError,
    UnreachableError,
    configuration,
)


@pytest.mark.parametrize("hours", [-1, 0, 1])
async def test_every_answer_tells_the_time_also_a_refusal(cluster: Cluster, hours: int) -> None:
    where = await configuration(cluster.kubeconfig, None, in_cluster=False)
    kube = Kube(where, user_agent="test")
    kube.clock = Clock(now=lambda: utc_now() + timedelta(hours=hours))
    try:
        with pytest.raises(NotFoundError):
            await kube.get(QUEUES, "no-such-queue")
    finally:
        await kube.close()
    assert abs(kube.clock.now() - utc_now()) < timedelta(seconds=4)
    assert kube.clock.stepped() == timedelta()


async def test_a_long_list_comes_in_fewer_and_larger_parts(tmp_path: Path) -> None:
    asked: list[int] = []

    async def answer(request: web.Request) -> web.Response:
        first, limit = int(request.query.get("continue", 0)), int(request.query["limit"])
        asked.append(limit)
        rest = 60_000 - first - limit
        said = {"remainingItemCount": rest, "continue": str(first + limit)} if rest > 0 else {}
        items = [{"metadata": {"name": f"q-{n}"}} for n in range(first, first + limit)]
        return web.json_response({"metadata": {"resourceVersion": "7", **said}, "items": items})

    async with served(answer, tmp_path) as kubeconfig:
        kube = Kube(await configuration(kubeconfig, None, in_cluster=False), user_agent="test")
        try:
            found, version = await kube.list(QUEUES)
        finally:
            await kube.close()
    assert asked == [50, *[1498] * 41]
    assert (len(found), version) == (sum(asked), 7)


async def test_what_is_long_is_listed_a_few_at_a_time(tmp_path: Path) -> None:
    """Or a list of executions with long scripts would take more memory than there is."""
    asked: list[int] = []

    async def answer(request: web.Request) -> web.Response:
        first, limit = int(request.query.get("continue", 0)), int(request.query["limit"])
        asked.append(limit)
        item = {"metadata": {"name": "q"}, "spec": "x" * (1_000_000 if first < 90 else 10_000)}
        rest = 1000 - first - limit
        said = {"remainingItemCount": rest, "continue": str(first + limit)} if rest > 0 else {}
        items = [item] * limit
        return web.json_response({"metadata": {"resourceVersion": "7", **said}, "items": items})

    async with served(answer, tmp_path) as kubeconfig:
        kube = Kube(await configuration(kubeconfig, None, in_cluster=False), user_agent="test")
        try:
            await kube.list(QUEUES)
        finally:
            await kube.close()
    assert asked == [50, *[16] * 4, *[500] * 2]


async def test_a_list_on_a_dead_connection_is_given_up_as_soon_as_any_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is launched until it ends; on the next connection it may succeed at once."""
    monkeypatch.setattr(module, "REQUEST_TIMEOUT", 0.2)

    over = asyncio.Event()

    async def silent(_: web.Request) -> web.Response:
        await over.wait()
        return web.Response()

    async with served(silent, tmp_path) as kubeconfig:
        where = await configuration(kubeconfig, None, in_cluster=False)
        kube = Kube(where, user_agent="test")
        try:
            async with asyncio.timeout(10):
                with pytest.raises(UnreachableError):
                    await kube.list(JOBS)
        finally:
            over.set()
            await kube.close()
