"""What is written into the status of both kinds, and when. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, Literal

from supercheck_operator.execution.assess import Assessment
from supercheck_operator.execution.attempts import attempt_of_status
from supercheck_operator.execution.life import follows
from supercheck_operator.execution.observed import format_time
from supercheck_operator.ledger.capacity import Stats
from supercheck_operator.queueing.line import Entry
from supercheck_operator.resources import (
    Condition,
    ExecutionQueue,
    ExecutionQueueStatus,
    Phase,
    Raw,
    Reason,
    Summary,
    TestExecution,
    TestExecutionStatus,
    TestStatus,
    UpcomingEntry,
    Usage,
)

STARTING_GRACE: Final = timedelta(seconds=10)
"""How long a start without trouble goes unwritten: usually "running" comes before, in one write."""
COALESCE: Final = timedelta(seconds=1)
"""At most one write an execution in this time, unless it is the last one."""
PROGRESS: Final = timedelta(seconds=3)
"""How long the result of one test among several may wait for those of others, for one write."""
_LAZY: Final = timedelta(seconds=10)
"""How long what changes without being a result waits: a test's start, the words of a trouble."""

_Truth = Literal["True", "False", "Unknown"]


def due(
    execution: TestExecution,
    assessment: Assessment,
    *,
    now: datetime,
    written: datetime | None,
) -> datetime | None:
    """When ``assessment`` is to be written, given the last write; None if there is no news in it.

    What waits is never written: its resourceVersion must go on telling when it was created.
    """
    stored = execution.status
    if stored.phase.final:
        return None if execution.acknowledged else now
    if assessment.phase is Phase.QUEUED:
        ended = stored.phase is Phase.RUNNING or assessment.attempts > (stored.attempts or 0)
        return now if ended else None
    if assessment.phase.final:
        return now
    delay = _patience(stored, assessment)
    since = (assessment.starting_since or now) if delay is STARTING_GRACE else written
    return None if delay is None else _after(since, delay, now)


def _patience(stored: TestExecutionStatus, assessment: Assessment) -> timedelta | None:
    """How long what is news in a running ``assessment`` may wait; None if nothing is."""
    if stored.phase is Phase.QUEUED:
        plain = assessment.reason is not Reason.RUNNING and not assessment.trouble
        return STARTING_GRACE if plain else COALESCE
    if stored.reason != assessment.reason:
        return COALESCE
    if _results(stored.tests or ()) != _results(assessment.tests):
        return COALESCE if assessment.pressing else PROGRESS
    said = (assessment.message, assessment.tests)
    return _LAZY if said != (stored.message, tuple(stored.tests or ())) else None


def _after(since: datetime | None, delay: timedelta, now: datetime) -> datetime:
    """``delay`` after ``since``; never further away than that, even if a clock was set back."""
    return min(max(now, since + delay if since else now), now + delay)


def ends(execution: TestExecution, assessment: Assessment) -> bool:
    """Whether ``assessment`` ends an attempt that, by the stored status, goes on."""
    if execution.status.phase.final:
        return False
    rests_now = assessment.resting and assessment.attempts == attempt_of_status(execution.status)
    return assessment.phase.final or rests_now


def may_write(execution: TestExecution, assessment: Assessment) -> bool:
    """Whether ``assessment`` may follow on what is stored; what is final stays as it is."""
    if execution.status.phase.final:
        return assessment.phase is execution.status.phase and not execution.acknowledged
    return follows(execution.status, assessment.phase, assessment.attempts)


def execution_status(execution: TestExecution, assessment: Assessment, now: datetime) -> Raw:
    """The whole status of an execution, for a merge patch."""
    status = TestExecutionStatus(
        phase=assessment.phase,
        reason=assessment.reason,
        message=assessment.message,
        observed_generation=execution.metadata.generation,
        started_at=_format(assessment.started_at),
        completed_at=_format(assessment.completed_at),
        attempts=assessment.attempts,
        summary=(summary := summarize(assessment.tests)),
        progress=f"{summary.passed}/{summary.total}",
        tests=list(assessment.tests),
        conditions=_conditions(execution, assessment, now),
    )
    told: Raw = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    # In a merge patch, null removes what an earlier status said.
    return {"reason": None, "message": None, "startedAt": None, "completedAt": None} | told


def queue_status(
    queue: ExecutionQueue,
    figures: Stats,
    slot_seconds: float | None,
    upcoming: Iterable[Entry],
    now: datetime,
) -> Raw:
    """The whole status of a queue, for a merge patch."""
    # On hold, a free slot is no room for the next submission.
    no_slot = queue.spec.stop_policy.holds or figures.running >= figures.running_capacity
    saturated = no_slot and figures.queued >= figures.queued_capacity
    status = ExecutionQueueStatus(
        observed_generation=queue.metadata.generation,
        running=figures.running,
        running_capacity=figures.running_capacity,
        queued=figures.queued,
        queued_capacity=figures.queued_capacity,
        usage=Usage(
            running=f"{figures.running}/{figures.running_capacity}",
            queued=f"{figures.queued}/{figures.queued_capacity}",
        ),
        slot_seconds=slot_seconds,
        upcoming=[
            UpcomingEntry(namespace=entry.namespace, name=entry.name, position=position)
            for position, entry in enumerate(upcoming, start=1)
        ],
        conditions=_merge(
            queue.status.conditions or [],
            [
                _condition("Ready", queue.spec.stop_policy.value == "None", _policy(queue)),
                _condition("Saturated", saturated, "Full" if saturated else "RoomLeft"),
            ],
            queue.metadata.generation,
            now,
        ),
    )
    told: Raw = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {"slotSeconds": None} | told


def summarize(tests: Iterable[TestStatus]) -> Summary:
    phases = [test.phase for test in tests]
    return Summary(
        total=len(phases),
        passed=phases.count(Phase.PASSED),
        failed=phases.count(Phase.FAILED),
        error=phases.count(Phase.ERROR),
        cancelled=phases.count(Phase.CANCELLED),
        running=phases.count(Phase.RUNNING),
    )


def _policy(queue: ExecutionQueue) -> str:
    policy = queue.spec.stop_policy.value
    return "Open" if policy == "None" else policy


def _conditions(execution: TestExecution, assessment: Assessment, now: datetime) -> list[Condition]:
    """Finished and Succeeded for ``kubectl wait``; Ready, Reconciling and Stalled for kstatus.

    https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md
    """
    phase, reason = assessment.phase, assessment.reason or assessment.phase.value
    passed = phase is Phase.PASSED
    verdict: _Truth = "Unknown" if not phase.final else "True" if passed else "False"
    message = assessment.message or ""
    return _merge(
        execution.status.conditions or [],
        [
            _condition("Finished", phase.final, reason, message),
            _condition("Succeeded", verdict, reason, message),
            _condition("Ready", passed, reason, message),
            _condition("Reconciling", not phase.final, reason, message),
            _condition("Stalled", phase.final and not passed, reason, message),
        ],
        execution.metadata.generation,
        now,
    )


def _condition(
    kind: str, truth: bool | _Truth, reason: str, message: str = ""
) -> tuple[str, _Truth, str, str]:
    if isinstance(truth, bool):
        truth = "True" if truth else "False"
    return kind, truth, reason, message


def _merge(
    before: Iterable[Condition],
    after: Iterable[tuple[str, _Truth, str, str]],
    generation: int,
    now: datetime,
) -> list[Condition]:
    """The transition time of a condition is that of its last change of status."""
    known = {condition.type: condition for condition in before}
    merged: list[Condition] = []
    for kind, truth, reason, message in after:
        same = kind in known and known[kind].status == truth
        merged.append(
            Condition(
                type=kind,
                status=truth,
                reason=reason,
                message=message,
                observed_generation=generation,
                last_transition_time=known[kind].last_transition_time if same else format_time(now),
            )
        )
    return merged


def _results(tests: Iterable[TestStatus]) -> tuple[Phase, ...]:
    return tuple(test.phase if test.phase.final else Phase.QUEUED for test in tests)


def _format(moment: datetime | None) -> str | None:
    return format_time(moment) if moment else None
