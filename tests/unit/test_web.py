"""The HTTP surface as its callers see it, with a real ledger behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import pytest
from aiohttp.test_utils import TestClient, TestServer
from kubernetes.aio import client
from tests.unit import builders

from supercheck_operator.kube import Kube
from supercheck_operator.ledger.contract import Holder, State
from supercheck_operator.ledger.memory import MemoryLedger
from supercheck_operator.queueing.queue import Queues
from supercheck_operator.reporting.figures import Figures
from supercheck_operator.reporting.metrics import Metrics
from supercheck_operator.settings import Settings
from supercheck_operator.web.access import Access, ClusterAccess, DeniedError, LocalAccess
from supercheck_operator.web.health import Health
from supercheck_operator.web.server import application

UNVERIFIABLE: Final = "Unable to verify queue capacity due to an error. Please try again later."


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class DenyEverything:
    """An access that knows the caller and lets them see nothing."""

    async def check(self, authorization: str, verb: str, resource: str, name: str) -> None:
        del authorization
        raise DeniedError(f'jane may not {verb} {resource} "{name}".')


class Surface:
    """Everything behind one server."""

    def __init__(self) -> None:
        self.health = Health()
        self.ledger = MemoryLedger()
        self.queues = Queues()
        self.queues.observe(builders.queue())
        self.metrics = Metrics()
        self.access: Access = LocalAccess()
        self.has_api = True

    def client(self) -> TestClient:  # type: ignore[type-arg]
        figures = Figures(
            ledger=self.ledger, queues=self.queues, settings=Settings(), metrics=self.metrics
        )
        app = application(
            figures=figures,
            api=self.has_api,
            metrics=self.metrics,
            health=self.health,
            access=self.access,
        )
        return TestClient(TestServer(app))

    async def open(self, *uids: str) -> None:
        found = {uid: Holder(uid, "default", "team-a", State.RUNNING) for uid in uids}
        await self.ledger.reconcile(found)


@pytest.fixture
def surface() -> Surface:
    return Surface()


@pytest.fixture
async def unreachable() -> AsyncIterator[Kube]:
    """An API server that nobody listens for."""
    kube = Kube(client.Configuration(host="http://127.0.0.1:1"), user_agent="test")
    yield kube
    await kube.close()


async def test_queue_stats_are_the_four_figures(surface: Surface) -> None:
    await surface.open("a", "b")
    async with surface.client() as http:
        answer = await http.get("/api/queue-stats")
        assert answer.status == 200
        assert await answer.json() == {
            "running": 2,
            "runningCapacity": 5,
            "queued": 0,
            "queuedCapacity": 50,
        }


async def test_a_queue_is_asked_for_by_name(surface: Surface) -> None:
    surface.queues.observe(builders.queue("slow", runningCapacity=1))
    await surface.open("a")
    async with surface.client() as http:
        answer = await http.get("/api/queue-stats", params={"queue": "slow"})
        assert (await answer.json())["runningCapacity"] == 1


async def test_an_unknown_queue_is_not_found(surface: Surface) -> None:
    await surface.open()
    async with surface.client() as http:
        answer = await http.get("/api/queue-stats?queue=nightly")
        assert answer.status == 404
        told = {"error": "Not found", "message": 'Queue "nightly" does not exist.'}
        assert await answer.json() == told


async def test_figures_that_are_not_known_are_503_never_zeros(surface: Surface) -> None:
    async with surface.client() as http:
        answer = await http.get("/api/queue-stats")
        assert answer.status == 503
        told = {"error": "Service unavailable", "message": UNVERIFIABLE}
        assert await answer.json() == told


async def test_who_may_not_see_is_told_so(surface: Surface) -> None:
    surface.access = DenyEverything()
    await surface.open()
    async with surface.client() as http:
        answer = await http.get("/api/queue-stats")
        assert answer.status == 403
        assert await answer.json() == {
            "error": "Forbidden",
            "message": 'jane may not get executionqueues "default".',
        }


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "token"])
async def test_who_does_not_say_who_they_are_is_asked_to(
    surface: Surface, unreachable: Kube, authorization: str
) -> None:
    surface.access = ClusterAccess(unreachable)
    await surface.open()
    async with surface.client() as http:
        headers = {"Authorization": authorization}
        answer = await http.get("/api/queue-stats", headers=headers)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert (await answer.json())["error"] == "Unauthorized"


async def test_without_an_api_server_nobody_is_let_in(surface: Surface, unreachable: Kube) -> None:
    surface.access = ClusterAccess(unreachable)
    await surface.open()
    async with surface.client() as http:
        headers = {"Authorization": "bearer abc"}
        answer = await http.get("/api/queue-stats", headers=headers)
        assert answer.status == 503


async def test_health_asks_nobody_who_they_are(surface: Surface) -> None:
    surface.access = DenyEverything()
    async with surface.client() as http:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await http.get(path)).status == 200


async def test_a_process_that_makes_no_progress_is_not_healthy(surface: Surface) -> None:
    behind = 0.0
    surface.health.measure(lambda: behind)
    async with surface.client() as http:
        behind = 30.0
        assert (await http.get("/healthz")).status == 200
        behind = 31.0
        answer = await http.get("/healthz")
        assert answer.status == 503
        assert await answer.text() == "no progress for 31 s\n"


async def test_a_process_is_ready_when_nothing_is_missing(surface: Surface) -> None:
    surface.health.expect("the caches")
    surface.health.expect("a certificate")
    async with surface.client() as http:
        answer = await http.get("/readyz")
        assert answer.status == 503
        assert await answer.text() == "waiting for a certificate, the caches\n"
        surface.health.done("the caches")
        surface.health.done("a certificate")
        assert (await http.get("/readyz")).status == 200


async def test_metrics_are_fresh_when_asked_for(surface: Surface) -> None:
    await surface.open("a")
    async with surface.client() as http:
        text = await (await http.get("/metrics")).text()
        assert 'supercheck_executions_running{queue="default"} 1.0' in text


async def test_without_the_api_component_there_is_no_api(surface: Surface) -> None:
    surface.has_api = False
    async with surface.client() as http:
        assert (await http.get("/api/queue-stats")).status == 404
        assert (await http.get("/metrics")).status == 200
