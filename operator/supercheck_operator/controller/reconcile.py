"""One level-based reconcile per queue: look at what changed, then start what may start."""

from __future__ import annotations

import asyncio
import logging
import platform
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, nullcontext
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from pydantic import ValidationError

from supercheck_operator.controller.explain import Explainer
from supercheck_operator.controller.lane import Lane
from supercheck_operator.controller.world import Kind, Run, World
from supercheck_operator.execution.assess import Assessment, assess
from supercheck_operator.execution.evidence import Defaults
from supercheck_operator.execution.launch import Abandoned, Launched, Launcher
from supercheck_operator.execution.observed import Job, Pod
from supercheck_operator.execution.verdict import Delay, Verdict
from supercheck_operator.kube import (
    EXECUTIONS,
    JOBS,
    NEW_EVENTS,
    PODS,
    AlreadyExistsError,
    ConflictError,
    InvalidError,
    Kube,
    KubeError,
    NotFoundError,
    UnreachableError,
)
from supercheck_operator.ledger.contract import Ledger, State
from supercheck_operator.queueing.queue import Queue, Queues
from supercheck_operator.reporting import events, status
from supercheck_operator.reporting.metrics import Metrics
from supercheck_operator.reporting.pace import Pace
from supercheck_operator.reporting.results import Results
from supercheck_operator.resources import (
    LABEL_EXECUTION_UID,
    ExecutionQueue,
    Raw,
    TestExecution,
)
from supercheck_operator.settings import Settings

logger = logging.getLogger(__name__)

_RETRY_DELAY: Final = 1.0
_LAUNCHES_FIRST: Final = 0.02
"""Seconds that a final status waits, so that the freed slot's next Job is asked for before it."""
_YIELDS: Final = 0.5
"""Seconds at most that any status waits for the Jobs that its queue is asking for: what is written
meanwhile costs the API server the time that slots stand empty."""
_LATE_POD: Final = 5.0
"""Seconds for which a Job that went without a pod may still get one: docs/adr/0017-late-pods.md."""
_LATER_POD: Final = 60.0
"""The same, if it was there when answers may have been lost: for so long its controller may not
hear that it has gone, and ask for its pod again."""
_REPORTER: Final = platform.node()
"""In a cluster, the name of the operator's pod."""
_PATIENCE: Final = 3.0
"""Seconds until the Events are asked why a test does not start, and until they are asked again."""
_ASKED_AGAIN: Final = 10.0
_IN_ORDER: Final = 4
"""So many Jobs of a queue may wait for the one being made, so that all are made in the order of
their claims: those of five slots, as by default. Of more, which all have their slots, ``_ABREAST``
are asked for at a time, or the last would wait long."""
_ABREAST: Final = 8
_IN_A_ROW: Final = 100
"""Looks and claims, some 10 ms of work; then reviews, watches and the Lease have a turn."""
_STATUSES: Final = 32
"""Written at a time. When a long line is drained, they must not keep Jobs from being asked for."""
_PROOFS: Final = 8
_EVENTS: Final = 8
"""As ``_STATUSES``, of LISTs of one run's and of Events."""
_NEWS_TO_COME: Final = 0.5
"""Seconds that any other status waits: what changes meanwhile goes into the same write, and a test
that is over by then needs none to say that it runs."""


class Reconciler:
    """Decides and acts for every queue. ``spawn`` starts a task whose failure ends the process."""

    def __init__(
        self,
        *,
        kube: Kube,
        ledger: Ledger,
        queues: Queues,
        settings: Settings,
        metrics: Metrics,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        leads: bool = True,
    ) -> None:
        self.leads = leads
        """Whether it acts on what it sees; it counts and shows in any case."""
        self.world = World()
        self.queues = queues
        self.pace = Pace()
        self.results = Results()
        self.looks = 0
        """Grows whenever something was looked at: what is shown may be another."""
        self._kube = kube
        self._launcher = Launcher(kube)
        self._explainer = Explainer(kube, spawn)
        self._lanes: defaultdict[str, Lane] = defaultdict(
            lambda: Lane(patient=_IN_ORDER, abreast=_ABREAST)
        )
        self._ledger = ledger
        self._settings = settings
        self._metrics = metrics
        self._spawn = spawn
        self._clock = kube.clock
        self._now = self._clock.now
        self._defaults = Defaults(settings.execution_timeout, settings.max_concurrent_tests)
        self._dirty: defaultdict[str, set[str]] = defaultdict(set)
        self._signals: dict[str, asyncio.Event] = {}
        self._signalled_at: dict[str, float] = {}
        self._began_at: dict[str, float] = {}
        self._written: dict[str, datetime] = {}
        self._under_way: set[str] = set()
        self._alarms: dict[str, asyncio.TimerHandle] = {}
        self._freed: defaultdict[str, deque[float]] = defaultdict(deque)
        self._handoffs: dict[str, float] = {}
        self._writes = asyncio.Semaphore(_STATUSES)
        self._proofs = asyncio.Semaphore(_PROOFS)
        self._events = asyncio.Semaphore(_EVENTS)
        self._held = True

    # What has been seen --------------------------------------------------------------------------

    def observe(self, kind: Kind, raw: Raw, *, deleted: bool = False) -> None:
        """Take over what a watch or a response shows; look again at what it concerns."""
        run = self.take(kind, raw, deleted=deleted)
        unknown = run is None and kind is Kind.EXECUTION and self.world.get(_uid(raw)) is None
        if unknown and self.leads:
            # Over before anything was seen of it: what it has reserved is free again.
            self._spawn(self._ledger.release(_uid(raw), raw["spec"]["queue"]))

    def take(self, kind: Kind, raw: Raw, *, deleted: bool = False) -> Run | None:
        """The run that ``raw`` is news of, marked to be looked at again; None if it is no news.

        An object that cannot be read (stored before its schema was tightened, or not made by us)
        is told of and passed over: it must not stop everything else.
        """
        self.world.stepped = self._clock.stepped()
        try:
            if kind is Kind.EXECUTION:
                self.results.observe(raw, deleted=deleted)
            run = self.world.observe(kind, raw, deleted=deleted)
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
            logger.warning("%s %s cannot be read: %r", kind.value, _uid(raw), error)
            return None
        if run is not None:
            self.touch(run)
        return run

    def observe_queue(self, raw: Raw, *, deleted: bool = False) -> None:
        known = self.queues.get(raw["metadata"]["name"])
        before, drained = known.spec, known.drained
        try:
            resource = ExecutionQueue.model_validate(raw)
        except ValidationError as error:
            logger.warning("queue %s cannot be read: %r", raw["metadata"]["name"], error)
            return
        queue = self.queues.observe(resource, deleted=deleted)
        if queue.spec != before:
            self.touch_queue(queue, everything=queue.drained is not drained)

    def touch(self, run: Run) -> None:
        """Look again at ``run``."""
        self._dirty[run.queue].add(run.uid)
        self._signal(run.queue)

    def touch_queue(self, queue: Queue, *, everything: bool = True) -> None:
        """Look again at ``queue``, whose spec has changed, and at ``everything`` in it.

        Most changes say only who may start; to look at all that waits would delay that.
        """
        concerned = self.world.of(queue.name) if everything else ()
        self._dirty[queue.name] |= {run.uid for run in concerned}
        self._signal(queue.name)

    def take_over(self) -> None:
        """Lead from now on; before anything is done, everything is to be seen by a sweep."""
        self.leads = True
        self.hold()
        for run in self.world:
            self.touch(run)

    def hold(self) -> None:
        """Do nothing more: something exists that was not seen, and may come before what was."""
        self._held = True

    def release_hold(self) -> None:
        """Act: everything that exists has been seen."""
        self._held = False
        for name in self._dirty:
            self._signal(name)

    @property
    def _acts(self) -> bool:
        return self.leads and not self._held

    def _signal(self, name: str) -> None:
        if self._held:
            return
        if name not in self._signals:
            self._signals[name] = asyncio.Event()
            self._spawn(self._loop(name))
        self._signals[name].set()
        self._signalled_at.setdefault(name, time.monotonic())

    def behind(self) -> float:
        """Seconds that the longest waiting news has not been acted upon."""
        oldest = min((*self._signalled_at.values(), *self._began_at.values()), default=None)
        return 0.0 if oldest is None else time.monotonic() - oldest

    # The loop ------------------------------------------------------------------------------------

    async def _loop(self, name: str) -> None:
        queue, signal = self.queues.get(name), self._signals[name]
        while True:
            await signal.wait()
            signal.clear()
            self._began_at[name] = self._signalled_at.pop(name)
            await self.reconcile(queue)
            del self._began_at[name]

    async def reconcile(self, queue: Queue) -> None:
        dirty, self._dirty[queue.name] = self._dirty[queue.name], set()
        for number, uid in enumerate(dirty, 1):
            run = self.world.get(uid)
            if run is not None:
                await self._look(queue, run)
            if number % _IN_A_ROW == 0:
                await asyncio.sleep(0)
        await self._start(queue)
        self.looks += 1

    async def _start(self, queue: Queue) -> None:
        claimed = 0
        while self._acts and queue.spec is not None:
            limits = self._settings.limits(queue.spec)
            entry = queue.next(limits.running)
            if entry is None:
                break
            run = self.world.get(entry.uid)
            if run is None:  # nothing is known of it any more; it must not block the line
                queue.put_aside(entry.uid)
                continue
            waited = self._now() - run.waiting_since
            self._metrics.queue_wait.labels(queue.name).observe(max(0, waited.total_seconds()))
            run.claimed = run.attempt  # it counts before its Job is asked for
            self.pace.began(run.uid, time.monotonic())
            run.stepped = self._clock.stepped()
            if self._freed[queue.name]:
                self._handoffs[run.uid] = self._freed[queue.name].popleft()
            await self._look(queue, run)
            claimed += 1
            if claimed % _IN_A_ROW == 0:
                await asyncio.sleep(0)
        if not queue.waiting:
            self._freed[queue.name].clear()

    async def _look(self, queue: Queue, run: Run) -> None:
        """Assess ``run``, count it as what it is, and do what its assessment asks for."""
        self._tell_unanswered(run)
        assessment = run.assessment = self._assess(queue, run)
        run.resting = assessment is not None and assessment.resting
        await self._settle(queue, run)
        if self._held:
            self.touch(run)
        if not self._acts:
            return
        for seconds, tests in _doubts(run, assessment).items():
            self._once(f"prove {run.uid} {seconds}", partial(self._prove, run, tests, seconds))
        for test in assessment.launch if assessment else ():
            run.launching[test] = None
            self._spawn(self._launch(run, test))
        for test in assessment.unexplained if assessment else ():
            self._once(f"explain {run.uid} {test}", partial(self._explain, run, test))
        for test in assessment.stop if assessment else run.left_behind:
            self._once(f"stop {run.uid} {test}", partial(self._stop, run, test))
        if assessment is not None:
            self._report(queue, run, assessment)

    def _assess(self, queue: Queue, run: Run) -> Assessment | None:
        if run.verdict is not None:
            return run.verdict if run.execution else None
        evidence = run.evidence(
            self._now(),
            self._defaults,
            drained=queue.drained,
            stepped=self._clock.stepped(),
        )
        if evidence is None:
            return None
        assessment = assess(evidence)
        # It stands, so it is for who has seen everything.
        if self._acts and run.execution is not None and status.ends(run.execution, assessment):
            run.verdict = assessment
        return assessment

    async def _settle(self, queue: Queue, run: Run) -> None:
        """Queue and ledger count ``run`` as what it is now."""
        holder = run.holder
        freed = queue.runs(run.uid) and (holder is None or holder.state is not State.RUNNING)
        match holder.state if holder else None:
            case State.RUNNING:
                queue.put_running(run.uid, run.namespace)
            case State.WAITING:
                queue.put_waiting(run.entry())
            case _:
                queue.put_aside(run.uid)
        if holder is None and run.over and run.uid not in self._under_way:
            self._forget(run)
        if self.leads and holder is None:
            await self._ledger.release(run.uid, run.queue)
        elif self.leads and holder is not None:
            await self._ledger.hold(holder)
        if freed:
            self.pace.freed(run.uid, queue.name, time.monotonic())
        if freed and queue.waiting:
            self._freed[queue.name].append(time.monotonic())

    def _forget(self, run: Run) -> None:
        self.world.forget(run)
        self._written.pop(run.uid, None)
        self._handoffs.pop(run.uid, None)
        if alarm := self._alarms.pop(run.uid, None):
            alarm.cancel()

    # What is done --------------------------------------------------------------------------------

    def _once(self, key: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do ``work`` unless the same is being done already."""
        if key in self._under_way:
            return
        self._under_way.add(key)

        async def guarded() -> None:
            try:
                await work()
            finally:
                self._under_way.discard(key)

        self._spawn(guarded())

    async def _launch(self, run: Run, test: str) -> None:
        execution = run.execution
        if execution is None:
            del run.launching[test]
            self.touch(run)
            return
        spec = next(each for each in execution.spec.tests if each.name == test)

        def hindered(delay: Delay) -> None:
            logger.info("no Job yet for %s of %s: %s", test, execution.metadata.name, delay.cause)
            run.launching[test] = delay
            self.touch(run)

        attempt = run.attempt
        outcome = await self._launcher.launch(
            execution,
            spec,
            attempt,
            wanted=lambda: run.wants(test, attempt),
            hindered=hindered,
            give_up_after=execution.spec.start_timeout_seconds,
            turn=partial(self._turn, run, test),
        )
        del run.launching[test]
        match outcome:
            case Launched(job):
                if not any(pod.id.attempt == attempt for pod in run.pods.values()):
                    # What starts is dated from now on, and a clock that was set may have been
                    # heard of only by this answer.
                    run.stepped = self._clock.stepped()
                self.take(Kind.JOB, job)
                freed_at = self._handoffs.pop(run.uid, None)
                if freed_at is not None:
                    handoff = time.monotonic() - freed_at
                    self._metrics.handoff.labels(run.queue).observe(handoff)
            case Verdict():
                run.refused[test] = outcome
            case Abandoned(sure=False) if not run.knows(test, attempt):
                run.unproven |= {test}
        self.touch(run)

    @asynccontextmanager
    async def _turn(self, run: Run, test: str, tries: int) -> AsyncIterator[None]:
        async with nullcontext() if tries else self._lanes[run.queue].turn():
            run.asking |= {test}
            try:
                yield
            finally:
                run.asking -= {test}

    async def _explain(self, run: Run, test: str) -> None:
        """Ask the Events why ``test`` does not start, if it still has not by then."""
        await asyncio.sleep(_PATIENCE if test not in run.told else _ASKED_AGAIN)
        job, pod = run.jobs.get(test), run.pods.get(test)
        if pod is not None and job is not None and pod.id.attempt < job.id.attempt:
            pod = None  # an earlier attempt's
        if job is None or run.final or (pod is not None and pod.started):
            return
        told = await self._explainer.why(pod.id if pod is not None else job.id)
        if told is not None:
            run.told[test] = told
        self.touch(run)

    async def _stop(self, run: Run, test: str) -> None:
        """Delete the Job of ``test``; its pod, and so its slot, goes when it goes.

        Only in the state that was judged: late news of a Job that has ended meanwhile must not
        take it, its pod and their logs away.
        """
        job, pod = run.jobs.get(test), run.pods.get(test)
        if job is None or job.gone:
            if pod is not None and not pod.terminal and not pod.id.deleting:
                await self._stop_orphan(run, pod)
            return
        if job.id.deleting:
            return
        name, namespace = job.id.name, job.id.namespace
        try:
            await self._kube.delete(JOBS, name, namespace, uid=job.id.uid, version=job.id.version)
        except ConflictError:
            await self._look_up(name, namespace)
            self.touch(run)
        except KubeError as error:
            logger.log(_level(error), "cannot delete Job %s: %s", name, error)
            await asyncio.sleep(_RETRY_DELAY)
            self.touch(run)

    async def _stop_orphan(self, run: Run, pod: Pod) -> None:
        """Delete a pod that outlives its Job: somebody deleted that and left its pod."""
        try:
            await self._kube.delete(PODS, pod.id.name, pod.id.namespace, uid=pod.id.uid)
        except KubeError as error:
            logger.log(_level(error), "cannot delete pod %s: %s", pod.id.name, error)
            await asyncio.sleep(_RETRY_DELAY)
            self.touch(run)

    async def _look_up(self, name: str, namespace: str) -> None:
        try:
            self.take(Kind.JOB, await self._kube.get(JOBS, name, namespace))
        except KubeError as error:
            logger.log(_level(error), "cannot read Job %s: %s", name, error)
            await asyncio.sleep(_RETRY_DELAY)

    async def _prove(self, run: Run, tests: frozenset[str], after: float) -> None:
        """What exists of ``run``, of ``tests`` above all: ask, ``after`` seconds, do not guess.

        A Job that vanished may have a pod that was never seen, and what is over in time may not
        have been seen yet when its time is up.
        """
        await asyncio.sleep(after)
        began, labels = self._now(), f"{LABEL_EXECUTION_UID}={run.uid}"
        try:
            for kind, resource in ((Kind.JOB, JOBS), (Kind.POD, PODS)):
                async with self._proofs:
                    found, version = await self._kube.list(
                        resource, namespace=run.namespace, labels=labels
                    )
                for raw in found:
                    self.take(kind, raw)
                self.world.missing(kind, {_uid(raw) for raw in found}, version, of=run)
        except KubeError as error:
            logger.log(_level(error), "cannot list what is of %s: %s", run.uid, error)
            await asyncio.sleep(_RETRY_DELAY)
        else:
            # An interruption meanwhile makes it later.
            run.unproven -= {test for test in tests if _late_by(run.jobs.get(test)) <= after}
            run.confirmed = began
        self.touch(run)

    def _report(self, queue: Queue, run: Run, assessment: Assessment) -> None:
        """Write the status when it is due, or look again when it will be."""
        assert run.execution is not None
        now = self._now()
        due = status.due(run.execution, assessment, now=now, written=self._written.get(run.uid))
        if _goes_on(run, assessment):
            due = None
        if due is not None and due <= now:
            self._once(run.uid, partial(self._write, queue, run))
            due = None
        times = [at for at in (due, assessment.look_again) if at is not None]
        self._wake(run, min(times) - now if times else None)

    def _wake(self, run: Run, delay: timedelta | None) -> None:
        if alarm := self._alarms.pop(run.uid, None):
            alarm.cancel()
        if delay is not None:
            loop = asyncio.get_running_loop()
            seconds = max(0.0, delay.total_seconds())
            self._alarms[run.uid] = loop.call_later(seconds, self.touch, run)

    async def _write(self, queue: Queue, run: Run) -> None:
        """Write what ``run`` is by now."""
        await asyncio.sleep(_LAUNCHES_FIRST if run.final else _NEWS_TO_COME)
        await self._lanes[queue.name].idle(_YIELDS)
        try:
            async with self._writes:
                told = await self._write_status(queue, run)
            if told is not None:
                await self._tell(run, *told)
        except (ConflictError, InvalidError) as error:
            await self._reread(run, error)
        except NotFoundError:
            await asyncio.sleep(_RETRY_DELAY)  # deleted: the watch or the sweep will tell
        except KubeError as error:
            logger.log(_level(error), "cannot write the status of %s: %s", run.uid, error)
            await asyncio.sleep(_RETRY_DELAY)
        finally:
            self.touch(run)  # whatever came of it, the next look decides

    async def _write_status(
        self, queue: Queue, run: Run
    ) -> tuple[TestExecution, Assessment] | None:
        """What is to be told beside it; None if it was not written. Raises KubeError.

        The resourceVersion makes sure of what it follows on.
        """
        assessment = self._assess(queue, run)
        execution = run.execution
        if execution is None or assessment is None or not _may_write(run, assessment):
            return None
        now = self._now()
        metadata = execution.metadata
        body = {
            "metadata": {"resourceVersion": str(metadata.resource_version), "uid": metadata.uid},
            "status": status.execution_status(execution, assessment, now),
        }
        before = run.unanswered
        if assessment.phase.final and not execution.status.phase.final:
            run.unanswered = assessment
        if not assessment.resting:
            run.sent |= {result.name: result for result in assessment.tests if result.phase.final}
        try:
            written = await self._kube.patch(
                EXECUTIONS, metadata.name, body, namespace=metadata.namespace, subresource="status"
            )
        except (ConflictError, InvalidError):
            if run.unanswered is assessment:
                run.unanswered = before  # if its end is stored now, not by this
            raise
        self._written[run.uid] = now
        known = run.unanswered is None  # the watch was faster
        run.unanswered = None
        self.take(Kind.EXECUTION, written)
        return None if assessment.phase.final and known else (execution, assessment)

    def _tell_unanswered(self, run: Run) -> None:
        """Its end is stored, though nobody answered the write of it."""
        sent, execution = run.unanswered, run.execution
        if sent is not None and execution is not None and execution.status.phase is sent.phase:
            run.unanswered = None
            self._spawn(self._tell(run, execution, sent))

    async def _tell(self, run: Run, execution: TestExecution, assessment: Assessment) -> None:
        """Beside the status: metrics of an end, an Event where a person would look for one."""
        if assessment.phase.final:
            self._count_end(execution, assessment)
        if not events.worth_telling(assessment):
            return
        event = events.event(execution, assessment, self._now(), _REPORTER)
        if event["metadata"]["name"] in run.events:
            return
        run.events |= {event["metadata"]["name"]}
        try:
            async with self._events:
                await self._kube.create(NEW_EVENTS, event)
        except AlreadyExistsError:
            return
        except KubeError as error:
            logger.log(_level(error), "no event for %s: %s", execution.metadata.name, error)

    async def _reread(self, run: Run, error: KubeError) -> None:
        """Somebody wrote in between: take over what is there now."""
        if run.execution is None:
            return
        metadata = run.execution.metadata
        try:
            newest = await self._kube.get(EXECUTIONS, metadata.name, metadata.namespace)
        except KubeError:
            await asyncio.sleep(_RETRY_DELAY)
            return
        same = int(newest["metadata"]["resourceVersion"]) == metadata.resource_version
        if same or newest["metadata"]["uid"] != metadata.uid:
            logger.warning("status of %s refused: %s", metadata.name, error)
            await asyncio.sleep(_RETRY_DELAY)
        else:
            self.take(Kind.EXECUTION, newest)

    def _count_end(self, execution: TestExecution, assessment: Assessment) -> None:
        queue, phase = execution.spec.queue, assessment.phase.value
        self._metrics.executions_finished.labels(queue, phase, assessment.reason or "").inc()
        if assessment.started_at and assessment.completed_at:
            took = assessment.completed_at - assessment.started_at
            self._metrics.execution_duration.labels(queue, phase).observe(took.total_seconds())


def _doubts(run: Run, assessment: Assessment | None) -> Mapping[float, frozenset[str]]:
    """Tests of which something may exist unseen, by the seconds after which a LIST shows it.

    What is only to be confirmed is asked for at once.
    """
    doubts: dict[float, frozenset[str]] = {}
    if assessment is not None and assessment.doubtful:
        doubts[0.0] = frozenset()
    for test in run.unproven:
        seconds = _late_by(run.jobs.get(test))
        doubts[seconds] = doubts.get(seconds, frozenset()) | {test}
    return doubts


def _late_by(job: Job | None) -> float:
    """Seconds for which a pod of ``job``, which has ended or gone, may still come."""
    if job is not None and job.finished:
        return 0.0
    return _LATER_POD if job is not None and job.may_repeat else _LATE_POD


def _goes_on(run: Run, assessment: Assessment) -> bool:
    """A Job that is being asked for is still of what ends: nothing comes after an end is told."""
    return bool(run.asking) and (assessment.resting or assessment.phase.final)


def _may_write(run: Run, assessment: Assessment) -> bool:
    assert run.execution is not None
    return not _goes_on(run, assessment) and status.may_write(run.execution, assessment)


def _level(error: KubeError) -> int:
    """An API server that does not answer is told of once, by those who ask it regularly."""
    return logging.DEBUG if isinstance(error, UnreachableError) else logging.WARNING


def _uid(raw: Raw) -> str:
    uid: str = raw["metadata"]["uid"]
    return uid
