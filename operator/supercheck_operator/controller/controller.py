"""Everything that watches and, while this process leads, acts. Wiring only."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from functools import partial
from itertools import product
from typing import Any, Final

import kopf

from supercheck_operator.controller import handlers
from supercheck_operator.controller.leadership import Leadership
from supercheck_operator.controller.queue_status import QueueStatusWriter
from supercheck_operator.controller.reconcile import Reconciler
from supercheck_operator.controller.sweep import Sweeper
from supercheck_operator.controller.watches import follow
from supercheck_operator.controller.world import Kind
from supercheck_operator.kube import Kube, KubeError
from supercheck_operator.ledger.buffered import BufferedLedger
from supercheck_operator.ledger.contract import Ledger
from supercheck_operator.queueing.queue import Queues
from supercheck_operator.reporting.figures import Figures
from supercheck_operator.reporting.metrics import Metrics
from supercheck_operator.settings import Settings

logger = logging.getLogger(__name__)

_ENDS_WITHIN: Final = 15.0
"""Seconds; less than a kubelet gives, and enough for what is being answered."""
_IN_FLIGHT: Final = 1.5
"""Seconds that requests under way have to land before the next leader may begin."""


class Controller:
    """``leadership`` is None where nobody else can lead. ``kube`` asks it before every write.

    In a process without that component it only sees, for admission and API, and never leads.
    """

    def __init__(
        self,
        *,
        kube: Kube,
        ledger: Ledger,
        queues: Queues,
        figures: Figures,
        settings: Settings,
        metrics: Metrics,
        tasks: asyncio.TaskGroup,
        leadership: Leadership | None,
    ) -> None:
        self._kube = kube
        self._namespaces = settings.watch_namespaces
        self._ledger = ledger
        self._metrics = metrics
        self._tasks = tasks
        self._leadership = leadership
        self.now = kube.clock.now
        """The API server's time, from which all that is told and stored has its own."""
        self.reconciler = Reconciler(
            kube=kube,
            ledger=ledger,
            queues=queues,
            settings=settings,
            metrics=metrics,
            spawn=tasks.create_task,
            leads=leadership is None and "controller" in settings.components,
        )
        self._sweeper = Sweeper(
            kube=kube,
            reconciler=self.reconciler,
            ledger=ledger,
            metrics=metrics,
            interval=settings.sweep_seconds,
            job_ttl=timedelta(seconds=settings.job_ttl_seconds),
            namespaces=settings.watch_namespaces,
            now=self.now,
        )
        self._leading: list[asyncio.Task[None]] = []
        self._writer = QueueStatusWriter(
            kube=kube, reconciler=self.reconciler, figures=figures, now=self.now
        )

    async def see(self) -> None:
        """Until everything that exists has been seen; an API server that is away is waited for."""
        while True:
            try:
                await self._sweeper.sweep()
                break
            except KubeError as error:
                logger.warning("the caches cannot be read yet: %s", error)
                await asyncio.sleep(1)
        # Modules and what was listed stay: the garbage collector need not look at them again.
        gc.collect()
        gc.freeze()

    def stale(self) -> bool:
        """Whether what has been seen may be long over."""
        return self._sweeper.stale

    def lead(self, led: Callable[[], None]) -> None:
        """Act, as soon as this process leads, which ``led`` is told."""
        self._spawn(self._lead(led))

    async def _lead(self, led: Callable[[], None]) -> None:
        if self._leadership is not None:
            await self._leadership.acquire()
            self.reconciler.take_over()
            self._spawn(self._leadership.keep())
            await self.see()
        self._metrics.leader.set(1)
        if isinstance(self._ledger, BufferedLedger):
            self._spawn(self._ledger.run(self._sweeper.soon))
        self._spawn(self._writer.run())
        led()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """A task of who leads; its failure ends the process."""
        self._leading.append(self._tasks.create_task(work))

    async def watch(self, ready: asyncio.Event) -> None:
        """Follow every change; ends only by a signal that Kopf has caught."""
        self._tasks.create_task(self._sweeper.run())
        for kind, namespace in product(Kind, self._namespaces or ("",)):
            self._tasks.create_task(self._follow(kind, namespace))
        self._tasks.create_task(self._notice_the_end(ready))
        await kopf.operator(
            registry=handlers.registry(self.reconciler, self._kube.configuration),
            # Else Kopf asks for the user's name, which a container's number need not have.
            identity="supercheck-operator",  # type: ignore[arg-type]
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            standalone=True,
            ready_flag=ready,
        )

    async def _follow(self, kind: Kind, namespace: str) -> None:
        await follow(
            self._kube,
            kind,
            namespace=namespace,
            since=partial(self._sweeper.version, kind),
            again=self._sweeper.again,
            seen=lambda raw, deleted: self.reconciler.observe(kind, raw, deleted=deleted),
            interrupted=lambda: self.reconciler.world.interrupted(self.now()),
        )

    async def _notice_the_end(self, ready: asyncio.Event) -> None:
        await ready.wait()
        self._tasks.create_task(_end_in_time())

    async def step_down(self) -> None:
        """Begin nothing more, let what was sent land, then another one lead; see and count on."""
        self.reconciler.leads = False
        self.reconciler.hold()
        for task in self._leading:
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(_IN_FLIGHT):
                while self._kube.writing:  # noqa: ASYNC110 - a count, for a moment
                    await asyncio.sleep(0.01)
        await asyncio.gather(*self._leading, return_exceptions=True)
        self._metrics.leader.set(0)
        if self._leadership is not None:
            await self._leadership.release()


async def _end_in_time() -> None:
    """When Kopf ends, the process does, too.

    It cancels every task that began after it, this one as well, and waits for them without a limit;
    a group takes no notice of that. What is left would answer on, and see nothing any more.
    """
    try:
        await asyncio.Event().wait()
    finally:
        asyncio.get_running_loop().call_later(_ENDS_WITHIN, _give_up)


def _give_up() -> None:
    logger.critical("Kopf has ended, the process has not, and does now; it is safe to start again")
    os._exit(1)
