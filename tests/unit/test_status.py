from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from tests.unit.builders import NOW, Raw, at, execution, queue, when

from supercheck_operator.execution.assess import Assessment
from supercheck_operator.ledger.capacity import Stats
from supercheck_operator.queueing.line import Entry
from supercheck_operator.reporting.status import (
    due,
    ends,
    execution_status,
    may_write,
    queue_status,
    summarize,
)
from supercheck_operator.resources import Phase, Reason, TestStatus


def assessment(phase: Phase, reason: str | None = None, **rest: Any) -> Assessment:
    tests = rest.pop("tests", (TestStatus(name="login", phase=phase, reason=reason),))
    return Assessment(phase=phase, reason=reason, message=None, tests=tests, **rest)


STARTING = assessment(Phase.RUNNING, Reason.STARTING)
RUNNING = assessment(Phase.RUNNING, Reason.RUNNING)
PASSED = assessment(Phase.PASSED)


def due_of(
    new: Assessment, status: Raw | None = None, written: datetime | None = None
) -> datetime | None:
    return due(execution(status=status), new, now=NOW, written=written)


def stored(reason: str, phase: str = "Running", **test: Any) -> Raw:
    return {
        "phase": "Running",
        "reason": reason,
        "tests": [{"name": "login", "phase": phase, "reason": reason} | test],
    }


# When to write -----------------------------------------------------------------------------------


def test_what_waits_is_never_written() -> None:
    assert due_of(assessment(Phase.QUEUED, Reason.WAITING)) is None


def test_what_is_final_is_never_written_again() -> None:
    assert due_of(PASSED, {"phase": "Failed", "observedGeneration": 1}) is None


def test_what_is_final_says_once_more_so_when_its_spec_was_changed() -> None:
    """Or kstatus would wait for it for ever."""
    assert due_of(PASSED, {"phase": "Passed", "observedGeneration": 0}) == NOW


def test_the_end_is_written_at_once_however_short_ago_the_last_write_was() -> None:
    assert due_of(PASSED, stored("Running"), written=NOW) == NOW
    assert due_of(PASSED) == NOW


def test_that_it_runs_is_written_at_once() -> None:
    assert due_of(RUNNING) == NOW


def test_a_start_without_trouble_is_given_time_to_become_running() -> None:
    assert due_of(STARTING) == at(10)
    assert due_of(assessment(Phase.RUNNING, Reason.STARTING, starting_since=at(-4))) == at(6)


def test_trouble_is_told_at_once() -> None:
    assert due_of(assessment(Phase.RUNNING, Reason.STARTING, trouble=Reason.UNSCHEDULABLE)) == NOW


def test_no_news_is_no_write() -> None:
    assert due_of(RUNNING, stored("Running")) is None


def test_a_result_is_news_that_waits_a_little_for_those_of_other_tests() -> None:
    tests = (TestStatus(name="login", phase=Phase.PASSED), TestStatus(name="b"))
    news = assessment(Phase.RUNNING, Reason.RUNNING, tests=tests)
    assert due_of(news, stored("Running")) == NOW
    assert due_of(news, stored("Running"), written=at(-0.25)) == at(2.75)
    assert due_of(news, stored("Running"), written=at(-5)) == NOW


def test_a_result_whose_pod_must_be_stopped_does_not_wait_for_others() -> None:
    tests = (TestStatus(name="login", phase=Phase.FAILED), TestStatus(name="b"))
    news = assessment(Phase.RUNNING, Reason.RUNNING, tests=tests, pressing=True)
    assert due_of(news, stored("Running"), written=at(-0.25)) == at(0.75)


def test_another_reason_is_news() -> None:
    assert due_of(RUNNING, stored("Starting")) == NOW


def test_a_detail_that_is_no_result_can_wait() -> None:
    detail = (TestStatus(name="login", phase=Phase.RUNNING, reason="Running", pod="pod-1"),)
    news = assessment(Phase.RUNNING, Reason.RUNNING, tests=detail)
    assert due_of(news, stored("Running")) == NOW
    assert due_of(news, stored("Running"), written=at(-4)) == at(6)


# What is written ---------------------------------------------------------------------------------


def conditions(status: Raw) -> dict[str, str]:
    return {condition["type"]: condition["status"] for condition in status["conditions"]}


@pytest.mark.parametrize(
    ("phase", "finished", "succeeded", "ready", "reconciling", "stalled"),
    [
        (Phase.QUEUED, "False", "Unknown", "False", "True", "False"),
        (Phase.RUNNING, "False", "Unknown", "False", "True", "False"),
        (Phase.PASSED, "True", "True", "True", "False", "False"),
        (Phase.FAILED, "True", "False", "False", "False", "True"),
        (Phase.ERROR, "True", "False", "False", "False", "True"),
        (Phase.CANCELLED, "True", "False", "False", "False", "True"),
    ],
)
def test_each_phase_has_its_conditions(
    phase: Phase, finished: str, succeeded: str, ready: str, reconciling: str, stalled: str
) -> None:
    status = execution_status(execution(), assessment(phase), NOW)
    assert conditions(status) == {
        "Finished": finished,
        "Succeeded": succeeded,
        "Ready": ready,
        "Reconciling": reconciling,
        "Stalled": stalled,
    }


def test_a_status_tells_everything_of_the_contract() -> None:
    tests = (
        TestStatus(name="a", phase=Phase.PASSED, exit_code=0, attempts=1),
        TestStatus(name="b", phase=Phase.FAILED, exit_code=1, attempts=1, reason="TestFailed"),
    )
    verdict = Assessment(
        Phase.FAILED,
        Reason.TEST_FAILED,
        "b failed",
        tests,
        attempts=1,
        started_at=at(-9),
        completed_at=at(-1),
    )
    status = execution_status(execution("a", "b"), verdict, NOW)
    [condition] = [c for c in status.pop("conditions") if c["type"] == "Succeeded"]
    assert condition == {
        "type": "Succeeded",
        "status": "False",
        "reason": "TestFailed",
        "message": "b failed",
        "observedGeneration": 1,
        "lastTransitionTime": when(0),
    }
    assert status == {
        "phase": "Failed",
        "reason": "TestFailed",
        "message": "b failed",
        "observedGeneration": 1,
        "startedAt": when(-9),
        "completedAt": when(-1),
        "attempts": 1,
        "summary": {
            "total": 2,
            "passed": 1,
            "failed": 1,
            "error": 0,
            "cancelled": 0,
            "running": 0,
        },
        "progress": "1/2",
        "tests": [
            {"name": "a", "phase": "Passed", "exitCode": 0, "attempts": 1},
            {
                "name": "b",
                "phase": "Failed",
                "reason": "TestFailed",
                "exitCode": 1,
                "attempts": 1,
            },
        ],
    }


def test_what_an_earlier_status_said_is_removed_by_null() -> None:
    status = execution_status(execution(), assessment(Phase.PASSED), NOW)
    for field in ("reason", "message", "startedAt", "completedAt"):
        assert status[field] is None


def test_a_condition_without_a_reason_of_its_own_has_the_phase_for_one() -> None:
    status = execution_status(execution(), PASSED, NOW)
    assert {condition["reason"] for condition in status["conditions"]} == {"Passed"}


def test_a_condition_keeps_the_time_of_its_last_change() -> None:
    before = execution_status(execution(), RUNNING, at(-60))
    after = execution_status(execution(status=before), PASSED, NOW)
    times = {c["type"]: c["lastTransitionTime"] for c in after["conditions"]}
    assert times == {
        "Finished": when(0),
        "Succeeded": when(0),
        "Ready": when(0),
        "Reconciling": when(0),
        "Stalled": when(-60),
    }


def test_a_summary_counts_every_test_once() -> None:
    summary = summarize([TestStatus(name=f"t{n}", phase=phase) for n, phase in enumerate(Phase)])
    assert summary.model_dump() == {
        "total": 6,
        "passed": 1,
        "failed": 1,
        "error": 1,
        "cancelled": 1,
        "running": 1,
    }


# The status of a queue ---------------------------------------------------------------------------


def test_a_queue_tells_its_counts_and_who_is_next() -> None:
    upcoming = [Entry("u1", "a", "one", 0, when(0), 1), Entry("u2", "b", "two", 0, when(0), 2)]
    status = queue_status(queue(), Stats(5, 5, 2, 50), 42.5, upcoming, NOW)
    assert conditions(status) == {"Ready": "True", "Saturated": "False"}
    del status["conditions"]
    assert status == {
        "observedGeneration": 3,
        "running": 5,
        "runningCapacity": 5,
        "queued": 2,
        "queuedCapacity": 50,
        "usage": {"running": "5/5", "queued": "2/50"},
        "slotSeconds": 42.5,
        "upcoming": [
            {"namespace": "a", "name": "one", "position": 1},
            {"namespace": "b", "name": "two", "position": 2},
        ],
    }


@pytest.mark.parametrize(
    ("figures", "saturated"),
    [
        (Stats(5, 5, 50, 50), "True"),
        (Stats(5, 2, 60, 50), "True"),
        (Stats(4, 5, 50, 50), "False"),
        (Stats(5, 5, 49, 50), "False"),
    ],
)
def test_a_queue_is_saturated_when_it_would_refuse(figures: Stats, saturated: str) -> None:
    assert conditions(queue_status(queue(), figures, None, [], NOW))["Saturated"] == saturated


def test_a_held_queue_with_free_slots_is_saturated_when_its_places_are_taken() -> None:
    held, full = queue(stopPolicy="Hold"), Stats(0, 5, 50, 50)
    assert conditions(queue_status(held, full, None, [], NOW))["Saturated"] == "True"
    assert (
        conditions(queue_status(held, Stats(0, 5, 49, 50), None, [], NOW))["Saturated"] == "False"
    )


@pytest.mark.parametrize(
    ("policy", "ready", "reason"),
    [("None", "True", "Open"), ("Hold", "False", "Hold"), ("Closed", "False", "Closed")],
)
def test_a_queue_is_ready_while_nothing_stops_it(policy: str, ready: str, reason: str) -> None:
    status = queue_status(queue(stopPolicy=policy), Stats(0, 5, 0, 50), None, [], NOW)
    [condition] = [c for c in status["conditions"] if c["type"] == "Ready"]
    assert (condition["status"], condition["reason"]) == (ready, reason)


def test_what_is_not_known_any_more_is_removed() -> None:
    """In a merge patch, what is left out would stay."""
    assert queue_status(queue(), Stats(0, 5, 0, 50), None, [], NOW)["slotSeconds"] is None


def test_an_emptied_queue_tells_that_nobody_is_next() -> None:
    assert queue_status(queue(), Stats(0, 5, 0, 50), None, [], NOW)["upcoming"] == []


# What may follow ---------------------------------------------------------------------------------


def test_only_what_the_machine_knows_may_be_written() -> None:
    assert may_write(execution(), RUNNING)
    assert not may_write(execution(status={"phase": "Failed", "observedGeneration": 1}), PASSED)
    assert not may_write(execution(status={"phase": "Running", "attempts": 2}), RUNNING)


def test_what_is_final_may_only_say_the_same_of_a_newer_spec() -> None:
    older = execution(status={"phase": "Passed", "observedGeneration": 0})
    assert may_write(older, PASSED)
    assert not may_write(older, assessment(Phase.FAILED, Reason.TEST_FAILED))
    assert not may_write(execution(status={"phase": "Passed", "observedGeneration": 1}), PASSED)


def test_an_attempt_ends_once() -> None:
    resting = assessment(Phase.QUEUED, Reason.RETRYING, attempts=1)
    assert ends(execution(status={"phase": "Running", "attempts": 1}), resting)
    assert ends(execution(), resting)
    assert not ends(execution(status={"phase": "Queued", "attempts": 1}), resting)
    assert not ends(execution(status={"phase": "Passed"}), PASSED)
    assert not ends(execution(), RUNNING)
