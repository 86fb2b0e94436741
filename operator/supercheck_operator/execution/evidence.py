"""Everything a verdict may rest on: stored results, Jobs, pods and the clock. Pure."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from supercheck_operator.execution.attempts import attempt_of_status
from supercheck_operator.execution.observed import Job, Pod
from supercheck_operator.execution.verdict import Delay, Verdict
from supercheck_operator.resources import TestExecution, TestStatus


@dataclass(frozen=True, slots=True)
class Defaults:
    """What an execution gets where its spec is silent."""

    timeout: timedelta
    max_concurrent_tests: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one execution. Jobs and pods are those of the latest attempt, by test."""

    execution: TestExecution
    now: datetime
    defaults: Defaults
    started: bool = False
    """Its attempt holds a running slot, or has held one: its Jobs may be created."""
    jobs: Mapping[str, Job] = field(default_factory=dict)
    pods: Mapping[str, Pod] = field(default_factory=dict)
    launching: Mapping[str, Delay | None] = field(default_factory=dict)
    """Tests whose Job is being created right now, with what hinders it."""
    refused: Mapping[str, Verdict] = field(default_factory=dict)
    """Tests whose Job the API server will never accept."""
    told: Mapping[str, str] = field(default_factory=dict)
    """Tests that do not start, with what the Events of their Job or pod say."""
    sent: Mapping[str, TestStatus] = field(default_factory=dict)
    """Results of this attempt that were sent to be stored, whether or not they are by now."""
    unproven: Container[str] = ()
    """Tests whose Job is over, and a pod of it never seen: whether there is one is being asked."""
    confirmed: datetime | None = None
    """All that existed then has been seen."""
    drained: bool = False
    """The queue's stop policy cancels everything in it."""
    stepped: timedelta = timedelta()
    """How far the clock has stepped so far, and had stepped when this attempt began to wait or to
    run: what is timed goes on as if it had not."""
    stepped_before: timedelta = timedelta()

    @property
    def tests(self) -> int:
        return len(self.execution.spec.tests)

    @property
    def attempt(self) -> int:
        """The attempt under way, or the next."""
        return attempt_of_status(self.execution.status)

    @property
    def behind(self) -> bool:
        """The execution is older news than one of its Jobs: a later attempt's."""
        return any(seen.id.attempt > self.attempt for seen in self._seen())

    def job(self, test: str) -> Job | None:
        """The Job of this attempt at ``test``."""
        job = self.jobs.get(test)
        return job if job is not None and job.id.attempt == self.attempt else None

    def pod(self, test: str) -> Pod | None:
        """The pod of this attempt at ``test``."""
        pod = self.pods.get(test)
        return pod if pod is not None and pod.id.attempt == self.attempt else None

    def alive(self) -> tuple[str, ...]:
        """Tests with a pod that has not ended, or a Job that may still make one."""
        names = (test.name for test in self.execution.spec.tests)
        return tuple(name for name in names if alive(self.jobs.get(name), self.pods.get(name)))

    def deadline(self, since: datetime, limit: timedelta, stepped: timedelta) -> datetime:
        """When ``limit`` is over after ``since``, first seen when the clock had ``stepped`` so."""
        return since + limit + self.stepped - stepped

    def over(self, deadline: datetime) -> bool:
        """Whether it has passed, and is known to have passed in vain: what was seen is newer."""
        seen = self.confirmed is not None and self.confirmed >= deadline
        return seen and self.now >= deadline

    def _seen(self) -> tuple[Job | Pod, ...]:
        return *self.jobs.values(), *self.pods.values()


def alive(job: Job | None, pod: Pod | None) -> bool:
    """Whether this test still occupies the cluster.

    A terminal pod is final (its Job has ``backoffLimit: 0``), about a second before the Job says
    so. A pod that vanished unfinished is not: its Job may make another until it is over itself.
    Nor is one of the attempt before, which is all that is known until the Job has made its own.
    """
    if pod is not None and not pod.terminal:
        return True
    if pod is not None and pod.ended and (job is None or job.id.attempt <= pod.id.attempt):
        return False
    return job is not None and not job.over
