"""What is known of an execution → what it is, why, and what must happen next. Pure.

A verdict rests on evidence only: results already in the stored status, Jobs, pods, and the clock.
The same evidence gives the same verdict, so an operator that dies and starts again goes on as if
nothing had happened. A final phase is never left, whatever is seen later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache

from supercheck_operator.execution.attempts import announced, reset, rests_until, tried_again
from supercheck_operator.execution.evidence import Evidence
from supercheck_operator.execution.messages import clean
from supercheck_operator.execution.observed import parse_time
from supercheck_operator.execution.result import Judged, ended, judge
from supercheck_operator.execution.verdict import PASSED, Verdict
from supercheck_operator.resources import REASONS, Phase, Reason, TestStatus


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the execution is by the evidence, and what must happen for it to go on."""

    phase: Phase
    reason: str | None
    message: str | None
    tests: tuple[TestStatus, ...]
    attempts: int = 0
    """How many were begun."""
    started_at: datetime | None = None
    """Of this attempt."""
    completed_at: datetime | None = None
    trouble: Reason | None = None
    """It does not start, and the message says why."""
    starting_since: datetime | None = None
    """When the first of its Jobs was created."""
    launch: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    pressing: bool = False
    """A test is over whose pod goes on: it is stopped once its result is stored."""
    unexplained: tuple[str, ...] = ()
    """Tests whose start takes its time for a reason that only Events can tell."""
    doubtful: bool = False
    """A deadline has passed, and what is known of the cluster may be older than that."""
    look_again: datetime | None = None
    """When time alone will change this assessment."""

    @property
    def resting(self) -> bool:
        """It has no slot and wants none until its backoff is over."""
        return self.reason == Reason.RETRYING


def assess(evidence: Evidence) -> Assessment:
    """The assessment of one execution."""
    if evidence.execution.status.phase.final or evidence.behind:
        return _as_stored(evidence)
    stored = {result.name: result for result in evidence.execution.status.tests or ()}
    judged = [
        judge(evidence, test, stored.get(test.name) or _unbegun(test.name))
        for test in evidence.execution.spec.tests
    ]
    started_at = _started_at(evidence, judged)
    results = [each.result for each in judged]
    deadlines = [each.look_again for each in judged]

    if not all(result.phase.final for result in results):
        end = _early_end(evidence, results, started_at)
        if isinstance(end, datetime):
            deadlines.append(end)
        elif end is not None:
            results = [r if r.phase.final else ended(evidence, r, end) for r in results]
            if end.reason is not Reason.FAIL_FAST:
                return _over(evidence, results, started_at, end)
    if all(result.phase.final for result in results):
        return _over(evidence, results, started_at, _verdict(results))
    return _unfinished(evidence, judged, results, started_at, deadlines)


@lru_cache(maxsize=1024)
def _unbegun(test: str) -> TestStatus:
    """One for all tests of that name: most executions that wait have the same."""
    return TestStatus(name=test)


def _as_stored(evidence: Evidence) -> Assessment:
    stored = evidence.execution.status
    return Assessment(
        phase=stored.phase,
        reason=stored.reason,
        message=stored.message,
        tests=tuple(stored.tests or ()),
        attempts=stored.attempts or 0,
        started_at=parse_time(stored.started_at),
        completed_at=parse_time(stored.completed_at),
        stop=evidence.alive() if stored.phase.final else (),
    )


def _started_at(evidence: Evidence, judged: Sequence[Judged]) -> datetime | None:
    """Of this attempt: what is stored as final may have started in an earlier one."""
    stored = evidence.execution.status
    over = {result.name for result in stored.tests or () if result.phase.final}
    times = [stored.started_at if stored.phase is Phase.RUNNING else None]
    times += [
        each.result.started_at
        for each in judged
        if each.result.name not in over and each.result.phase is not Phase.QUEUED
    ]
    return min((at for text in times if (at := parse_time(text)) is not None), default=None)


def _early_end(
    evidence: Evidence, results: Sequence[TestStatus], started_at: datetime | None
) -> Verdict | datetime | None:
    """Why the whole execution ends before its tests do, or when it will."""
    spec = evidence.execution.spec
    if spec.cancel:
        return Verdict(Reason.CANCELLED_BY_USER, "Cancelled by its user.")
    if evidence.execution.metadata.deletion_timestamp is not None:
        # Kept by a finalizer, or by a deletion in the foreground: it is unwanted all the same.
        return Verdict(Reason.CANCELLED_BY_USER, "Deleted by its user.")
    if evidence.drained:
        return Verdict(Reason.QUEUE_DRAINED, f"Queue {spec.queue} was drained.")
    if spec.fail_fast and any(r.phase.final and r.phase is not Phase.PASSED for r in results):
        return Verdict(Reason.FAIL_FAST, "Another test did not pass (failFast).")
    if started_at is not None:
        limit = (
            evidence.defaults.timeout
            if spec.timeout_seconds is None
            else timedelta(seconds=spec.timeout_seconds)
        )
        since, reason = started_at, Reason.EXECUTION_TIMEOUT
        message = f"The execution did not end within its {limit.total_seconds():g} s."
    elif not evidence.started and spec.queue_timeout_seconds is not None:
        created = datetime.fromisoformat(evidence.execution.metadata.creation_timestamp)
        limit = timedelta(seconds=spec.queue_timeout_seconds)
        since, reason = rests_until(evidence.execution) or created, Reason.QUEUE_TIMEOUT
        message = f"Still waiting after its {spec.queue_timeout_seconds} s in the queue."
    else:
        return None
    due = evidence.deadline(since, limit, evidence.stepped_before)
    # That it waits is not to be learnt from the cluster.
    waits = reason is Reason.QUEUE_TIMEOUT
    over = evidence.now >= due if waits else evidence.over(due)
    return Verdict(reason, message) if over else due


def _verdict(results: Sequence[TestStatus]) -> Verdict:
    """Any Error → Error, else any Failed → Failed, else any Cancelled → Cancelled, else Passed."""
    for phase in (Phase.ERROR, Phase.FAILED, Phase.CANCELLED):
        deciding = [result for result in results if result.phase is phase]
        if not deciding:
            continue
        first = deciding[0]
        reason = next((r for r in REASONS[phase] if r == first.reason), Reason.INTERNAL)
        if len(results) == 1:
            return Verdict(reason, first.message)
        others = f" and {len(deciding) - 1} more" if len(deciding) > 1 else ""
        passed = sum(result.phase is Phase.PASSED for result in results)
        told = f"{passed} of {len(results)} tests passed; {first.name}{others}: {first.message}"
        return Verdict(reason, clean(told))
    return PASSED


def _over(
    evidence: Evidence,
    results: Sequence[TestStatus],
    started_at: datetime | None,
    verdict: Verdict,
) -> Assessment:
    """The end of this attempt; of the execution, unless another one follows."""
    attempts = evidence.attempt if evidence.started else evidence.attempt - 1
    ends = [parse_time(result.completed_at) for result in results]
    latest = max((end for end in ends if end is not None), default=evidence.now)
    retry = evidence.execution.spec.retry
    final = verdict.phase is Phase.CANCELLED or verdict.reason is Reason.QUEUE_TIMEOUT
    again = () if final else tried_again(evidence.execution.spec, results, evidence.attempt)
    if retry is not None and again:
        return Assessment(
            phase=Phase.QUEUED,
            reason=Reason.RETRYING,
            message=clean(announced(retry, attempts, verdict, latest)),
            tests=tuple(reset(r) if r.name in again else r for r in results),
            attempts=attempts,
        )
    return Assessment(
        phase=verdict.phase,
        reason=verdict.reason,
        message=verdict.message,
        tests=tuple(results),
        attempts=attempts,
        started_at=started_at,
        completed_at=latest,
    )


def _unfinished(
    evidence: Evidence,
    judged: Sequence[Judged],
    results: Sequence[TestStatus],
    started_at: datetime | None,
    deadlines: Sequence[datetime | None],
) -> Assessment:
    look_again = min((at for at in deadlines if at is not None), default=None)
    doubtful = look_again is not None and look_again <= evidence.now
    look_again = None if doubtful else look_again
    if not evidence.started:
        return replace(_waiting(evidence, results, look_again), doubtful=doubtful)
    trouble = next((each.trouble for each in judged if each.trouble), None)
    starting = started_at is None
    message = clean(trouble.cause, evidence.tests) if trouble else None
    over = {result.name for result in results if result.phase.final}
    stop = _finished_but_alive(evidence)
    return Assessment(
        phase=Phase.RUNNING,
        reason=Reason.STARTING if starting else Reason.RUNNING,
        message=message or ("No pod has started yet." if starting else None),
        tests=tuple(results),
        attempts=evidence.attempt,
        started_at=started_at,
        trouble=trouble.reason if trouble else None,
        starting_since=min((job.id.created for job in evidence.jobs.values()), default=None),
        launch=_next_tests(evidence, results),
        stop=stop,
        pressing=not over.isdisjoint(set(evidence.alive()) - set(stop)),
        unexplained=tuple(
            each.result.name for each in judged if each.delay is not None and each.delay.in_events
        ),
        doubtful=doubtful,
        look_again=look_again,
    )


def _waiting(
    evidence: Evidence, results: Sequence[TestStatus], look_again: datetime | None
) -> Assessment:
    """In the line, or kept out of it: by its user, or until the next attempt may begin."""
    execution = evidence.execution
    reason, message = Reason.WAITING, None
    rested = rests_until(execution)
    if rested is not None:
        rested = evidence.deadline(rested, timedelta(), evidence.stepped_before)
    if execution.spec.suspend:
        reason = Reason.SUSPENDED
    elif rested is not None and evidence.now < rested:
        reason, message = Reason.RETRYING, execution.status.message
        look_again = rested if look_again is None else min(look_again, rested)
    return Assessment(
        phase=Phase.QUEUED,
        reason=reason,
        message=message,
        tests=tuple(results),
        attempts=evidence.attempt - 1,
        stop=_finished_but_alive(evidence),
        look_again=look_again,
    )


def _next_tests(evidence: Evidence, results: Sequence[TestStatus]) -> tuple[str, ...]:
    spec = evidence.execution.spec
    at_once = spec.max_concurrent_tests or evidence.defaults.max_concurrent_tests
    occupied = {*evidence.alive(), *evidence.launching}
    pending = [
        r.name
        for r in results
        if r.phase is Phase.QUEUED and r.name not in occupied and evidence.job(r.name) is None
    ]
    return tuple(pending[: max(0, at_once - len(occupied))])


def _finished_but_alive(evidence: Evidence) -> tuple[str, ...]:
    """Tests with a stored result whose pod goes on: timed out, or held open by a sidecar.

    Only stored results count: a Job deleted before its result is written would, after a crash,
    look like one deleted by somebody else.
    """
    over = {r.name for r in evidence.execution.status.tests or () if r.phase.final}
    return tuple(
        name
        for name in evidence.alive()
        if name in over or (evidence.job(name) is None and evidence.pod(name) is None)
    )
