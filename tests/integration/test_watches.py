"""The watches that executions, Jobs and pods are followed by: no gap, nothing too large."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from conftest import Cluster, NewOperator
from harness.api import Raw, Space, execution
from harness.process import Operator
from harness.slow_api import served
from harness.steps import until
from harness.waiting import eventually
from kindless import components
from supercheck_operator.controller.watches import follow
from supercheck_operator.controller.world import Kind
from supercheck_operator.kube import JOBS, Kube, configuration

NO_SWEEP = {"SWEEP_SECONDS": "600"}
MANY = 40
"""Namespaces; times three, more watches than a client has connections by default."""


@dataclass
class Follower:
    """Who follows Jobs from ``version`` on."""

    kube: Kube
    version: int
    listed: int = 0
    interruptions: int = 0
    seen: list[tuple[str, bool]] = field(default_factory=list)

    async def run(self, namespace: str) -> None:
        await follow(
            self.kube,
            Kind.JOB,
            namespace=namespace,
            since=lambda: self.version,
            again=self.again,
            seen=lambda raw, deleted: self.seen.append((raw["metadata"]["name"], deleted)),
            interrupted=self.interrupted,
        )

    def interrupted(self) -> None:
        self.interruptions += 1

    async def again(self) -> None:
        self.listed += 1
        _, self.version = await self.kube.list(JOBS)


@pytest_asyncio.fixture(loop_scope="session")
async def kube(cluster: Cluster) -> AsyncIterator[Kube]:
    where = await configuration(cluster.kubeconfig, None, in_cluster=False)
    made = Kube(where, user_agent="test")
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="session")
async def operator(new_operator: NewOperator) -> Operator:
    made = new_operator(**NO_SWEEP)
    await made.start()
    return made


@pytest.mark.usefixtures("operator")
async def test_what_is_larger_than_a_buffer_is_told(space: Space) -> None:
    tests = [{"name": f"t-{n}", "image": "img:1", "script": "x" * 180_000} for n in range(3)]
    await space.submit(execution("large", tests=tests))
    await until(space, "large", "Passed")


@pytest.mark.usefixtures("operator")
async def test_what_came_before_is_listed_where_the_past_is_not_known(
    cluster: Cluster, kube: Kube, space: Space
) -> None:
    """An API server that has started anew does not; its first answers may be refusals."""
    _, version = await kube.list(JOBS)
    await space.api.create(space.jobs, _job("before"))
    await asyncio.to_thread(components.kill, cluster.name, "kube-apiserver")
    await asyncio.to_thread(components.start, cluster.name, "kube-apiserver")
    follower = Follower(kube, version)
    task = asyncio.create_task(follower.run(space.name))

    async def again() -> bool:
        return follower.listed > 0

    async def told() -> bool:
        return ("after", True) in follower.seen

    try:
        await eventually(again, "everything is listed again")
        await space.api.create(space.jobs, _job("after"))
        await space.api.delete(f"{space.jobs}/after?propagationPolicy=Background")
        await eventually(told, "the deletion is told")
    finally:
        task.cancel()
    assert follower.listed == 1
    assert {name for name, _ in follower.seen} == {"after"}


async def test_a_stream_that_ends_goes_on_where_it_ended(tmp_path: Path) -> None:
    """And one that is refused for lack of room is asked for again; nothing is listed for it."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.query["resourceVersion"])
        if len(asked) == 2:
            return web.json_response(
                {"kind": "Status", "code": 429, "message": "later"}, status=429
            )
        version = int(asked[-1]) + 1
        event = {"type": "ADDED", "object": {"metadata": {"name": "a", "resourceVersion": version}}}
        return web.json_response(event, dumps=lambda data: json.dumps(data) + "\n")

    async with served(answer, tmp_path) as kubeconfig:
        where = await configuration(kubeconfig, None, in_cluster=False)
        follower = Follower(Kube(where, user_agent="test"), version=7)
        task = asyncio.create_task(follower.run("team-a"))

        async def thrice() -> bool:
            return len(asked) > 3

        try:
            await eventually(thrice, "it is asked again and again")
        finally:
            task.cancel()
            await follower.kube.close()
    assert asked[:4] == ["7", "8", "8", "9"]
    assert follower.listed == 0
    # When it began, by the refusal, and when it was over; a stream that ends by itself is none.
    assert follower.interruptions == 3


def _job(name: str) -> Raw:
    labels = {"supercheck.io/execution-uid": "uid-1"}
    pod = {"containers": [{"name": "test", "image": "img:1"}], "restartPolicy": "Never"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {"suspend": True, "template": {"spec": pod}},
    }


async def test_watches_of_many_namespaces_leave_connections_for_requests(
    new_operator: NewOperator, space: Space
) -> None:
    names = [space.name, *(f"of-team-{number}" for number in range(MANY))]
    operator = new_operator(WATCH_NAMESPACES=",".join(names), **NO_SWEEP)
    await operator.start()
    for name in ("first", "second"):
        await space.submit(execution(name))
        await until(space, name, "Passed")
