"""How long the first of those that wait has been waiting: of what never starts, nothing else tells.

The histogram of waits knows only those that are over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from supercheck_operator.clock import utc_now
from supercheck_operator.controller.world import World
from supercheck_operator.execution.observed import format_time, parse_time
from supercheck_operator.ledger.contract import State
from supercheck_operator.queueing.queue import Queues

_LATER: Final = "~"
"""Sorts after every time."""


class OldestWait(Collector):
    """Computed when it is asked for; 0 where nothing waits."""

    def __init__(self, world: World, queues: Queues, now: Callable[[], datetime] = utc_now) -> None:
        self._world = world
        self._queues = queues
        self._now = now

    def collect(self) -> Iterator[Metric]:
        oldest: dict[str, str] = {}
        for run in self._world:
            if run.execution is None:
                continue
            queue, created = run.queue, run.execution.metadata.creation_timestamp
            known = oldest.get(queue, _LATER)
            # Nobody has waited for longer than it exists, so most need no closer look.
            if created < known and run.state is State.WAITING:
                oldest[queue] = min(known, format_time(run.waiting_since))
        now = self._now()
        metric = GaugeMetricFamily(
            "supercheck_oldest_wait_seconds",
            "How long the first of those that wait has been waiting.",
            labels=["queue"],
        )
        for queue in self._queues.existing():
            since = parse_time(oldest.get(queue))
            metric.add_metric([queue], (now - since).total_seconds() if since else 0.0)
        yield metric

    def describe(self) -> Iterator[Metric]:
        return iter(())
