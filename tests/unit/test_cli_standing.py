"""Who runs, who waits, where and why, as the command line reads it from the cluster."""

from __future__ import annotations

from typing import Any

from tests.unit.builders import NOW, execution, when

from supercheck_operator.cli.standing import View, attempts_of, lineup, standings
from supercheck_operator.execution.naming import job_name
from supercheck_operator.resources import ExecutionQueue, Reason, TestExecution

Raw = dict[str, Any]


def queue(status: Raw | None = None, **spec: Any) -> ExecutionQueue:
    said = {"running": 1, "runningCapacity": 1, "queued": 2, "queuedCapacity": 9}
    body = {"metadata": {"name": "default"}, "spec": spec, "status": said | (status or {})}
    return ExecutionQueue.model_validate(body)


def waiting(name: str, version: int = 1, **rest: Any) -> TestExecution:
    return execution(name=name, uid=f"uid-{name}", version=version, **rest)


def running(name: str, since: float = -10, **rest: Any) -> TestExecution:
    status = {"phase": "Running", "attempts": 1, "startedAt": when(since)}
    return execution(name=name, uid=f"uid-{name}", status=status, **rest)


def view(*executions: TestExecution, at: ExecutionQueue | None = None, **rest: Any) -> View:
    queues = {"default": queue() if at is None else at}
    return View(queues=queues, executions=list(executions), **rest)


def told(seen: View) -> list[tuple[str, int | None, Reason]]:
    return [
        (each.metadata.name, standing.position, standing.reason)
        for each, standing in lineup(seen, "default", NOW).waiting
    ]


def test_the_line_is_told_in_the_order_of_the_operator() -> None:
    seen = view(
        waiting("late", 3), waiting("early", 2), waiting("urgent", 4, priority=5), running("runs")
    )
    assert told(seen) == [
        ("urgent", 1, Reason.WAITING), ("early", 2, Reason.WAITING), ("late", 3, Reason.WAITING)
    ]  # fmt: skip
    assert [each.metadata.name for each in lineup(seen, "default", NOW).running] == ["runs"]


def test_the_start_is_estimated_by_what_the_queue_s_status_has_measured() -> None:
    seen = view(
        running("runs", -10), waiting("a", 1), waiting("b", 2), at=queue({"slotSeconds": 30})
    )
    starts = [standing.starts_in for _, standing in lineup(seen, "default", NOW).waiting]
    assert starts == [20, 50]
    message = standings(seen, NOW)["uid-a"].message
    assert message == 'It waits for its turn in queue "default". Position 1, starts in about 20s.'


def test_before_anything_was_measured_nothing_is_estimated() -> None:
    [(_, standing)] = lineup(view(waiting("a")), "default", NOW).waiting
    assert standing.starts_in is None


def test_on_a_held_queue_nothing_is_estimated_and_the_reason_is_the_queue() -> None:
    seen = view(waiting("a"), at=queue({"slotSeconds": 30}, stopPolicy="Hold"))
    [(_, standing)] = lineup(seen, "default", NOW).waiting
    assert (standing.reason, standing.position) == (Reason.QUEUE_HELD, 1)
    assert standing.starts_in is None


def test_a_namespace_at_its_share_waits_for_itself() -> None:
    seen = view(running("runs"), waiting("a"), at=queue(perNamespace={"runningCapacity": 1}))
    assert told(seen) == [("a", 1, Reason.NAMESPACE_AT_CAPACITY)]


def test_what_is_suspended_or_rests_stands_in_no_line() -> None:
    rests = {
        "phase": "Queued", "attempts": 1, "message": "Attempt 1 of 2 ended.",
        "tests": [{"name": "login", "reason": "Retrying", "completedAt": when(-1)}],
    }  # fmt: skip
    seen = view(
        waiting("parked", suspend=True),
        waiting("rests", status=rests, retry={"limit": 1, "backoffSeconds": 60}),
        waiting("waits"),
    )
    assert told(seen)[0] == ("waits", 1, Reason.WAITING)
    assert sorted(told(seen)[1:]) == [
        ("parked", None, Reason.SUSPENDED), ("rests", None, Reason.RETRYING)
    ]  # fmt: skip


def test_what_has_a_job_of_its_attempt_holds_a_slot_and_is_not_in_the_line() -> None:
    starts = waiting("starts")
    job = {
        "metadata": {
            "name": job_name("starts", "uid-starts", "login"),
            "labels": {
                "supercheck.io/execution": "starts",
                "supercheck.io/execution-uid": "uid-starts",
                "supercheck.io/test": "login",
            },
        }
    }
    seen = view(starts, waiting("waits"), started=attempts_of([job]))
    assert told(seen) == [("waits", 1, Reason.WAITING)]
    assert standings(seen, NOW)["uid-starts"].reason is Reason.STARTING


def test_a_job_of_the_attempt_before_holds_no_slot() -> None:
    again = {"phase": "Queued", "attempts": 1}
    seen = view(waiting("again", status=again), started=frozenset({("uid-again", 1)}))
    assert told(seen) == [("again", 1, Reason.WAITING)]


def test_who_sees_one_namespace_is_told_positions_by_the_queue() -> None:
    upcoming = [
        {"namespace": "team-b", "name": "other", "position": 1},
        {"namespace": "team-a", "name": "mine", "position": 2},
    ]
    seen = view(
        waiting("mine", 2), waiting("far", 3), at=queue({"upcoming": upcoming}), complete=False
    )
    assert told(seen) == [("mine", 2, Reason.WAITING), ("far", None, Reason.WAITING)]
    assert "Behind the first 10" in standings(seen, NOW)["uid-far"].message


def test_without_a_queue_everything_waits_for_it() -> None:
    seen = View(queues={}, executions=[waiting("a")])
    assert told(seen) == [("a", 1, Reason.QUEUE_HELD)]


def test_who_may_not_see_queues_is_not_told_that_there_is_none() -> None:
    seen = View(queues={}, executions=[waiting("a")], complete=False)
    assert told(seen) == [("a", None, Reason.WAITING)]


def test_other_queues_are_none_of_its_business() -> None:
    seen = view(waiting("a", queue="nightly"), running("b", queue="nightly"))
    assert told(seen) == []
    assert lineup(seen, "default", NOW).running == []


def test_who_is_next_after_one_that_should_have_ended_starts_any_moment() -> None:
    seen = view(running("runs", -40), waiting("a"), at=queue({"slotSeconds": 30}))
    message = standings(seen, NOW)["uid-a"].message
    assert message == 'It waits for its turn in queue "default". Position 1, starts any moment.'
