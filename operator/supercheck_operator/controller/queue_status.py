"""Keeps the status of every ExecutionQueue true: news is written at once, then once a second."""

from __future__ import annotations

import asyncio
import logging
import time
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
from supercheck_operator.reporting.figures import Figures, UnknownQueueError
from supercheck_operator.reporting.status import queue_status
from supercheck_operator.reporting.turns import Turns

logger = logging.getLogger(__name__)

_TICK: Final = 0.1
"""Seconds: what changes in one goes into one write."""
_UPCOMING: Final = 10
_AT_ONCE: Final = 10
"""Writes at once: many queues may have news in the same second."""

_Told = tuple[int, Stats, float | None, tuple[Entry, ...]]


class QueueStatusWriter:
    """``slot_seconds`` tells how long executions of a queue lately held their slot."""

    def __init__(
        self,
        *,
        kube: Kube,
        reconciler: Reconciler,
        figures: Figures,
        now: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._reconciler = reconciler
        self._queues: Queues = reconciler.queues
        self._figures = figures
        self._now = now
        self._monotonic = monotonic
        self._shown: dict[str, _Told] = {}
        """What the stored status of each queue says: most of many queues have no news."""
        self._turns = Turns()
        self._under_way: set[str] = set()
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> None:
        """For ever. Each queue has its own pace: one whose write takes long delays no other."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                for queue in self._due():
                    self._under_way.add(queue.name)
                    tasks.create_task(self._look(queue))
                await asyncio.sleep(min(_TICK, self._turns.next(self._monotonic()) or _TICK))

    def _due(self) -> list[Queue]:
        now = self._monotonic()
        return [
            queue
            for queue in self._queues
            if queue.resource is not None
            and queue.name not in self._under_way
            and self._turns.due(queue.name, _sign(queue), now)
        ]

    async def _look(self, queue: Queue) -> None:
        try:
            async with self._room:
                await self._write_news(queue)
        except (LedgerUnavailableError, UnknownQueueError):
            return
        except KubeError as error:
            logger.warning("cannot write the status of queue %s: %s", queue.name, error)
        finally:
            self._under_way.discard(queue.name)

    async def _write_news(self, queue: Queue) -> None:
        self._turns.looks(queue.name, _sign(queue), self._monotonic())
        figures = await self._figures.of(queue.name)
        resource = queue.resource
        if resource is None:
            return
        slot_seconds = self._reconciler.slot_seconds(queue.name)
        upcoming = tuple(queue.upcoming(_UPCOMING))
        told = (queue.version, figures, slot_seconds, upcoming)
        if self._shown.get(queue.name) == told:
            return
        wanted = queue_status(resource, figures, slot_seconds, upcoming, self._now())
        stored = resource.status.model_dump(mode="json", by_alias=True, exclude_none=True)
        if wanted == stored:
            self._shown[queue.name] = told
            return
        self._turns.writes(queue.name)
        body: dict[str, Any] = {"status": wanted}
        self._reconciler.observe_queue(
            await self._kube.patch(QUEUES, queue.name, body, subresource="status")
        )


def _sign(queue: Queue) -> tuple[int, int, int]:
    """It changes with nearly every change; counting all figures ten times a second would cost."""
    return queue.version, queue.running, queue.waiting
