"""What one execution costs the API server: writes are the currency."""

import asyncio
import json
import time
from collections import Counter

from conftest import Cluster, NewOperator
from harness.api import Raw, Space, execution
from harness.process import Operator
from harness.steps import NOBODY, named, until
from harness.waiting import eventually
from supercheck_operator.controller.world import Kind, World
from supercheck_operator.execution.observed import parse_job


async def test_a_passing_execution_with_one_test_costs_three_writes(
    cluster: Cluster, operator: Operator, space: Space
) -> None:
    """Counted by the API server's audit log, not by the operator itself."""
    await space.submit(execution("one", runs_for="1500ms"))
    await until(space, "one", "Passed")
    await _pass_one_more(space)
    assert _writes(cluster, space, "one") == {
        ("create", "jobs", ""): 1,
        ("patch", "testexecutions", "status"): 2,
    }


async def test_many_tests_that_end_together_cost_a_job_each_and_two_writes(
    cluster: Cluster, operator: Operator, space: Space
) -> None:
    """Three more tests than run at once, so that results come one after the other, too."""
    await space.submit(
        execution("one", tests=named(*"abcdefgh"), maxConcurrentTests=5, runs_for="300ms")
    )
    await until(space, "one", "Passed")
    await _pass_one_more(space)
    assert _writes(cluster, space, "one") == {
        ("create", "jobs", ""): 8,
        ("patch", "testexecutions", "status"): 2,
    }


async def test_several_tests_cost_a_job_each_and_a_write_each_at_most(
    cluster: Cluster, operator: Operator, space: Space
) -> None:
    """One after the other, and each longer than any result waits for the next."""
    tests = named(*"abcd")
    await space.submit(execution("one", tests=tests, maxConcurrentTests=1, runs_for="4s"))
    await until(space, "one", "Passed", within=60)
    await _pass_one_more(space)
    writes = _writes(cluster, space, "one")
    assert writes.pop(("create", "jobs", "")) == len(tests)
    assert writes.pop(("patch", "testexecutions", "status")) <= 2 + len(tests) - 1
    assert not writes


async def _pass_one_more(space: Space) -> None:
    """Had those before it one more write coming, it would come before this one ends."""
    await space.submit(execution("last"))
    await until(space, "last", "Passed")


async def test_an_execution_is_looked_at_for_what_changes_and_not_for_all_that_is_told(
    operator: Operator, space: Space
) -> None:
    """Its end comes twice, by the answer to its write and by the watch: the second is no news."""
    paths = {Kind.EXECUTION: space.executions, Kind.JOB: space.jobs, Kind.POD: space.pods}
    told: list[tuple[int, Kind, Raw]] = []

    def tell(kind: Kind, raw: Raw) -> None:
        told.append((int(raw["metadata"]["resourceVersion"]), kind, raw))

    async def listen(kind: Kind, path: str, version: str) -> None:
        async for event in space.api.watch(path, version):
            tell(kind, event["object"])

    async with asyncio.TaskGroup() as tasks:
        listening = []
        for kind, path in paths.items():
            version = (await space.api.get(path))["metadata"]["resourceVersion"]
            listening.append(tasks.create_task(listen(kind, path, version)))
        await space.submit(execution("one", runs_for="1500ms"))
        await until(space, "one", "Passed")

        async def complete() -> bool:
            jobs = [raw for _, kind, raw in told if kind is Kind.JOB]
            return any(parse_job(raw).finished for raw in jobs)

        await eventually(complete, "the Job says that it is complete")
        for task in listening:
            task.cancel()
    world = World()
    news = [kind for _, kind, raw in sorted(told, key=_version) if world.observe(kind, raw)]
    assert Counter(news) == {Kind.EXECUTION: 3, Kind.JOB: 2, Kind.POD: 3}
    assert len(told) > len(news)


def _version(event: tuple[int, Kind, Raw]) -> int:
    return event[0]


async def test_a_waiting_execution_costs_no_write(
    cluster: Cluster, operator: Operator, space: Space
) -> None:
    for i in range(5):
        await space.submit(execution(f"busy-{i}", runs_for="never"))
    queued = await space.submit(execution("waits"))
    assert queued["metadata"]["generation"] == 1

    async def five_run() -> bool:
        return list((await space.phases()).values()).count("Running") == 5

    await eventually(five_run, "those before it are written")
    found = await space.get("waits")
    assert found["metadata"]["resourceVersion"] == queued["metadata"]["resourceVersion"]
    assert found["status"] == {"phase": "Queued", "observedGeneration": -1}
    await space.remove("busy-0")

    async def passed() -> bool:
        return (await space.phases())["waits"] == "Passed"

    await eventually(passed, "it passes", within=90)
    assert sum(_writes(cluster, space, "waits").values()) <= 3


async def test_many_that_do_not_start_are_asked_about_together(
    cluster: Cluster, new_operator: NewOperator, space: Space
) -> None:
    """To answer about one, an API server reads all Events of the namespace."""
    operator = new_operator(RUNNING_CAPACITY="30")
    await operator.start()
    names = [f"e-{i}" for i in range(30)]
    for name in names:
        await space.submit(execution(name, pod=NOBODY))

    async def all_told() -> bool:
        found = await space.api.items(space.executions)
        told = [item["status"].get("message", "") for item in found]
        return all("serviceaccount" in message for message in told)

    await eventually(all_told, "it is told of each why it does not start", within=60)
    assert 1 <= _lists_of_events(cluster, space) <= 10


async def test_the_status_of_a_queue_is_written_once_a_second_at_most(
    operator: Operator, space: Space
) -> None:
    began = time.monotonic()
    before = await operator.metric(
        'supercheck_kube_writes_total{resource="executionqueues",verb="patch"}'
    )
    for i in range(40):
        await space.submit(execution(f"e-{i}"))

    async def over() -> bool:
        return set((await space.phases()).values()) == {"Passed"}

    await eventually(over, "all pass")

    async def settled() -> bool:
        queue = await space.api.get("/apis/supercheck.io/v1alpha1/executionqueues/default")
        usage: dict[str, str] = queue["status"]["usage"]
        return usage == {"running": "0/5", "queued": "0/50"}

    await eventually(settled, "the queue's status is true again")
    wrote = await operator.metric(
        'supercheck_kube_writes_total{resource="executionqueues",verb="patch"}'
    )
    # A slow machine only makes the time longer, and so the bound wider.
    assert 1 <= wrote - before <= time.monotonic() - began + 1


def _entries(cluster: Cluster) -> list[dict[str, object]]:
    lines = cluster.audit_log.read_text().splitlines()
    return [json.loads(line) for line in lines]


def _writes(cluster: Cluster, space: Space, name: str) -> Counter[tuple[str, str, str]]:
    """Requests of the operator that concern one execution, by verb, resource and subresource."""
    found: Counter[tuple[str, str, str]] = Counter()
    for entry in _entries(cluster):
        reference = entry.get("objectRef") or {}
        assert isinstance(reference, dict)
        mine = str(entry.get("userAgent", "")).startswith("supercheck-operator/")
        written = entry["verb"] not in ("get", "list", "watch")
        here = reference.get("namespace") == space.name
        if mine and written and here and _is_of(reference, name, entry):
            key = (str(entry["verb"]), str(reference["resource"]), reference.get("subresource", ""))
            found[key] += 1
    return found


def _lists_of_events(cluster: Cluster, space: Space) -> int:
    done = [entry for entry in _entries(cluster) if entry["stage"] == "ResponseComplete"]
    asked = [entry["objectRef"] for entry in done if entry["verb"] == "list"]
    return sum(_what(of) == ("events", space.name) for of in asked)


def _what(reference: object) -> tuple[str, str]:
    assert isinstance(reference, dict)
    return reference["resource"], reference.get("namespace", "")


def _is_of(reference: dict[str, str], name: str, entry: dict[str, object]) -> bool:
    if entry["stage"] != "ResponseComplete":
        return False
    known = reference.get("name", "")
    return known == name or known.startswith(f"{name}-")
