"""Executions and queues as one caller may see them: names by namespace, counts by queue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import islice

from pydantic import Field

from supercheck_operator.reporting.figures import Figures, UnknownQueueError
from supercheck_operator.reporting.shown import ShownExecution, Source, brief
from supercheck_operator.resources import Model, Phase
from supercheck_operator.web.access import Sight

_LIVE_LIMIT = 200
"""Of each list of each queue, for the page; the figures tell how many there are."""


class UnknownExecutionError(LookupError):
    """No execution of that name exists."""


class Stats(Model):
    """The four figures of a queue."""

    running: int
    running_capacity: int
    queued: int
    queued_capacity: int


class Others(Model):
    """Executions of namespaces that the caller may not list: how many, in queues they may get."""

    running: int = 0
    queued: int = 0


class Executions(Model):
    running: list[ShownExecution] = Field(description="The longest running first.")
    queued: list[ShownExecution] = Field(description="In the order of their start.")
    finished: list[ShownExecution] = Field(
        description="The latest first: up to 20 of each namespace in each queue."
    )
    others: Others


class LiveQueue(Stats):
    name: str
    stop_policy: str
    ordering: str
    slot_seconds: float | None = Field(
        default=None, description="How long executions lately held their slot, on average."
    )
    others: Others


class Live(Model):
    """All of the page; lists are cut at 200 of each queue."""

    queues: list[LiveQueue]
    namespaces: list[str]
    running: list[ShownExecution]
    queued: list[ShownExecution]
    finished: list[ShownExecution]


def executions(
    source: Source,
    sight: Sight,
    *,
    queue: str | None = None,
    phase: Phase | None = None,
    namespace: str | None = None,
) -> Executions:
    """What ``sight`` shows; each of the others narrows it."""
    found = Executions(running=[], queued=[], finished=[], others=Others())
    others = Others()

    def wanted(all_: Iterable[ShownExecution]) -> list[ShownExecution]:
        return [
            each
            for each in all_
            if sight.shows(each.namespace)
            and (namespace is None or each.namespace == namespace)
            and (phase is None or each.phase is phase)
        ]

    for name in source.queues():
        if queue is not None and name != queue:
            continue
        running = source.running(name)
        found.running.extend(wanted(running))
        found.queued.extend(brief(wanted(source.queued(name, sight.shows))))
        found.finished.extend(wanted(source.finished(name)))
        if name in sight.queues:
            hidden = _others(sight, running, source.waiting(name))
            others = Others(
                running=others.running + hidden.running, queued=others.queued + hidden.queued
            )
    found.finished.sort(key=lambda each: each.completed_at or "", reverse=True)
    return found.model_copy(update={"others": others})


async def live(source: Source, figures: Figures, sight: Sight) -> Live:
    """The page. Raises LedgerUnavailableError."""
    shown = Live(queues=[], namespaces=[], running=[], queued=[], finished=[])
    namespaces: set[str] = set()
    for name in source.queues():
        running, waiting = source.running(name), source.waiting(name)
        shows = [each for each in running if sight.shows(each.namespace)]
        ended = [each for each in source.finished(name) if sight.shows(each.namespace)]
        namespaces.update(each.namespace for each in (*shows, *ended))
        namespaces.update(filter(sight.shows, waiting))
        shown.running.extend(shows[:_LIVE_LIMIT])
        shown.queued.extend(brief(islice(source.queued(name, sight.shows), _LIVE_LIMIT)))
        shown.finished.extend(ended[:_LIVE_LIMIT])
        if name in sight.queues and (stats := await _stats(figures, name)) is not None:
            ways = source.ways(name)
            queue = LiveQueue(
                **stats.model_dump(),
                name=name,
                stop_policy=ways.stop_policy,
                ordering=ways.ordering,
                slot_seconds=ways.slot_seconds,
                others=_others(sight, running, waiting),
            )
            shown.queues.append(queue)
    shown.finished.sort(key=lambda each: each.completed_at or "", reverse=True)
    return shown.model_copy(update={"namespaces": sorted(namespaces)})


async def stats(figures: Figures, name: str) -> Stats:
    """Raises UnknownQueueError, LedgerUnavailableError."""
    now = await figures.of(name)
    return Stats(
        running=now.running,
        running_capacity=now.running_capacity,
        queued=now.queued,
        queued_capacity=now.queued_capacity,
    )


async def _stats(figures: Figures, name: str) -> Stats | None:
    try:
        return await stats(figures, name)
    except UnknownQueueError:
        return None  # deleted a moment ago


def _others(sight: Sight, running: Iterable[ShownExecution], waiting: Counter[str]) -> Others:
    return Others(
        running=sum(not sight.shows(each.namespace) for each in running),
        queued=sum(count for namespace, count in waiting.items() if not sight.shows(namespace)),
    )
