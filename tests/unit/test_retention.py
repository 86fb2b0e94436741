from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.unit.builders import COMPLETE, NOW, job, raw_execution, when

from supercheck_operator.execution.retention import Finished, expired, expired_jobs, finished
from supercheck_operator.resources import History, Raw


def ended(name: str, *, ago: float, phase: str = "Passed", **rest: Any) -> Raw:
    return raw_execution(name=name, status={"phase": phase, "completedAt": when(-ago)}, **rest)


def names(*executions: Raw, history: History | None = None) -> list[str]:
    over = expired(map(of, executions), {"default": history}, NOW)
    return sorted(each.name for each in over)


def of(raw: Raw) -> Finished:
    execution = finished(raw)
    assert execution is not None
    return execution


def test_everything_is_kept_when_nobody_says_otherwise() -> None:
    assert names(ended("old", ago=10**7)) == []
    assert names(ended("elsewhere", ago=9, queue="unknown"), history=History(passed=0)) == []


def test_its_own_ttl_ends_when_it_says() -> None:
    assert names(ended("run", ago=60, ttlSecondsAfterFinished=60)) == ["run"]
    assert names(ended("run", ago=59, ttlSecondsAfterFinished=60)) == []


def test_what_has_not_finished_never_expires() -> None:
    assert finished(raw_execution()) is None
    assert finished(raw_execution(status={})) is None
    assert finished(raw_execution(status={"phase": "Running"})) is None


def test_the_newest_are_kept() -> None:
    runs = [ended(f"ago-{ago}", ago=ago) for ago in (3, 1, 2)]
    assert names(*runs, history=History(passed=1)) == ["ago-2", "ago-3"]
    assert names(*runs, history=History(passed=0)) == ["ago-1", "ago-2", "ago-3"]


def test_everything_that_did_not_pass_counts_as_failed() -> None:
    runs = [
        ended("passed", ago=9),
        ended("failed", ago=3, phase="Failed"),
        ended("error", ago=2, phase="Error"),
        ended("cancelled", ago=1, phase="Cancelled"),
    ]
    assert names(*runs, history=History(failed=1)) == ["error", "failed"]


def test_each_namespace_keeps_its_own() -> None:
    runs = [ended("a", ago=1, namespace="a"), ended("b", ago=2, namespace="b")]
    assert names(*runs, history=History(passed=1)) == []


def test_what_expires_by_its_own_ttl_takes_no_place_in_the_history() -> None:
    runs = [ended("short", ago=1, ttlSecondsAfterFinished=0), ended("kept", ago=2)]
    assert names(*runs, history=History(passed=1)) == ["short"]


def test_without_a_time_of_its_end_its_creation_tells_its_age() -> None:
    timeless = raw_execution(name="timeless", created=-9, status={"phase": "Passed"})
    newer = ended("newer", ago=1)
    assert names(newer, timeless, history=History(passed=1)) == ["timeless"]
    assert names(raw_execution(ttlSecondsAfterFinished=0, status={"phase": "Passed"})) == []


def test_of_two_in_the_same_second_the_one_written_last_is_kept() -> None:
    """In the order of a LIST, which is by name, the older one could be kept."""
    runs = [ended("a-first", ago=1, version=9), ended("b-second", ago=1, version=10)]
    assert names(*runs, history=History(passed=1)) == ["a-first"]


def test_jobs_go_some_time_after_the_end_of_their_execution() -> None:
    minute = timedelta(minutes=1)
    over = job(condition=COMPLETE)
    assert expired_jobs([over], {"uid-1": of(ended("run", ago=60))}, minute, NOW) == [over]
    assert expired_jobs([over], {"uid-1": of(ended("run", ago=59))}, minute, NOW) == []


def test_a_job_stays_whose_execution_is_not_over_or_that_is_not_over_itself() -> None:
    assert expired_jobs([job(condition=COMPLETE)], {}, timedelta(), NOW) == []
    run = {"uid-1": of(ended("run", ago=60))}
    assert expired_jobs([job()], run, timedelta(), NOW) == []
    timeless = {"uid-1": of(raw_execution(status={"phase": "Passed"}))}
    assert expired_jobs([job(condition=COMPLETE)], timeless, timedelta(), NOW) == []
