"""Which finished executions, and which of their Jobs, are no longer kept. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from supercheck_operator.execution.observed import Job, parse_time
from supercheck_operator.resources import History, Phase, Raw


@dataclass(frozen=True, slots=True)
class Finished:
    """An execution that is over, in as few bytes as there may be many of them."""

    uid: str
    name: str
    namespace: str
    version: int
    created: str
    queue: str
    passed: bool
    completed: str | None
    ttl: int | None
    """Seconds that it asks for itself."""

    @property
    def completed_at(self) -> datetime | None:
        return parse_time(self.completed)


def finished(raw: Raw) -> Finished | None:
    """None of an execution that is not over."""
    metadata, spec, status = raw["metadata"], raw["spec"], raw.get("status") or {}
    phase = Phase(status.get("phase", Phase.QUEUED))
    if not phase.final:
        return None
    return Finished(
        uid=metadata["uid"],
        name=metadata["name"],
        namespace=metadata["namespace"],
        version=int(metadata["resourceVersion"]),
        created=metadata["creationTimestamp"],
        queue=spec["queue"],
        passed=phase is Phase.PASSED,
        completed=status.get("completedAt"),
        ttl=spec.get("ttlSecondsAfterFinished"),
    )


def expired(
    executions: Iterable[Finished], history: Mapping[str, History | None], now: datetime
) -> list[Finished]:
    """Those past their own TTL, or beyond what their queue keeps per namespace.

    ``history`` is by queue. A newer execution is kept rather than an older one; everything that
    did not pass counts as failed.
    """
    over: list[Finished] = []
    kept: defaultdict[tuple[str, str, bool], int] = defaultdict(int)
    # Where nothing says how long it is kept, there is nothing to put in order.
    limited = (e for e in executions if e.ttl is not None or history.get(e.queue))
    for execution in sorted(limited, key=_completed, reverse=True):
        place = (execution.queue, execution.namespace, execution.passed)
        if _past_ttl(execution, now) or kept[place] >= _limit(history, execution):
            over.append(execution)
        else:
            kept[place] += 1
    return over


def expired_jobs(
    jobs: Iterable[Job], ended: Mapping[str, Finished], ttl: timedelta, now: datetime
) -> list[Job]:
    """Finished Jobs whose execution has been over for longer than ``ttl``: ``ended``, by UID.

    Logs go with the Jobs; what they told stays in the status. A TTL of the Jobs' own would not do:
    an operator that is down for long would find results gone unread.
    """
    return [
        job
        for job in jobs
        if job.finished
        and not job.id.deleting
        and (execution := ended.get(job.id.execution_uid)) is not None
        and (end := execution.completed_at) is not None
        and end + ttl <= now
    ]


def _completed(execution: Finished) -> tuple[str, int]:
    """Times have whole seconds; the last write, that of the end, tells who was later in one."""
    return execution.completed or execution.created, execution.version


def _past_ttl(execution: Finished, now: datetime) -> bool:
    completed = execution.completed_at
    if execution.ttl is None or completed is None:
        return False
    return completed + timedelta(seconds=execution.ttl) <= now


def _limit(history: Mapping[str, History | None], execution: Finished) -> float:
    limits = history.get(execution.queue)
    limit = (limits.passed if execution.passed else limits.failed) if limits else None
    return float("inf") if limit is None else limit
