"""What is under way, as people see it: read from the memory of the reconciler, and nowhere else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from itertools import tee

from supercheck_operator.controller.reconcile import Reconciler
from supercheck_operator.controller.world import Run
from supercheck_operator.execution.observed import format_time
from supercheck_operator.ledger.contract import State
from supercheck_operator.queueing.queue import Queue
from supercheck_operator.queueing.waiting import Why, why
from supercheck_operator.reporting.pace import Holding, expected
from supercheck_operator.reporting.shown import QueueWays, ShownExecution
from supercheck_operator.reporting.status import summarize
from supercheck_operator.resources import Ordering, Phase, StopPolicy, Summary, TestExecution
from supercheck_operator.settings import Settings


class Board:
    """A ``reporting.shown.Source``."""

    def __init__(
        self,
        reconciler: Reconciler,
        settings: Settings,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._reconciler = reconciler
        self._settings = settings
        self._now = now

    @property
    def version(self) -> int:
        return self._reconciler.looks

    def queues(self) -> list[str]:
        return sorted({*self._reconciler.queues.existing(), *self._reconciler.world.queues()})

    def ways(self, queue: str) -> QueueWays:
        spec = self._reconciler.queues.spec(queue)
        return QueueWays(
            stop_policy=(spec.stop_policy if spec else StopPolicy.NONE).value,
            ordering=(spec.ordering if spec else Ordering.FIFO).value,
            slot_seconds=slot_seconds(self._reconciler, queue),
        )

    def namespaces(self) -> frozenset[str]:
        here = {run.namespace for run in self._reconciler.world}
        return frozenset(here | self._reconciler.results.namespaces())

    def running(self, queue: str) -> list[ShownExecution]:
        shown = [self._shown(run) for run in self._outside(queue) if run.state is State.RUNNING]
        # What has its verdict may hold its slot still, until its pods are gone.
        return sorted(
            (each for each in shown if each is not None),
            key=lambda each: (each.started_at or "~", each.created_at),
        )

    def queued(self, queue: str, shows: Callable[[str], bool]) -> Iterator[ShownExecution]:
        for run, place in self._line(queue):
            if shows(run.namespace) and (shown := self._shown(run)) is not None:
                yield shown.model_copy(update=place)
        parked = [run for run in self._parked(queue) if shows(run.namespace)]
        aside = [each for run in parked if (each := self._shown(run)) is not None]
        yield from sorted(aside, key=lambda each: each.created_at)

    def waiting(self, queue: str) -> Counter[str]:
        waiting = self._reconciler.queues.get(queue).waiting_of()
        waiting.update(run.namespace for run in self._parked(queue) if run.execution is not None)
        return waiting

    def finished(self, queue: str) -> list[ShownExecution]:
        return self._reconciler.results.of(queue)

    def find(self, namespace: str, name: str) -> ShownExecution | None:
        for run in self._reconciler.world:
            execution = run.execution
            if (
                execution is not None
                and run.namespace == namespace
                and execution.metadata.name == name
                and not execution.status.phase.final
            ):
                waits = self._reconciler.queues.get(run.queue).waits(run.uid)
                line = self._line(run.queue) if waits else iter(())
                places = (place for each, place in line if each is run)
                shown = self._shown(run)
                tests = run.assessment.tests if run.assessment else ()
                said = {"tests": tests} | next(places, {})
                return shown.model_copy(update=said) if shown else None
        return None

    def _line(self, name: str) -> Iterator[tuple[Run, dict[str, object]]]:
        """Who stands in line, in order, each with what its place says of it."""
        queue = self._reconciler.queues.get(name)
        entries, same = tee(queue.upcoming(queue.waiting))
        starts = self._starts(queue, (entry.namespace for entry in same))
        for position, (entry, start) in enumerate(zip(entries, starts, strict=False), start=1):
            if (run := self._reconciler.world.get(entry.uid)) is not None:
                yield run, {"position": position, "estimated_start": start}

    def _outside(self, name: str) -> list[Run]:
        """Everything in a queue but what stands in its line, which may be long."""
        queue = self._reconciler.queues.get(name)
        return [run for run in self._reconciler.world.of(name) if not queue.waits(run.uid)]

    def _parked(self, name: str) -> list[Run]:
        return [run for run in self._outside(name) if run.state is State.PARKED]

    def _shown(self, run: Run) -> ShownExecution | None:
        execution, assessment = run.execution, run.assessment
        if execution is None:
            return None
        metadata, spec = execution.metadata, execution.spec
        tests = assessment.tests if assessment else ()
        phase = assessment.phase if assessment else execution.status.phase
        waits = phase is Phase.QUEUED
        told = self._why(run, execution) if waits else assessment or execution.status
        return ShownExecution(
            namespace=metadata.namespace,
            name=metadata.name,
            uid=run.uid,
            queue=run.queue,
            priority=spec.priority,
            phase=phase,
            reason=told.reason,
            message=told.message,
            created_at=metadata.creation_timestamp,
            started_at=_format(assessment.started_at if assessment else None),
            completed_at=_format(assessment.completed_at if assessment else None),
            attempts=assessment.attempts if assessment else execution.status.attempts or 0,
            summary=summarize(tests) if tests else Summary(total=len(spec.tests)),
            tests=tests if phase is Phase.RUNNING else (),
        )

    def _why(self, run: Run, execution: TestExecution) -> Why:
        queue = self._reconciler.queues.get(run.queue)
        running = queue.running_of(run.namespace)
        return why(execution, queue.spec, resting=run.resting, namespace_running=running)

    def _starts(self, queue: Queue, line: Iterable[str]) -> Iterator[str | None]:
        """The estimated start of each in the line."""
        if queue.spec is None:
            return (None for _ in line)
        running = [run for run in self._outside(queue.name) if queue.runs(run.uid)]
        now = self._now()
        found = expected(
            line,
            [Holding(run.namespace, _started(run)) for run in running],
            queue.spec,
            slots=self._settings.limits(queue.spec).running,
            slot_seconds=slot_seconds(self._reconciler, queue.name),
            now=now,
        )
        return (_format(None if s is None else now + timedelta(seconds=s)) for s in found)


def slot_seconds(reconciler: Reconciler, queue: str) -> float | None:
    """How long executions of ``queue`` lately held their slot, on average; None if nobody knows.

    As who leads has measured it, which the queue's status tells everybody else; before that, by the
    results that are kept.
    """
    resource = reconciler.queues.get(queue).resource
    if not reconciler.leads and resource is not None:
        return resource.status.slot_seconds
    measured = reconciler.pace.mean(queue)
    seconds = reconciler.results.mean_seconds(queue) if measured is None else measured
    return None if seconds is None else round(seconds, 1)


def _started(run: Run) -> datetime | None:
    return run.assessment.started_at if run.assessment else None


def _format(moment: datetime | None) -> str | None:
    return format_time(moment) if moment else None
