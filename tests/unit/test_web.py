"""The HTTP surface as its callers see it, with a real ledger behind it."""

from __future__ import annotations

import html
import io
from collections.abc import AsyncIterator
from typing import Final

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from kubernetes.aio import client
from tests.unit import builders

from supercheck_operator.kube import Kube, UnreachableError
from supercheck_operator.ledger.contract import Holder, State
from supercheck_operator.ledger.memory import MemoryLedger
from supercheck_operator.queueing.queue import Queues
from supercheck_operator.reporting.figures import Figures
from supercheck_operator.reporting.history import History
from supercheck_operator.reporting.metrics import Metrics
from supercheck_operator.reporting.shown import Shown
from supercheck_operator.settings import Settings
from supercheck_operator.web.access import Access, Caller, ClusterAccess, LocalAccess, Right
from supercheck_operator.web.api import Api
from supercheck_operator.web.guard import guard
from supercheck_operator.web.health import Health
from supercheck_operator.web.server import application

UNVERIFIABLE: Final = "Unable to verify queue capacity due to an error. Please try again later."
UNDECIDED: Final = (
    "The API server could not say who you are or what you may do; try again, the operator's log has"
    " the cause."
)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class DenyEverything:
    """An access that knows the caller and lets them see nothing."""

    open = False

    async def identify(self, token: str, address: str) -> Caller:
        del address
        return Caller("jane", token)

    async def may(self, caller: Caller, right: Right) -> bool:
        del caller, right
        return False


class Surface:
    """Everything behind one server."""

    def __init__(self, kube: Kube) -> None:
        self.kube = kube
        self.shown = Shown()
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
        history = History(figures=figures, queues=self.queues, metrics=self.metrics)
        api = Api(
            figures=figures,
            shown=self.shown,
            history=history,
            access=self.access,
            kube=self.kube,
            submitter=self.kube,
        )
        app = application(
            figures=figures,
            metrics=self.metrics,
            health=self.health,
            api=api if self.has_api else None,
        )
        return TestClient(TestServer(app))

    async def open(self, *uids: str) -> None:
        found = {uid: Holder(uid, "default", "team-a", State.RUNNING) for uid in uids}
        await self.ledger.reconcile(found)


@pytest.fixture
async def unreachable() -> AsyncIterator[Kube]:
    """An API server that nobody listens for."""
    kube = Kube(client.Configuration(host="http://127.0.0.1:1"), user_agent="test")
    yield kube
    await kube.close()


@pytest.fixture
def surface(unreachable: Kube) -> Surface:
    return Surface(unreachable)


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


async def test_without_an_api_server_nobody_is_let_in_and_the_log_says_why_once(
    surface: Surface, unreachable: Kube, caplog: pytest.LogCaptureFixture
) -> None:
    surface.access = ClusterAccess(unreachable)
    await surface.open()
    async with surface.client() as http:
        for i in range(120):  # more than may be guessed at once: nobody says that these are guesses
            headers = {"Authorization": f"bearer token-{i}"}
            answer = await http.get("/api/queue-stats", headers=headers)
            assert answer.status == 503
            told = {"error": "Service unavailable", "message": UNDECIDED}
            assert await answer.json() == told
        answer = await http.post("/login", data={"token": "abc"})
        assert answer.status == 503
        text = html.unescape(await answer.text())
        assert UNDECIDED in text
        assert 'action="/login"' in text
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "a TokenReview was not answered: " in record.getMessage()


async def test_what_the_api_server_does_not_tell_is_no_matter_of_capacity() -> None:
    async def ask(_: web.Request) -> web.Response:
        raise UnreachableError("GET /apis: timeout")

    app = web.Application(middlewares=[guard(local=True)])
    app.router.add_get("/", ask)
    async with TestClient(TestServer(app)) as http:
        answer = await http.get("/")
        assert answer.status == 503
        assert (await answer.json())["message"] == "The API server could not tell; try again."


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


# Whose page asks --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "10.0.0.1", "a:b", "[::", ""]
)
async def test_a_foreign_name_that_leads_to_loopback_is_refused(
    surface: Surface, host: str
) -> None:
    await surface.open()
    async with surface.client() as http:
        for path in ("/api/queue-stats", "/", "/metrics"):
            answer = await http.get(path, headers={"Host": host})
            assert answer.status == 421, path


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "[::1]:8080"])
async def test_loopback_has_three_names(surface: Surface, host: str) -> None:
    await surface.open()
    async with surface.client() as http:
        assert (await http.get("/api/queue-stats", headers={"Host": host})).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[::"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_another_site_s_page_changes_nothing(
    surface: Surface, headers: dict[str, str]
) -> None:
    async with surface.client() as http:
        answer = await http.post("/api/executions", json={}, headers=headers)
        assert answer.status == 403
        assert (await answer.json())["message"] == "Another site's page may not do this."


async def test_a_form_cannot_submit(surface: Surface) -> None:
    async with surface.client() as http:
        answer = await http.post(
            "/api/executions", data=b"{}", headers={"Content-Type": "text/plain"}
        )
        assert answer.status == 415


async def test_a_cookie_alone_changes_nothing(surface: Surface) -> None:
    surface.access = DenyEverything()
    async with surface.client() as http:
        cookie = {"Cookie": "supercheck_token=abc"}
        assert (await http.post("/api/executions", json={}, headers=cookie)).status == 403
        own = cookie | {"Origin": f"http://{http.host}:{http.port}"}
        assert (await http.post("/api/executions", json={}, headers=own)).status == 422


async def test_every_answer_has_the_security_headers(surface: Surface) -> None:
    await surface.open()
    async with surface.client() as http:
        for path in ("/", "/api/queue-stats", "/api/nothing", "/page/index.html", "/healthz"):
            answer = await http.get(path)
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_errors_of_the_api_are_json(surface: Surface) -> None:
    async with surface.client() as http:
        for method, path, status in (
            ("GET", "/api/nothing", 404),
            ("DELETE", "/api/executions", 405),
            ("GET", "/api/executions?phase=Lost", 400),
        ):
            answer = await http.request(method, path)
            assert answer.status == status
            assert (await answer.json()).keys() == {"error", "message"}


async def test_a_body_has_a_limit(surface: Surface) -> None:
    async with surface.client() as http:
        json = {"Content-Type": "application/json"}
        large = io.BytesIO(b" " * 4 * 1024 * 1024)
        answer = await http.post("/api/executions", data=large, headers=json)
        assert answer.status == 413
        assert "3 MiB" in (await answer.json())["message"]


async def test_who_asks_too_often_is_told_to_wait(surface: Surface) -> None:
    surface.access = DenyEverything()
    async with surface.client() as http:
        answers = [await http.get("/api/me") for _ in range(260)]
        assert {answer.status for answer in answers} == {200, 429}
        late = next(answer for answer in answers if answer.status == 429)
        assert late.headers["Retry-After"] == "1"
        other = await http.get("/api/me", headers={"Authorization": "Bearer somebody-else"})
        assert other.status == 200


async def test_without_a_source_nothing_is_shown(surface: Surface) -> None:
    async with surface.client() as http:
        for path in ("/api/executions", "/api/live"):
            assert (await http.get(path)).status == 503


# Streams ----------------------------------------------------------------------------------------


async def test_a_stream_begins_with_what_is_so_and_tells_every_change(surface: Surface) -> None:
    await surface.open("a")
    async with surface.client() as http:
        stream = await http.get("/api/queue-stats/sse")
        assert stream.content_type == "text/event-stream"
        assert await stream.content.readuntil(b"\n\n") == b"retry: 5000\n\n"
        first = await stream.content.readuntil(b"\n\n")
        assert first == (
            b'data: {"running":1,"runningCapacity":5,"queued":0,"queuedCapacity":50}\n\n'
        )
        await surface.ledger.hold(Holder("b", "default", "team-a", State.RUNNING))
        second = await stream.content.readuntil(b"\n\n")
        assert second.startswith(b'data: {"running":2,')
        stream.close()


async def test_a_stream_of_no_queue_is_not_begun(surface: Surface) -> None:
    async with surface.client() as http:
        assert (await http.get("/api/queue-stats/sse")).status == 503
        await surface.open()
        assert (await http.get("/api/queue-stats/sse?queue=none")).status == 404
        surface.access = DenyEverything()


async def test_a_stream_ends_with_its_queue(surface: Surface) -> None:
    await surface.open()
    async with surface.client() as http:
        stream = await http.get("/api/queue-stats/sse")
        await stream.content.readuntil(b"}\n\n")
        surface.queues.observe(builders.queue(), deleted=True)
        assert await stream.content.read() == b""
