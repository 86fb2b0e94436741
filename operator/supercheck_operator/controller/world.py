"""What the API server has shown so far: executions with their Jobs and pods, by queue.

Watches are distrusted: an object is taken over only when its resourceVersion is newer than what is
known (they compare as numbers:
https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions), so replays, late
lists and reordered streams change nothing.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from hashlib import blake2b
from typing import Final, TypeVar
from weakref import WeakValueDictionary

import orjson

from supercheck_operator.execution.assess import Assessment
from supercheck_operator.execution.attempts import attempt_of_status, rests_until
from supercheck_operator.execution.evidence import Defaults, Evidence, alive
from supercheck_operator.execution.observed import Identity, Job, Pod, parse_job, parse_pod
from supercheck_operator.execution.verdict import Delay, Verdict
from supercheck_operator.ledger.contract import Holder, State
from supercheck_operator.queueing.line import Entry
from supercheck_operator.resources import (
    Model,
    ObjectMeta,
    Phase,
    Raw,
    Reason,
    TestExecution,
    TestExecutionSpec,
    TestExecutionStatus,
    TestStatus,
)

M = TypeVar("M", bound=Model)
Observed = TypeVar("Observed", Job, Pod)


_WHOLE: Final = timedelta(seconds=1)
"""By so much may an object be younger than it says."""


class Kind(Enum):
    """The kinds a run is made of."""

    EXECUTION = "TestExecution"
    JOB = "Job"
    POD = "Pod"


@dataclass(slots=True)
class Run:
    """One execution and everything of it that is known to exist.

    ``execution`` is None for what is left of one that is no longer in the API server.
    """

    uid: str
    queue: str
    namespace: str
    execution: TestExecution | None = None
    version: int = 0
    jobs: dict[str, Job] = field(default_factory=dict)
    """By test; of its latest attempt, as with ``pods``."""
    pods: dict[str, Pod] = field(default_factory=dict)
    spare: tuple[Pod, ...] = ()
    """Others of the same Jobs: each is to have one, and its controller takes what is more away."""
    claimed: int = 0
    """The last attempt that was given a slot."""
    launching: dict[str, Delay | None] = field(default_factory=dict)
    """Tests whose Job is to be created, with what hinders that."""
    asking: frozenset[str] = frozenset()
    """Of those, the ones for whose Job a request is under way."""
    refused: dict[str, Verdict] = field(default_factory=dict)
    sent: dict[str, TestStatus] = field(default_factory=dict)
    """Results of this attempt that were sent to be stored; they stand."""
    told: dict[str, str] = field(default_factory=dict)
    events: frozenset[str] = frozenset()
    """Names of the Events that were created for it."""
    unproven: frozenset[str] = frozenset()
    """Tests whose Job is over, gone or not known before any pod of it was seen: one may exist, or
    come, until a LIST says otherwise."""
    confirmed: datetime | None = None
    """When the API server was last asked what exists of it."""
    resting: bool = False
    """Its backoff is not known to be over."""
    stepped: timedelta = timedelta()
    """How far the clock had stepped when this attempt began to wait, or to run."""
    assessment: Assessment | None = None
    """What it was found to be when it was last looked at."""
    unanswered: Assessment | None = None
    """The end that was sent to be stored, and not answered: news of it may come another way."""
    verdict: Assessment | None = None
    """How this attempt ended; it stands, whatever is seen before it is written."""

    @property
    def final(self) -> bool:
        """Nothing of it may be started any more, for this attempt at least."""
        stored = self.execution is not None and self.execution.status.phase.final
        return stored or self.verdict is not None

    @property
    def attempt(self) -> int:
        """The attempt under way, or the next."""
        return attempt_of_status(self.execution.status) if self.execution else 0

    def wants(self, test: str, attempt: int) -> bool:
        """Whether the Job of ``attempt`` at ``test`` is still to be made.

        Not once it was seen, however its request was answered: it may have come and gone since.
        """
        if self.execution is None or self.final or self.attempt != attempt:
            return False
        return not self.knows(test, attempt)

    def knows(self, test: str, attempt: int) -> bool:
        """Whether the Job of ``attempt`` at ``test``, or of a later one, was seen."""
        return test in self.jobs and self.jobs[test].id.attempt >= attempt

    def pod(self, uid: str) -> Pod | None:
        """The pod of that UID, if it was seen."""
        return next((p for p in (*self.pods.values(), *self.spare) if p.id.uid == uid), None)

    @property
    def started(self) -> bool:
        """Once an attempt has begun, it is not in the line; until there is a next."""
        if self.execution is None:
            return True
        if self.execution.status.phase is Phase.RUNNING or self.claimed == self.attempt:
            return True
        if not self.jobs and not self.pods:
            return False  # as all that waits, which each sweep asks
        seen = [*(job.id for job in self.jobs.values()), *(pod.id for pod in self.pods.values())]
        return any(each.attempt >= self.attempt for each in seen)

    @property
    def waiting_since(self) -> datetime:
        """Since when it wants a slot."""
        assert self.execution is not None
        created = datetime.fromisoformat(self.execution.metadata.creation_timestamp)
        return rests_until(self.execution) or created

    @property
    def alive(self) -> bool:
        """Something of it occupies the cluster, or may do so any moment."""
        if self.unproven or self.launching:
            return True
        if not self.jobs and not self.pods:
            return False  # as above
        return (
            any(alive(self.jobs.get(test), pod) for test, pod in self.pods.items())
            or any(alive(job, None) for test, job in self.jobs.items() if test not in self.pods)
            or any(job.may_repeat and not job.over for job in self.jobs.values())
            or any(not pod.terminal for pod in self.spare)
        )

    @property
    def left_behind(self) -> tuple[str, ...]:
        """Tests whose Job outlives its deleted execution.

        The garbage collector would delete it too, but it learns of a new kind, such as ours just
        after an installation, only within 30 s or more.
        """
        return tuple(
            test
            for test, job in self.jobs.items()
            if job.owned and not job.id.deleting and alive(job, self.pods.get(test))
        )

    @property
    def state(self) -> State | None:
        """What it counts as; None once it is over."""
        if self.alive:
            return State.RUNNING
        if self.execution is None or self.execution.status.phase.final:
            return None
        if self.verdict is not None:
            return State.PARKED if self.verdict.resting else None
        if self.started:
            return State.RUNNING
        kept_out = self.execution.spec.suspend or self.resting
        return State.PARKED if kept_out else State.WAITING

    @property
    def over(self) -> bool:
        """Nothing is left to do, and nothing of it can still change.

        A Job whose pod has ended is waited for: what it still tells on its way to Complete would
        otherwise look like a new one.
        """
        told = self.execution is None or (
            self.execution.status.phase.final and self.execution.acknowledged
        )
        return told and not self.alive and all(job.over for job in self.jobs.values())

    @property
    def holder(self) -> Holder | None:
        state = self.state
        return Holder(self.uid, self.queue, self.namespace, state) if state else None

    def evidence(
        self, now: datetime, defaults: Defaults, *, drained: bool, stepped: timedelta
    ) -> Evidence | None:
        if self.execution is None:
            return None
        return Evidence(
            execution=self.execution,
            now=now,
            defaults=defaults,
            started=self.started,
            jobs=self.jobs,
            pods=self.pods,
            launching=self.launching,
            refused=self.refused,
            sent=self.sent,
            told=self.told,
            unproven=self.unproven,
            confirmed=self.confirmed,
            drained=drained,
            stepped=stepped,
            stepped_before=self.stepped,
        )

    def entry(self) -> Entry:
        assert self.execution is not None
        return Entry.of(self.execution)


class World:
    """Runs by the UID of their execution."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._of: dict[str, dict[str, Run]] = {}
        """The same by queue."""
        self._buried: dict[str, int] = {}
        """Versions up to which news of an object that is forgotten is old, by its UID."""
        self._newest = 0
        self._interrupted = datetime.min.replace(tzinfo=UTC)
        self.stepped = timedelta()
        """How far the clock has stepped by now: see ``clock``."""

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs.values())

    def of(self, queue: str) -> Iterable[Run]:
        """Everything in that queue."""
        return self._of.get(queue, {}).values()

    def queues(self) -> Iterable[str]:
        """Names of those that something is in."""
        return self._of.keys()

    def get(self, uid: str) -> Run | None:
        return self._runs.get(uid)

    def observe(self, kind: Kind, raw: Raw, *, deleted: bool = False) -> Run | None:
        """Take ``raw`` over if it is news; the run it concerns, or None if it changes nothing."""
        self._newest = max(self._newest, int(raw["metadata"]["resourceVersion"]))
        match kind:
            case Kind.EXECUTION:
                return self._observe_execution(raw, deleted=deleted)
            case Kind.JOB:
                job = parse_job(raw)
                return self._observe_job(replace(job, gone=True) if deleted else job)
            case Kind.POD:
                pod = self._recognized(parse_pod(raw))
                return self._observe_pod(replace(pod, gone=True) if deleted else pod)

    def interrupted(self, at: datetime) -> None:
        """The API server was away until ``at``: what it was asked for may have no answer.

        A Job controller that does not hear of the pod that it has made makes another, also when
        the first has ended by then. So Jobs of that time keep their slot until they say themselves
        that they are over: docs/adr/0018-a-pod-made-twice.md.
        """
        self._interrupted = at - _WHOLE
        for run in self._runs.values():
            for test, job in run.jobs.items():
                if not job.over or test in run.unproven:
                    run.jobs[test] = replace(job, may_repeat=True)

    def missing(
        self, kind: Kind, listed: Container[str], version: int, of: Run | None = None
    ) -> list[Run]:
        """Take over that what a LIST of ``version`` does not show is gone; the runs concerned.

        ``listed`` are UIDs: of everything, or of what belongs to one run.
        """
        concerned: list[Run] = []
        for run in [of] if of is not None else list(self._runs.values()):
            match kind:
                case Kind.EXECUTION:
                    known = run.execution is not None and run.version <= version
                    if known and run.uid not in listed:
                        run.execution, run.version = None, version
                        concerned.append(run)
                case Kind.JOB:
                    for test, job in run.jobs.items():
                        if not job.gone and job.id.version <= version and job.id.uid not in listed:
                            self._lose_job(run, test, job)
                            concerned.append(run)
                case Kind.POD:
                    for pod in (*run.pods.values(), *run.spare):
                        if not pod.gone and pod.id.version <= version and pod.id.uid not in listed:
                            self._take_pod(run, replace(pod, gone=True))
                            concerned.append(run)
        return concerned

    def forget(self, run: Run) -> None:
        """Nothing is left to do for ``run``; what still arrives of it is old news."""
        if self._runs.pop(run.uid, None) is not None:
            # Only what was seen: of what was not, older versions are news, too.
            jobs = (job.id.uid for job in run.jobs.values())
            pods = (pod.id.uid for pod in (*run.pods.values(), *run.spare))
            self._buried |= dict.fromkeys((run.uid, *jobs, *pods), self._newest)
            del self._of[run.queue][run.uid]
            if not self._of[run.queue]:
                del self._of[run.queue]

    def _begin(self, uid: str, queue: str, namespace: str) -> Run:
        run = self._runs[uid] = Run(uid, queue, namespace)
        self._of.setdefault(queue, {})[uid] = run
        return run

    def clear_graves(self, before: int) -> None:
        """Drop what was kept against news older than version ``before``: none can arrive now."""
        self._buried = {uid: v for uid, v in self._buried.items() if v >= before}

    def _observe_execution(self, raw: Raw, *, deleted: bool) -> Run | None:
        metadata = raw["metadata"]
        uid, version = metadata["uid"], int(metadata["resourceVersion"])
        if self._is_buried(uid, version):
            return None
        run = self._runs.get(uid)
        if run is not None and version < run.version:
            return None
        if deleted:
            if run is not None:
                run.execution, run.version = None, version
            return run
        if run is not None and version == run.version:
            return None
        if run is None and _told_all(raw):
            return None  # most of what is listed; reading it in full would take long
        execution = parse_execution(raw)
        if run is None:
            run = self._begin(uid, execution.spec.queue, metadata["namespace"])
            run.stepped = self.stepped
        known, run.execution, run.version = run.execution, execution, version
        if known is None or _stands_elsewhere(known, execution):
            # What was thought of the time before is over with it.
            run.verdict = None
            run.refused.clear()
            run.sent.clear()
            run.told.clear()
            run.stepped = self.stepped
            run.resting = execution.status.reason == Reason.RETRYING
        return run

    def _observe_job(self, job: Job) -> Run | None:
        run = self._run_of(job.id, lives=alive(job, None))
        if run is None:
            return None
        test = job.id.test
        known = run.jobs.get(test)
        if known is not None and job.id.attempt < known.id.attempt:
            return None
        if known is not None and job.id.follows(known.id):
            known = None
        if known is not None:
            stale = job.id.version <= known.id.version and not job.gone
            if stale or known.gone or known.id.uid != job.id.uid:
                return None
        job = replace(
            job,
            stepped=known.stepped if known else self.stepped,
            may_repeat=known.may_repeat if known else job.id.created < self._interrupted,
        )
        if job.gone:
            self._lose_job(run, test, job)
            return run
        run.jobs[test] = job
        finishes = job.finished and not (known and known.finished)
        if finishes and not _seen(run, test, job):
            run.unproven |= {test}
        return None if known is not None and _only_newer(job, known) else run

    def _observe_pod(self, pod: Pod) -> Run | None:
        run = self._run_of(pod.id, lives=alive(None, pod))
        if run is None:
            return None
        test = pod.id.test
        known = run.pod(pod.id.uid)
        stale = known is not None and (known.gone or pod.id.version <= known.id.version)
        if stale and not pod.gone:
            return None
        pod = replace(pod, stepped=self.stepped)
        if known is not None and known.ended:
            # Its end is known and final; only that it is gone is news.
            pod = replace(known, gone=pod.gone)
        elif known is not None and (known.started is not None or pod.started is None):
            pod = replace(pod, stepped=known.stepped)
        if not self._take_pod(run, pod):
            return None
        job = run.jobs.get(test)
        if job is not None and _seen(run, test, job):
            run.unproven -= {test}
        return None if known is not None and _only_newer(pod, known) else run

    def _take_pod(self, run: Run, pod: Pod) -> bool:
        """Have ``pod`` decide about its test, or beside the one that does; whether it matters."""
        test, others = pod.id.test, tuple(p for p in run.spare if p.id.uid != pod.id.uid)
        deciding = run.pods.get(test)
        if deciding is None or deciding.id.uid == pod.id.uid:
            run.pods[test], run.spare = pod, others
        elif _decides(pod, deciding):
            kept = not deciding.terminal or deciding.id.attempt == pod.id.attempt
            run.pods[test], run.spare = pod, (*others, deciding) if kept else others
        elif pod.id.attempt < deciding.id.attempt and len(others) == len(run.spare):
            return False
        else:
            matters = len(others) < len(run.spare) or not pod.terminal
            run.spare = (*others, pod)
            return matters
        return True

    def _recognized(self, pod: Pod) -> Pod:
        """Known by its UID, a pod stays ours when its Job was deleted and left it an orphan."""
        run = self._runs.get(pod.id.execution_uid)
        known = run.pod(pod.id.uid) if run else None
        if known is None:
            return pod
        return replace(pod, id=replace(pod.id, attempt=known.id.attempt))

    def _lose_job(self, run: Run, test: str, job: Job) -> None:
        run.jobs[test] = replace(job, gone=True)
        if not job.finished and not _seen(run, test, job):
            run.unproven |= {test}

    def _run_of(self, identity: Identity, *, lives: bool) -> Run | None:
        """The run an object of ours belongs to; one without an execution only if it ``lives``."""
        uid = identity.execution_uid
        if not identity.attempt or self._is_buried(identity.uid, identity.version):
            return None
        run = self._runs.get(uid)
        if run is not None and identity.namespace != run.namespace:
            return None
        if run is None and lives:
            run = self._begin(uid, identity.queue, identity.namespace)
        return run

    def _is_buried(self, uid: str, version: int) -> bool:
        return version <= self._buried.get(uid, -1)


def _only_newer(seen: Observed, known: Observed) -> bool:
    """Whether nothing has changed of what is read of an object: most events are of that kind."""
    version = known.id.version
    return replace(seen, id=replace(seen.id, version=version)) == known


def _told_all(raw: Raw) -> bool:
    """Whether an execution is final, and says so of its newest spec."""
    status = raw.get("status") or {}
    final = Phase(status.get("phase", Phase.QUEUED)).final
    return final and status.get("observedGeneration") == raw["metadata"].get("generation", 0)


def _stands_elsewhere(known: TestExecution, newer: TestExecution) -> bool:
    """Whether ``newer`` is in another attempt, or over."""
    before, after = known.status, newer.status
    return after.phase.final or attempt_of_status(before) != attempt_of_status(after)


def _decides(pod: Pod, other: Pod) -> bool:
    """Whether ``pod`` is the one to judge a test by: that of the latest attempt; of one Job's, the
    first that ends, as for the Job itself, unless it is taken away; until then the older, which is
    the one that stays.
    """
    if pod.id.attempt != other.id.attempt:
        return pod.id.attempt > other.id.attempt
    if other.terminal:
        return not other.ended and not pod.terminal
    if pod.ended:
        return not pod.id.deleting
    return not pod.gone and pod.id.created < other.id.created


def _seen(run: Run, test: str, job: Job) -> bool:
    """Whether the last pod of ``job`` is known: after one that vanished, another may have come."""
    pod = run.pods.get(test)
    if pod is None or pod.id.attempt != job.id.attempt:
        return False
    return pod.ended or not pod.gone


def parse_execution(raw: Raw) -> TestExecution:
    """A waiting execution is kept without its scripts: they are read again when it starts.

    Equal specs, and equal statuses, are one object: many may wait that are alike.
    """
    tests = [
        test | {"script": ""} if test.get("script") is not None else test
        for test in raw["spec"]["tests"]
    ]
    return TestExecution(
        metadata=ObjectMeta.model_validate(raw["metadata"]),
        spec=_shared(TestExecutionSpec, raw["spec"] | {"tests": tests}),
        status=_shared(TestExecutionStatus, raw.get("status") or {}),
    )


_alive: WeakValueDictionary[tuple[type[Model], bytes], Model] = WeakValueDictionary()
"""By a digest of their JSON, which is shorter."""


def _shared(model: type[M], raw: Raw) -> M:
    key = (model, blake2b(orjson.dumps(raw), digest_size=16).digest())
    found = _alive.get(key)
    if found is None:
        found = _alive[key] = model.model_validate(raw)
    assert isinstance(found, model)
    return found
