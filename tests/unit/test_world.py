from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.builders import (
    COMPLETE,
    FAILED,
    NOW,
    Raw,
    at,
    raw_execution,
    raw_job,
    raw_pod,
    terminated,
    when,
)

from supercheck_operator.controller.world import Kind, Run, World, parse_execution
from supercheck_operator.execution.assess import Assessment, assess
from supercheck_operator.execution.evidence import Defaults, Evidence
from supercheck_operator.execution.verdict import Verdict
from supercheck_operator.ledger.contract import Holder, State
from supercheck_operator.queueing.line import Entry
from supercheck_operator.resources import Phase, Reason

RUNNING: Raw = {"phase": "Running", "state": {"running": {"startedAt": when(-10)}}}
OVER: Raw = {"phase": "Passed", "observedGeneration": 1}
PASSED: Raw = {"phase": "Succeeded", "state": terminated(0)}


@pytest.fixture
def world() -> World:
    return World()


def saw(world: World, *seen: tuple[Kind, Raw]) -> Run:
    """The one run there is, after ``seen``."""
    for kind, raw in seen:
        world.observe(kind, raw)
    [run] = world
    return run


def state(run: Run) -> State | None:
    """What it counts as now; a function, because it changes under the type checker's eyes."""
    return run.state


def evidence(run: Run) -> Evidence | None:
    return run.evidence(NOW, Defaults(timedelta(1), 1), drained=False, stepped=timedelta())


def an_execution(**rest: Any) -> tuple[Kind, Raw]:
    return Kind.EXECUTION, raw_execution(**rest)


def a_job(**rest: Any) -> tuple[Kind, Raw]:
    return Kind.JOB, raw_job(**rest)


def a_pod(**rest: Any) -> tuple[Kind, Raw]:
    return Kind.POD, raw_pod(**rest)


# What counts as what -----------------------------------------------------------------------------


def test_a_new_execution_waits_and_stands_in_the_line(world: World) -> None:
    run = saw(world, an_execution(priority=3, version=7, created=-60))
    assert run.holder == Holder("uid-1", "default", "team-a", State.WAITING)
    assert run.entry() == Entry("uid-1", "team-a", "run", 3, when(-60), 7)
    assert (len(world), world.get("uid-1"), world.get("other")) == (1, run, None)


def test_a_suspended_execution_is_parked(world: World) -> None:
    assert saw(world, an_execution(suspend=True)).state is State.PARKED


@pytest.mark.parametrize(
    "evidence",
    [[an_execution(status={"phase": "Running"})], [an_execution(), a_job()]],
)
def test_once_started_always_started(world: World, evidence: list[tuple[Kind, Raw]]) -> None:
    run = saw(world, *evidence)
    assert state(run) is State.RUNNING
    status = evidence[0][1]["status"]
    world.observe(Kind.EXECUTION, raw_execution(version=99, suspend=True, status=status))
    assert state(run) is State.RUNNING


def test_an_execution_whose_job_came_first_has_started(world: World) -> None:
    run = saw(world, a_job(), an_execution())
    assert run.started
    assert evidence(run) is not None


def test_a_claimed_execution_runs_before_its_job_exists(world: World) -> None:
    run = saw(world, an_execution())
    run.launching["login"] = None
    assert run.holder == Holder("uid-1", "default", "team-a", State.RUNNING)


def test_a_final_execution_frees_its_slot_only_when_its_pods_are_gone(world: World) -> None:
    run = saw(world, an_execution(), a_job(), a_pod(**RUNNING))
    world.observe(Kind.EXECUTION, raw_execution(version=50, status={"phase": "Cancelled"}))
    assert run.final
    assert state(run) is State.RUNNING
    world.observe(Kind.POD, raw_pod(version=60, **PASSED))
    assert state(run) is None


def test_a_verdict_frees_the_slot_before_it_is_written(world: World) -> None:
    run = saw(world, an_execution(), a_job(), a_pod(**PASSED))
    assert state(run) is State.RUNNING
    run.verdict = Assessment(Phase.PASSED, None, None, ())
    assert state(run) is None


def test_a_deleted_execution_with_a_live_pod_still_counts_as_running(world: World) -> None:
    run = saw(world, an_execution(), a_job(), a_pod(**RUNNING))
    world.observe(Kind.EXECUTION, raw_execution(version=50), deleted=True)
    world.observe(Kind.JOB, raw_job(version=51), deleted=True)
    assert run.holder == Holder("uid-1", "default", "team-a", State.RUNNING)
    assert evidence(run) is None
    world.observe(Kind.POD, raw_pod(version=52, **RUNNING), deleted=True)
    assert run.over
    assert state(run) is None


def test_a_pod_that_vanished_keeps_the_slot_while_its_job_may_make_another(world: World) -> None:
    run = saw(world, an_execution(), a_job(), a_pod(**RUNNING))
    run.verdict = Assessment(Phase.ERROR, None, None, ())
    world.observe(Kind.POD, raw_pod(version=50, **RUNNING), deleted=True)
    assert state(run) is State.RUNNING
    world.observe(Kind.JOB, raw_job(version=51, condition=COMPLETE))
    assert state(run) is State.RUNNING
    run.unproven = frozenset()  # there is no other
    assert state(run) is None


def test_the_jobs_of_a_deleted_execution_are_left_behind_while_they_live(world: World) -> None:
    tests = ("runs", "ended", "orphaned", "deleting")
    run = saw(world, an_execution(tests=[{"name": name, "image": "i"} for name in tests]))
    for name in ("runs", "ended"):
        saw(world, a_job(test=name))
    saw(world, a_job(test="orphaned", owned=False), a_pod(test="ended", **PASSED))
    deleting = raw_job("deleting")
    deleting["metadata"]["deletionTimestamp"] = when(0)
    world.observe(Kind.JOB, deleting)
    world.observe(Kind.EXECUTION, raw_execution(version=50), deleted=True)
    assert run.left_behind == ("runs",)


def test_left_over_pods_of_an_unknown_execution_count(world: World) -> None:
    assert saw(world, a_pod(**RUNNING)).state is State.RUNNING


def test_dead_left_overs_of_an_unknown_execution_do_not(world: World) -> None:
    world.observe(Kind.POD, raw_pod(phase="Failed"))
    world.observe(Kind.JOB, raw_job(condition=COMPLETE))
    assert [run for run in world if run.state] == []


def test_a_finished_execution_is_not_remembered(world: World) -> None:
    assert world.observe(Kind.EXECUTION, raw_execution(status=OVER)) is None
    assert len(world) == 0


def test_one_that_was_changed_afterwards_is_until_its_status_tells_so(world: World) -> None:
    """``kubectl apply`` of another priority makes a new generation, which kstatus waits for."""
    changed = raw_execution(status=OVER, version=2)
    changed["metadata"]["generation"] = 2
    run = saw(world, (Kind.EXECUTION, changed))
    assert (state(run), run.final, run.over) == (None, True, False)
    told = raw_execution(status=OVER | {"observedGeneration": 2}, version=3)
    told["metadata"]["generation"] = 2
    world.observe(Kind.EXECUTION, told)
    assert run.over


def test_a_run_is_over_when_nothing_of_it_can_change(world: World) -> None:
    run = saw(world, an_execution(), a_job(), a_pod(**PASSED))
    assert not run.over
    world.observe(Kind.EXECUTION, raw_execution(version=50, status=OVER))
    assert not run.over
    world.observe(Kind.JOB, raw_job(version=51, condition=COMPLETE))
    assert run.over


def test_objects_that_are_not_ours_are_nobodys(world: World) -> None:
    stranger = raw_pod(**RUNNING)
    stranger["metadata"]["labels"] = {"app": "web"}
    assert world.observe(Kind.POD, stranger) is None
    assert len(world) == 0


def test_a_run_that_ended_while_nobody_looked_keeps_its_evidence(world: World) -> None:
    run = saw(
        world,
        an_execution(status={"phase": "Running"}),
        a_job(version=30, condition=COMPLETE),
        a_pod(**PASSED),
    )
    assert run.jobs["login"].finished
    assert run.pods["login"].ended


def test_a_finished_execution_is_remembered_while_something_of_it_lives(world: World) -> None:
    finished = an_execution(status={"phase": "Cancelled"})
    run = saw(world, finished, a_job(version=30), a_pod(**RUNNING), finished)
    assert run.final
    assert state(run) is State.RUNNING


# Old news ----------------------------------------------------------------------------------------


def test_an_older_execution_is_no_news(world: World) -> None:
    run = saw(world, an_execution(version=9, priority=9))
    assert world.observe(Kind.EXECUTION, raw_execution(version=9, priority=1)) is None
    assert world.observe(Kind.EXECUTION, raw_execution(version=8, priority=1)) is None
    assert world.observe(Kind.EXECUTION, raw_execution(version=10, priority=1)) is run
    assert run.entry().priority == 1


def test_versions_are_numbers(world: World) -> None:
    saw(world, an_execution(version=9))
    assert world.observe(Kind.EXECUTION, raw_execution(version=10)) is not None


def test_older_jobs_and_pods_are_no_news(world: World) -> None:
    run = saw(world, a_job(version=30, condition=COMPLETE), an_execution(), a_job(version=31))
    assert world.observe(Kind.JOB, raw_job(version=30)) is None
    saw(world, a_pod(version=41, **RUNNING))
    assert world.observe(Kind.POD, raw_pod(version=40)) is None
    assert run.pods["login"].phase == "Running"


def test_what_changes_nothing_that_is_read_is_no_news_but_known(world: World) -> None:
    """Most of what is told of a pod and its Job is of that kind."""
    run = saw(world, an_execution(), a_job(version=30), a_pod(version=40, **RUNNING))
    assert world.observe(Kind.JOB, raw_job(version=31)) is None
    assert world.observe(Kind.POD, raw_pod(version=41, **RUNNING)) is None
    assert (run.jobs["login"].id.version, run.pods["login"].id.version) == (31, 41)
    assert world.observe(Kind.JOB, raw_job(version=32, condition=COMPLETE)) is run
    assert world.observe(Kind.POD, raw_pod(version=42)) is run


def test_what_is_gone_does_not_come_back(world: World) -> None:
    run = saw(world, an_execution(), a_job(version=30), a_pod(version=40))
    world.observe(Kind.JOB, raw_job(version=31), deleted=True)
    world.observe(Kind.POD, raw_pod(version=41), deleted=True)
    assert world.observe(Kind.JOB, raw_job(version=32)) is None
    assert world.observe(Kind.POD, raw_pod(version=42)) is None
    assert run.jobs["login"].gone
    assert run.pods["login"].gone


def test_a_job_that_was_made_anew_counts_and_is_stopped(world: World) -> None:
    """A creation that failed, and was tried again, is carried out when the second has gone."""
    stopped = {"phase": "Error", "completedAt": when(-1), "tests": [OVER | {"name": "login"}]}
    run = saw(world, an_execution(status=stopped), a_job(uid="second", version=30))
    run.unproven = frozenset()
    world.observe(Kind.JOB, raw_job(uid="second", version=31), deleted=True)
    run.unproven = frozenset()
    assert state(run) is None
    assert world.observe(Kind.JOB, raw_job(uid="first", version=40)) is run
    assert state(run) is State.RUNNING
    judged = evidence(run)
    assert judged is not None
    assert assess(judged).stop == ("login",)
    assert world.observe(Kind.JOB, raw_job(uid="second", version=32), deleted=True) is None
    assert state(run) is State.RUNNING


def test_a_job_is_not_wanted_again_once_it_was_seen(world: World) -> None:
    run = saw(world, an_execution())
    assert run.wants("login", 1)
    assert not run.wants("login", 2)
    world.observe(Kind.JOB, raw_job(version=30))
    assert not run.wants("login", 1)
    world.observe(Kind.JOB, raw_job(version=31), deleted=True)
    assert not run.wants("login", 1)
    world.observe(Kind.EXECUTION, raw_execution(version=50, retry=RETRY, status=RETRYING))
    assert (run.wants("login", 1), run.wants("login", 2)) == (False, True)
    world.observe(Kind.EXECUTION, raw_execution(version=51), deleted=True)
    assert not run.wants("login", 2)


def test_the_end_of_a_pod_is_for_ever(world: World) -> None:
    run = saw(world, an_execution(), a_job(), a_pod(version=40, **PASSED))
    world.observe(Kind.POD, raw_pod(version=41, **RUNNING))
    assert run.pods["login"].exit_code == 0
    world.observe(Kind.POD, raw_pod(version=42, phase="Failed"), deleted=True)
    assert (run.pods["login"].exit_code, run.pods["login"].gone) == (0, True)


def test_of_two_pods_of_one_job_the_first_that_ends_decides_and_the_other_counts(
    world: World,
) -> None:
    run = saw(world, an_execution(), a_job(), a_pod(uid="first", created=-29, **RUNNING))
    second = raw_pod(uid="second", version=50, created=-20, **RUNNING)
    assert world.observe(Kind.POD, second) is run
    assert run.pods["login"].id.uid == "first"
    world.observe(Kind.POD, raw_pod(uid="first", version=51, **PASSED))
    run.verdict = Assessment(Phase.PASSED, None, None, ())
    assert state(run) is State.RUNNING
    going = raw_pod(uid="second", version=52, created=-20, deletion=-10, **RUNNING)
    world.observe(Kind.POD, going)
    assert state(run) is State.RUNNING
    assert world.observe(Kind.POD, going, deleted=True) is run
    assert state(run) is None
    assert world.observe(Kind.POD, second) is None, "old news"
    assert (state(run), run.pods["login"].id.uid) == (None, "first")


def test_the_end_of_the_younger_pod_decides_if_it_comes_first(world: World) -> None:
    run = saw(world, an_execution(), a_job(), a_pod(uid="first", **RUNNING))
    world.observe(Kind.POD, raw_pod(uid="second", version=50, **PASSED))
    assert run.pods["login"].id.uid == "second"
    run.verdict = Assessment(Phase.PASSED, None, None, ())
    assert state(run) is State.RUNNING
    world.observe(Kind.POD, raw_pod(uid="first", version=51, phase="Failed"))
    assert (state(run), run.pods["login"].id.uid) == (None, "second")


def test_the_end_of_a_pod_that_is_taken_away_decides_nothing(world: World) -> None:
    run = saw(world, an_execution(), a_job(), a_pod(uid="first", **RUNNING))
    going = raw_pod(uid="second", version=50, deletion=-5, phase="Failed", state=terminated(143))
    assert world.observe(Kind.POD, going) is None
    assert run.pods["login"].id.uid == "first"
    assert state(run) is State.RUNNING


def test_of_two_pods_that_live_the_older_decides(world: World) -> None:
    run = saw(world, an_execution(), a_job(), a_pod(uid="young", created=-20, **RUNNING))
    world.observe(Kind.POD, raw_pod(uid="old", version=50, created=-29, **RUNNING))
    assert run.pods["login"].id.uid == "old"
    assert world.missing(Kind.POD, {"young"}, 60) == [run]
    assert (run.pods["login"].id.uid, run.pods["login"].gone) == ("old", True)
    world.observe(Kind.JOB, raw_job(version=61), deleted=True)
    assert state(run) is State.RUNNING
    assert world.missing(Kind.POD, set(), 62) == [run]
    run.verdict = Assessment(Phase.ERROR, None, None, ())
    run.unproven = frozenset()
    assert state(run) is None
    assert world.missing(Kind.POD, set(), 63) == []


def test_a_pod_more_that_has_ended_already_is_no_news(world: World) -> None:
    run = saw(world, an_execution(), a_job(), a_pod(uid="first", **PASSED))
    assert world.observe(Kind.POD, raw_pod(uid="second", version=50, phase="Failed")) is None
    assert world.observe(Kind.POD, raw_pod(uid="second", version=49, **RUNNING)) is None
    assert run.pods["login"].id.uid == "first"


def test_a_pod_more_of_an_earlier_attempt_counts_until_it_ends(world: World) -> None:
    run = saw(world, an_execution(), a_job(), a_pod(uid="first", **PASSED))
    world.observe(Kind.POD, raw_pod(uid="second", version=50, **RUNNING))
    world.observe(Kind.POD, raw_pod(uid="next", version=51, attempt=2, phase="Failed"))
    assert run.pods["login"].id.uid == "next"
    run.verdict = Assessment(Phase.FAILED, None, None, ())
    assert state(run) is State.RUNNING
    assert world.observe(Kind.POD, raw_pod(uid="second", version=52, phase="Failed")) is run
    assert world.observe(Kind.POD, raw_pod(uid="third", version=53, **RUNNING)) is None
    assert run.pods["login"].id.uid == "next"


# What vanished -----------------------------------------------------------------------------------


def test_a_job_from_before_an_interruption_keeps_its_slot_until_it_is_over_itself(
    world: World,
) -> None:
    """Its controller may not have heard of the pod that ends, and make another."""
    world.interrupted(at(-3))
    run = saw(world, an_execution(), a_job(created=-5), a_pod(version=21, **PASSED))
    run.verdict = Assessment(Phase.PASSED, None, None, ())
    assert state(run) is State.RUNNING
    saw(world, a_pod(uid="another", version=22, **RUNNING), a_pod(version=23, **PASSED))
    assert state(run) is State.RUNNING
    saw(world, a_pod(uid="another", version=24, **PASSED))
    assert state(run) is State.RUNNING
    world.observe(*a_job(version=25, created=-5, condition=COMPLETE))
    assert state(run) is None


def test_what_is_known_when_an_interruption_is_noticed_is_from_before_it(world: World) -> None:
    run = saw(world, an_execution(), a_job(created=-5), a_pod(version=21))
    world.interrupted(at(-6))  # by a clock that is a little behind
    saw(world, a_pod(version=22, **PASSED))
    run.verdict = Assessment(Phase.PASSED, None, None, ())
    assert state(run) is State.RUNNING
    world.observe(*a_job(version=23), deleted=True)
    assert state(run) is None
    world.interrupted(at(-4))
    assert state(run) is None


def test_a_job_that_may_be_from_after_an_interruption_is_over_with_its_pod(world: World) -> None:
    """Times are told in whole seconds."""
    world.interrupted(at(-4))
    run = saw(world, an_execution(), a_job(created=-5), a_pod(version=21, **PASSED))
    run.verdict = Assessment(Phase.PASSED, None, None, ())
    assert state(run) is None


def test_a_job_that_vanished_without_a_seen_pod_must_be_proven_empty(world: World) -> None:
    run = saw(world, an_execution(), a_job())
    world.observe(Kind.JOB, raw_job(version=50), deleted=True)
    assert run.unproven
    assert state(run) is State.RUNNING


def test_its_controller_may_not_hear_that_a_job_has_vanished_either(world: World) -> None:
    run = saw(world, an_execution(), a_job())
    world.observe(Kind.JOB, raw_job(version=50), deleted=True)
    world.interrupted(at(0))
    assert run.jobs["login"].may_repeat
    run.unproven = frozenset()
    assert not run.alive, "no pod has come"


def test_a_job_that_vanished_after_its_pod_must_be_proven_empty(world: World) -> None:
    """It may have made another pod in between."""
    run = saw(world, an_execution(), a_job(version=30), a_pod(version=31, **RUNNING))
    world.observe(Kind.POD, raw_pod(version=32), deleted=True)
    world.observe(Kind.JOB, raw_job(version=33), deleted=True)
    assert run.unproven
    assert state(run) is State.RUNNING


def test_a_pod_that_comes_after_its_job_has_gone_is_the_proof(world: World) -> None:
    retried = {"phase": "Running", "attempts": 2}
    run = saw(world, an_execution(retry=RETRY, status=retried), a_pod(attempt=1, **RUNNING))
    saw(world, a_job(attempt=2))
    world.observe(Kind.JOB, raw_job(attempt=2, version=50), deleted=True)
    world.observe(Kind.POD, raw_pod(attempt=1, version=51, phase="Failed"))
    assert run.unproven == {"login"}, "that one is of the attempt before"
    world.observe(Kind.POD, raw_pod(attempt=2, version=52, **RUNNING))
    assert not run.unproven
    assert state(run) is State.RUNNING
    world.observe(Kind.POD, raw_pod(attempt=2, version=53, phase="Failed"))
    assert not run.alive


def test_what_is_unproven_keeps_its_slot_when_nothing_else_does(world: World) -> None:
    run = saw(world, an_execution(), a_job())
    world.observe(Kind.JOB, raw_job(version=50), deleted=True)
    world.observe(Kind.EXECUTION, raw_execution(version=51), deleted=True)
    assert state(run) is State.RUNNING
    run.unproven = frozenset()
    assert state(run) is None


def test_a_finished_job_or_one_whose_pod_was_seen_needs_no_proof(world: World) -> None:
    run = saw(world, an_execution(tests=[{"name": t, "image": "i"} for t in ("a", "b")]))
    saw(world, a_pod(test="a", **PASSED), a_job(test="a", version=30, condition=COMPLETE))
    saw(world, a_job(test="b"), a_pod(test="b"))
    assert not run.unproven
    world.observe(Kind.JOB, raw_job("a", version=50, condition=COMPLETE), deleted=True)
    world.observe(Kind.JOB, raw_job("b", version=51), deleted=True)
    assert not run.unproven


def test_a_job_that_is_over_before_its_pod_was_seen_is_asked_about(world: World) -> None:
    run = saw(world, an_execution(), a_job(condition=FAILED))
    assert run.unproven
    run.unproven = frozenset()
    world.observe(Kind.JOB, raw_job(version=50, condition=FAILED))
    assert not run.unproven


def test_a_proven_job_is_not_proven_again_by_the_same_news(world: World) -> None:
    run = saw(world, an_execution(), a_job())
    world.missing(Kind.JOB, {}, 40)  # a sweep finds it gone ...
    run.unproven = frozenset()  # ... and that it left no pod ...
    assert world.observe(Kind.JOB, raw_job(version=39), deleted=True) is None
    assert not run.unproven  # ... before the watch tells


def test_what_a_list_does_not_show_is_gone(world: World) -> None:
    run = saw(world, an_execution(version=5), a_job(version=6), a_pod(version=7, **RUNNING))
    assert world.missing(Kind.POD, {}, 7) == [run]
    assert world.missing(Kind.JOB, {}, 7) == [run]
    assert world.missing(Kind.EXECUTION, {}, 7) == [run]
    assert run.pods["login"].gone
    assert run.jobs["login"].gone
    assert run.execution is None
    for kind in Kind:
        assert world.missing(kind, {}, 8) == []


def test_what_a_list_shows_or_is_too_old_to_show_stays(world: World) -> None:
    run = saw(world, an_execution(version=5), a_job(version=6), a_pod(version=7, **RUNNING))
    listed: dict[str, Raw] = {"uid-1": {}, "job-uid-1-login": {}, "pod-uid-1-login": {}}
    for kind in Kind:
        assert world.missing(kind, listed, 9) == []
        assert world.missing(kind, {}, 4) == []
    assert run.execution is not None


def test_what_a_list_found_missing_does_not_come_back_by_older_news(world: World) -> None:
    run = saw(world, an_execution(version=5))
    world.missing(Kind.EXECUTION, {}, 20)
    world.observe(Kind.EXECUTION, raw_execution(version=10))
    assert run.execution is None
    world.forget(run)
    assert world.observe(Kind.EXECUTION, raw_execution(version=10)) is None


# Forgotten ---------------------------------------------------------------------------------------


def test_what_is_forgotten_does_not_come_back_by_old_news(world: World) -> None:
    run = saw(world, an_execution(version=3), a_job(version=4), a_pod(version=6, **PASSED))
    saw(world, a_pod(uid="spare", version=7, **PASSED))
    world.observe(Kind.EXECUTION, raw_execution(version=8), deleted=True)
    world.forget(run)
    world.forget(run)
    assert world.observe(Kind.EXECUTION, raw_execution(version=7)) is None
    assert world.observe(Kind.JOB, raw_job(version=4)) is None
    assert world.observe(Kind.POD, raw_pod(version=5, **RUNNING)) is None
    assert world.observe(Kind.POD, raw_pod(uid="spare", version=6, **RUNNING)) is None
    assert len(world) == 0


def test_what_was_not_seen_before_its_execution_was_forgotten_is_news(world: World) -> None:
    """Watches do not wait for each other: that of Jobs may be behind that of executions."""
    run = saw(world, an_execution(version=1))
    world.observe(Kind.EXECUTION, raw_execution(version=30), deleted=True)
    world.forget(run)
    left = saw(world, a_job(version=10))
    assert (left.execution, left.state) == (None, State.RUNNING)


def test_what_is_newer_than_a_grave_is_news(world: World) -> None:
    run = saw(world, an_execution(version=5))
    world.forget(run)
    assert saw(world, a_pod(version=6, **RUNNING)).state is State.RUNNING


def test_a_grave_is_kept_until_no_older_news_can_come(world: World) -> None:
    run = saw(world, an_execution(version=5))
    world.forget(run)
    world.clear_graves(5)
    assert world.observe(Kind.EXECUTION, raw_execution(version=5)) is None
    world.clear_graves(6)
    assert world.observe(Kind.EXECUTION, raw_execution(version=5)) is not None


def test_the_deletion_of_what_was_never_known_is_no_news(world: World) -> None:
    assert world.observe(Kind.EXECUTION, raw_execution(), deleted=True) is None
    world.observe(Kind.POD, raw_pod(), deleted=True)
    assert [run for run in world if run.state] == []


# Memory ------------------------------------------------------------------------------------------


def test_scripts_are_not_kept_while_they_wait() -> None:
    raw = raw_execution(
        {"name": "a", "image": "i", "script": "x" * 1000},
        {"name": "b", "image": "i"},
        {"name": "c", "image": "i", "script": ""},
    )
    before = copy.deepcopy(raw)
    tests = parse_execution(raw).spec.tests
    assert [test.script for test in tests] == ["", None, ""]
    assert raw == before


def test_executions_that_are_alike_share_what_they_say() -> None:
    first, second = (parse_execution(raw_execution(uid=uid)) for uid in ("uid-1", "uid-2"))
    other = parse_execution(raw_execution(priority=1, status={"phase": "Running"}))
    assert first.spec is second.spec is not other.spec
    assert first.status is second.status is not other.status
    assert (first.metadata.uid, second.metadata.uid) == ("uid-1", "uid-2")
    assert (other.spec.priority, other.status.phase) == (1, Phase.RUNNING)


def test_labels_of_another_namespace_are_no_news(world: World) -> None:
    run = saw(world, an_execution(version=5))
    forged = raw_pod(version=6, **RUNNING)
    forged["metadata"]["namespace"] = "team-b"
    assert world.observe(Kind.POD, forged) is None
    assert state(run) is State.WAITING


def test_labels_without_the_job_they_imply_are_nobodys(world: World) -> None:
    """Whoever may create a pod could otherwise hold a slot, or make up a verdict."""
    run = saw(world, an_execution(version=5))
    forged = raw_pod(version=6, **RUNNING)
    forged["metadata"]["ownerReferences"] = []
    assert world.observe(Kind.POD, forged) is None
    invented = raw_pod(execution_uid="made-up", version=7, **RUNNING)
    invented["metadata"]["ownerReferences"][0]["name"] = "some-job"
    assert world.observe(Kind.POD, invented) is None
    copied = raw_job(version=8)
    copied["metadata"]["name"] = "a-copy"
    assert world.observe(Kind.JOB, copied) is None
    assert state(run) is State.WAITING


# Attempts ----------------------------------------------------------------------------------------

RETRY: Raw = {"limit": 2, "on": ["Failure"]}
RETRYING: Raw = {
    "phase": "Queued",
    "reason": "Retrying",
    "observedGeneration": 1,
    "attempts": 1,
    "tests": [
        {
            "name": "login",
            "phase": "Queued",
            "reason": "Retrying",
            "attempts": 1,
            "completedAt": when(-1),
        }
    ],
}
FAILED_POD: Raw = {"phase": "Failed", "state": terminated(1)}


def test_between_two_attempts_it_waits_apart_until_it_is_known_to_have_rested(
    world: World,
) -> None:
    run = saw(world, an_execution(), a_pod(**FAILED_POD), a_job(condition=FAILED))
    run.verdict = Assessment(Phase.QUEUED, "Retrying", None, (), attempts=1)
    assert state(run) is State.PARKED
    world.observe(Kind.EXECUTION, raw_execution(version=50, retry=RETRY, status=RETRYING))
    assert (run.attempt, run.started, run.final) == (2, False, False)
    assert state(run) is State.PARKED
    run.resting = False
    assert state(run) is State.WAITING
    assert run.waiting_since == at(4)


def test_it_keeps_its_slot_while_something_of_the_attempt_before_lives(world: World) -> None:
    run = saw(world, an_execution(retry=RETRY, status=RETRYING), a_job(), a_pod(**RUNNING))
    assert (run.attempt, run.started, state(run)) == (2, False, State.RUNNING)


def test_what_an_attempt_left_is_old_news_to_the_next(world: World) -> None:
    run = saw(world, an_execution(retry=RETRY, status=RETRYING), a_job(attempt=2, version=60))
    assert (run.started, state(run)) == (True, State.RUNNING)
    assert world.observe(Kind.JOB, raw_job(version=61, condition=FAILED)) is None
    world.observe(Kind.POD, raw_pod(attempt=2, version=62))
    assert world.observe(Kind.POD, raw_pod(version=63, **RUNNING)) is None
    assert run.pods["login"].id.attempt == 2


def test_the_next_attempt_takes_the_place_of_the_one_before(world: World) -> None:
    run = saw(world, an_execution(), a_job(condition=FAILED), a_pod(**FAILED_POD))
    world.observe(Kind.JOB, raw_job(attempt=2, version=5))
    world.observe(Kind.POD, raw_pod(attempt=2, version=6))
    assert [run.jobs["login"].id.attempt, run.pods["login"].id.attempt] == [2, 2]


def test_refusals_and_explanations_end_with_their_attempt(world: World) -> None:
    run = saw(world, an_execution(status={"phase": "Running", "attempts": 1}))
    run.refused["login"] = Verdict(Reason.QUOTA_EXCEEDED, "no")
    run.told["login"] = "no"
    world.observe(Kind.EXECUTION, raw_execution(version=50, status=RETRYING))
    assert (run.refused, run.told) == ({}, {})


def test_a_run_without_an_execution_waits_for_nothing(world: World) -> None:
    run = saw(world, a_job())
    assert (run.started, run.attempt) == (True, 0)


def test_an_orphan_is_known_by_its_uid(world: World) -> None:
    """``kubectl delete job --cascade=orphan`` takes its owner away, not the pod."""
    run = saw(world, an_execution(), a_job(), a_pod(**RUNNING))
    world.observe(Kind.JOB, raw_job(version=50), deleted=True)
    orphan = raw_pod(version=51, **PASSED)
    del orphan["metadata"]["ownerReferences"]
    assert world.observe(Kind.POD, orphan) is run
    assert state(run) is State.RUNNING
    assert not run.alive
    stranger = raw_pod(version=52, uid="another", **RUNNING)
    del stranger["metadata"]["ownerReferences"]
    assert world.observe(Kind.POD, stranger) is None


def test_each_thing_is_timed_by_the_clock_of_its_first_sight(world: World) -> None:
    hour = timedelta(hours=1)
    run = saw(world, an_execution(), a_job(), a_pod())
    world.stepped = hour
    world.observe(Kind.JOB, raw_job(version=50))
    world.observe(Kind.POD, raw_pod(version=51))
    assert [run.stepped, run.jobs["login"].stepped, run.pods["login"].stepped] == [timedelta()] * 3
    world.observe(Kind.POD, raw_pod(version=52, **RUNNING))
    assert run.pods["login"].stepped == hour
    world.stepped = 2 * hour
    world.observe(Kind.POD, raw_pod(version=53, **RUNNING))
    assert run.pods["login"].stepped == hour
