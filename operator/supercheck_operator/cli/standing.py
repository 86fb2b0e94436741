"""Why what waits is waiting: at which position, until when, and what holds it. Pure.

The operator writes nothing into what waits, so this is read from what is there: the queue, its
line, who runs. Order, reasons and estimates are made by the operator's own code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from supercheck_operator.cli import durations
from supercheck_operator.execution.attempts import attempt_of_status, rests_until
from supercheck_operator.execution.naming import attempt_of
from supercheck_operator.queueing.line import Entry
from supercheck_operator.queueing.queue import Queue
from supercheck_operator.queueing.waiting import why
from supercheck_operator.reporting.pace import Holding, expected
from supercheck_operator.resources import (
    LABEL_EXECUTION,
    LABEL_EXECUTION_UID,
    LABEL_TEST,
    ExecutionQueue,
    Phase,
    Raw,
    Reason,
    TestExecution,
)

SHOWN: Final = 10
"""How many of a line a queue's own status has."""


@dataclass(frozen=True)
class View:
    """What can be seen of the cluster. ``complete``: every namespace, not only some."""

    queues: Mapping[str, ExecutionQueue]
    executions: Sequence[TestExecution]
    started: frozenset[tuple[str, int]] = frozenset()
    """Attempts, by the UID of their execution, that have a Job: they hold a slot."""
    complete: bool = True


@dataclass(frozen=True)
class Standing:
    """What keeps an execution from running; ``starts_in`` is an estimate, in seconds."""

    reason: Reason
    message: str
    position: int | None = None
    starts_in: float | None = None


_STARTING: Final = Standing(Reason.STARTING, "It has a slot; no pod has started yet.")


@dataclass
class Lineup:
    """One queue. Those that wait are in the order of their start; the suspended come last."""

    running: list[TestExecution] = field(default_factory=list)
    starting: list[tuple[TestExecution, Standing]] = field(default_factory=list)
    """Of the running ones, those whose status does not say so yet."""
    waiting: list[tuple[TestExecution, Standing]] = field(default_factory=list)


def attempts_of(jobs: Iterable[Raw]) -> frozenset[tuple[str, int]]:
    """The attempts that ``jobs`` are of."""
    found = set()
    for job in jobs:
        labels = job["metadata"].get("labels", {})
        uid = labels.get(LABEL_EXECUTION_UID, "")
        name, test = labels.get(LABEL_EXECUTION, ""), labels.get(LABEL_TEST, "")
        found.add((uid, attempt_of(job["metadata"]["name"], name, uid, test)))
    return frozenset(found)


def standings(view: View, now: datetime) -> dict[str, Standing]:
    """By the UID of everything that waits."""
    names = {each.spec.queue for each in view.executions if each.status.phase is Phase.QUEUED}
    lineups = [lineup(view, name, now) for name in names]
    return {
        execution.metadata.uid: standing
        for found in lineups
        for execution, standing in found.waiting + found.starting
    }


def lineup(view: View, name: str, now: datetime) -> Lineup:
    """The queue of that name, as far as ``view`` shows it."""
    active = [
        each for each in view.executions if each.spec.queue == name and not each.status.phase.final
    ]
    resource = view.queues.get(name)
    queue = Queue(name)
    queue.resource = resource
    found = Lineup(running=sorted((each for each in active if _runs(view, each)), key=_started))
    for execution in found.running:
        queue.put_running(execution.metadata.uid, execution.metadata.namespace)
    waiting = {each.metadata.uid: each for each in active if not queue.runs(each.metadata.uid)}
    resting = {uid for uid, each in waiting.items() if _rests(each, now)}
    for uid, execution in waiting.items():
        if uid not in resting and not execution.spec.suspend:
            queue.put_waiting(Entry.of(execution))
    line = [waiting[entry.uid] for entry in queue.upcoming(queue.waiting)]
    starts = _starts(view, queue, line, found.running, now)
    positions = _positions(view, resource, line)
    for execution, start in zip(line, starts, strict=True):
        position = positions.get(execution.metadata.uid)
        found.waiting.append((execution, _waits(view, queue, execution, position, start)))
    in_line = {execution.metadata.uid for execution in line}
    for uid, execution in waiting.items():
        if uid not in in_line:
            said = why(execution, queue.spec, resting=uid in resting, namespace_running=0)
            found.waiting.append((execution, Standing(said.reason, said.message)))
    for execution in found.running:
        if execution.status.phase is Phase.QUEUED:
            found.starting.append((execution, _STARTING))
    return found


def _runs(view: View, execution: TestExecution) -> bool:
    attempt = (execution.metadata.uid, attempt_of_status(execution.status))
    return execution.status.phase is Phase.RUNNING or attempt in view.started


def _started(execution: TestExecution) -> tuple[str, int]:
    return execution.status.started_at or "~", execution.metadata.resource_version


def _rests(execution: TestExecution, now: datetime) -> bool:
    until = rests_until(execution)
    return until is not None and until > now


def _positions(
    view: View, queue: ExecutionQueue | None, line: Sequence[TestExecution]
) -> dict[str, int]:
    """By UID. Where only some namespaces are seen, the queue itself tells of its first ones."""
    if view.complete:
        return {each.metadata.uid: number for number, each in enumerate(line, start=1)}
    told = (queue.status.upcoming if queue else None) or []
    positions = {(each.namespace, each.name): each.position for each in told}
    keys = {each.metadata.uid: (each.metadata.namespace, each.metadata.name) for each in line}
    return {uid: positions[key] for uid, key in keys.items() if key in positions}


def _starts(
    view: View,
    queue: Queue,
    line: Sequence[TestExecution],
    running: Sequence[TestExecution],
    now: datetime,
) -> list[float | None]:
    """Seconds until each of ``line`` may start; None where nothing does, or too little is seen."""
    resource = queue.resource
    slots = resource.status.running_capacity if resource else None
    if resource is None or slots is None or not view.complete:
        return [None] * len(line)
    found = expected(
        [each.metadata.namespace for each in line],
        [
            Holding(each.metadata.namespace, durations.moment(each.status.started_at))
            for each in running
        ],
        resource.spec,
        slots=slots,
        slot_seconds=resource.status.slot_seconds,
        now=now,
    )
    return list(found)


def _waits(
    view: View, queue: Queue, execution: TestExecution, position: int | None, start: float | None
) -> Standing:
    said = why(
        execution,
        queue.spec,
        resting=False,
        namespace_running=queue.running_of(execution.metadata.namespace),
    )
    if queue.spec is None and not view.complete:
        # Who may not see queues cannot tell whether there is this one.
        return Standing(Reason.WAITING, f'It waits for its turn in queue "{queue.name}".')
    place = f" Position {position}" if position else f" Behind the first {SHOWN}"
    return Standing(said.reason, f"{said.message}{place}{_when(start)}.", position, start)


def _when(start: float | None) -> str:
    if start is None:
        return ""
    return ", starts any moment" if start < 1 else f", starts in about {durations.show(start)}"
