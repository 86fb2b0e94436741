"""The figures of every queue: one source for status, metrics and API, so that they agree."""

from __future__ import annotations

from supercheck_operator.ledger.capacity import Stats, stats
from supercheck_operator.ledger.contract import Ledger, LedgerUnavailableError
from supercheck_operator.queueing.queue import Queues
from supercheck_operator.reporting.metrics import Metrics
from supercheck_operator.settings import Settings


class UnknownQueueError(LookupError):
    """No queue of that name exists."""


class Figures:
    def __init__(
        self, *, ledger: Ledger, queues: Queues, settings: Settings, metrics: Metrics
    ) -> None:
        self._ledger = ledger
        self._queues = queues
        self._settings = settings
        self._metrics = metrics

    async def of(self, name: str) -> Stats:
        """The four figures of a queue. Raises UnknownQueueError, LedgerUnavailableError."""
        spec = self._queues.spec(name)
        limits = self._settings.limits(spec) if spec else None
        occupancy = await self._ledger.occupancy(name, limits.namespace_running if limits else None)
        if limits is None:
            raise UnknownQueueError(f'Queue "{name}" does not exist.')
        return stats(occupancy, limits)

    async def refresh_metrics(self) -> None:
        """Set the gauges; called when they are asked for, so that they are never old."""
        gauges = self._metrics
        by_queue = (
            gauges.executions_running,
            gauges.executions_queued,
            gauges.running_capacity,
            gauges.queued_capacity,
        )
        for gauge in by_queue:
            gauge.clear()
        try:
            for name in self._queues.existing():
                figures = await self.of(name)
                gauges.executions_running.labels(name).set(figures.running)
                gauges.executions_queued.labels(name).set(figures.queued)
                gauges.running_capacity.labels(name).set(figures.running_capacity)
                gauges.queued_capacity.labels(name).set(figures.queued_capacity)
            await self._ledger.occupancy("")
        except LedgerUnavailableError:
            gauges.ledger_up.set(0)
        else:
            gauges.ledger_up.set(1)
