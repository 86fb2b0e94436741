"""REST under /api: what is shown of executions, submitting them, and the document of it all."""

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from conftest import Cluster
from harness.api import Raw, Space, execution
from harness.browser import chromium
from harness.cli import Cli
from harness.fuzzing import fuzz
from harness.process import Operator
from harness.steps import QUEUES, make_queue, named, until, until_known
from harness.surfaces import Course, Figures, Surfaces
from harness.waiting import eventually

FULL = (
    "Queue capacity limit reached (1/1 queued jobs). Please try again later when running"
    " capacity (1/1) is available."
)
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


async def test_the_command_line_estimates_the_same_starts(
    lasting_operator: Operator, space: Space, kubectl_supercheck: Cli
) -> None:
    """A line so long that a difference of half a second in what a slot takes would be plain."""
    queue = await make_queue(space, "twice-estimated", runningCapacity=1)
    for name in ("measured-1", "measured-2"):
        await space.submit(execution(name, queue=queue, runs_for="2s"))
    for name in ("measured-1", "measured-2"):
        await until(space, name, "Passed")
    await space.submit(execution("runs", queue=queue, runs_for="never"))
    await until(space, "runs", "Running")
    names = [f"waits-{i:02d}" for i in range(12)]
    for name in names:
        await space.submit(execution(name, queue=queue))

    async def by_rest() -> list[datetime]:
        line = (await _executions(lasting_operator, f"?queue={queue}"))["queued"]
        assert [each["name"] for each in line] == names
        return [datetime.fromisoformat(each["estimatedStart"]) for each in line]

    async def by_cli() -> list[timedelta] | None:
        told = (await kubectl_supercheck("queue", queue, "--output", "json")).json["line"]
        assert [each["name"] for each in told] == names
        seconds = [each["startsInSeconds"] for each in told]
        return [timedelta(seconds=each) for each in seconds] if None not in seconds else None

    await eventually(by_cli, "the queue's status tells what a slot takes")
    earliest, before = await by_rest(), datetime.now(UTC)
    told = await by_cli()
    latest, after = await by_rest(), datetime.now(UTC)
    assert told is not None
    second = timedelta(seconds=1)  # both are rounded to one
    for early, seconds, late in zip(earliest, told, latest, strict=True):
        assert early - second <= after + seconds
        assert before + seconds <= late + second
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


async def test_under_load_every_surface_tells_the_same_within_a_second(
    lasting_operator: Operator, space: Space, kubectl_supercheck: Cli
) -> None:
    """Page, REST, stream, metrics, the queue's status and the CLI, all the time.

    Not what they tell at one moment is compared, as no six things are asked at one moment, but what
    they tell in the course of time: the figures here only grow, and then only fall, so it is plain
    which are the later ones. Nobody may still tell earlier ones a second after another has told
    later ones. A slow look harms nobody: it counts from when it began, and what it saw from when it
    had ended.
    """
    queue = await make_queue(space, "loaded", runningCapacity=3, queuedCapacity=400)
    await until_known(lasting_operator, queue)
    async with chromium() as browser:
        page = await browser.new_page()
        await page.goto(lasting_operator.url)
        surfaces = Surfaces(lasting_operator, space, queue, page)
        async with surfaces.watched(kubectl_supercheck):
            await _agree(surfaces, (0, 3, 0, 400))
            await _each(range(200), lambda i: space.submit(_endless(i, queue)))
            await _agree(surfaces, (3, 3, 197, 400))
            grown = surfaces.course(lambda figures: figures[0] + figures[2])
            await _each(range(199, 49, -1), lambda i: space.remove(f"e-{i}"))
            await _agree(surfaces, (3, 3, 47, 400))
            fallen = surfaces.course(lambda figures: -figures[0] - figures[2])
    possible = {(min(total, 3), 3, max(0, total - 3), 400) for total in range(201)}
    for course in (grown, fallen):
        assert course.states <= possible
        assert not course.went_back
        _is_within_a_second(course)
    await space.api.delete(f"{QUEUES}/{queue}")


def _is_within_a_second(course: Course) -> None:
    """The status has one write a second, so while figures change all the time it is a second old
    when the next one sets out: that, by the operator's clock, is in test_turns. It then takes one
    journey to the API server, and for the CLI another from there. How long those take on this
    machine, others' looks at the same processes have measured.
    """
    journey = max(0.1, course.slowest)
    behind = course.behind()
    told = f"{behind}; an answer took up to {course.slowest:.3f} s"
    for name in ("rest", "stream", "page", "metrics"):
        assert behind[name] <= 1, told
    assert behind["status"] <= 1 + journey, told
    assert behind["cli"] <= 1 + 2 * journey, told


def _endless(number: int, queue: str) -> Raw:
    return execution(f"e-{number}", queue=queue, runs_for="never")


async def _each(numbers: Iterable[int], do: Callable[[int], Awaitable[object]]) -> None:
    """For each of ``numbers``, a few at a time: a load that goes on for seconds."""
    left = iter(numbers)

    async def worker() -> None:
        for number in left:
            await do(number)

    await asyncio.gather(*(worker() for _ in range(4)))


async def _agree(surfaces: Surfaces, expected: Figures) -> None:
    try:
        await eventually(partial(surfaces.all_say, expected), "all say the same")
    except AssertionError as error:
        last = {name: samples[-1].figures for name, samples in surfaces.told.items()}
        raise AssertionError(f"{expected} expected: {last}") from error


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
