"""Keeps the status of every ExecutionQueue true: news is written at once, then once a second."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from supercheck_operator.clock import utc_now
from supercheck_operator.controller.board import slot_seconds
from supercheck_operator.controller.reconcile import Reconciler
from supercheck_operator.kube import QUEUES, Kube, KubeError
from supercheck_operator.ledger.capacity import Stats
from supercheck_operator.ledger.contract import LedgerUnavailableError
from supercheck_operator.queueing.line import Entry
from supercheck_operator.queueing.queue import Queue, Queues
from supercheck_operator.reporting.figures import Figures, UnknownQueueError
from supercheck_operator.reporting.status import queue_status
from supercheck_operator.reporting.turns import Turns
from supercheck_operator.resources import Raw

logger = logging.getLogger(__name__)

_TICK: Final = 0.1
"""Seconds: what changes in one goes into one write."""
_UPCOMING: Final = 10
_AT_ONCE: Final = 10
"""Writes at once: many queues may have news in the same second."""

_Told = tuple[int, Stats, float | None, tuple[Entry, ...]]


class QueueStatusWriter:
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
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> None:
        """For ever. A write that takes long delays no other queue's."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                now = self._monotonic()
                for queue in self._queues:
                    if queue.resource is None:
                        self._turns.forget(queue.name)
                    elif self._turns.due(queue.name, sign := _sign(queue), now):
                        self._turns.begins(queue.name, sign, now)
                        tasks.create_task(self._look(queue))
                await asyncio.sleep(min(_TICK, self._turns.next(now)))

    async def _look(self, queue: Queue) -> None:
        wrote = False
        try:
            async with self._room:
                if (news := await self._news(queue)) is not None:
                    wrote = True
                    await self._write(queue, news)
        except (LedgerUnavailableError, UnknownQueueError):
            pass  # what is not known is not written
        except KubeError as error:
            logger.warning("cannot write the status of queue %s: %s", queue.name, error)
        finally:
            self._turns.ends(queue.name, wrote=wrote)

    async def _news(self, queue: Queue) -> Raw | None:
        """The status it should have, if it has another."""
        figures = await self._figures.of(queue.name)
        resource = queue.resource
        if resource is None:
            return None
        takes = slot_seconds(self._reconciler, queue.name)
        upcoming = tuple(queue.upcoming(_UPCOMING))
        told = (queue.version, figures, takes, upcoming)
        if self._shown.get(queue.name) == told:
            return None
        wanted = queue_status(resource, figures, takes, upcoming, self._now())
        stored = resource.status.model_dump(mode="json", by_alias=True, exclude_none=True)
        if stored != {field: value for field, value in wanted.items() if value is not None}:
            return wanted
        self._shown[queue.name] = told
        return None

    async def _write(self, queue: Queue, status: Raw) -> None:
        body = {"status": status}
        written = await self._kube.patch(QUEUES, queue.name, body, subresource="status")
        self._reconciler.observe_queue(written)


def _sign(queue: Queue) -> tuple[int, int, int]:
    """It changes with nearly every change; counting all figures ten times a second would cost."""
    return queue.version, queue.running, queue.waiting
