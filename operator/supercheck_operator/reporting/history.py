"""The last minutes of every queue, for a small chart."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable
from datetime import datetime
from typing import Final

from supercheck_operator.clock import utc_now
from supercheck_operator.execution.observed import format_time
from supercheck_operator.ledger.contract import LedgerUnavailableError
from supercheck_operator.queueing.queue import Queues
from supercheck_operator.reporting.figures import Figures, UnknownQueueError
from supercheck_operator.reporting.metrics import Metrics
from supercheck_operator.reporting.shown import Sample

INTERVAL: Final = 5.0
"""Seconds between two samples."""
_KEPT: Final = 180
"""Samples: fifteen minutes."""


class History:
    def __init__(
        self,
        *,
        figures: Figures,
        queues: Queues,
        metrics: Metrics,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._figures = figures
        self._queues = queues
        self._metrics = metrics
        self._now = now
        self._samples: defaultdict[str, deque[Sample]] = defaultdict(lambda: deque(maxlen=_KEPT))
        self._waits: dict[str, tuple[float, float]] = {}

    def of(self, queue: str) -> list[Sample]:
        """The oldest first. Raises UnknownQueueError."""
        if self._queues.spec(queue) is None:
            raise UnknownQueueError(f'Queue "{queue}" does not exist.')
        return list(self._samples[queue])

    async def run(self) -> None:
        """A sample of every queue, every few seconds; none while figures are not known."""
        while True:
            await self.sample()
            await asyncio.sleep(INTERVAL)

    async def sample(self) -> None:
        waits = self._waits_so_far()
        at = format_time(self._now())
        for gone in self._samples.keys() - set(self._queues.existing()):
            del self._samples[gone]
        for name in self._queues.existing():
            try:
                figures = await self._figures.of(name)
            except (LedgerUnavailableError, UnknownQueueError):
                continue
            count, seconds = waits.get(name, (0.0, 0.0))
            count_before, seconds_before = self._waits.get(name, (0.0, 0.0))
            started = count - count_before
            self._samples[name].append(
                Sample(
                    at=at,
                    running=figures.running,
                    queued=figures.queued,
                    wait_seconds=(seconds - seconds_before) / started if started else None,
                )
            )
        self._waits = waits

    def _waits_so_far(self) -> dict[str, tuple[float, float]]:
        """By queue: how many were started, and how long they had waited in all."""
        counts: dict[str, float] = {}
        sums: dict[str, float] = {}
        for metric in self._metrics.queue_wait.collect():
            for sample in metric.samples:
                if sample.name.endswith("_count"):
                    counts[sample.labels["queue"]] = sample.value
                elif sample.name.endswith("_sum"):
                    sums[sample.labels["queue"]] = sample.value
        return {queue: (count, sums[queue]) for queue, count in counts.items()}
