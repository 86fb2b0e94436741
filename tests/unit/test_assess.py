from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.builders import (
    COMPLETE,
    FAILED,
    NOW,
    Raw,
    at,
    ended_pod,
    execution,
    job,
    pod,
    raw_execution,
    running_pod,
    terminated,
    when,
)

from supercheck_operator.execution.assess import Assessment, assess
from supercheck_operator.execution.evidence import Defaults, Evidence, alive
from supercheck_operator.execution.observed import Job, Pod, format_time
from supercheck_operator.execution.verdict import Delay, Verdict
from supercheck_operator.resources import Phase, Reason, TestExecution, TestStatus

DEFAULTS = Defaults(timeout=timedelta(seconds=900), max_concurrent_tests=2)


def judge(
    run: TestExecution | None = None,
    *,
    jobs: tuple[Job, ...] = (),
    pods: tuple[Pod, ...] = (),
    **evidence: Any,
) -> Assessment:
    """The assessment of a started execution with these Jobs and pods."""
    known: dict[str, Any] = {
        "execution": run or execution(),
        "now": NOW,
        "defaults": DEFAULTS,
        "started": True,
        "jobs": {each.id.test: each for each in jobs},
        "pods": {each.id.test: each for each in pods},
    }
    known |= evidence
    return assess(Evidence(**{"confirmed": known["now"]} | known))


def outcome(assessment: Assessment) -> tuple[Phase, str | None]:
    """The verdict of an execution of one test, which is that of its test."""
    [test] = assessment.tests
    assert (test.phase, test.reason) == (assessment.phase, assessment.reason)
    return assessment.phase, assessment.reason


def of_pod(seen: Pod, run: TestExecution | None = None, **evidence: Any) -> Assessment:
    return judge(run, jobs=(job(),), pods=(seen,), **evidence)


def stored(*tests: tuple[str, str], **status: Any) -> Raw:
    """A status as it was written, with these tests and their phases."""
    return {
        "phase": "Running",
        "tests": [{"name": name, "phase": phase} for name, phase in tests],
    } | status


# Waiting -----------------------------------------------------------------------------------------


def test_what_has_not_started_waits_and_asks_for_nothing() -> None:
    waiting = judge(started=False)
    assert (waiting.phase, waiting.reason) == (Phase.QUEUED, Reason.WAITING)
    assert (waiting.launch, waiting.stop, waiting.look_again) == ((), (), None)


def test_what_is_suspended_says_so() -> None:
    assert judge(execution(suspend=True), started=False).reason is Reason.SUSPENDED


def test_waiting_too_long_is_an_error() -> None:
    run = execution(queueTimeoutSeconds=60, created=-60)
    over = judge(run, started=False)
    assert outcome(over) == (Phase.ERROR, Reason.QUEUE_TIMEOUT)
    assert over.message == "Still waiting after its 60 s in the queue."


def test_until_then_it_is_looked_at_again_in_time() -> None:
    waiting = judge(execution(queueTimeoutSeconds=61, created=-60), started=False)
    assert (waiting.phase, waiting.look_again) == (Phase.QUEUED, at(1))


def test_once_started_the_queue_timeout_is_over() -> None:
    run = execution(queueTimeoutSeconds=1, created=-60)
    assert judge(run, jobs=(job(),)).phase is Phase.RUNNING


# Starting ----------------------------------------------------------------------------------------


def test_a_started_execution_launches_its_test() -> None:
    begun = judge()
    assert begun.launch == ("login",)
    assert (begun.phase, begun.reason) == (Phase.RUNNING, Reason.STARTING)
    assert begun.message == "No pod has started yet."
    assert begun.trouble is None


def test_a_job_that_is_being_created_is_not_launched_again() -> None:
    begun = judge(launching={"login": None})
    assert begun.launch == ()
    assert begun.tests[0].message == "The Job is being created."
    assert begun.trouble is None


def test_what_hinders_a_launch_is_told() -> None:
    delay = Delay(Reason.QUOTA_EXCEEDED, "QuotaExceeded: exceeded quota")
    hindered = judge(launching={"login": delay})
    assert hindered.message == "QuotaExceeded: exceeded quota"
    assert hindered.trouble is Reason.QUOTA_EXCEEDED


def test_a_job_without_a_pod_is_waited_for() -> None:
    waiting = judge(jobs=(job(created=-30),))
    assert waiting.launch == ()
    assert (waiting.tests[0].phase, waiting.tests[0].reason) == (Phase.RUNNING, Reason.STARTING)
    assert waiting.starting_since == at(-30)
    assert waiting.look_again == at(270)
    assert waiting.trouble is None


def test_a_job_that_never_gets_a_pod_is_a_start_timeout() -> None:
    over = judge(execution(startTimeoutSeconds=30), jobs=(job(created=-30),))
    assert outcome(over) == (Phase.ERROR, Reason.START_TIMEOUT)
    assert over.message == "Not started within 30 s. No pod exists yet."


def waiting_pod(reason: str, message: str = "because") -> Pod:
    return pod(state={"waiting": {"reason": reason, "message": message}})


def unschedulable_pod() -> Pod:
    condition = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
    return pod(conditions=[condition])


@pytest.mark.parametrize(
    ("seen", "reason", "told"),
    [
        (waiting_pod("ErrImagePull"), Reason.IMAGE_PULL_FAILED, "ErrImagePull: because"),
        (waiting_pod("ImagePullBackOff"), Reason.IMAGE_PULL_FAILED, "ImagePullBackOff: because"),
        (waiting_pod("InvalidImageName"), Reason.IMAGE_PULL_FAILED, "InvalidImageName: because"),
        (unschedulable_pod(), Reason.UNSCHEDULABLE, "Unschedulable: 0/3 nodes are available"),
        (
            waiting_pod("CreateContainerConfigError"),
            Reason.START_TIMEOUT,
            "CreateContainerConfigError: because",
        ),
    ],
)
def test_why_a_pod_does_not_start_is_told_at_once_and_decides_when_time_is_up(
    seen: Pod, reason: Reason, told: str
) -> None:
    run = execution(startTimeoutSeconds=31)
    starting = of_pod(seen, run)
    assert (starting.phase, starting.reason) == (Phase.RUNNING, Reason.STARTING)
    assert (starting.message, starting.trouble) == (told, reason)
    assert starting.look_again == at(1)
    over = of_pod(seen, run, now=at(1))
    assert outcome(over) == (Phase.ERROR, reason)
    assert over.message == f"Not started within 31 s. {told}"


@pytest.mark.parametrize(
    "seen", [pod(), waiting_pod("ContainerCreating"), waiting_pod("PodInitializing")]
)
def test_a_container_that_is_being_created_is_no_trouble(seen: Pod) -> None:
    starting = of_pod(seen)
    assert (starting.message, starting.trouble) == ("No pod has started yet.", None)
    assert of_pod(seen, now=at(300)).reason is Reason.START_TIMEOUT


def test_a_pod_seen_before_its_job_starts_its_time_by_itself() -> None:
    assert judge(pods=(pod(created=-29),)).look_again == at(271)


# Running -----------------------------------------------------------------------------------------


def test_a_running_container_makes_a_running_execution() -> None:
    running = of_pod(running_pod(since=-10))
    assert (running.phase, running.reason, running.message) == (
        Phase.RUNNING,
        Reason.RUNNING,
        None,
    )
    [test] = running.tests
    assert (test.pod, test.attempts, test.started_at) == ("pod-uid-1-login", 1, when(-10))
    assert running.started_at == at(-10)
    assert running.look_again == at(890)


def test_no_more_tests_run_at_once_than_may() -> None:
    run = execution("a", "b", "c", "d")
    assert judge(run).launch == ("a", "b")
    assert judge(run, launching={"a": None}).launch == ("b",)
    assert judge(run, jobs=(job("a"), job("b"))).launch == ()
    busy = judge(run, jobs=(job("a"), job("b")), pods=(running_pod("a"), ended_pod("b")))
    assert busy.launch == ("c",)
    assert judge(execution("a", "b", "c", "d", maxConcurrentTests=3)).launch == ("a", "b", "c")


def test_a_test_whose_pod_lives_on_keeps_its_place() -> None:
    run = execution("a", "b", maxConcurrentTests=1, status=stored(("a", "Failed"), ("b", "Queued")))
    lingering = judge(run, jobs=(job("a"),), pods=(running_pod("a"),))
    assert (lingering.launch, lingering.stop) == ((), ("a",))


def test_a_sidecar_that_goes_on_is_stopped_once_the_result_is_stored() -> None:
    proxy = {"name": "proxy", "state": {"running": {}}}
    seen = pod(phase="Running", state=terminated(0), containers=[proxy])
    run = execution("login", "other")
    first = judge(run, jobs=(job(),), pods=(seen,))
    assert first.tests[0].phase is Phase.PASSED
    assert (first.stop, first.pressing) == ((), True)
    again = execution("login", "other", status=stored(("login", "Passed"), ("other", "Queued")))
    stored_so = judge(again, jobs=(job(),), pods=(seen,))
    assert (stored_so.stop, stored_so.pressing) == (("login",), False)


def test_an_ended_container_alone_in_its_pod_waits_for_the_pods_own_end() -> None:
    seen = pod(phase="Running", state=terminated(0))
    run = execution({"name": "login", "image": "i", "timeoutSeconds": 1})
    assert of_pod(seen, run).phase is Phase.RUNNING


# Verdicts ----------------------------------------------------------------------------------------


def test_exit_code_0_passes() -> None:
    passed = of_pod(ended_pod(code=0, since=-10, until=-1))
    assert outcome(passed) == (Phase.PASSED, None)
    assert (passed.started_at, passed.completed_at) == (at(-10), at(-1))
    assert (passed.tests[0].exit_code, passed.tests[0].completed_at) == (0, when(-1))
    assert passed.message is None


def test_any_other_exit_code_is_a_failure_with_the_last_words_of_the_test() -> None:
    failed = of_pod(ended_pod(code=3, message="expected 1, got 2\n"))
    assert outcome(failed) == (Phase.FAILED, Reason.TEST_FAILED)
    assert failed.message == "expected 1, got 2"
    assert of_pod(ended_pod(code=3)).message == "Exit code 3."


def test_an_oom_kill_is_an_error_never_a_failure() -> None:
    killed = of_pod(ended_pod(code=137, reason="OOMKilled"))
    assert outcome(killed) == (Phase.ERROR, Reason.OOM_KILLED)


def test_a_test_that_survives_an_oom_kill_of_a_child_passes() -> None:
    assert of_pod(ended_pod(code=0, reason="OOMKilled")).phase is Phase.PASSED


def disrupted(reason: str, message: str = "") -> Pod:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    return pod(phase="Failed", state=terminated(137), conditions=[condition])


@pytest.mark.parametrize(
    ("seen", "reason", "told"),
    [
        (disrupted("PreemptionByScheduler", "preempted"), Reason.EVICTED, "preempted"),
        (disrupted("EvictionByEvictionAPI"), Reason.EVICTED, "EvictionByEvictionAPI"),
        (disrupted("TerminationByKubelet", "low memory"), Reason.EVICTED, "low memory"),
        (disrupted("DeletionByTaintManager", "tainted"), Reason.NODE_LOST, "tainted"),
        (disrupted("DeletionByPodGC", "no node"), Reason.NODE_LOST, "no node"),
        (
            pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory."),
            Reason.EVICTED,
            "The node was low on resource: memory.",
        ),
        (
            pod(phase="Failed", state=terminated(137, reason="ContainerStatusUnknown")),
            Reason.NODE_LOST,
            "The node lost the container.",
        ),
    ],
)
def test_a_disruption_is_an_error_never_a_failure(seen: Pod, reason: Reason, told: str) -> None:
    assert outcome(of_pod(seen)) == (Phase.ERROR, reason)
    assert of_pod(seen).message == told


def test_an_evicted_pod_whose_test_had_passed_has_passed() -> None:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
    seen = pod(phase="Failed", state=terminated(0), conditions=[condition])
    assert of_pod(seen).phase is Phase.PASSED


def gone(seen: Pod) -> Pod:
    return replace(seen, gone=True)


def test_a_pod_deleted_by_hand_is_an_error_never_a_failure() -> None:
    cut = ended_pod(code=143, until=-1, deletion=-2)
    assert outcome(of_pod(cut)) == (Phase.ERROR, Reason.POD_DELETED)
    assert of_pod(cut).message == "Pod pod-uid-1-login was deleted before it ended."


def test_a_pod_that_vanished_while_it_ran_is_an_error() -> None:
    assert outcome(of_pod(gone(running_pod()))) == (Phase.ERROR, Reason.POD_DELETED)


def test_a_container_that_ended_gracefully_while_its_pod_was_deleted_has_no_verdict() -> None:
    assert of_pod(ended_pod(code=0, until=-1, deletion=-1)).reason is Reason.POD_DELETED


@pytest.mark.parametrize(("code", "phase"), [(0, Phase.PASSED), (1, Phase.FAILED)])
def test_a_container_that_ended_before_its_pod_was_deleted_keeps_its_verdict(
    code: int, phase: Phase
) -> None:
    ended = ended_pod(code=code, until=-3, deletion=-1)
    assert of_pod(ended).phase is phase
    assert of_pod(gone(ended)).phase is phase


def test_a_pod_that_is_being_deleted_is_waited_for() -> None:
    state = {"running": {"startedAt": when(-10)}}
    assert of_pod(pod(phase="Running", state=state, deletion=-1)).phase is Phase.RUNNING


@pytest.mark.parametrize("deletion", ["gone", "deleting"])
def test_a_pod_that_goes_with_its_job_is_a_deleted_job(deletion: str) -> None:
    known = job()
    deleted = (
        replace(known, gone=True)
        if deletion == "gone"
        else replace(known, id=replace(known.id, deleting=True))
    )
    assert outcome(judge(jobs=(deleted,), pods=(gone(running_pod()),))) == (
        Phase.ERROR,
        Reason.JOB_DELETED,
    )


def test_a_job_that_vanished_without_a_pod_is_a_deleted_job() -> None:
    lost = judge(jobs=(replace(job(), gone=True),))
    assert outcome(lost) == (Phase.ERROR, Reason.JOB_DELETED)
    assert lost.message == "The Job was deleted before its test ended."


def test_what_ran_and_left_nothing_behind_is_a_deleted_job() -> None:
    run = execution(status=stored(("login", "Running")))
    unsure = judge(run, confirmed=None)
    assert (unsure.phase, unsure.doubtful) == (Phase.RUNNING, True), "it may not be seen yet"
    lost = judge(run)
    assert outcome(lost) == (Phase.ERROR, Reason.JOB_DELETED)


@pytest.mark.parametrize("reason", ["StartError", "ContainerCannotRun"])
def test_a_command_that_cannot_be_started_is_an_invalid_template(reason: str) -> None:
    failed = of_pod(ended_pod(code=128, reason=reason, message="no such file: /bin/tset"))
    assert outcome(failed) == (Phase.ERROR, Reason.INVALID_TEMPLATE)
    assert failed.message == "no such file: /bin/tset"
    assert of_pod(ended_pod(code=128, reason=reason)).message == "Cannot be started."


def test_a_pod_that_the_kubelet_rejects_is_an_error() -> None:
    rejected = of_pod(pod(phase="Failed", reason="NodeAffinity", message="does not match"))
    assert outcome(rejected) == (Phase.ERROR, Reason.POD_REJECTED)
    assert rejected.message == "NodeAffinity: does not match"


def test_a_pod_that_fails_before_its_test_is_an_error() -> None:
    assert outcome(of_pod(pod(phase="Failed"))) == (Phase.ERROR, Reason.INTERNAL)


def test_a_pod_that_succeeds_without_telling_about_its_containers_has_passed() -> None:
    assert of_pod(pod(phase="Succeeded")).phase is Phase.PASSED


def test_a_finished_job_without_its_pod_speaks_for_it() -> None:
    assert outcome(judge(jobs=(job(condition=COMPLETE),))) == (Phase.PASSED, None)
    failed = judge(jobs=(job(condition=FAILED),))
    assert outcome(failed) == (Phase.ERROR, Reason.POD_DELETED)
    assert failed.message == "The pod is gone; its Job says BackoffLimitExceeded: it is not"


def test_a_failed_job_that_does_not_say_why_has_not_passed() -> None:
    assert judge(jobs=(job(condition={"type": "Failed"}),)).phase is Phase.ERROR


@pytest.mark.parametrize(
    "reason",
    [Reason.INVALID_TEMPLATE, Reason.QUOTA_EXCEEDED, Reason.POD_REJECTED, Reason.INTERNAL],
)
def test_a_job_that_the_api_server_refuses_is_an_error(reason: Reason) -> None:
    refused = judge(refused={"login": Verdict(reason, "it says no")})
    assert outcome(refused) == (Phase.ERROR, reason)
    assert refused.message == "it says no"


# Deadlines ---------------------------------------------------------------------------------------


def test_a_test_beyond_its_own_limit_has_failed() -> None:
    run = execution({"name": "login", "image": "i", "timeoutSeconds": 11})
    assert of_pod(running_pod(since=-10), run).look_again == at(1)
    over = of_pod(running_pod(since=-10), run, now=at(1))
    assert outcome(over) == (Phase.FAILED, Reason.TEST_TIMEOUT)
    assert over.message == "The test did not end within its 11 s."
    assert over.completed_at == at(1)


def test_an_execution_beyond_its_limit_is_an_error() -> None:
    run = execution("a", "b", "c", timeoutSeconds=10)
    over = judge(run, jobs=(job("a"), job("b")), pods=(ended_pod("a"), running_pod("b")))
    assert (over.phase, over.reason) == (Phase.ERROR, Reason.EXECUTION_TIMEOUT)
    assert over.message == "The execution did not end within its 10 s."
    assert [test.phase for test in over.tests] == [Phase.PASSED, Phase.ERROR, Phase.ERROR]
    assert over.launch == ()


def test_the_operators_limit_counts_where_the_spec_is_silent() -> None:
    seen = running_pod(created=-901, since=-900)
    assert of_pod(seen).reason is Reason.EXECUTION_TIMEOUT
    assert of_pod(seen, now=at(-1)).phase is Phase.RUNNING


def test_pulling_and_scheduling_never_count_against_the_limit() -> None:
    run = execution(timeoutSeconds=1)
    assert of_pod(pod(created=-29), run).phase is Phase.RUNNING


def test_the_limit_counts_from_the_first_start_also_after_a_restart() -> None:
    status = stored(("a", "Passed"), ("b", "Queued"), startedAt=when(-10))
    assert judge(execution("a", "b", timeoutSeconds=10, status=status)).reason is (
        Reason.EXECUTION_TIMEOUT
    )


def test_a_container_that_could_not_start_starts_no_clock() -> None:
    state = terminated(128, reason="StartError")
    state["terminated"]["startedAt"] = "1970-01-01T00:00:00Z"
    seen = pod("a", phase="Failed", state=state)
    going_on = judge(execution("a", "b"), jobs=(job("a"),), pods=(seen,))
    assert (going_on.phase, going_on.launch) == (Phase.RUNNING, ("b",))


# Cancellation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("started", [False, True])
def test_a_cancelled_execution_is_cancelled_in_any_phase(started: bool) -> None:
    cancelled = judge(execution(cancel=True), started=started)
    assert outcome(cancelled) == (Phase.CANCELLED, Reason.CANCELLED_BY_USER)
    assert cancelled.message == "Cancelled by its user."
    assert cancelled.launch == ()


def test_a_cancellation_takes_back_no_result() -> None:
    run = execution("a", "b", cancel=True)
    cancelled = judge(run, jobs=(job("a"), job("b")), pods=(ended_pod("a"), running_pod("b")))
    assert cancelled.phase is Phase.CANCELLED
    assert [test.phase for test in cancelled.tests] == [Phase.PASSED, Phase.CANCELLED]


def test_a_cancellation_that_comes_too_late_changes_nothing() -> None:
    assert of_pod(ended_pod(code=0), execution(cancel=True)).phase is Phase.PASSED


def test_a_drained_queue_cancels_what_is_in_it() -> None:
    drained = judge(drained=True)
    assert outcome(drained) == (Phase.CANCELLED, Reason.QUEUE_DRAINED)
    assert drained.message == "Queue default was drained."


def test_fail_fast_cancels_the_rest_and_keeps_the_verdict() -> None:
    run = execution("a", "b", "c", failFast=True)
    over = judge(run, jobs=(job("a"), job("b")), pods=(ended_pod("a", code=1), running_pod("b")))
    assert (over.phase, over.reason) == (Phase.FAILED, Reason.TEST_FAILED)
    assert over.message == "0 of 3 tests passed; a: Exit code 1."
    assert [test.reason for test in over.tests[1:]] == [Reason.FAIL_FAST] * 2
    assert over.launch == ()


def test_fail_fast_lets_passed_tests_pass() -> None:
    run = execution("a", "b", failFast=True)
    assert judge(run, jobs=(job("a"),), pods=(ended_pod("a"),)).launch == ("b",)


# The verdict of several tests --------------------------------------------------------------------


def all_ended(**codes: int | str) -> Assessment:
    """Tests by their exit code, or by a reason that ends them."""
    pods, refused = [], {}
    for name, how in codes.items():
        if isinstance(how, int):
            pods.append(ended_pod(name, code=how))
        else:
            refused[name] = Verdict(Reason(how), "no")
    jobs = tuple(job(each.id.test) for each in pods)
    return judge(execution(*codes), jobs=jobs, pods=tuple(pods), refused=refused)


def test_all_passed_is_passed() -> None:
    assert all_ended(a=0, b=0).phase is Phase.PASSED


def test_one_failure_fails() -> None:
    over = all_ended(a=0, b=1, c=2)
    assert (over.phase, over.reason) == (Phase.FAILED, Reason.TEST_FAILED)
    assert over.message == "1 of 3 tests passed; b and 1 more: Exit code 1."


def test_an_error_outweighs_a_failure() -> None:
    over = all_ended(a=1, b="Internal")
    assert (over.phase, over.reason) == (Phase.ERROR, Reason.INTERNAL)


def test_it_ends_with_its_last_test() -> None:
    pods = (ended_pod("a", until=-1), ended_pod("b", until=-5))
    over = judge(execution("a", "b"), jobs=(job("a"), job("b")), pods=pods)
    assert over.completed_at == at(-1)


def test_without_any_times_it_ended_now() -> None:
    status = stored(("login", "Passed"))
    assert judge(execution(status=status)).completed_at == NOW


@pytest.mark.parametrize("result", [{}, {"reason": "Unheard"}])
def test_a_stored_result_that_does_not_say_why_is_an_internal_error(result: Raw) -> None:
    status = stored() | {"tests": [{"name": "login", "phase": "Cancelled"} | result]}
    assert judge(execution(status=status)).reason is Reason.INTERNAL


# What is final -----------------------------------------------------------------------------------


def test_a_final_phase_is_never_left_and_what_lives_on_is_stopped() -> None:
    status = stored(
        ("login", "Cancelled"),
        phase="Cancelled",
        reason="CancelledByUser",
        message="so it was",
        startedAt=when(-9),
        completedAt=when(-5),
    )
    over = of_pod(running_pod(), execution(status=status))
    assert (over.phase, over.reason, over.message) == (
        Phase.CANCELLED,
        "CancelledByUser",
        "so it was",
    )
    assert (over.started_at, over.completed_at) == (at(-9), at(-5))
    assert [test.phase for test in over.tests] == [Phase.CANCELLED]
    assert (over.launch, over.stop) == ((), ("login",))


def test_a_final_execution_without_anything_alive_stops_nothing() -> None:
    over = of_pod(ended_pod(), execution(status={"phase": "Passed"}))
    assert (over.stop, over.tests) == ((), ())


def test_a_stored_result_outlives_its_job_and_pod() -> None:
    run = execution("a", "b", status=stored(("a", "Failed"), ("b", "Running")))
    again = judge(run, jobs=(job("b"),), pods=(running_pod("b"),))
    assert [test.phase for test in again.tests] == [Phase.FAILED, Phase.RUNNING]


# Who occupies the cluster ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known_job", "seen", "lives"),
    [
        (None, None, False),
        (job(), None, True),
        (job(condition=COMPLETE), None, False),
        (job(), running_pod(), True),
        (None, running_pod(), True),
        (job(condition=FAILED), running_pod(), True),
        (job(), ended_pod(), False),
        (job(), gone(running_pod()), True),
        (job(condition=FAILED), gone(running_pod()), False),
        (job(), gone(ended_pod()), False),
        (job(attempt=2), ended_pod(), True),
        (job(attempt=2, condition=FAILED), ended_pod(), False),
        (job(attempt=2), running_pod(), True),
    ],
)
def test_a_slot_is_free_when_the_pod_has_ended_or_can_never_come(
    known_job: Job | None, seen: Pod | None, lives: bool
) -> None:
    assert alive(known_job, seen) is lives


# Messages ----------------------------------------------------------------------------------------


def test_a_message_is_printable_and_keeps_its_end() -> None:
    told = of_pod(ended_pod(code=1, message="\x1b[31mred\x00 " + "x" * 5000 + "\tthe end\n"))
    assert told.message is not None
    assert told.message.startswith("…")
    assert told.message.endswith("x\tthe end")
    assert "\x1b" not in told.message
    assert len(told.message.encode()) <= 2048


def test_a_refusal_is_cut_like_any_other_message() -> None:
    told = judge(refused={"login": Verdict(Reason.POD_REJECTED, "x" * 50_000)})
    assert len(told.message or "") <= 2048


def test_times_are_those_of_the_evidence() -> None:
    assert (
        format_time(NOW)
        == judge(refused={"login": Verdict(Reason.INTERNAL, "no")}).tests[0].completed_at
    )


@pytest.mark.parametrize("started", [False, True])
def test_an_execution_that_is_being_deleted_starts_nothing_more(started: bool) -> None:
    """A finalizer, or a deletion in the foreground, keeps it in the API server for a while."""
    raw = raw_execution()
    raw["metadata"]["deletionTimestamp"] = raw["metadata"]["creationTimestamp"]
    deleted = judge(TestExecution.model_validate(raw), started=started)
    assert outcome(deleted) == (Phase.CANCELLED, Reason.CANCELLED_BY_USER)
    assert deleted.launch == ()


# Before the test's own container -----------------------------------------------------------------


def initializing(**states: Raw) -> Pod:
    """A pod whose init containers are in these states, and whose own container waits for them."""
    initial = [{"name": name, "state": state} for name, state in states.items()]
    waiting = {"waiting": {"reason": "PodInitializing"}}
    return pod(state=waiting, initContainerStatuses=initial)


def test_an_init_container_runs_in_the_time_of_the_execution_not_of_the_start() -> None:
    run = execution(startTimeoutSeconds=1, timeoutSeconds=60)
    seen = of_pod(initializing(seed={"running": {"startedAt": when(-20)}}), run)
    assert (seen.phase, seen.reason, seen.look_again) == (Phase.RUNNING, Reason.RUNNING, at(40))
    assert seen.tests[0].message == "Init container seed is running."
    assert seen.started_at == at(-20)
    over = of_pod(initializing(seed={"running": {"startedAt": when(-20)}}), run, now=at(40))
    assert over.reason is Reason.EXECUTION_TIMEOUT


def test_after_its_init_containers_a_test_has_the_time_to_start_once_more() -> None:
    run = execution(startTimeoutSeconds=25)
    done = initializing(seed=terminated(0, since=-28, until=-20))
    waiting = of_pod(done, run)
    assert waiting.tests[0].reason == Reason.STARTING
    assert waiting.look_again == at(5)
    assert of_pod(done, run, now=at(5)).reason is Reason.START_TIMEOUT


def test_a_test_s_own_limit_begins_with_its_own_container() -> None:
    run = execution({"name": "login", "image": "i", "timeoutSeconds": 30})
    initial = [{"name": "seed", "state": terminated(0, since=-28, until=-20)}]
    state = {"running": {"startedAt": when(-10)}}
    seen = of_pod(pod(phase="Running", state=state, initContainerStatuses=initial), run)
    assert seen.look_again == at(20)
    assert seen.tests[0].started_at == when(-28)


def test_a_sidecar_that_starts_first_is_nothing_to_wait_for() -> None:
    native = [{"name": "proxy", "restartPolicy": "Always"}]
    running = [{"name": "proxy", "state": {"running": {"startedAt": when(-20)}}}]
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no"}}
    seen = of_pod(pod(state=waiting, init=native, initContainerStatuses=running))
    assert (seen.reason, seen.trouble) == (Reason.STARTING, Reason.IMAGE_PULL_FAILED)


# Doubts ------------------------------------------------------------------------------------------


def test_time_is_not_up_by_what_was_known_before() -> None:
    """Its pod may have ended in time, unseen: that is asked first."""
    run = execution(timeoutSeconds=60, startTimeoutSeconds=31)
    for seen, late in (
        ((job(), running_pod(since=0)), 60),
        ((job(),), 31),
        ((job(), pod()), 31),
    ):
        jobs = tuple(each for each in seen if isinstance(each, Job))
        pods = tuple(each for each in seen if isinstance(each, Pod))
        for confirmed in (None, at(-1)):
            known: Any = {"jobs": jobs, "pods": pods, "now": at(late), "confirmed": confirmed}
            unsure = judge(run, **known)
            assert (unsure.phase, unsure.doubtful, unsure.look_again) == (Phase.RUNNING, True, None)
        sure = judge(run, jobs=jobs, pods=pods, now=at(late))
        assert (sure.phase, sure.doubtful) == (Phase.ERROR, False)


def test_the_time_of_one_test_is_up_only_by_what_is_seen_then() -> None:
    run = execution({"name": "login", "image": "i", "timeoutSeconds": 20})
    seen: Any = {"jobs": (job(),), "pods": (running_pod(since=0),), "now": at(21)}
    assert judge(run, **seen, confirmed=at(19)).doubtful
    assert outcome(judge(run, **seen, confirmed=at(20))) == (Phase.FAILED, Reason.TEST_TIMEOUT)


def test_a_result_that_was_sent_stands() -> None:
    sent = TestStatus.model_validate({"name": "login", "phase": "Error", "reason": "StartTimeout"})
    later = of_pod(ended_pod(code=0), sent={"login": sent})
    assert later.tests == (sent,)


def test_a_pod_that_is_gone_had_started() -> None:
    """After a restart only the Job is left, which is about to say how it ended."""
    status = stored(("login", "Running"))
    status["tests"][0]["startedAt"] = when(-100)
    known = judge(execution(status=status, startTimeoutSeconds=5), jobs=(job(),), now=at(50))
    assert (known.phase, known.tests[0].reason, known.trouble) == (Phase.RUNNING, None, None)


# What only others know ---------------------------------------------------------------------------


def test_what_events_say_is_told_and_decides_when_time_is_up() -> None:
    run = execution(startTimeoutSeconds=31)
    told = {"login": "exceeded quota: small"}
    assert judge(run, jobs=(job(),)).unexplained == ("login",)
    waiting = judge(run, jobs=(job(),), told=told)
    assert (waiting.trouble, waiting.unexplained) == (Reason.QUOTA_EXCEEDED, ("login",))
    over = judge(run, jobs=(job(),), told=told, now=at(1))
    assert outcome(over) == (Phase.ERROR, Reason.QUOTA_EXCEEDED)


def test_a_job_that_is_over_before_its_pod_was_seen_is_not_judged_until_it_is_known() -> None:
    for known in (job(condition=FAILED), replace(job(), gone=True)):
        status = stored(("login", "Running"))
        unknown = judge(execution(status=status), jobs=(known,), unproven={"login"})
        assert (unknown.phase, unknown.tests[0].phase) == (Phase.RUNNING, Phase.RUNNING)
        assert judge(execution(), jobs=(known,), unproven={"login"}).launch == ()
