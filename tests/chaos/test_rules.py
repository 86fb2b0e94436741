"""The witness notices: what must not be is written on purpose, and each rule finds its own."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any, cast

import pytest
from tests.chaos.etcd import Change
from tests.chaos.faults import Injected
from tests.chaos.load import Load
from tests.chaos.report import Report
from tests.chaos.rules import BELIEVED, Judge

if TYPE_CHECKING:
    from harness.api import Api

Raw = dict[str, Any]
_MINUTES = 2 * BELIEVED


class World:
    """Writes, one after the other, shown to a judge."""

    def __init__(self, **queue: object) -> None:
        self.judge = Judge()
        self.now = 0.0
        self._revision = 0
        self._stored: dict[tuple[str, str], Raw] = {}
        self.limit(runningCapacity=1, queuedCapacity=1, **queue)

    def write(self, kind: str, name: str, after: Raw | None) -> None:
        before = self._stored.pop((kind, name), None)
        if after is not None:
            self._stored[kind, name] = after
        self._revision += 1
        self.judge.see(Change(self._revision, self.now, kind, before, after))

    def limit(self, **spec: object) -> None:
        self.write("executionqueues", "q", {"metadata": {"name": "q"}, "spec": spec})

    def execution(self, name: str, phase: str = "Queued", *, tests: int = 1, **rest: Any) -> None:
        status = {"phase": phase, **rest.pop("status", {})}
        named = [{"name": f"t{n}"} for n in range(tests)]
        self.write(
            "testexecutions",
            name,
            {
                "metadata": {"uid": name, "name": name, "namespace": rest.pop("namespace", "n")},
                "spec": {"queue": "q", "tests": named, **rest},
                "status": status,
            },
        )

    def job(self, execution: str, test: str = "t0", attempt: int = 1, *, ends: bool = False) -> str:
        name = f"{execution}-{test}-{attempt}"
        ended = [{"type": "Complete", "status": "True"}] if ends else []
        labels = {"supercheck.io/execution-uid": execution, "supercheck.io/test": test}
        metadata = {"uid": name, "name": name, "labels": labels}
        self.write("jobs", name, {"metadata": metadata, "status": {"conditions": ended}})
        return name

    def pod(self, job: str, phase: str, suffix: str = "") -> None:
        execution, test, _ = job.split("-")
        labels = {"supercheck.io/execution-uid": execution, "supercheck.io/test": test}
        name = job + suffix
        metadata = {"uid": name, "name": name, "labels": labels, "ownerReferences": [{"uid": job}]}
        self.write("pods", name, {"metadata": metadata, "status": {"phase": phase}})

    def runs(self, execution: str, phase: str, test: str = "t0", attempt: int = 1) -> None:
        self.pod(self.job(execution, test, attempt), phase)

    @property
    def told(self) -> str:
        return " | ".join(map(str, self.judge.violations))


def test_a_life_as_it_should_be_is_no_violation() -> None:
    world = World()
    world.execution("a", retry={"limit": 1})
    world.execution("b")
    world.runs("a", "Running")
    world.execution("a", "Running", retry={"limit": 1})
    world.pod("a-t0-1", "Failed")
    world.execution("a", "Queued", retry={"limit": 1}, status={"attempts": 1})
    world.runs("b", "Succeeded")
    world.execution("b", "Passed")
    world.runs("a", "Succeeded", attempt=2)
    world.execution("a", "Passed", retry={"limit": 1}, status={"attempts": 2})
    assert world.told == ""
    assert world.judge.at_rest() == []
    assert world.judge.ends == {"Passed": 2}
    assert world.judge.most_live == {"q": 1}


def test_one_too_many_that_runs() -> None:
    world = World()
    world.execution("a")
    world.execution("b")
    world.runs("a", "Running")
    world.runs("b", "Running")
    assert world.told == "at 6: 2 live in q, room is 1"


def test_a_slot_is_taken_from_the_job_on_and_free_with_the_end_of_its_pod() -> None:
    world = World()
    world.execution("a")
    world.execution("b")
    job = world.job("a")
    world.job("b")
    assert world.told == "at 5: 2 live in q, room is 1"
    world = World()
    world.execution("a")
    world.execution("b")
    world.pod(job, "Running")
    world.pod(job, "Succeeded")
    world.job("b")
    assert world.told == ""


def test_one_too_many_of_a_namespace_that_runs() -> None:
    world = World(perNamespace={"runningCapacity": 1})
    world.limit(runningCapacity=5, queuedCapacity=5, perNamespace={"runningCapacity": 1})
    world.now += _MINUTES
    for name, namespace in (("a", "n"), ("b", "m"), ("c", "n")):
        world.execution(name, namespace=namespace)
    world.runs("a", "Running")
    world.runs("b", "Running")
    assert world.told == ""
    world.runs("c", "Running")
    assert "2 live in q of n, room is 1" in world.told


def test_one_too_many_that_is_admitted() -> None:
    world = World()
    world.execution("a")
    world.execution("b")
    world.execution("c")
    assert world.told.startswith("at 4: 3 wait or run in q, room is 2")


def test_a_cancelled_one_makes_room_and_so_does_one_whose_tests_have_all_ended() -> None:
    world = World()
    world.execution("a")
    world.execution("b")
    world.execution("b", cancel=True)
    world.execution("c")
    world.runs("a", "Succeeded")
    world.execution("d")
    assert world.told == ""


def test_a_lowered_limit_is_in_force_when_everybody_must_know_it() -> None:
    world = World()
    world.limit(runningCapacity=2, queuedCapacity=5)
    for name in ("a", "b", "c"):
        world.execution(name)
    world.limit(runningCapacity=1, queuedCapacity=5)
    world.runs("a", "Running")
    world.runs("b", "Running")
    assert world.told == ""
    world.now += _MINUTES
    world.pod("a-t0-1", "Succeeded")
    world.runs("c", "Running")
    assert "2 live in q, room is 1" in world.told


def test_who_has_a_slot_keeps_it_for_all_tests_when_the_limit_is_lowered() -> None:
    world = World()
    world.limit(runningCapacity=2, queuedCapacity=5)
    world.execution("a", tests=3)
    world.execution("b")
    world.runs("a", "Succeeded")
    world.runs("b", "Running")
    world.limit(runningCapacity=1, queuedCapacity=5)
    world.now += _MINUTES
    world.runs("a", "Running", "t1")
    assert world.told == ""
    world.execution("c")
    world.pod("b-t0-1", "Succeeded")
    world.pod("a-t1-1", "Succeeded")
    world.runs("c", "Running")  # "a" is between two of its tests: nobody can say whether it ends
    assert world.told == ""
    world.runs("a", "Running", "t2")
    assert world.told == "at 17: 2 live in q, room is 1"


def test_beside_more_that_run_than_a_lowered_limit_as_many_wait_as_ever() -> None:
    world = World()
    world.limit(runningCapacity=3, queuedCapacity=1)
    for name in ("a", "b", "c"):
        world.execution(name)
        world.runs(name, "Running")
    world.limit(runningCapacity=1, queuedCapacity=1)
    world.now += _MINUTES
    world.execution("d")
    assert world.told == ""
    world.execution("e")
    assert "5 wait or run in q, room is 4" in world.told


def test_a_free_slot_is_free_though_more_are_suspended_than_may_wait() -> None:
    world = World()
    world.limit(runningCapacity=1, queuedCapacity=2)
    world.execution("a", suspend=True)
    world.execution("b", suspend=True)
    world.limit(runningCapacity=1, queuedCapacity=0)
    world.now += _MINUTES
    world.execution("c")
    assert world.told == ""
    world.execution("d")
    assert "4 wait or run in q, room is 3" in world.told


@pytest.mark.parametrize("change", [{"phase": "Failed"}, {"status": {"message": "else"}}])
def test_an_end_that_changes(change: Raw) -> None:
    world = World()
    world.execution("a")
    world.runs("a", "Succeeded")
    world.execution("a", "Passed")
    world.execution("a", change.get("phase", "Passed"), status=change.get("status", {}))
    assert "of n/a changed after its end" in world.told


def test_two_jobs_of_one_test_that_live_at_once() -> None:
    world = World()
    world.execution("a", retry={"limit": 1})
    world.runs("a", "Running")
    world.runs("a", "Running", attempt=2)
    assert "gets a Job while another, or a pod of it, lives" in world.told


def test_a_test_that_runs_again_after_it_has_passed_or_more_often_than_it_may() -> None:
    world = World()
    world.execution("a")
    world.runs("a", "Succeeded")
    world.runs("a", "Succeeded", attempt=2)
    assert "gets its Job no. 2, retries: 0" in world.told
    assert "runs again although it has passed" in world.told


def test_a_job_after_the_end() -> None:
    world = World()
    world.execution("a", "Cancelled", cancel=True)
    world.job("a")
    assert "t0 of n/a gets a Job after its end" in world.told


@pytest.mark.parametrize(
    ("phase", "pod"), [("Passed", "Failed"), ("Failed", "Succeeded"), ("Error", "Succeeded")]
)
def test_an_end_that_is_not_that_of_its_pods(phase: str, pod: str) -> None:
    world = World()
    world.execution("a")
    world.runs("a", pod)
    world.execution("a", phase)
    assert f"n/a is {phase}, None: None, its pods" in world.told


def test_a_cancellation_that_nobody_has_asked_for() -> None:
    world = World()
    world.execution("a")
    world.execution("a", "Cancelled")
    assert "n/a is Cancelled" in world.told


def test_passed_while_something_of_it_runs() -> None:
    world = World()
    world.execution("a", tests=2)
    world.runs("a", "Succeeded")
    world.runs("a", "Running", "t1")
    world.execution("a", "Passed", tests=2)
    assert "n/a is Passed while it lives" in world.told


def test_failed_while_something_of_it_runs_unless_that_is_being_stopped() -> None:
    for fail_fast in (False, True):
        world = World()
        world.execution("a", tests=2, failFast=fail_fast)
        world.runs("a", "Failed")
        world.runs("a", "Running", "t1")
        world.execution("a", "Failed", tests=2, failFast=fail_fast)
        assert ("n/a is Failed while it lives" in world.told) is not fail_fast


def test_two_pods_of_one_job_are_one_execution_and_hold_its_slot_until_both_have_ended() -> None:
    """An API server that dies before it answers makes the Job controller create a second one."""
    world = World()
    world.execution("a")
    world.execution("b")
    world.runs("a", "Running")
    world.pod("a-t0-1", "Running", "again")
    assert world.told == ""
    world.pod("a-t0-1", "Succeeded")
    world.job("b")
    assert world.told == "at 8: 2 live in q, room is 1"


def test_what_is_lost_is_not_at_rest() -> None:
    world = World()
    world.execution("a")
    world.execution("b")
    world.runs("b", "Running")
    world.write("testexecutions", "b", None)
    assert world.judge.at_rest() == ["n/a is Queued", "n/b lives"]


def test_an_attempt_or_a_phase_that_goes_back() -> None:
    world = World()
    world.execution("a", "Running", status={"attempts": 2})
    world.execution("a", "Running", status={"attempts": 1})
    assert "n/a has fewer attempts than before" in world.told


def test_the_story_of_a_violation_is_what_it_came_from() -> None:
    world = World()
    world.execution("a")
    world.execution("b")
    world.runs("a", "Running")
    world.now = 2.0
    world.runs("b", "Running")
    faults = [Injected("etcd frozen", 1.0, 4.0)]
    load = Load(cast("Api", None), Random(0))
    report = Report("", 0.0, faults, [(0.5, "replica-0")], load, world.judge, [])
    assert report.story().splitlines() == [
        "at 6: 2 live in q, room is 1",
        "    0.00 n/a 2 testexecutions a Queued",
        "    0.00 n/a 4 jobs a-t0-1",
        "    0.00 n/a 5 pods a-t0-1 Running",
        "    0.00 n/b 3 testexecutions b Queued",
        "    0.00 q: {'runningCapacity': 1, 'queuedCapacity': 1}",
        "    0.50 replica-0 leads",
        "    1.00 etcd frozen {",
        "    2.00 n/b 6 jobs b-t0-1",
        "    2.00 n/b 7 pods b-t0-1 Running",
    ]
