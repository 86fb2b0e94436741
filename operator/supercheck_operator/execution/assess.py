"""What is known of an execution → what it is, why, and what must happen next. Pure.

A verdict rests on evidence only: results already in the stored status, Jobs, pods, and the clock.
The same evidence gives the same verdict, so an operator that dies and starts again goes on as if
nothing had happened. A final phase is never left, whatever is seen later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from supercheck_operator.execution.observed import Job, Pod, format_time, parse_time
from supercheck_operator.execution.verdict import (
    JOB_DELETED,
    Delay,
    Verdict,
    pod_verdict,
    why_not_started,
)
from supercheck_operator.resources import (
    Phase,
    Reason,
    Test,
    TestExecution,
    TestStatus,
)

_MESSAGE_LIMIT: Final = 2048
_ALL_MESSAGES_LIMIT: Final = 28 * 1024
"""What the messages of all tests may take together, as JSON. A status stays below 64 KiB: 100 tests
take up to 32 KiB without their messages, and the one that decides is told in every condition."""
_ESCAPED: Final = frozenset('"\\\n\t')


@dataclass(frozen=True, slots=True)
class Defaults:
    """What an execution gets where its spec is silent."""

    timeout: timedelta
    max_concurrent_tests: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """The API server will never accept this test's Job."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything a verdict may rest on. Jobs and pods are by test name."""

    execution: TestExecution
    now: datetime
    defaults: Defaults
    started: bool = False
    """It holds a running slot, or has held one: its Jobs may be created."""
    jobs: Mapping[str, Job] = field(default_factory=dict)
    pods: Mapping[str, Pod] = field(default_factory=dict)
    launching: Mapping[str, str] = field(default_factory=dict)
    """Tests whose Job is being created right now, with what hinders it."""
    refused: Mapping[str, Refusal] = field(default_factory=dict)
    drained: bool = False
    """The queue's stop policy cancels everything in it."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the execution is by the evidence, and what must happen for it to go on."""

    phase: Phase
    reason: str | None
    message: str | None
    tests: tuple[TestStatus, ...]
    started_at: datetime | None = None
    completed_at: datetime | None = None
    troubled: bool = False
    """It does not start, and the message says why."""
    starting_since: datetime | None = None
    """When the first of its Jobs was created."""
    launch: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    look_again: datetime | None = None
    """When time alone will change this assessment."""


def assess(evidence: Evidence) -> Assessment:
    """The assessment of one execution."""
    execution = evidence.execution
    stored = execution.status
    if stored.phase.final:
        return Assessment(
            phase=stored.phase,
            reason=stored.reason,
            message=stored.message,
            tests=tuple(stored.tests or ()),
            started_at=parse_time(stored.started_at),
            completed_at=parse_time(stored.completed_at),
            stop=_alive(evidence),
        )
    results_before = {result.name: result for result in stored.tests or ()}
    judged = [
        _judge(evidence, test, results_before.get(test.name, TestStatus(name=test.name)))
        for test in execution.spec.tests
    ]
    started_at = _started_at(evidence, [each.result for each in judged])
    deadlines = [each.look_again for each in judged]
    results = [each.result for each in judged]

    if not all(result.phase.final for result in results):
        end = _early_end(evidence, results, started_at)
        if isinstance(end, datetime):
            deadlines.append(end)
        elif end is not None:
            phase, reason, message = end
            results = [
                result if result.phase.final else _ended(result, phase, reason, message, evidence)
                for result in results
            ]
            if reason is not Reason.FAIL_FAST:
                return _finished(evidence, results, started_at, (phase, reason, message))
    if all(result.phase.final for result in results):
        return _finished(evidence, results, started_at, None)
    return _unfinished(evidence, judged, results, started_at, deadlines)


@dataclass(frozen=True, slots=True)
class _Judged:
    result: TestStatus
    look_again: datetime | None = None
    trouble: str = ""


def _judge(evidence: Evidence, test: Test, stored: TestStatus) -> _Judged:
    """One test by its own Job and pod; the execution's deadlines come later."""
    if stored.phase.final:
        return _Judged(stored)
    if refusal := evidence.refused.get(test.name):
        message = _clean(refusal.message, len(evidence.execution.spec.tests))
        return _Judged(_ended(stored, Phase.ERROR, refusal.reason, message, evidence))
    job, pod = evidence.jobs.get(test.name), evidence.pods.get(test.name)
    if pod is not None:
        return _judge_pod(evidence, test, stored, job, pod)
    if job is None:
        return _judge_nothing(evidence, stored)
    if job.gone:
        return _Judged(_ended(stored, *JOB_DELETED, evidence))
    if job.finished:
        return _Judged(_judge_podless_job(evidence, stored, job))
    delay = Delay(Reason.START_TIMEOUT, "No pod exists yet.", trouble=False)
    return _starting(evidence, stored, job.id.created, delay)


def _judge_nothing(evidence: Evidence, stored: TestStatus) -> _Judged:
    if stored.name in evidence.launching:
        trouble = _clean(evidence.launching[stored.name], len(evidence.execution.spec.tests)) or ""
        told = trouble or "The Job is being created."
        # Not yet running, or after a crash its missing Job would look like one that was deleted.
        queued = stored.model_copy(update={"reason": Reason.STARTING, "message": told})
        return _Judged(queued, trouble=trouble)
    if stored.phase is Phase.RUNNING:
        # It ran, and nothing is left of it: deleted while nobody was looking.
        return _Judged(_ended(stored, *JOB_DELETED, evidence))
    return _Judged(stored)


def _judge_podless_job(evidence: Evidence, stored: TestStatus, job: Job) -> TestStatus:
    if job.reason in ("", "CompletionsReached"):
        return _ended(stored, Phase.PASSED, None, None, evidence)
    told = f"The pod is gone; its Job says {job.reason}: {job.message}"
    message = _clean(told, len(evidence.execution.spec.tests))
    return _ended(stored, Phase.ERROR, Reason.POD_DELETED, message, evidence)


def _judge_pod(
    evidence: Evidence, test: Test, stored: TestStatus, job: Job | None, pod: Pod
) -> _Judged:
    seen = stored.model_copy(
        update={
            "pod": pod.id.name,
            "attempts": 1,
            "started_at": format_time(pod.started) if pod.started else stored.started_at,
            "exit_code": pod.exit_code,
        }
    )
    if pod.terminal or (pod.exit_code is not None and pod.others_open):
        phase, reason, message = pod_verdict(pod, job)
        message = _clean(message, len(evidence.execution.spec.tests))
        return _Judged(_ended(seen, phase, reason, message, evidence, pod.finished))
    if pod.started is None and pod.exit_code is None:
        created = job.id.created if job else pod.id.created
        return _starting(evidence, seen, created, why_not_started(pod))
    running = _running(seen, Reason.RUNNING, None)
    if test.timeout_seconds is None or pod.started is None or pod.exit_code is not None:
        return _Judged(running)
    deadline = pod.started + timedelta(seconds=test.timeout_seconds)
    if evidence.now < deadline:
        return _Judged(running, look_again=deadline)
    message = f"The test did not end within its {test.timeout_seconds} s."
    return _Judged(_ended(seen, Phase.FAILED, Reason.TEST_TIMEOUT, message, evidence))


def _starting(evidence: Evidence, stored: TestStatus, created: datetime, delay: Delay) -> _Judged:
    limit = evidence.execution.spec.start_timeout_seconds
    deadline = created + timedelta(seconds=limit)
    tests = len(evidence.execution.spec.tests)
    if evidence.now < deadline:
        cause = _clean(delay.cause, tests) or ""
        result = _running(stored, Reason.STARTING, cause)
        return _Judged(result, look_again=deadline, trouble=cause if delay.trouble else "")
    message = _clean(f"Not started within {limit} s. {delay.cause}", tests)
    return _Judged(_ended(stored, Phase.ERROR, delay.reason, message, evidence))


def _early_end(
    evidence: Evidence, results: Sequence[TestStatus], started_at: datetime | None
) -> Verdict | datetime | None:
    """Why the whole execution ends before its tests do, or when it will."""
    spec = evidence.execution.spec
    if spec.cancel:
        return Phase.CANCELLED, Reason.CANCELLED_BY_USER, "Cancelled by its user."
    if evidence.execution.metadata.deletion_timestamp is not None:
        # Kept by a finalizer, or by a deletion in the foreground: it is unwanted all the same.
        return Phase.CANCELLED, Reason.CANCELLED_BY_USER, "Deleted by its user."
    if evidence.drained:
        return Phase.CANCELLED, Reason.QUEUE_DRAINED, f"Queue {spec.queue} was drained."
    if spec.fail_fast and any(r.phase.final and r.phase is not Phase.PASSED for r in results):
        return Phase.CANCELLED, Reason.FAIL_FAST, "Another test did not pass (failFast)."
    if started_at is not None:
        limit = (
            evidence.defaults.timeout
            if spec.timeout_seconds is None
            else timedelta(seconds=spec.timeout_seconds)
        )
        message = f"The execution did not end within its {limit.total_seconds():g} s."
        due = started_at + limit
        verdict = Phase.ERROR, Reason.EXECUTION_TIMEOUT, message
    elif not evidence.started and spec.queue_timeout_seconds is not None:
        created = datetime.fromisoformat(evidence.execution.metadata.creation_timestamp)
        message = f"Still waiting after its {spec.queue_timeout_seconds} s in the queue."
        due = created + timedelta(seconds=spec.queue_timeout_seconds)
        verdict = Phase.ERROR, Reason.QUEUE_TIMEOUT, message
    else:
        return None
    return verdict if evidence.now >= due else due


def _finished(
    evidence: Evidence,
    results: Sequence[TestStatus],
    started_at: datetime | None,
    early: Verdict | None,
) -> Assessment:
    phase, reason, message = early or _verdict(results)
    ends = [parse_time(result.completed_at) for result in results]
    latest = max((end for end in ends if end is not None), default=evidence.now)
    return Assessment(
        phase=phase,
        reason=reason,
        message=message,
        tests=tuple(results),
        started_at=started_at,
        completed_at=latest,
    )


def _verdict(results: Sequence[TestStatus]) -> Verdict:
    """Any Error → Error, else any Failed → Failed, else any Cancelled → Cancelled, else Passed."""
    for phase in (Phase.ERROR, Phase.FAILED, Phase.CANCELLED):
        deciding = [result for result in results if result.phase is phase]
        if not deciding:
            continue
        first = deciding[0]
        reason = Reason(first.reason) if first.reason else None
        if len(results) == 1:
            return phase, reason, first.message
        others = f" and {len(deciding) - 1} more" if len(deciding) > 1 else ""
        passed = sum(result.phase is Phase.PASSED for result in results)
        told = f"{passed} of {len(results)} tests passed; {first.name}{others}: {first.message}"
        return phase, reason, _clean(told, 1)
    return Phase.PASSED, None, None


def _unfinished(
    evidence: Evidence,
    judged: Sequence[_Judged],
    results: Sequence[TestStatus],
    started_at: datetime | None,
    deadlines: Sequence[datetime | None],
) -> Assessment:
    look_again = min((at for at in deadlines if at is not None), default=None)
    if not evidence.started:
        return Assessment(
            phase=Phase.QUEUED,
            reason=Reason.SUSPENDED if evidence.execution.spec.suspend else Reason.WAITING,
            message=None,
            tests=tuple(results),
            look_again=look_again,
        )
    trouble = next((each.trouble for each in judged if each.trouble), "")
    starting = started_at is None
    return Assessment(
        phase=Phase.RUNNING,
        reason=Reason.STARTING if starting else Reason.RUNNING,
        message=trouble or ("No pod has started yet." if starting else None),
        tests=tuple(results),
        started_at=started_at,
        troubled=bool(trouble),
        starting_since=min((job.id.created for job in evidence.jobs.values()), default=None),
        launch=_next_tests(evidence, results),
        stop=_finished_but_alive(evidence),
        look_again=look_again,
    )


def _next_tests(evidence: Evidence, results: Sequence[TestStatus]) -> tuple[str, ...]:
    spec = evidence.execution.spec
    at_once = spec.max_concurrent_tests or evidence.defaults.max_concurrent_tests
    occupied = {*_alive(evidence), *evidence.launching}
    pending = [r.name for r in results if r.phase is Phase.QUEUED and r.name not in occupied]
    return tuple(pending[: max(0, at_once - len(occupied))])


def _finished_but_alive(evidence: Evidence) -> tuple[str, ...]:
    """Tests with a stored result whose pod goes on: timed out, or held open by a sidecar.

    Only stored results count: a Job deleted before its result is written would, after a crash,
    look like one deleted by somebody else.
    """
    over = {r.name for r in evidence.execution.status.tests or () if r.phase.final}
    return tuple(name for name in _alive(evidence) if name in over)


def _alive(evidence: Evidence) -> tuple[str, ...]:
    """Tests with a pod that has not ended, or a Job that may still make one."""
    return tuple(
        test.name
        for test in evidence.execution.spec.tests
        if alive(evidence.jobs.get(test.name), evidence.pods.get(test.name))
    )


def alive(job: Job | None, pod: Pod | None) -> bool:
    """Whether this test still occupies the cluster.

    A terminal pod is final (its Job has ``backoffLimit: 0``), about a second before the Job says
    so. A pod that vanished unfinished is not: its Job may make another until it is over itself.
    """
    if pod is not None and (pod.ended or not pod.gone):
        return not pod.ended
    return job is not None and not job.gone and not job.finished


def _started_at(evidence: Evidence, results: Sequence[TestStatus]) -> datetime | None:
    times = [parse_time(evidence.execution.status.started_at)]
    times += [parse_time(result.started_at) for result in results]
    return min((time for time in times if time is not None), default=None)


def _running(stored: TestStatus, reason: Reason, message: str | None) -> TestStatus:
    return stored.model_copy(
        update={"phase": Phase.RUNNING, "reason": reason, "message": message, "attempts": 1}
    )


def _ended(
    stored: TestStatus,
    phase: Phase,
    reason: Reason | None,
    message: str | None,
    evidence: Evidence,
    at: datetime | None = None,
) -> TestStatus:
    return stored.model_copy(
        update={
            "phase": phase,
            "reason": reason,
            "message": message,
            "completed_at": format_time(at or evidence.now),
        }
    )


def _clean(message: str | None, tests: int) -> str | None:
    """The end of ``message`` (errors come last), printable, within this test's share of room."""
    if message is None:
        return None
    printable = "".join(c for c in message if c.isprintable() or c in "\n\t").strip()
    room = min(_MESSAGE_LIMIT, _ALL_MESSAGES_LIMIT // tests)
    if sum(map(_size, printable)) <= room:
        return printable
    room -= _size("…")
    kept = len(printable)
    while (room := room - _size(printable[kept - 1])) >= 0:
        kept -= 1
    return "…" + printable[kept:]


def _size(character: str) -> int:
    """Bytes that ``character`` takes in JSON."""
    return len(character.encode()) + (character in _ESCAPED)
