"""One test: its Job, its pod and the clock → what it is, and when time will change that. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from supercheck_operator.execution.evidence import Evidence
from supercheck_operator.execution.messages import clean
from supercheck_operator.execution.observed import Job, Pod, format_time
from supercheck_operator.execution.verdict import (
    JOB_DELETED,
    PASSED,
    Delay,
    Verdict,
    pod_verdict,
    why_no_pod,
    why_not_started,
)
from supercheck_operator.resources import Phase, Reason, Test, TestStatus


@dataclass(frozen=True, slots=True)
class Judged:
    result: TestStatus
    look_again: datetime | None = None
    delay: Delay | None = None
    """Why it has not started."""

    @property
    def trouble(self) -> Delay | None:
        """What hinders its start and is worth telling."""
        return self.delay if self.delay is not None and self.delay.trouble else None


def judge(evidence: Evidence, test: Test, stored: TestStatus) -> Judged:
    """``test`` by its own Job and pod; the execution's deadlines come later."""
    stored = evidence.sent.get(test.name, stored)
    if stored.phase.final:
        return Judged(stored)
    if refusal := evidence.refused.get(test.name):
        return Judged(ended(evidence, begun(stored), refusal))
    job, pod = evidence.job(test.name), evidence.pod(test.name)
    if pod is not None:
        return _judge_pod(evidence, test, begun(stored), job, pod)
    if test.name in evidence.unproven:
        return Judged(stored)
    if job is None:
        return _judge_nothing(evidence, stored)
    return _judge_podless(evidence, stored, job)


def _judge_podless(evidence: Evidence, stored: TestStatus, job: Job) -> Judged:
    if job.gone:
        return Judged(ended(evidence, begun(stored), JOB_DELETED))
    if job.finished:
        return Judged(ended(evidence, begun(stored), _of_podless_job(job)))
    if stored.started_at is not None and stored.phase is Phase.RUNNING:
        return Judged(stored)  # its pod is gone, and the Job will tell so
    delay = why_no_pod(evidence.told.get(stored.name, ""))
    return _starting(evidence, begun(stored), delay, job.id.created, job.stepped)


def begun(stored: TestStatus) -> TestStatus:
    """``stored`` as an attempt at it goes on from there: what an earlier one left is gone."""
    if stored.phase is not Phase.QUEUED:
        return stored
    return TestStatus(name=stored.name, attempts=stored.attempts + 1)


def ended(
    evidence: Evidence, stored: TestStatus, verdict: Verdict, at: datetime | None = None
) -> TestStatus:
    message = verdict.message
    return stored.model_copy(
        update={
            "phase": verdict.phase,
            "reason": verdict.reason,
            "message": None if message is None else clean(message, evidence.tests),
            "completed_at": format_time(at or evidence.now),
        }
    )


def _judge_nothing(evidence: Evidence, stored: TestStatus) -> Judged:
    if stored.name in evidence.launching:
        delay = evidence.launching[stored.name]
        told = clean(delay.cause, evidence.tests) if delay else "The Job is being created."
        # Not yet running, or after a crash its missing Job would look like one that was deleted.
        update = {"reason": Reason.STARTING, "message": told}
        return Judged(stored.model_copy(update=update), delay=delay)
    if stored.phase is Phase.RUNNING:
        # It ran, and nothing is left of it: deleted while nobody was looking; if that is so.
        if evidence.confirmed is None:
            return Judged(stored, look_again=evidence.now)
        return Judged(ended(evidence, stored, JOB_DELETED))
    return Judged(stored)


def _of_podless_job(job: Job) -> Verdict:
    if job.reason in ("", "CompletionsReached"):
        return PASSED
    told = f"The pod is gone; its Job says {job.reason}: {job.message}"
    return Verdict(Reason.POD_DELETED, told)


def _judge_pod(
    evidence: Evidence, test: Test, stored: TestStatus, job: Job | None, pod: Pod
) -> Judged:
    seen = stored.model_copy(
        update={
            "pod": pod.id.name,
            "started_at": format_time(pod.begun) if pod.begun else stored.started_at,
            "exit_code": pod.exit_code,
        }
    )
    if pod.terminal or (pod.done and pod.others_open):
        return Judged(ended(evidence, seen, pod_verdict(pod, job), pod.finished))
    if pod.started is None and pod.exit_code is None:
        return _judge_unstarted(evidence, test, seen, job, pod)
    running = _running(seen, Reason.RUNNING, None)
    if test.timeout_seconds is None or pod.started is None or pod.exit_code is not None:
        return Judged(running)
    limit = timedelta(seconds=test.timeout_seconds)
    deadline = evidence.deadline(pod.started, limit, pod.stepped)
    if not evidence.over(deadline):
        return Judged(running, look_again=deadline)
    message = f"The test did not end within its {test.timeout_seconds} s."
    return Judged(ended(evidence, seen, Verdict(Reason.TEST_TIMEOUT, message)))


def _judge_unstarted(
    evidence: Evidence, test: Test, seen: TestStatus, job: Job | None, pod: Pod
) -> Judged:
    """What initializes it runs within the execution's time; what it waits for, within its own."""
    if pod.initializing:
        told = f"Init container {pod.initializing} is running."
        return Judged(_running(seen, Reason.RUNNING, told))
    delay = why_not_started(pod, evidence.told.get(test.name, ""))
    if pod.initialized is not None:
        return _starting(evidence, seen, delay, pod.initialized, pod.stepped)
    first = job or pod
    return _starting(evidence, seen, delay, first.id.created, first.stepped)


def _starting(
    evidence: Evidence, stored: TestStatus, delay: Delay, since: datetime, stepped: timedelta
) -> Judged:
    limit = timedelta(seconds=evidence.execution.spec.start_timeout_seconds)
    deadline = evidence.deadline(since, limit, stepped)
    if not evidence.over(deadline):
        result = _running(stored, Reason.STARTING, clean(delay.cause, evidence.tests))
        return Judged(result, look_again=deadline, delay=delay)
    told = f"Not started within {limit.total_seconds():g} s. {delay.cause}"
    return Judged(ended(evidence, stored, Verdict(delay.reason, told)))


def _running(stored: TestStatus, reason: Reason, message: str | None) -> TestStatus:
    return stored.model_copy(update={"phase": Phase.RUNNING, "reason": reason, "message": message})
