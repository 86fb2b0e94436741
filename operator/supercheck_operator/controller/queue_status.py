"""Keeps the status of every ExecutionQueue true, with at most one write a second each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from supercheck_operator.clock import utc_now
from supercheck_operator.controller.reconcile import Reconciler
from supercheck_operator.kube import QUEUES, Kube, KubeError
from supercheck_operator.ledger.capacity import Stats
from supercheck_operator.ledger.contract import LedgerUnavailableError
from supercheck_operator.queueing.line import Entry
from supercheck_operator.queueing.queue import Queue, Queues
from supercheck_operator.reporting.figures import Figures
from supercheck_operator.reporting.status import queue_status

logger = logging.getLogger(__name__)

INTERVAL: Final = 1.0
_UPCOMING: Final = 10
_AT_ONCE: Final = 10
"""Writes at once: many queues may have news in the same second."""


class QueueStatusWriter:
    def __init__(
        self,
        *,
        kube: Kube,
        reconciler: Reconciler,
        figures: Figures,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._kube = kube
        self._reconciler = reconciler
        self._queues: Queues = reconciler.queues
        self._figures = figures
        self._now = now
        self._shown: dict[str, tuple[int, Stats, tuple[Entry, ...]]] = {}
        """What the stored status of each queue says: most of many queues have no news."""
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> None:
        """Once a second, write what has changed."""
        while True:
            await asyncio.sleep(INTERVAL)
            await asyncio.gather(*(self._write(queue) for queue in self._queues))

    async def _write(self, queue: Queue) -> None:
        try:
            async with self._turns:
                await self._write_news(queue)
        except LedgerUnavailableError:
            return
        except KubeError as error:
            logger.warning("cannot write the status of queue %s: %s", queue.name, error)

    async def _write_news(self, queue: Queue) -> None:
        resource = queue.resource
        if resource is None:
            return
        figures = await self._figures.of(queue.name)
        upcoming = tuple(queue.upcoming(_UPCOMING))
        told = (queue.version, figures, upcoming)
        if self._shown.get(queue.name) == told:
            return
        wanted = queue_status(resource, figures, upcoming, self._now())
        stored = resource.status.model_dump(mode="json", by_alias=True, exclude_none=True)
        if wanted == stored:
            self._shown[queue.name] = told
            return
        body: dict[str, Any] = {"status": wanted}
        self._reconciler.observe_queue(
            await self._kube.patch(QUEUES, queue.name, body, subresource="status")
        )
