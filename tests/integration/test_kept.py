"""What is left of an execution when it is over: its status, Events and, for a while, its Jobs."""

import asyncio

import pytest_asyncio

from harness.api import Raw, Space, execution
from harness.observer import Observer
from harness.process import Operator
from harness.steps import (
    NOWHERE,
    end,
    jobs_of,
    named,
    running,
    until,
    until_stats,
    until_status,
)
from harness.waiting import eventually

SETTINGS = {"SWEEP_SECONDS": "1", "JOB_TTL_SECONDS": "1"}
SEVERAL_SWEEPS = 3.5
FAILS = {"stage.kindless/exit-code": "1", "stage.kindless/message": "no login"}


@pytest_asyncio.fixture(loop_scope="session")
async def operator(lasting_operator: Operator) -> Operator:
    """Running, and nothing occupies its default queue."""
    await until_stats(lasting_operator, "default", (0, 5, 0, 50), within=60)
    return lasting_operator


# Jobs --------------------------------------------------------------------------------------------


async def test_jobs_and_pods_go_when_their_time_is_over_and_nothing_is_run_again(
    space: Space, operator: Operator
) -> None:
    retry = {"limit": 1, "on": ["Failure"], "backoffSeconds": 0}
    async with Observer(space) as observer:
        await space.submit(execution("passes"))
        await space.submit(execution("fails", annotations=FAILS, retry=retry))
        before = {
            "passes": await until(space, "passes", "Passed"),
            "fails": await until(space, "fails", "Failed"),
        }
        await _until_none(space, space.jobs)
        await _until_none(space, space.pods)
        operator.kill()
        await operator.start()
        await asyncio.sleep(SEVERAL_SWEEPS)  # in which something could be run again
        await observer.caught_up()
    assert observer.jobs == {"passes/t": 1, "fails/t": 2}
    assert {name: await space.status(name) for name in before} == before
    assert await operator.stats() == (0, 5, 0, 50)


async def test_no_job_goes_while_its_execution_goes_on(space: Space, operator: Operator) -> None:
    await space.submit(execution("e", tests=named("early", "late"), runs_for="never"))
    await end(space, "e", "early")
    await until_status(
        space, "e", lambda status: status.get("progress") == "1/2", "its result is stored"
    )
    await asyncio.sleep(SEVERAL_SWEEPS)
    assert len(await jobs_of(space, "e")) == 2
    await end(space, "e", "late")
    await until(space, "e", "Passed")
    await _until_none(space, space.jobs)


async def _until_none(space: Space, path: str) -> None:
    async def none() -> bool:
        return not await space.api.items(path)

    await eventually(none, f"{path} is empty")


# Events ------------------------------------------------------------------------------------------


async def test_one_event_tells_of_an_error(space: Space, operator: Operator) -> None:
    made = await space.submit(execution("e", runs_for="never"))
    await space.api.delete(await running(space, "e"))
    status = await until(space, "e", "Error")
    [event] = await _events(space, operator, 1)
    assert (event["type"], event["reason"], event["action"]) == ("Warning", "PodDeleted", "Finish")
    assert event["note"] == status["message"]
    assert event["regarding"] == {
        "apiVersion": "supercheck.io/v1alpha1",
        "kind": "TestExecution",
        "name": "e",
        "namespace": space.name,
        "uid": made["metadata"]["uid"],
    }


async def test_one_event_tells_of_a_cancellation(space: Space, operator: Operator) -> None:
    await space.submit(execution("e", runs_for="never"))
    await running(space, "e")
    assert (await space.change("e", {"cancel": True}))[0] == 200
    await until(space, "e", "Cancelled")
    [event] = await _events(space, operator, 1)
    told = event["type"], event["reason"], event["action"], event["note"]
    assert told == ("Normal", "CancelledByUser", "Cancel", "Cancelled by its user.")


async def test_one_event_tells_of_trouble_at_the_start(space: Space, operator: Operator) -> None:
    await space.submit(execution("e", pod=NOWHERE))
    status = await until_status(
        space, "e", lambda status: status.get("reason") == "Starting", "it does not start"
    )
    [event] = await _events(space, operator, 1)
    assert (event["type"], event["reason"], event["action"]) == (
        "Warning", "Unschedulable", "Start",
    )  # fmt: skip
    assert event["note"] == status["message"]


async def test_no_event_tells_of_a_verdict(space: Space, operator: Operator) -> None:
    await space.submit(execution("passes"))
    await space.submit(execution("fails", annotations=FAILS))
    await until(space, "passes", "Passed")
    await until(space, "fails", "Failed")
    assert await _events(space, operator, 0) == []


async def _events(space: Space, operator: Operator, count: int) -> list[Raw]:
    """Those about executions: so many, and no more after a restart."""

    async def told() -> list[Raw]:
        events = await space.api.items(f"/apis/events.k8s.io/v1/namespaces/{space.name}/events")
        return [event for event in events if event["regarding"]["kind"] == "TestExecution"]

    async def enough() -> bool:
        return len(await told()) >= count

    await eventually(enough, f"there are {count} events")
    operator.kill()
    await operator.start()
    await asyncio.sleep(SEVERAL_SWEEPS)
    return await told()


# The status --------------------------------------------------------------------------------------


async def test_a_change_after_the_end_is_acknowledged_and_changes_nothing_else(
    space: Space, operator: Operator
) -> None:
    await space.submit(execution("e", annotations=FAILS))
    before = await until(space, "e", "Failed")
    assert (await space.change("e", {"priority": 7}))[0] == 200
    after = await until_status(
        space, "e", lambda status: status["observedGeneration"] == 2, "the change is acknowledged"
    )
    assert {c.pop("observedGeneration") for c in before["conditions"]} == {1}
    assert {c.pop("observedGeneration") for c in after["conditions"]} == {2}
    assert after == before | {"observedGeneration": 2}
