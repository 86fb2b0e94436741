"""REST under /api: what is shown of executions, submitting them, and the document of it all."""

import asyncio
import io
import json
from datetime import datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Page

from conftest import Cluster
from harness.api import Raw, Space, execution
from harness.browser import chromium
from harness.cli import Cli
from harness.events import follow
from harness.fuzzing import fuzz
from harness.process import Operator
from harness.steps import QUEUES, make_queue, named, until
from harness.waiting import eventually

FULL = (
    "Queue capacity limit reached (1/1 queued jobs). Please try again later when running"
    " capacity (1/1) is available."
)
FIGURES = ("running", "runningCapacity", "queued", "queuedCapacity")
METRICS = ("executions_running", "running_capacity", "executions_queued", "queued_capacity")
BETWEEN = 3.0
"""Seconds between two ends, when a slot of 3 s is what was measured."""


@pytest.fixture
def kubectl_supercheck(cluster: Cluster, space: Space) -> Cli:
    return Cli(cluster.kubeconfig, space.name)


async def _executions(operator: Operator, query: str = "") -> Raw:
    status, text = await operator.get(f"/api/executions{query}")
    assert status == 200, text
    answer: Raw = json.loads(text)
    return answer


async def _submit(operator: Operator, body: Any, **headers: str) -> tuple[int, Raw, Any]:
    data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
    sent = {"Content-Type": "application/json"} | headers
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{operator.url}/api/executions", data=data, headers=sent) as response,
    ):
        return response.status, await response.json(), response.headers


def _in(space: Space, body: Raw) -> Raw:
    body["metadata"]["namespace"] = space.name
    return body


async def test_what_runs_is_shown_with_each_of_its_tests(
    lasting_operator: Operator, space: Space
) -> None:
    queue = await make_queue(space, "shown")
    slow = {"name": "slow", "image": "example/e2e:1"}
    await space.submit(
        execution(
            "two", queue=queue, tests=[*named("a", "b"), slow], runs_for="never",
            maxConcurrentTests=2,
        )
    )  # fmt: skip

    async def running() -> Raw | None:
        found = (await _executions(lasting_operator, f"?queue={queue}"))["running"]
        tests = [test["phase"] for each in found for test in each["tests"]]
        there = tests == ["Running", "Running", "Queued"] and "startedAt" in found[0]
        return dict(found[0]) if there else None

    found = await eventually(running, "two of its tests run")
    assert (found["namespace"], found["name"], found["queue"]) == (space.name, "two", queue)
    assert (found["phase"], found["attempts"]) == ("Running", 1)
    assert found["summary"]["total"] == 3
    assert found["summary"]["running"] == 2
    assert datetime.fromisoformat(found["startedAt"]) >= datetime.fromisoformat(found["createdAt"])
    await space.api.delete(f"{QUEUES}/{queue}")


async def test_the_line_is_shown_in_its_order_with_estimated_starts(
    lasting_operator: Operator, space: Space
) -> None:
    queue = await make_queue(space, "estimated", runningCapacity=1)
    for name in ("measured-1", "measured-2"):
        await space.submit(execution(name, queue=queue, runs_for=f"{BETWEEN:g}s"))
    for name in ("measured-1", "measured-2"):
        await until(space, name, "Passed")
    for name in ("runs", "first", "second", "third"):
        await space.submit(execution(name, queue=queue, runs_for=f"{BETWEEN:g}s"))
    await space.submit(execution("urgent", queue=queue, priority=5, runs_for=f"{BETWEEN:g}s"))
    await space.submit(execution("aside", queue=queue, suspend=True))

    async def all_there() -> list[Raw] | None:
        found = (await _executions(lasting_operator, f"?queue={queue}"))["queued"]
        return found if len(found) == 5 else None

    line = await eventually(all_there, "five wait")
    assert [(each["name"], each.get("position")) for each in line] == [
        ("urgent", 1), ("first", 2), ("second", 3), ("third", 4), ("aside", None),
    ]  # fmt: skip
    assert line[4]["reason"] == "Suspended"
    assert "estimatedStart" not in line[4]
    starts = [datetime.fromisoformat(each["estimatedStart"]) for each in line[:4]]
    gaps = [(b - a).total_seconds() for a, b in pairwise(starts)]
    assert all(BETWEEN - 0.5 <= gap <= 2 * BETWEEN for gap in gaps), gaps
    # It was no empty promise.
    status = await until(space, "second", "Passed", within=60)
    error = datetime.fromisoformat(status["startedAt"]) - starts[2]
    assert abs(error.total_seconds()) < 2 * BETWEEN
    await space.api.delete(f"{QUEUES}/{queue}")


async def test_who_waits_is_told_what_for(lasting_operator: Operator, space: Space) -> None:
    queue = await make_queue(space, "kept-out", perNamespace={"runningCapacity": 1})
    for i in range(2):
        await space.submit(execution(f"e-{i}", queue=queue, runs_for="never"))

    async def reason() -> str:
        found = (await _executions(lasting_operator, f"?queue={queue}&phase=Queued"))["queued"]
        return str(found[0]["reason"]) if found else ""

    async def at_capacity() -> bool:
        return await reason() == "NamespaceAtCapacity"

    async def held() -> bool:
        return await reason() == "QueueHeld"

    await eventually(at_capacity, "its namespace is at capacity")
    await space.api.patch(f"{QUEUES}/{queue}", {"spec": {"stopPolicy": "Hold"}})
    await eventually(held, "its queue is held")
    await space.api.delete(f"{QUEUES}/{queue}")


async def test_recent_results_have_their_reasons_also_after_a_restart(
    lasting_operator: Operator, space: Space
) -> None:
    queue = await make_queue(space, "over")
    notes = {"stage.kindless/exit-code": "3", "stage.kindless/message": "no such button"}
    await space.submit(execution("bad", queue=queue, annotations=notes))
    await until(space, "bad", "Failed")
    await space.submit(execution("good", queue=queue))
    await until(space, "good", "Passed")

    async def both() -> Raw | None:
        found = await _executions(lasting_operator, f"?queue={queue}")
        return found if len(found["finished"]) == 2 else None

    before = await eventually(both, "both results are shown")
    assert {each["name"] for each in before["finished"]} == {"good", "bad"}
    [bad] = (await _executions(lasting_operator, f"?queue={queue}&phase=Failed"))["finished"]
    assert (bad["reason"], bad["summary"]["failed"]) == ("TestFailed", 1)
    assert "no such button" in bad["message"]
    _, text = await lasting_operator.get(f"/api/executions/{space.name}/bad")
    [test] = json.loads(text)["tests"]
    assert (test["name"], test["exitCode"]) == ("t", 3)
    lasting_operator.kill()
    await lasting_operator.start()
    assert await _executions(lasting_operator, f"?queue={queue}") == before
    await space.remove("bad")

    async def forgotten() -> bool:
        found = await _executions(lasting_operator, f"?queue={queue}")
        return [each["name"] for each in found["finished"]] == ["good"]

    await eventually(forgotten, "what is deleted is no result")
    assert (await lasting_operator.get(f"/api/executions/{space.name}/bad"))[0] == 404
    await space.api.delete(f"{QUEUES}/{queue}")


# Submitting -------------------------------------------------------------------------------------


async def test_every_answer_of_the_api_server_is_the_answer(
    lasting_operator: Operator, space: Space
) -> None:
    queue = await make_queue(space, "narrow", runningCapacity=1, queuedCapacity=1)
    one = _in(space, execution("one", queue=queue, runs_for="never"))
    status, created, headers = await _submit(lasting_operator, one)
    assert (status, created["metadata"]["name"]) == (201, "one")
    assert headers["Location"] == f"/api/executions/{space.name}/one"
    two = _in(space, execution("", queue=queue, runs_for="never"))
    two["metadata"] = {"namespace": space.name, "generateName": "two-"}
    assert (await _submit(lasting_operator, two))[0] == 201
    status, answer, _ = await _submit(lasting_operator, two)
    assert (status, answer) == (429, {"error": "Queue capacity limit reached", "message": FULL})

    for body, expected, words in (
        (execution("e", queue="nowhere"), 403, 'Queue "nowhere" does not exist'),
        (execution("e", tests=named("twice", "twice")), 422, "spec.tests"),
        (execution("Not A Name"), 422, "metadata.name"),
        (execution("e", quue="typo"), 400, 'unknown field "spec.quue"'),
    ):
        status, answer, _ = await _submit(lasting_operator, _in(space, body))
        assert status == expected, answer
        assert words in answer["message"]
        assert "admission webhook" not in answer["message"]
    taken = _in(space, execution("taken"))
    assert (await _submit(lasting_operator, taken))[0] == 201
    status, answer, _ = await _submit(lasting_operator, taken)
    assert (status, answer["error"]) == (409, "Conflict")
    assert "already exists" in answer["message"]
    elsewhere = execution("e")
    elsewhere["metadata"]["namespace"] = "no-such-namespace"
    status, answer, _ = await _submit(lasting_operator, elsewhere)
    assert status == 404, answer
    await space.api.delete(f"{QUEUES}/{queue}")


async def test_what_cannot_be_submitted_is_said_so(
    lasting_operator: Operator, space: Space
) -> None:
    good = json.dumps(_in(space, execution("e"))).encode()
    for body, headers, expected in (
        (b"{", {}, 400),
        (b"[]", {}, 422),
        (b"{}", {}, 422),
        (good, {"Content-Type": "text/plain"}, 415),
        (good, {"Origin": "https://evil.example"}, 403),
        (good, {"Host": "evil.example"}, 421),
        (b" " * (4 * 1024 * 1024) + good, {}, 413),
    ):
        status, answer, _ = await _submit(lasting_operator, body, **headers)
        assert status == expected, answer
        assert answer.keys() == {"error", "message"}
    assert await space.phases() == {}


# Everywhere the same ----------------------------------------------------------------------------


class Surfaces:
    """What each surface last told of one queue, in the order of FIGURES."""

    def __init__(self, operator: Operator, space: Space, queue: str, page: Page) -> None:
        self._operator = operator
        self._shown = page.get_by_role("article", name=f"Queue {queue}").locator(".figure")
        self._api = space.api
        self._queue = queue
        self.told: dict[str, list[int]] = {}
        self._watching = [asyncio.create_task(each()) for each in (self._stream, self._status)]

    async def leave(self) -> None:
        for task in self._watching:
            assert not task.done(), task
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)

    async def all_say(self, expected: list[int]) -> bool:
        self.told["rest"] = list(await self._operator.stats(self._queue))
        self.told["metrics"] = [await self._metric(name) for name in METRICS]
        figures = await self._shown.all_inner_texts()
        self.told["page"] = [int(part) for figure in figures for part in figure.split("/")]
        return len(self.told) == 5 and all(seen == expected for seen in self.told.values())

    async def _stream(self) -> None:
        async with follow(f"{self._operator.url}/api/queue-stats/sse?queue={self._queue}") as one:
            while True:
                self._take("sse", json.loads(await one.message()))

    async def _status(self) -> None:
        found = await self._api.get(f"{QUEUES}/{self._queue}")
        path = f"{QUEUES}?fieldSelector=metadata.name={self._queue}"
        async for event in self._api.watch(path, found["metadata"]["resourceVersion"]):
            self._take("status", event["object"].get("status") or {})

    def _take(self, surface: str, figures: Raw) -> None:
        self.told[surface] = [figures.get(name, 0) for name in FIGURES]

    async def _metric(self, name: str) -> int:
        line = f'supercheck_{name}{{queue="{self._queue}"}}'
        return int(await self._operator.metric(line))


async def test_under_load_every_surface_tells_the_same_within_a_second(
    lasting_operator: Operator, space: Space, kubectl_supercheck: Cli
) -> None:
    """REST, the stream, the page, metrics, the queue's status and the CLI, after every burst."""
    queue = await make_queue(space, "loaded", runningCapacity=3, queuedCapacity=40)

    async def known() -> bool:
        return (await lasting_operator.get(f"/api/queue-stats?queue={queue}"))[0] == 200

    await eventually(known, "the queue is known")
    async with chromium() as browser:
        page = await browser.new_page()
        await page.goto(lasting_operator.url)
        surfaces = Surfaces(lasting_operator, space, queue, page)
        for turn in range(3):
            names = [f"e-{turn}-{i}" for i in range(10)]
            await asyncio.gather(
                *(space.submit(execution(name, queue=queue, runs_for="never")) for name in names)
            )
            await _agree(surfaces, [3, 3, 10 * (turn + 1) - 3, 40])
        await asyncio.gather(*(space.remove(f"e-0-{i}") for i in range(10)))
        await _agree(surfaces, [3, 3, 17, 40])
        told = (await kubectl_supercheck("queue", queue, "--output", "json")).json
        assert [told[name] for name in FIGURES] == [3, 3, 17, 40]
        await surfaces.leave()
    await space.api.delete(f"{QUEUES}/{queue}")


async def _agree(surfaces: Surfaces, expected: list[int]) -> None:
    """Soon after the burst: the status is written once a second, everything else is quicker."""
    try:
        await eventually(partial(surfaces.all_say, expected), "all say the same", within=1.5)
    except AssertionError as error:
        raise AssertionError(f"{expected} expected: {surfaces.told}") from error


# The document -----------------------------------------------------------------------------------


async def test_the_document_describes_what_is_served(lasting_operator: Operator) -> None:
    status, text = await lasting_operator.get("/api/openapi.json")
    assert status == 200
    document = json.loads(text)
    assert document["openapi"] == "3.1.0"
    paths = Path(__file__).parents[2] / "docs" / "api.md"
    for path in document["paths"]:
        assert path in paths.read_text(), f"{path} is not in docs/api.md"


async def test_whatever_is_sent_is_answered_as_the_document_says(
    lasting_operator: Operator,
) -> None:
    await fuzz(lasting_operator)
    assert await lasting_operator.get("/healthz") == (200, "ok\n")
