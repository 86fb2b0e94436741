"""One execution from its creation to its verdict, whatever happens to it on the way."""

import asyncio
from datetime import datetime

import pytest
import pytest_asyncio

from harness.api import Raw, Space, execution
from harness.observer import Observer
from harness.obstacles import forbid_by_policy, forbid_by_quota, lift_policy, lift_quota
from harness.process import Operator
from harness.steps import (
    FINAL,
    NOBODY,
    SILENT,
    being_deleted,
    deleted,
    job_of,
    job_path,
    jobs_of,
    late_pod,
    let_go,
    make_queue,
    named,
    path_of,
    pod_of,
    pods_of,
    silent_pod_of,
    submit_in_a_later_second,
    until,
    until_stats,
    until_status,
    until_upcoming,
)
from harness.waiting import eventually

SETTINGS = {"SWEEP_SECONDS": "1", "MAX_CONCURRENT_TESTS": "2"}
UNSTARTED = {"metadata": {"annotations": {"stage.kindless/start": None}}}

pytestmark = pytest.mark.usefixtures("operator")


@pytest_asyncio.fixture(loop_scope="session")
async def operator(lasting_operator: Operator) -> Operator:
    """Running, and nothing occupies its default queue."""
    await until_stats(lasting_operator, "default", (0, 5, 0, 50), within=60)
    return lasting_operator


@pytest_asyncio.fixture(loop_scope="session")
async def narrow(space: Space) -> str:
    """A queue in which one runs at a time."""
    return await make_queue(space, f"narrow-{space.name}", runningCapacity=1)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


# Verdicts ----------------------------------------------------------------------------------------


async def test_labels_and_owner_of_a_job_are_ours_and_it_has_no_finalizer(
    space: Space,
) -> None:
    made = await space.submit(execution("e", tests=named("login"), runs_for="never"))
    job = await job_of(space, "e")
    uid = made["metadata"]["uid"]
    assert {k: v for k, v in job["metadata"]["labels"].items() if "supercheck" in k} == {
        "supercheck.io/execution": "e",
        "supercheck.io/execution-uid": uid,
        "supercheck.io/queue": "default",
        "supercheck.io/test": "login",
    }
    [owner] = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("TestExecution", "e", uid)
    assert "finalizers" not in (await space.get("e"))["metadata"]
    assert "finalizers" not in job["metadata"]


async def test_a_script_is_mounted_and_never_passed_on_a_command_line(space: Space) -> None:
    script = "echo 'it''s'; " + "x" * 200 * 1024
    tests = [{"name": "t", "image": "example/e2e:1", "script": script}]
    await space.submit(execution("e", tests=tests, runs_for="never"))
    pod = await pod_of(space, "e")
    [container] = pod["spec"]["containers"]
    assert script not in str(pod)
    [mount] = [m for m in container["volumeMounts"] if m["mountPath"] == "/supercheck/script"]
    assert mount["readOnly"]
    [volume] = [v for v in pod["spec"]["volumes"] if v["name"] == mount["name"]]
    stored = await space.api.get(f"{space.config_maps}/{volume['configMap']['name']}")
    assert stored["data"]["script"] == script


# Several tests -----------------------------------------------------------------------------------


async def test_of_seven_tests_three_at_once_run_as_told(space: Space) -> None:
    names = ["g", "a", "f", "b", "e", "c", "d"]
    async with Observer(space) as observer:
        made = await space.submit(
            execution("e", tests=named(*names), maxConcurrentTests=3, runs_for="300ms")
        )
        status = await until(space, "e", "Passed", within=60)
        await observer.caught_up()
        assert observer.live_at_once[made["metadata"]["uid"]] == 3
        assert observer.jobs == {f"e/{name}": 1 for name in names}
    assert [test["name"] for test in status["tests"]] == names
    assert {test["phase"] for test in status["tests"]} == {"Passed"}
    assert status["progress"] == "7/7"


async def test_without_a_word_two_tests_run_at_once(space: Space) -> None:
    async with Observer(space) as observer:
        made = await space.submit(execution("e", tests=named(*"abcde"), runs_for="300ms"))
        await until(space, "e", "Passed", within=60)
        await observer.caught_up()
        assert observer.live_at_once[made["metadata"]["uid"]] == 2


async def test_an_execution_of_many_tests_takes_one_slot(space: Space, operator: Operator) -> None:
    await space.submit(
        execution("e", tests=named(*"abcdefgh"), maxConcurrentTests=8, runs_for="never")
    )

    async def all_run() -> bool:
        return len(await pods_of(space, "e")) == 8

    await eventually(all_run, "eight pods exist")
    assert await operator.stats() == (1, 5, 0, 50)


async def test_between_two_of_its_tests_an_execution_keeps_its_slot(
    space: Space, operator: Operator, narrow: str
) -> None:
    async with Observer(space) as observer:
        await space.submit(
            execution("first", queue=narrow, tests=named(*"abcd"), maxConcurrentTests=1)
        )
        await space.submit(execution("second", queue=narrow))
        await until(space, "second", "Passed", within=60)
        await observer.caught_up()
        assert observer.most_live == 1
    assert (await space.status("first"))["phase"] == "Passed"
    assert operator.running


async def test_fail_fast_starts_nothing_more_after_a_failure(space: Space) -> None:
    notes = {"stage.kindless/exit-code": "1"}
    body = execution(
        "e", tests=named("a", "b", "c"), maxConcurrentTests=1, failFast=True, annotations=notes
    )
    await space.submit(body)
    status = await until(space, "e", "Failed")
    assert [(test["phase"], test["reason"]) for test in status["tests"]] == [
        ("Failed", "TestFailed"),
        ("Cancelled", "FailFast"),
        ("Cancelled", "FailFast"),
    ]
    assert len(await jobs_of(space, "e")) == 1


async def test_fail_fast_stops_what_runs(space: Space, operator: Operator) -> None:
    await space.submit(execution("e", tests=named("a", "b", "c"), failFast=True, runs_for="never"))

    async def two() -> list[Raw] | None:
        pods = await pods_of(space, "e")
        running = [pod for pod in pods if pod["status"].get("phase") == "Running"]
        return running if len(running) == 2 else None

    pods = await eventually(two, "two pods run")
    [first] = [p for p in pods if p["metadata"]["labels"]["supercheck.io/test"] == "a"]
    await space.api.delete(path_of(space, first))
    status = await until(space, "e", "Error")
    assert [(test["phase"], test["reason"]) for test in status["tests"]] == [
        ("Error", "PodDeleted"),
        ("Cancelled", "FailFast"),
        ("Cancelled", "FailFast"),
    ]
    await until_stats(operator, "default", (0, 5, 0, 50))
    assert not [p for p in await pods_of(space, "e") if p["status"]["phase"] == "Running"]


async def test_without_fail_fast_the_others_go_on_and_the_verdict_is_failed(space: Space) -> None:
    notes = {"stage.kindless/exit-code": "1"}
    await space.submit(execution("e", tests=named("a", "b", "c"), annotations=notes))
    status = await until(space, "e", "Failed")
    assert [test["phase"] for test in status["tests"]] == ["Failed"] * 3
    assert status["progress"] == "0/3"


# Time --------------------------------------------------------------------------------------------


async def test_one_slow_test_does_not_end_the_others(space: Space) -> None:
    tests: list[Raw] = [
        {"name": "slow", "image": "example/e2e:1", "timeoutSeconds": 1},
        {"name": "other", "image": "example/e2e:1"},
    ]
    await space.submit(execution("e", tests=tests, runs_for="2500ms"))
    status = await until(space, "e", "Failed")
    assert [test["phase"] for test in status["tests"]] == ["Failed", "Passed"]
    assert status["tests"][0]["reason"] == "TestTimeout"


async def test_a_slow_test_is_ended_while_the_others_go_on(space: Space) -> None:
    tests: list[Raw] = [
        {"name": "slow", "image": "example/e2e:1", "timeoutSeconds": 1},
        {"name": "other", "image": "example/e2e:1"},
        {"name": "third", "image": "example/e2e:1"},
    ]
    await space.submit(execution("e", tests=tests, maxConcurrentTests=2, runs_for="never"))

    async def running() -> list[str] | None:
        pods = [p for p in await pods_of(space, "e") if p["status"].get("phase") == "Running"]
        names = sorted(p["metadata"]["labels"]["supercheck.io/test"] for p in pods)
        return names if "third" in names else None

    assert await eventually(running, "the third has its place") == ["other", "third"]
    status = await space.status("e")
    assert (status["phase"], status["summary"]["failed"]) == ("Running", 1)


async def test_what_a_pod_waits_before_it_starts_is_no_part_of_its_time(space: Space) -> None:
    await space.submit(execution("e", timeoutSeconds=1, start="never"))
    pod = await pod_of(space, "e")
    await asyncio.sleep(2.5)  # longer than it may take, were this part of it
    assert (await space.status("e"))["phase"] in ("Queued", "Running")
    assert (await space.api.patch(path_of(space, pod), UNSTARTED))[0] == 200
    await until(space, "e", "Passed")


async def test_the_time_of_an_execution_begins_with_its_first_container(space: Space) -> None:
    await space.submit(execution("e", timeoutSeconds=1, start="never", runs_for="never"))
    pod = await pod_of(space, "e")
    await asyncio.sleep(1.5)
    assert (await space.api.patch(path_of(space, pod), UNSTARTED))[0] == 200
    status = await until(space, "e", "Error")
    assert status["reason"] == "ExecutionTimeout"
    created = _moment(pod["metadata"]["creationTimestamp"])
    assert (_moment(status["startedAt"]) - created).total_seconds() >= 1


async def test_one_that_has_started_is_no_longer_subject_to_the_queue_s_time(
    space: Space,
) -> None:
    await space.submit(execution("e", queueTimeoutSeconds=1, runs_for="2500ms"))
    await until(space, "e", "Passed")


async def test_finished_ones_are_deleted_when_they_say_so(space: Space) -> None:
    await space.submit(execution("brief", ttlSecondsAfterFinished=1))
    await space.submit(execution("at-once", ttlSecondsAfterFinished=0))
    await space.submit(execution("kept"))
    await until(space, "kept", "Passed")
    await deleted(space, f"{space.executions}/brief")
    await deleted(space, f"{space.executions}/at-once")
    assert await space.phases() == {"kept": "Passed"}


async def _no_pod(space: Space, name: str) -> None:
    async def none() -> bool:
        return not await pods_of(space, name)

    await eventually(none, f"no pod of {name} is left")


# Cancelling, suspending, priority ----------------------------------------------------------------


async def test_cancelling_one_that_runs_frees_its_slot_when_its_pod_is_gone(
    space: Space, operator: Operator, narrow: str
) -> None:
    await space.submit(execution("e", queue=narrow, pod=SILENT))
    await space.submit(execution("next", queue=narrow))
    pod = await silent_pod_of(space, "e")
    assert (await space.change("e", {"cancel": True}))[0] == 200
    status = await until(space, "e", "Cancelled")
    assert status["reason"] == "CancelledByUser"
    await being_deleted(space, pod)
    # Several sweeps, so that a slot given back too early would show.
    await asyncio.sleep(2.5)
    assert await operator.stats(narrow) == (1, 1, 1, 50)
    assert not await jobs_of(space, "next")
    await let_go(space, pod)
    await until(space, "next", "Passed")
    assert (await space.status("e"))["reason"] == "CancelledByUser"


async def test_a_pod_that_comes_after_its_job_has_gone_is_waited_for(
    operator: Operator, space: Space, narrow: str
) -> None:
    """The Job controller may be making it when the Job is deleted: it was seen 0.14 s after."""
    await space.submit(execution("e", queue=narrow, pod=NOBODY))
    job = await job_of(space, "e")
    await space.submit(execution("next", queue=narrow, runs_for="never"))
    await space.change("e", {"cancel": True})
    await deleted(space, job_path(space, job))
    await space.api.create(space.pods, late_pod(job))
    pod = await silent_pod_of(space, "e")
    await being_deleted(space, pod)
    for _ in range(20):  # longer than it is waited for
        await asyncio.sleep(0.5)
        assert await operator.stats(narrow) == (1, 1, 1, 50)
        assert not await jobs_of(space, "next")
    await let_go(space, pod)
    await job_of(space, "next")


async def test_the_slot_of_a_job_that_went_without_a_pod_is_free_after_a_while(
    space: Space, narrow: str
) -> None:
    await space.submit(execution("e", queue=narrow, pod=NOBODY))
    await job_of(space, "e")
    await space.submit(execution("next", queue=narrow, runs_for="never"))
    await space.change("e", {"cancel": True})
    assert (await until(space, "e", "Cancelled"))["reason"] == "CancelledByUser"
    await job_of(space, "next")


async def test_one_created_as_cancelled_never_starts(space: Space, operator: Operator) -> None:
    await space.submit(execution("e", cancel=True))
    status = await until(space, "e", "Cancelled")
    assert status["reason"] == "CancelledByUser"
    assert not await jobs_of(space, "e")
    assert await operator.stats() == (0, 5, 0, 50)


async def test_cancelling_in_the_moment_of_its_start_leaves_nothing_running(
    space: Space, operator: Operator
) -> None:
    names = [f"e-{i}" for i in range(20)]

    async def flash(name: str) -> None:
        await space.submit(execution(name, runs_for="never"))
        assert (await space.change(name, {"cancel": True}))[0] == 200

    async with Observer(space) as observer:
        await asyncio.gather(*map(flash, names))
        await until_stats(operator, "default", (0, 5, 0, 50))
        await observer.caught_up()
    assert observer.most_live <= 5

    async def over() -> bool:
        return set((await space.phases()).values()) == {"Cancelled"}

    await eventually(over, "all are cancelled")
    live = ("Pending", "Running")
    assert not [p for p in await space.api.items(space.pods) if p["status"]["phase"] in live]


async def test_a_suspended_one_keeps_its_place_and_starts_when_it_is_resumed(
    space: Space, operator: Operator, narrow: str
) -> None:
    await space.submit(execution("busy", queue=narrow, runs_for="never"))
    early = await space.submit(execution("early", queue=narrow, suspend=True))
    # Whoever comes in a later second is behind it, whatever is done to it meanwhile.
    late = await submit_in_a_later_second(space, early, queue=narrow, runs_for="never")
    last = await submit_in_a_later_second(space, early, queue=narrow)
    assert await operator.stats(narrow) == (1, 1, 3, 50)
    await space.remove("busy")
    await job_of(space, late)  # the suspended one lets it pass
    assert await operator.stats(narrow) == (1, 1, 2, 50)
    assert (await space.change("early", {"suspend": False}))[0] == 200
    await until_upcoming(space, narrow, ["early", last])
    await space.remove(late)
    await until(space, "early", "Passed")
    await until(space, last, "Passed")
    assert (await space.status("early"))["startedAt"] <= (await space.status(last))["startedAt"]


async def test_suspending_one_that_runs_changes_nothing(space: Space) -> None:
    await space.submit(execution("e", runs_for="1500ms"))
    await until(space, "e", "Running")
    assert (await space.change("e", {"suspend": True}))[0] == 200
    await until(space, "e", "Passed")


async def test_a_suspended_one_can_be_cancelled(space: Space, operator: Operator) -> None:
    await space.submit(execution("e", suspend=True))
    assert await operator.stats() == (0, 5, 1, 50)
    assert (await space.change("e", {"cancel": True}))[0] == 200
    await until(space, "e", "Cancelled")
    await until_stats(operator, "default", (0, 5, 0, 50))


async def test_a_higher_priority_goes_first_also_if_it_gets_it_while_it_waits(
    space: Space, narrow: str
) -> None:
    async with Observer(space) as observer:
        await space.submit(execution("busy", queue=narrow, runs_for="never"))
        await job_of(space, "busy")
        for name, priority in (("low", -1), ("plain", 0), ("high", 10), ("risen", 0)):
            await space.submit(execution(name, queue=narrow, priority=priority))
        assert (await space.change("risen", {"priority": 20}))[0] == 200
        assert (await space.change("high", {"priority": -5}))[0] == 200
        order = ["risen", "plain", "low", "high"]
        upcoming = await until_upcoming(space, narrow, order)
        assert [each["position"] for each in upcoming] == [1, 2, 3, 4]
        await space.remove("busy")
        for name in order:
            await until(space, name, "Passed", within=60)
        await observer.caught_up()
        assert observer.started == ["busy", *order]


# What others do to Jobs and pods -----------------------------------------------------------------


async def test_a_verdict_stays_whatever_happens_after_it(space: Space) -> None:
    await space.submit(execution("e"))
    status = await until(space, "e", "Passed")
    label = {"metadata": {"labels": {"touched": "1"}}}
    pod, job = await pod_of(space, "e"), await job_of(space, "e")
    assert (await space.api.patch(path_of(space, pod), label))[0] == 200
    assert (await space.api.patch(job_path(space, job), label))[0] == 200
    assert (await space.api.patch(f"{space.executions}/e", label))[0] == 200
    assert (await space.change("e", {"cancel": True}))[0] == 200
    await space.api.delete(path_of(space, pod))
    await space.api.delete(f"{job_path(space, job)}?propagationPolicy=Background")
    await deleted(space, path_of(space, pod))
    await asyncio.sleep(2)  # two sweeps
    assert _without_generation(await space.status("e")) == _without_generation(status)


def _without_generation(status: Raw) -> Raw:
    """A changed spec makes a new generation, and the status says that it stands for that too."""
    conditions = [c | {"observedGeneration": None} for c in status["conditions"]]
    return status | {"observedGeneration": None, "conditions": conditions}


async def test_a_quota_that_is_lifted_in_time_does_no_harm(space: Space, narrow: str) -> None:
    await forbid_by_quota(space)
    await space.submit(execution("e", queue=narrow))
    await _told_of_quota(space, "e")
    await lift_quota(space)
    status = await until(space, "e", "Passed")
    assert "message" not in status


async def test_a_restart_does_not_end_one_that_a_quota_holds_up(
    space: Space, operator: Operator, narrow: str
) -> None:
    await forbid_by_quota(space)
    await space.submit(execution("e", queue=narrow))
    await _told_of_quota(space, "e")
    operator.kill()
    await operator.start()
    await lift_quota(space)
    await until(space, "e", "Passed")


async def _told_of_quota(space: Space, name: str) -> Raw:
    return await until_status(
        space, name, lambda s: "exceeded quota" in s.get("message", ""), "the quota is told"
    )


async def test_a_namesake_created_right_after_a_deletion_gets_a_job_of_its_own(
    space: Space, operator: Operator
) -> None:
    first = await space.submit(execution("e", runs_for="never"))
    await job_of(space, "e")
    await space.remove("e")
    second = await space.submit(execution("e"))
    assert first["metadata"]["uid"] != second["metadata"]["uid"]
    await until(space, "e", "Passed")
    uids = {job["metadata"]["ownerReferences"][0]["uid"] for job in await jobs_of(space, "e")}
    assert second["metadata"]["uid"] in uids
    await until_stats(operator, "default", (0, 5, 0, 50), within=90)
    assert (await space.status("e"))["phase"] == "Passed"


async def test_created_and_deleted_in_one_breath_leaves_no_place_taken(
    space: Space, operator: Operator
) -> None:
    async def flash(name: str) -> None:
        await space.submit(execution(name, runs_for="never"))
        await space.remove(name)

    await asyncio.gather(*(flash(f"e-{i}") for i in range(20)))
    await until_stats(operator, "default", (0, 5, 0, 50), within=90)
    assert not await space.phases()


# Crashes -----------------------------------------------------------------------------------------


async def test_runs_in_flight_are_taken_up_again_with_no_second_job(
    space: Space, operator: Operator
) -> None:
    async with Observer(space) as observer:
        for i in range(3):
            await space.submit(execution(f"e-{i}", runs_for="3s"))
        for i in range(3):
            await until(space, f"e-{i}", "Running")
        operator.kill()
        await operator.start()
        for i in range(3):
            await until(space, f"e-{i}", "Passed")
        await observer.caught_up()
        assert observer.jobs == {f"e-{i}/t": 1 for i in range(3)}


async def test_what_ended_while_the_operator_was_dead_gets_its_verdict(
    space: Space, operator: Operator
) -> None:
    notes = {"stage.kindless/exit-code": "4", "stage.kindless/message": "lost"}
    await space.submit(execution("passes", runs_for="1500ms"))
    await space.submit(execution("fails", runs_for="1500ms", annotations=notes))
    await space.submit(execution("loses-its-job", runs_for="never"))
    await space.submit(execution("loses-its-pod", runs_for="never"))
    await space.submit(execution("cancelled", runs_for="never"))
    for name in await space.phases():
        await until(space, name, "Running")
    operator.kill()
    job = await job_of(space, "loses-its-job")
    await space.api.delete(f"{job_path(space, job)}?propagationPolicy=Background")
    await space.api.delete(path_of(space, await pod_of(space, "loses-its-pod")))
    assert (await space.change("cancelled", {"cancel": True}))[0] == 200

    async def ended() -> bool:
        pods = [await pod_of(space, name) for name in ("passes", "fails")]
        return [pod["status"]["phase"] for pod in pods] == ["Succeeded", "Failed"]

    await eventually(ended, "both pods have ended")
    await _no_pod(space, "loses-its-job")
    await operator.start()
    await until(space, "passes", "Passed")
    failed = await until(space, "fails", "Failed")
    assert (failed["message"], failed["tests"][0]["exitCode"]) == ("lost", 4)
    assert (await until(space, "loses-its-job", "Error"))["reason"] == "JobDeleted"
    assert (await until(space, "loses-its-pod", "Error"))["reason"] == "PodDeleted"
    assert (await until(space, "cancelled", "Cancelled"))["reason"] == "CancelledByUser"
    await until_stats(operator, "default", (0, 5, 0, 50))


async def test_what_was_deleted_while_the_operator_was_dead_counts_as_long_as_its_pod_lives(
    space: Space, operator: Operator, narrow: str
) -> None:
    await space.submit(execution("e", queue=narrow, pod=SILENT))
    await space.submit(execution("waits", queue=narrow))
    pod = await silent_pod_of(space, "e")
    operator.kill()
    await space.remove("e")
    await operator.start()
    assert await operator.stats(narrow) == (1, 1, 1, 50)
    assert not await jobs_of(space, "waits")
    await let_go(space, pod)
    await until(space, "waits", "Passed", within=90)
    await until_stats(operator, narrow, (0, 1, 0, 50))


async def test_an_execution_of_several_tests_goes_on_where_it_was(
    space: Space, operator: Operator
) -> None:
    async with Observer(space) as observer:
        await space.submit(
            execution("e", tests=named(*"abcd"), maxConcurrentTests=1, runs_for="700ms")
        )
        for passed in (1, 2):
            await until_status(
                space,
                "e",
                lambda s, least=passed: s.get("summary", {}).get("passed", 0) >= least,  # type: ignore[misc]
                f"{passed} have passed",
            )
            operator.kill()
            await operator.start()
        status = await until(space, "e", "Passed")
        await observer.caught_up()
        assert observer.jobs == {f"e/{name}": 1 for name in "abcd"}
        assert observer.most_live == 1
    assert status["progress"] == "4/4"


async def test_the_job_of_a_timed_out_test_is_deleted_although_a_crash_came_between(
    space: Space, operator: Operator, narrow: str
) -> None:
    tests = [{"name": "t", "image": "example/e2e:1", "timeoutSeconds": 1}]
    await forbid_by_policy(space, "DELETE", "not now")
    await space.submit(execution("e", queue=narrow, tests=tests, runs_for="never"))
    assert (await until(space, "e", "Failed"))["reason"] == "TestTimeout"
    operator.kill()
    assert (await job_of(space, "e"))["metadata"].get("deletionTimestamp") is None
    await lift_policy(space, "DELETE")
    await operator.start()
    await _no_pod(space, "e")
    assert not await jobs_of(space, "e")
    await until_stats(operator, narrow, (0, 1, 0, 50))
    assert (await space.status("e"))["phase"] in FINAL
