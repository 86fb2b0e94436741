"""How long the first of those that wait has been waiting: of what never starts, nothing else tells.

The histogram of waits knows only those that are over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from supercheck_operator.clock import utc_now
from supercheck_operator.controller.world import World
from supercheck_operator.ledger.contract import State
from supercheck_operator.queueing.queue import Queues


class OldestWait(Collector):
    """Computed when it is asked for; 0 where nothing waits."""

    def __init__(self, world: World, queues: Queues, now: Callable[[], datetime] = utc_now) -> None:
        self._world = world
        self._queues = queues
        self._now = now

    def collect(self) -> Iterator[Metric]:
        now = self._now()
        oldest = dict.fromkeys(self._queues.existing(), now)
        for run in self._world:
            if run.state is State.WAITING and run.execution is not None:
                queue = run.execution.spec.queue
                if queue in oldest:
                    oldest[queue] = min(oldest[queue], run.waiting_since)
        metric = GaugeMetricFamily(
            "supercheck_oldest_wait_seconds",
            "How long the first of those that wait has been waiting.",
            labels=["queue"],
        )
        for queue, since in oldest.items():
            metric.add_metric([queue], (now - since).total_seconds())
        yield metric

    def describe(self) -> Iterator[Metric]:
        return iter(())
