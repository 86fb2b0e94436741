"""Which finished executions, and which of their Jobs, are no longer kept. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from supercheck_operator.execution.observed import Job, parse_time
from supercheck_operator.resources import History, Phase, TestExecution


def expired(
    executions: Iterable[TestExecution],
    history: Mapping[str, History | None],
    now: datetime,
) -> list[TestExecution]:
    """Finished executions past their own TTL, or beyond what their queue keeps per namespace.

    ``history`` is by queue. A newer execution is kept rather than an older one; everything that
    did not pass counts as failed.
    """
    over: list[TestExecution] = []
    kept: defaultdict[tuple[str, str, bool], int] = defaultdict(int)
    finished = (e for e in executions if e.status.phase.final)
    for execution in sorted(finished, key=_completed, reverse=True):
        passed = execution.status.phase is Phase.PASSED
        place = (execution.spec.queue, execution.metadata.namespace, passed)
        limit = _limit(history, execution.spec.queue, passed)
        if _past_ttl(execution, now) or kept[place] >= limit:
            over.append(execution)
        else:
            kept[place] += 1
    return over


def expired_jobs(
    jobs: Iterable[Job], ended: Mapping[str, datetime], ttl: timedelta, now: datetime
) -> list[Job]:
    """Finished Jobs whose execution has been over for longer than ``ttl``.

    ``ended`` tells by UID when an execution, its status final, came to its end. Logs go with the
    Jobs; what they told stays in the status. A TTL of the Jobs' own would not do: an operator that
    is down for long would find results gone unread.
    """
    over = (job for job in jobs if job.finished and not job.id.deleting)
    return [
        job
        for job in over
        if (end := ended.get(job.id.execution_uid)) is not None and end + ttl <= now
    ]


def _completed(execution: TestExecution) -> tuple[str, int]:
    """Times have whole seconds; the last write, that of the end, tells who was later in one."""
    metadata = execution.metadata
    return execution.status.completed_at or metadata.creation_timestamp, metadata.resource_version


def _past_ttl(execution: TestExecution, now: datetime) -> bool:
    ttl = execution.spec.ttl_seconds_after_finished
    completed = parse_time(execution.status.completed_at)
    return ttl is not None and completed is not None and completed + timedelta(seconds=ttl) <= now


def _limit(history: Mapping[str, History | None], queue: str, passed: bool) -> float:
    limits = history.get(queue)
    limit = (limits.passed if passed else limits.failed) if limits else None
    return float("inf") if limit is None else limit
