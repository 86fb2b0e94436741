"""Keeps the status of every ExecutionQueue true, with at most one write a second each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from supercheck_operator.controller.clock import utc_now
from supercheck_operator.controller.reconcile import Reconciler
from supercheck_operator.kube import QUEUES, Kube, KubeError
from supercheck_operator.ledger.contract import LedgerUnavailableError
from supercheck_operator.queueing.queue import Queue, Queues
from supercheck_operator.reporting.figures import Figures
from supercheck_operator.reporting.status import queue_status

logger = logging.getLogger(__name__)

INTERVAL: Final = 1.0
_UPCOMING: Final = 10


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

    async def run(self) -> None:
        """Once a second, write what has changed."""
        while True:
            await asyncio.sleep(INTERVAL)
            for queue in list(self._queues):
                try:
                    await self._write(queue)
                except LedgerUnavailableError:
                    break
                except KubeError as error:
                    logger.warning("cannot write the status of queue %s: %s", queue.name, error)

    async def _write(self, queue: Queue) -> None:
        resource = queue.resource
        if resource is None:
            return
        figures = await self._figures.of(queue.name)
        wanted = queue_status(resource, figures, queue.upcoming(_UPCOMING), self._now())
        stored = resource.status.model_dump(mode="json", by_alias=True, exclude_none=True)
        if wanted == stored:
            return
        body: dict[str, Any] = {"status": wanted}
        self._reconciler.observe_queue(
            await self._kube.patch(QUEUES, queue.name, body, subresource="status")
        )
