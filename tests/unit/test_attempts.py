from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.builders import (
    NOW,
    Raw,
    at,
    ended_pod,
    execution,
    job,
    pod,
    running_pod,
    terminated,
    when,
)

from supercheck_operator.execution.assess import Assessment, assess
from supercheck_operator.execution.attempts import attempt_of_status, backoff, rests_until
from supercheck_operator.execution.evidence import Defaults, Evidence
from supercheck_operator.execution.observed import Job, Pod
from supercheck_operator.execution.verdict import Delay, Verdict
from supercheck_operator.reporting.status import due, ends, execution_status
from supercheck_operator.resources import (
    Phase,
    Reason,
    Retry,
    TestExecution,
    TestExecutionStatus,
    TestStatus,
)

DEFAULTS = Defaults(timeout=timedelta(seconds=900), max_concurrent_tests=2)
ALWAYS: Raw = {"limit": 2, "on": ["Error", "Failure"], "backoffSeconds": 5}


def judge(run: TestExecution, *seen: Job | Pod, **evidence: Any) -> Assessment:
    known: dict[str, Any] = {
        "execution": run,
        "now": NOW,
        "defaults": DEFAULTS,
        "started": True,
        "jobs": {each.id.test: each for each in seen if isinstance(each, Job)},
        "pods": {each.id.test: each for each in seen if isinstance(each, Pod)},
    }
    known |= evidence
    return assess(Evidence(**{"confirmed": known["now"]} | known))


def written(run: TestExecution, assessment: Assessment) -> TestExecution:
    """``run`` with ``assessment`` stored in its status."""
    status = TestExecutionStatus.model_validate(execution_status(run, assessment, NOW))
    return run.model_copy(update={"status": status})


def failed_once(*tests: str, until: float = -1, **spec: Any) -> TestExecution:
    """One whose first attempt has failed in its first test, and is stored so."""
    run = execution(*tests, **{"retry": ALWAYS} | spec)
    names = [test.name for test in run.spec.tests]
    pods = [ended_pod(name, code=int(name == names[0]), until=until) for name in names]
    return written(run, judge(run, *map(job, names), *pods))


# The end of an attempt ---------------------------------------------------------------------------


def test_a_failed_attempt_goes_back_to_the_queue_and_says_so() -> None:
    run = execution(retry=ALWAYS)
    over = judge(run, job(), ended_pod(code=3, until=-1))
    assert (over.phase, over.reason, over.attempts) == (Phase.QUEUED, Reason.RETRYING, 1)
    assert over.resting
    assert over.message == (
        f"Attempt 1 of 3 ended with TestFailed; the next can begin at {when(4)}. Exit code 3."
    )
    [test] = over.tests
    assert (test.phase, test.reason, test.message) == (
        Phase.QUEUED,
        Reason.RETRYING,
        "Exit code 3.",
    )
    assert (test.attempts, test.exit_code, test.completed_at) == (1, 3, when(-1))
    assert (over.started_at, over.completed_at, over.launch) == (None, None, ())
    assert ends(run, over)
    assert due(run, over, now=NOW, written=NOW) == NOW


@pytest.mark.parametrize(
    ("on", "code", "again"),
    [
        (["Failure"], 1, True),
        (["Error"], 1, False),
        (["Error", "Failure"], 1, True),
        ([], 1, False),
        (["Failure"], 0, False),
    ],
)
def test_only_what_is_said_is_tried_again(on: list[str], code: int, again: bool) -> None:
    run = execution(retry={"limit": 1, "on": on})
    assert (judge(run, job(), ended_pod(code=code)).reason == Reason.RETRYING) is again


def test_the_time_of_the_next_attempt_does_not_begin_with_that_of_the_one_before() -> None:
    """Not even while its Job is still being asked for."""
    run = failed_once(until=-1)
    trouble = Delay(Reason.INTERNAL, "The API server does not answer.")
    hindered = judge(run, launching={"login": trouble}, now=at(10_000))
    assert (hindered.phase, hindered.reason) == (Phase.RUNNING, Reason.STARTING)
    assert hindered.started_at is None


def test_on_may_be_written_as_yaml_reads_it_without_quotes() -> None:
    run = execution(retry={"limit": 1, "on": ["Error"], "true": ["Failure"]})
    assert judge(run, job(), ended_pod(code=1)).reason == Reason.RETRYING
    assert judge(run, job(), ended_pod(code=137, reason="OOMKilled")).phase is Phase.ERROR


def test_an_error_is_tried_again_by_default() -> None:
    run = execution(retry={"limit": 1})
    killed = judge(run, job(), ended_pod(code=137, reason="OOMKilled"))
    assert (killed.phase, killed.reason) == (Phase.QUEUED, Reason.RETRYING)
    assert judge(execution(), job(), ended_pod(code=137, reason="OOMKilled")).phase is Phase.ERROR


def test_what_can_never_be_accepted_is_not_tried_again() -> None:
    refused = {"login": Verdict(Reason.INVALID_TEMPLATE, "no")}
    assert judge(execution(retry=ALWAYS), refused=refused).phase is Phase.ERROR


@pytest.mark.parametrize("spec", [{"cancel": True}, {}])
def test_what_is_cancelled_or_drained_is_not_tried_again(spec: Raw) -> None:
    run = execution(retry=ALWAYS, **spec)
    assert judge(run, job(), running_pod(), drained=not spec).phase is Phase.CANCELLED


def test_an_attempt_beyond_the_limit_is_the_last() -> None:
    run = failed_once(retry=ALWAYS | {"limit": 1})
    second = job(attempt=2), ended_pod(code=1, attempt=2)
    over = judge(run, *second)
    assert (over.phase, over.attempts) == (Phase.FAILED, 2)
    assert over.tests[0].attempts == 2


def test_what_passed_is_not_run_again_and_nothing_counts_twice() -> None:
    run = failed_once("a", "b")
    assert run.status.summary is not None
    assert (run.status.summary.passed, run.status.summary.failed) == (1, 0)
    again = judge(run)
    assert again.launch == ("a",)
    over = judge(run, job("a", attempt=2), ended_pod("a", attempt=2))
    assert (over.phase, over.attempts) == (Phase.PASSED, 2)
    assert [(test.phase, test.attempts) for test in over.tests] == [
        (Phase.PASSED, 2),
        (Phase.PASSED, 1),
    ]


def test_an_error_is_tried_again_though_another_test_has_failed_for_good() -> None:
    run = execution("a", "b", retry={"limit": 1, "on": ["Error"]})
    seen = job("a"), job("b"), ended_pod("a", code=1), ended_pod("b", code=1, reason="OOMKilled")
    over = judge(run, *seen)
    assert over.reason == Reason.RETRYING
    assert [test.phase for test in over.tests] == [Phase.FAILED, Phase.QUEUED]


def test_with_fail_fast_a_failure_for_good_ends_it_all() -> None:
    run = execution("a", "b", retry={"limit": 1, "on": ["Error"]}, failFast=True)
    seen = job("a"), job("b"), ended_pod("a", code=1), ended_pod("b", code=1, reason="OOMKilled")
    assert judge(run, *seen).phase is Phase.ERROR


def test_what_fail_fast_cancelled_runs_again_too() -> None:
    run = execution("a", "b", "c", failFast=True, retry=ALWAYS)
    over = judge(run, job("a"), ended_pod("a", code=1))
    assert over.reason == Reason.RETRYING
    again = judge(written(run, over))
    assert again.launch == ("a", "b")


def test_an_execution_that_took_too_long_is_an_error_that_may_be_tried_again() -> None:
    run = execution(retry=ALWAYS, timeoutSeconds=5)
    assert judge(run, job(), running_pod(since=-6)).reason == Reason.RETRYING


# Between attempts --------------------------------------------------------------------------------


def test_it_rests_until_its_backoff_is_over_and_then_stands_in_the_line() -> None:
    run = failed_once(until=-1)
    assert rests_until(run) == at(4)
    resting = judge(run, started=False)
    assert (resting.phase, resting.reason, resting.look_again) == (
        Phase.QUEUED,
        Reason.RETRYING,
        at(4),
    )
    assert resting.message == run.status.message
    rested = judge(run, started=False, now=at(4))
    assert (rested.reason, rested.resting, rested.attempts) == (Reason.WAITING, False, 1)
    assert due(run, resting, now=NOW, written=None) is None
    assert due(run, rested, now=at(4), written=None) is None


def test_a_suspended_one_says_so_while_it_rests() -> None:
    assert judge(failed_once(suspend=True), started=False).reason == Reason.SUSPENDED


def test_the_backoff_doubles_up_to_five_minutes() -> None:
    seconds = [backoff(Retry(backoff_seconds=50), n).total_seconds() for n in range(1, 5)]
    assert seconds == [50, 100, 200, 300]
    assert backoff(Retry(backoff_seconds=0), 10) == timedelta()


def test_it_can_wait_too_long_once_more_but_only_from_the_end_of_its_rest() -> None:
    run = failed_once(queueTimeoutSeconds=30, created=-600)
    assert judge(run, started=False, now=at(33)).phase is Phase.QUEUED
    over = judge(run, started=False, now=at(34))
    assert (over.phase, over.reason, over.attempts) == (Phase.ERROR, Reason.QUEUE_TIMEOUT, 1)


def test_it_can_be_cancelled_while_it_rests() -> None:
    run = failed_once(cancel=True)
    over = judge(run, started=False)
    assert (over.phase, over.attempts) == (Phase.CANCELLED, 1)
    assert over.tests[0].reason == Reason.CANCELLED_BY_USER


# The next attempt --------------------------------------------------------------------------------


def test_what_an_earlier_attempt_left_is_no_evidence_for_the_next() -> None:
    run = failed_once()
    again = judge(run, job(), ended_pod(code=1))
    assert (again.phase, again.launch, again.attempts) == (Phase.RUNNING, ("login",), 2)
    assert (again.started_at, again.stop) == (None, ())


def test_a_job_whose_pod_is_not_yet_seen_counts_whatever_its_predecessor_left() -> None:
    run = execution("a", "b", retry=ALWAYS, failFast=True, maxConcurrentTests=1)
    seen = ended_pod("a", code=1)
    run = written(run, judge(run, job("a"), seen))
    assert judge(run, job("a"), seen).launch == ("a",)
    assert judge(run, job("a", attempt=2), seen).launch == ()


def test_what_an_earlier_attempt_left_alive_is_stopped_and_waited_for() -> None:
    run = failed_once()
    waiting = judge(run, job(), running_pod())
    assert (waiting.launch, waiting.stop) == ((), ("login",))
    assert judge(run, job(), running_pod(), started=False).stop == ("login",)


def test_the_clocks_of_an_attempt_are_its_own() -> None:
    run = failed_once("a", "b", until=-500, timeoutSeconds=60)
    again = judge(run, job("a", attempt=2), running_pod("a", since=-10, attempt=2))
    assert (again.started_at, again.look_again) == (at(-10), at(50))
    [first, _] = again.tests
    assert (first.started_at, first.completed_at, first.attempts) == (when(-10), None, 2)
    goes_on = judge(written(run, again), job("a", attempt=2), running_pod("a", attempt=2))
    assert (goes_on.started_at, goes_on.attempts, goes_on.tests[0].attempts) == (at(-10), 2, 2)


def test_a_pod_that_waits_again_shows_nothing_of_its_predecessor() -> None:
    again = judge(failed_once(), job(attempt=2), pod(attempt=2))
    [test] = again.tests
    assert (test.exit_code, test.started_at, test.completed_at) == (None, None, None)


def test_news_of_an_execution_that_is_older_than_its_jobs_decides_nothing() -> None:
    run = execution(retry=ALWAYS, status={"phase": "Running", "attempts": 1})
    late = judge(run, job(attempt=2), running_pod(attempt=2))
    assert (late.phase, late.attempts, late.launch, late.stop) == (Phase.RUNNING, 1, (), ())


@pytest.mark.parametrize(
    ("phase", "attempts", "attempt"),
    [
        ("Queued", None, 1),
        ("Queued", 1, 2),
        ("Running", 1, 1),
        ("Running", 2, 2),
        ("Running", None, 1),
    ],
)
def test_which_attempt_it_is_follows_from_the_status(
    phase: str, attempts: int | None, attempt: int
) -> None:
    status = TestExecutionStatus(phase=Phase(phase), attempts=attempts)
    assert attempt_of_status(status) == attempt


def test_without_a_retry_nobody_rests() -> None:
    tests = [TestStatus(name="login", reason=Reason.RETRYING, completed_at=when(-1))]
    run = execution().model_copy(
        update={"status": TestExecutionStatus(phase=Phase.QUEUED, attempts=1, tests=tests)}
    )
    assert rests_until(run) is None


# A clock that is set -----------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [-2, 2])
def test_what_is_timed_goes_on_as_if_nobody_had_set_the_clock(hours: int) -> None:
    step = timedelta(hours=hours)
    run = execution({"name": "login", "image": "i", "timeoutSeconds": 30}, timeoutSeconds=60)
    before = judge(run, job(), running_pod(since=-10))
    after = judge(run, job(), running_pod(since=-10), now=NOW + step, stepped=step)
    assert before.look_again == at(20)
    assert after.look_again == at(20) + step


@pytest.mark.parametrize("hours", [-2, 2])
def test_what_began_after_the_clock_was_set_is_timed_by_the_new_one(hours: int) -> None:
    step = timedelta(hours=hours)
    seen = replace(running_pod(since=-10), stepped=step)
    run = execution(timeoutSeconds=60)
    after = judge(run, job(), seen, stepped=step, stepped_before=step)
    assert after.look_again == at(50)


def test_waiting_starting_and_resting_are_timed_alike() -> None:
    step = timedelta(hours=1)
    waits = judge(execution(queueTimeoutSeconds=70), started=False, now=NOW + step, stepped=step)
    assert waits.look_again == at(10) + step
    starts = judge(execution(startTimeoutSeconds=40), job(), now=NOW + step, stepped=step)
    assert starts.look_again == at(10) + step
    rests = judge(failed_once(until=-1), started=False, now=NOW + step, stepped=step)
    assert rests.look_again == at(4) + step


def test_a_container_that_failed_before_the_test_ends_an_attempt_too() -> None:
    status = [{"name": "seed", "state": terminated(4, message="no database")}]
    seen = pod(phase="Failed", initContainerStatuses=status)
    over = judge(execution(retry=ALWAYS), job(), seen)
    assert over.tests[0].message == "Init container seed failed. no database"
    assert over.reason == Reason.RETRYING
