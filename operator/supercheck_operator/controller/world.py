"""What the API server has shown so far: executions with their Jobs and pods, by queue.

Watches are distrusted: an object is taken over only when its resourceVersion is newer than what is
known (they compare as numbers:
https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions), so replays, late
lists and reordered streams change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum

from supercheck_operator.execution.assess import Assessment, Defaults, Evidence, Refusal, alive
from supercheck_operator.execution.manifest import job_name
from supercheck_operator.execution.observed import Identity, Job, Pod, parse_job, parse_pod
from supercheck_operator.ledger.contract import Holder, State
from supercheck_operator.queueing.line import Entry
from supercheck_operator.resources import Phase, Raw, TestExecution


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
    pods: dict[str, Pod] = field(default_factory=dict)
    started: bool = False
    launching: dict[str, str] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)
    proving: bool = False
    """A Job vanished before any pod of it was seen: one may exist until a LIST says otherwise."""
    verdict: Assessment | None = None
    """The first final assessment; it stands, whatever is seen before it is written."""

    @property
    def final(self) -> bool:
        stored = self.execution is not None and self.execution.status.phase.final
        return stored or self.verdict is not None

    @property
    def alive(self) -> bool:
        """Something of it occupies the cluster, or may do so any moment."""
        tests = self.jobs.keys() | self.pods.keys()
        return (
            self.proving
            or bool(self.launching)
            or any(alive(self.jobs.get(test), self.pods.get(test)) for test in tests)
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
        if self.execution is None or self.final:
            return None
        if self.started:
            return State.RUNNING
        return State.PARKED if self.execution.spec.suspend else State.WAITING

    @property
    def over(self) -> bool:
        """Nothing is left to do, and nothing of it can still change.

        A Job whose pod has ended is waited for: what it still tells on its way to Complete would
        otherwise look like a new one.
        """
        stored = self.execution is None or self.execution.status.phase.final
        return stored and not self.alive and all(j.gone or j.finished for j in self.jobs.values())

    @property
    def holder(self) -> Holder | None:
        state = self.state
        return Holder(self.uid, self.queue, self.namespace, state) if state else None

    def evidence(self, now: datetime, defaults: Defaults, *, drained: bool) -> Evidence | None:
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
            drained=drained,
        )

    def entry(self) -> Entry:
        assert self.execution is not None
        metadata = self.execution.metadata
        return Entry(
            uid=self.uid,
            namespace=self.namespace,
            name=metadata.name,
            priority=self.execution.spec.priority,
            created=metadata.creation_timestamp,
            version=metadata.resource_version,
        )


class World:
    """Runs by the UID of their execution."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._buried: dict[str, int] = {}
        self._newest = 0

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs.values())

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
                pod = parse_pod(raw)
                return self._observe_pod(replace(pod, gone=True) if deleted else pod)

    def missing(self, kind: Kind, listed: Mapping[str, Raw], version: int) -> list[Run]:
        """Take over that what a LIST of ``version`` does not show is gone; the runs concerned."""
        concerned: list[Run] = []
        for run in list(self._runs.values()):
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
                    for test, pod in run.pods.items():
                        if not pod.gone and pod.id.version <= version and pod.id.uid not in listed:
                            run.pods[test] = replace(pod, gone=True)
                            concerned.append(run)
        return concerned

    def forget(self, run: Run) -> None:
        """Nothing is left to do for ``run``; what still arrives of it is old news."""
        if self._runs.pop(run.uid, None) is not None:
            self._buried[run.uid] = self._newest

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
        if run is None and Phase((raw.get("status") or {}).get("phase", Phase.QUEUED)).final:
            return None  # most of what is listed; reading it in full would take long
        execution = parse_execution(raw)
        if run is None:
            run = self._runs[uid] = Run(uid, execution.spec.queue, metadata["namespace"])
        run.execution, run.version = execution, version
        # Once started, always started: it is in the line only before its first Job.
        run.started = run.started or execution.status.phase is Phase.RUNNING or bool(run.jobs)
        return run

    def _observe_job(self, job: Job) -> Run | None:
        run = self._run_of(job.id, lives=alive(job, None))
        if run is None:
            return None
        test = job.id.test
        known = run.jobs.get(test)
        if known is not None and (
            known.gone or (job.id.version <= known.id.version and not job.gone)
        ):
            return None
        run.started = True
        if job.gone:
            self._lose_job(run, test, job)
        else:
            run.jobs[test] = job
        return run

    def _observe_pod(self, pod: Pod) -> Run | None:
        run = self._run_of(pod.id, lives=alive(None, pod))
        if run is None:
            return None
        test = pod.id.test
        known = run.pods.get(test)
        if known is not None:
            if known.id.uid != pod.id.uid:
                # A Job with two pods: the one that lives counts; else the first one's verdict.
                if pod.terminal or not known.terminal:
                    return None
            elif (known.gone or pod.id.version <= known.id.version) and not pod.gone:
                return None
            elif known.ended:
                # Its end is known and final; only that it is gone is news.
                pod = replace(known, gone=pod.gone)
        run.started = True
        run.pods[test] = pod
        return run

    def _lose_job(self, run: Run, test: str, job: Job) -> None:
        run.jobs[test] = replace(job, gone=True)
        if test not in run.pods and not job.finished:
            run.proving = True

    def _run_of(self, identity: Identity, *, lives: bool) -> Run | None:
        """The run an object of ours belongs to; one without an execution only if it ``lives``."""
        uid = identity.execution_uid
        named = job_name(identity.execution, uid, identity.test)
        if identity.job != named or self._is_buried(uid, identity.version):
            return None
        run = self._runs.get(uid)
        if run is not None and identity.namespace != run.namespace:
            return None
        if run is None and lives:
            run = self._runs[uid] = Run(uid, identity.queue, identity.namespace)
        return run

    def _is_buried(self, uid: str, version: int) -> bool:
        return version <= self._buried.get(uid, -1)


def parse_execution(raw: Raw) -> TestExecution:
    """A waiting execution is kept without its scripts: they are read again when it starts."""
    tests = [
        test | {"script": ""} if test.get("script") is not None else test
        for test in raw["spec"]["tests"]
    ]
    return TestExecution.model_validate(raw | {"spec": raw["spec"] | {"tests": tests}})
