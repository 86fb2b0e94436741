"""Attempts: which one is under way, whether another follows, and when. Pure.

An attempt is one turn of an execution through the line and the cluster. What passed stays passed;
the others run again, with Jobs of new names. Which attempt it is follows from the stored status
alone, so nothing is forgotten when the operator dies.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from supercheck_operator.execution.observed import format_time, parse_time
from supercheck_operator.execution.verdict import Verdict
from supercheck_operator.resources import (
    Phase,
    Reason,
    Retry,
    TestExecution,
    TestExecutionSpec,
    TestExecutionStatus,
    TestStatus,
)

_LONGEST_BACKOFF: Final = timedelta(seconds=300)
_TRIED_ON: Final = {"Error": Phase.ERROR, "Failure": Phase.FAILED}


def attempt_of_status(status: TestExecutionStatus) -> int:
    """The attempt that runs or, between two, runs next; counted from 1."""
    made = status.attempts or 0
    return max(1, made) if status.phase is Phase.RUNNING else made + 1


def backoff(retry: Retry, attempt: int) -> timedelta:
    """How long it rests after ``attempt``."""
    return min(_LONGEST_BACKOFF, timedelta(seconds=retry.backoff_seconds * 2 ** (attempt - 1)))


def rests_until(execution: TestExecution) -> datetime | None:
    """When the next attempt may begin; None if there was none yet, or it has begun."""
    status, retry = execution.status, execution.spec.retry
    ends = [parse_time(t.completed_at) for t in status.tests or () if t.reason == Reason.RETRYING]
    last = max((end for end in ends if end is not None), default=None)
    if status.phase is not Phase.QUEUED or last is None or retry is None:
        return None
    return last + backoff(retry, status.attempts or 1)


def tried_again(
    spec: TestExecutionSpec, results: Sequence[TestStatus], attempt: int
) -> frozenset[str]:
    """The tests that another attempt runs, after ``results`` of this one; none if none follows.

    What failFast cancelled runs again with what had made it do so.
    """
    retry = spec.retry
    if retry is None or attempt > retry.limit:
        return frozenset()
    if any(result.reason == Reason.INVALID_TEMPLATE for result in results):
        return frozenset()  # it would be refused again
    tried_on = {_TRIED_ON[word] for word in retry.tried_on}
    again = {result.name for result in results if result.phase in tried_on}
    settled = any(
        result.phase in _TRIED_ON.values() and result.name not in again for result in results
    )
    if not again or (spec.fail_fast and settled):
        return frozenset()
    return frozenset(again | {r.name for r in results if r.phase is Phase.CANCELLED})


def reset(result: TestStatus) -> TestStatus:
    """``result`` as it stays readable until its test runs again."""
    return result.model_copy(update={"phase": Phase.QUEUED, "reason": Reason.RETRYING})


def announced(retry: Retry, attempt: int, verdict: Verdict, ended: datetime) -> str:
    """One sentence on what happened and what will, and the words of the verdict."""
    begins = format_time(ended + backoff(retry, attempt))
    return (
        f"Attempt {attempt} of {retry.limit + 1} ended with {verdict.reason}; the next can begin at"
        f" {begins}. {verdict.message}"
    )
