"""Attempts: what runs again, when, and that nothing runs twice, whoever is killed meanwhile."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from conftest import Cluster
from harness.api import Raw, Space, execution
from harness.observer import Observer
from harness.process import Operator
from harness.steps import (
    QUEUES,
    SILENT,
    being_deleted,
    end,
    jobs_of,
    let_go,
    make_queue,
    named,
    running,
    silent_pod_of,
    submit_in_a_later_second,
    until,
    until_stats,
    until_status,
    until_upcoming,
)
from harness.waiting import eventually

SETTINGS = {"SWEEP_SECONDS": "1"}
NOTES = "stage.kindless"


@pytest_asyncio.fixture(loop_scope="session")
async def operator(lasting_operator: Operator) -> Operator:
    """Running, and nothing occupies its default queue."""
    await until_stats(lasting_operator, "default", (0, 5, 0, 50), within=60)
    return lasting_operator


@pytest_asyncio.fixture(loop_scope="session")
async def narrow(space: Space, operator: Operator) -> AsyncIterator[str]:
    """A queue in which one runs at a time."""
    queue = await make_queue(space, f"narrow-{space.name}", runningCapacity=1)
    yield queue
    await space.api.delete(f"{QUEUES}/{queue}")


def _retried(
    name: str = "e", *, limit: int = 1, on: str = "Failure", backoff: int = 1, **spec: Any
) -> Raw:
    """An execution whose pods run until they are told to end."""
    retry = {"limit": limit, "on": [on], "backoffSeconds": backoff}
    return execution(name, **{"runs_for": "never"} | spec, retry=retry)


async def _resting(space: Space, name: str = "e") -> Raw:
    return await until_status(
        space, name, lambda status: status.get("reason") == "Retrying", f"{name} rests"
    )


async def _in_attempt(space: Space, attempt: int, name: str = "e") -> Raw:
    return await until_status(
        space,
        name,
        lambda status: (status["phase"], status.get("attempts")) == ("Running", attempt),
        f"{name} is in attempt {attempt}",
    )


def _attempts(status: Raw) -> list[int]:
    return [test["attempts"] for test in status["tests"]]


async def test_an_error_is_tried_again_and_then_passes(space: Space, operator: Operator) -> None:
    async with _states(space) as states:
        await space.submit(_retried(on="Error"))
        first = await _in_attempt(space, 1)
        await space.api.delete(await running(space, "e"))
        resting = await _resting(space)
        second = await _in_attempt(space, 2)
        await end(space, "e")
        status = await until(space, "e", "Passed")
    assert (resting["phase"], resting["attempts"]) == ("Queued", 1)
    assert resting["message"].startswith("Attempt 1 of 2 ended with PodDeleted; the next can begin")
    assert "was deleted before it ended." in resting["message"]
    assert "startedAt" not in resting
    assert resting["summary"]["running"] == 0
    assert second["startedAt"] > first["startedAt"]
    assert status["startedAt"] == second["startedAt"]
    assert not {"reason", "message"} & status.keys()
    assert (status["attempts"], _attempts(status)) == (2, [2])
    assert len({job["metadata"]["name"] for job in await jobs_of(space, "e")}) == 2
    assert states == [
        ("Queued", None),
        ("Running", "Running"),
        ("Queued", "Retrying"),
        ("Running", "Running"),
        ("Passed", None),
    ]


_UNQUOTED = """
apiVersion: supercheck.io/v1alpha1
kind: TestExecution
metadata: {name: e}
spec:
  template: {metadata: {annotations: {stage.kindless/runs-for: never}}}
  retry: {limit: 1, on: [Failure], backoffSeconds: 0}
  tests: [{name: t, image: "example/e2e:1"}]
"""


def _kubectl_create(text: str, *options: str) -> None:
    program = Path(sys.executable).with_name("kindless")
    kubectl = subprocess.check_output([program, "get", "kubectl"], text=True).strip()
    subprocess.run([kubectl, *options, "create", "-f-"], input=text, text=True, check=True)


async def test_on_needs_no_quotes(space: Space, operator: Operator, cluster: Cluster) -> None:
    """YAML 1.1, and so kubectl, takes the bare word for a boolean."""
    options = (f"--kubeconfig={cluster.kubeconfig}", f"--namespace={space.name}")
    await asyncio.to_thread(_kubectl_create, _UNQUOTED, *options)
    assert (await space.get("e"))["spec"]["retry"]["true"] == ["Failure"]
    await _in_attempt(space, 1)
    await end(space, "e", exit_code=1)
    await _in_attempt(space, 2)
    await end(space, "e")
    await until(space, "e", "Passed")


async def test_who_rests_holds_no_slot_and_then_has_its_old_place(
    space: Space, operator: Operator, narrow: str
) -> None:
    async with Observer(space) as observer:
        made = await space.submit(_retried(queue=narrow, backoff=3))
        await space.submit(execution("other", queue=narrow, runs_for="never"))
        last = await submit_in_a_later_second(space, made, queue=narrow)
        await end(space, "e", exit_code=1)
        resting = await _resting(space)
        await running(space, "other")
        assert await operator.stats(narrow) == (1, 1, 2, 50)
        assert (await space.status("e")) == resting
        await until_upcoming(space, narrow, ["e", last])  # its rest is over
        assert len(await jobs_of(space, "e")) == 1
        await end(space, "other")
        await end(space, "e")
        await until(space, "e", "Passed")
        await until(space, last, "Passed")
        await observer.caught_up()
    assert observer.most_live == 1
    assert observer.started == ["e", "other", last]
    begun = datetime.fromisoformat((await space.status("e"))["startedAt"])
    rest = begun - datetime.fromisoformat(resting["tests"][0]["completedAt"])
    assert rest.total_seconds() >= 3


async def test_the_next_attempt_waits_until_nothing_of_the_one_before_is_alive(
    space: Space, operator: Operator, narrow: str
) -> None:
    async with Observer(space) as observer:
        e = await space.submit(
            _retried(queue=narrow, on="Error", backoff=0, startTimeoutSeconds=2, pod=SILENT)
        )
        await space.submit(execution("other", queue=narrow))
        pod = await silent_pod_of(space, "e")
        resting = await _resting(space)
        await being_deleted(space, pod)
        await asyncio.sleep(2.5)  # sweeps, in which a slot given back too early would show
        assert await operator.stats(narrow) == (1, 1, 1, 50)
        assert await space.status("e") == resting
        await let_go(space, pod)
        second = await silent_pod_of(space, "e")
        assert second != pod
        status = await until(space, "e", "Error")
        await let_go(space, second)
        await until(space, "other", "Passed")
        await observer.caught_up()
    assert (status["reason"], status["attempts"]) == ("StartTimeout", 2)
    assert observer.most_live == 1
    assert observer.live_at_once[e["metadata"]["uid"]] == 1
    assert observer.jobs == {"e/t": 2, "other/t": 1}


async def test_what_has_passed_is_not_run_again(space: Space, operator: Operator) -> None:
    async with Observer(space) as observer:
        await space.submit(_retried(tests=named("a", "b", "c"), maxConcurrentTests=3))
        await end(space, "e", "a")
        await end(space, "e", "b", exit_code=1)
        await end(space, "e", "c")
        resting = await _resting(space)
        assert [test["phase"] for test in resting["tests"]] == ["Passed", "Queued", "Passed"]
        assert resting["progress"] == "2/3"
        await end(space, "e", "b")
        status = await until(space, "e", "Passed")
        await observer.caught_up()
    assert observer.jobs == {"e/a": 1, "e/b": 2, "e/c": 1}
    assert (status["attempts"], _attempts(status)) == (2, [1, 2, 1])
    assert status["progress"] == "3/3"


async def test_when_no_attempt_is_left_the_last_one_decides(
    space: Space, operator: Operator
) -> None:
    finished = 'supercheck_executions_finished_total{phase="Failed"'
    before = await operator.metric(finished)
    notes = {f"{NOTES}/exit-code": "3", f"{NOTES}/message": "no login"}
    async with Observer(space) as observer:
        await space.submit(_retried(limit=2, backoff=0, runs_for=None, annotations=notes))
        status = await until(space, "e", "Failed")
        await observer.caught_up()
    assert (status["reason"], status["message"]) == ("TestFailed", "no login")
    assert (status["attempts"], _attempts(status)) == (3, [3])
    assert observer.jobs == {"e/t": 3}
    assert observer.most_live == 1
    assert await operator.metric(finished) == before + 1


@pytest.mark.parametrize(("on", "phase"), [("Error", "Failed"), ("Failure", "Error")])
async def test_only_what_is_asked_for_is_tried_again(
    space: Space, operator: Operator, on: str, phase: str
) -> None:
    await space.submit(_retried(on=on))
    if phase == "Failed":
        await end(space, "e", exit_code=1)
    else:
        await space.api.delete(await running(space, "e"))
    status = await until(space, "e", phase)
    assert status["attempts"] == 1
    assert len(await jobs_of(space, "e")) == 1


async def test_what_would_be_refused_again_is_not_tried_again(
    space: Space, operator: Operator
) -> None:
    mount = {"name": "test", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    await space.submit(_retried(on="Error", limit=5, pod={"containers": [mount]}))
    status = await until(space, "e", "Error")
    assert (status["reason"], status["attempts"]) == ("InvalidTemplate", 1)
    assert not await jobs_of(space, "e")


async def test_what_fail_fast_has_cancelled_runs_with_what_made_it_do_so(
    space: Space, operator: Operator
) -> None:
    async with Observer(space) as observer:
        made = await space.submit(
            _retried(tests=named("a", "b", "c"), maxConcurrentTests=2, failFast=True)
        )
        await running(space, "e", "b")
        await end(space, "e", "a", exit_code=1)
        resting = await _resting(space)
        assert {test["reason"] for test in resting["tests"]} == {"Retrying"}
        for test in "abc":
            await end(space, "e", test)
        status = await until(space, "e", "Passed")
        await observer.caught_up()
    assert observer.jobs == {"e/a": 2, "e/b": 2, "e/c": 1}
    assert observer.live_at_once[made["metadata"]["uid"]] == 2
    assert (status["attempts"], _attempts(status)) == (2, [2, 2, 1])


async def test_what_hinders_a_later_attempt_is_told_as_well(
    space: Space, operator: Operator
) -> None:
    accounts = f"/api/v1/namespaces/{space.name}/serviceaccounts"
    robot = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}}
    await space.api.create(accounts, robot)
    await space.submit(_retried(startTimeoutSeconds=6, pod={"serviceAccountName": "robot"}))
    await end(space, "e", exit_code=1)
    await space.api.delete(f"{accounts}/robot")
    status = await until(space, "e", "Error")
    assert (status["reason"], status["attempts"]) == ("PodRejected", 2)
    assert 'serviceaccount "robot" not found' in status["message"]


async def test_a_cancellation_while_it_rests_is_its_end(space: Space, operator: Operator) -> None:
    await space.submit(_retried(backoff=300))
    await end(space, "e", exit_code=1)
    await _resting(space)
    assert (await space.change("e", {"cancel": True}))[0] == 200
    status = await until(space, "e", "Cancelled")
    assert (status["reason"], status["attempts"]) == ("CancelledByUser", 1)
    assert [test["reason"] for test in status["tests"]] == ["CancelledByUser"]
    assert len(await jobs_of(space, "e")) == 1


async def test_a_crash_while_it_rests_neither_prolongs_the_rest_nor_forgets_it(
    space: Space, operator: Operator
) -> None:
    async with Observer(space) as observer:
        await space.submit(_retried(backoff=12))
        await end(space, "e", exit_code=1)
        resting = await _resting(space)
        operator.kill()
        await operator.start()
        ready = datetime.now(UTC)
        await end(space, "e")
        status = await until(space, "e", "Passed")
        await observer.caught_up()
    assert observer.jobs == {"e/t": 2}
    assert (status["attempts"], _attempts(status)) == (2, [2])
    rested = datetime.fromisoformat(resting["tests"][0]["completedAt"]) + timedelta(seconds=12)
    begun = datetime.fromisoformat(status["startedAt"])
    assert rested <= begun
    assert begun - max(rested, ready) < timedelta(seconds=10)


async def test_a_crash_during_the_second_attempt_makes_no_third(
    space: Space, operator: Operator
) -> None:
    async with Observer(space) as observer:
        await space.submit(_retried(limit=3))
        await end(space, "e", exit_code=1)
        second = await _in_attempt(space, 2)
        operator.kill()
        await operator.start()
        assert await space.status("e") == second
        await end(space, "e")
        status = await until(space, "e", "Passed")
        await observer.caught_up()
    assert observer.jobs == {"e/t": 2}
    assert (status["attempts"], _attempts(status)) == (2, [2])


async def test_what_ended_while_the_operator_was_dead_is_tried_again_once(
    space: Space, operator: Operator
) -> None:
    async with Observer(space) as observer:
        await space.submit(_retried(limit=1))
        await _in_attempt(space, 1)
        for attempt in (1, 2):
            await running(space, "e")
            operator.kill()
            await end(space, "e", exit_code=attempt)
            await operator.start()
        status = await until(space, "e", "Failed")
        await observer.caught_up()
    assert observer.jobs == {"e/t": 2}
    assert (status["attempts"], _attempts(status)) == (2, [2])
    assert status["tests"][0]["exitCode"] == 2


@asynccontextmanager
async def _states(space: Space) -> AsyncIterator[list[tuple[str, str | None]]]:
    """The phases and reasons that the only execution goes through, as a watch shows them."""
    seen: list[tuple[str, str | None]] = []
    version = (await space.api.get(space.executions))["metadata"]["resourceVersion"]

    async def follow() -> None:
        async for event in space.api.watch(space.executions, version):
            status = event["object"]["status"]
            state = status["phase"], status.get("reason")
            if seen[-1:] != [state]:
                seen.append(state)

    task = asyncio.create_task(follow())
    yield seen

    async def caught_up() -> bool:
        [newest] = await space.phases()
        return bool(seen) and seen[-1][0] == (await space.status(newest))["phase"]

    await eventually(caught_up, "the watch has shown the last state")
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
