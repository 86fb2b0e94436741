"""One life of the operator, wired as ``main.py`` does it, with a watch that cannot be trusted."""

from __future__ import annotations

import asyncio
import random
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Final, cast

from tests.simulation.api import Api, Client, Weather
from tests.simulation.cluster import EXECUTIONS, JOBS, PODS, QUEUES

from supercheck_operator.admission.admitter import Admitter
from supercheck_operator.controller.reconcile import Reconciler
from supercheck_operator.controller.sweep import Sweeper
from supercheck_operator.controller.world import Kind
from supercheck_operator.kube import Kube, KubeError
from supercheck_operator.ledger.memory import MemoryLedger
from supercheck_operator.queueing.queue import Queues
from supercheck_operator.reporting.metrics import Metrics
from supercheck_operator.resources import Raw
from supercheck_operator.settings import Settings

_KINDS: Final = {EXECUTIONS: Kind.EXECUTION, JOBS: Kind.JOB, PODS: Kind.POD}


class Life:
    """From the start of the process to its kill -9. ``fail`` is told of a task that raised.

    It follows until it is to ``lead``.
    """

    def __init__(
        self,
        api: Api,
        client: Client,
        settings: Settings,
        noise: random.Random,
        fail: Callable[[str], None],
    ) -> None:
        self.client = client
        self.weather = Weather()
        self.watching = False
        self.leads = False
        self._api = api
        self._noise = noise
        self._fail = fail
        self._tasks: set[asyncio.Task[None]] = set()
        self.metrics = Metrics()
        self.queues = Queues()
        self.ledger = MemoryLedger(api.loop.time)
        kube = cast(Kube, client)
        self.admitter = Admitter(
            kube=kube,
            ledger=self.ledger,
            queues=self.queues,
            settings=settings,
            metrics=self.metrics,
        )
        self.reconciler = Reconciler(
            kube=kube,
            ledger=self.ledger,
            queues=self.queues,
            settings=settings,
            metrics=self.metrics,
            spawn=self._spawn,
            leads=False,
        )
        self.sweeper = Sweeper(
            kube=kube,
            reconciler=self.reconciler,
            ledger=self.ledger,
            metrics=self.metrics,
            interval=settings.sweep_seconds,
            job_ttl=timedelta(seconds=settings.job_ttl_seconds),
            now=client.clock.now,
        )
        self._spawn(self._start())

    def lead(self) -> None:
        self.reconciler.take_over()
        self._spawn(self._lead())

    @property
    def alive(self) -> bool:
        return self.client.alive

    def kill(self) -> None:
        """What it has asked for may still be done; nobody hears the answer."""
        self.client.alive = False
        self.end_watch()
        for task in self._tasks:
            task.cancel()

    def finished(self) -> Counter[str]:
        """What it has counted as finished, by phase."""
        counts: Counter[str] = Counter()
        for metric in self.metrics.executions_finished.collect():
            for sample in metric.samples:
                if sample.name.endswith("_total"):
                    counts[sample.labels["phase"]] += int(sample.value)
        return counts

    # The watch -----------------------------------------------------------------------------------

    def begin_watch(self) -> None:
        """Once more, without what happened meanwhile: a sweep tells that, before anything else."""
        if self.alive and not self.watching:
            self._listen()
            self._interrupted()
            self.sweeper.soon()

    def _listen(self) -> None:
        self.watching = True
        self._api.listeners.append(self._changed)

    def end_watch(self) -> None:
        if self.watching:
            self.watching = False
            self._api.listeners.remove(self._changed)
            self._interrupted()

    def _interrupted(self) -> None:
        self.reconciler.world.interrupted(self.client.clock.now())

    def _changed(self, plural: str, before: Raw | None, after: Raw | None) -> None:
        raw = before if after is None else after
        if raw is None or (plural not in _KINDS and plural != QUEUES):
            return
        chance = self._noise.random()
        if chance < self.weather.lost:
            return
        self._send(plural, raw, deleted=after is None)
        if chance > 1 - self.weather.twice:
            self._send(plural, raw, deleted=after is None)

    def _send(self, plural: str, raw: Raw, *, deleted: bool) -> None:
        chance = self._noise.random()
        delay = chance * 20 if self._noise.random() < self.weather.late else chance * 0.1
        self._api.loop.call_later(delay, self._deliver, plural, raw, deleted)

    def _deliver(self, plural: str, raw: Raw, deleted: bool) -> None:
        if not self.alive:
            return
        if plural == QUEUES:
            self.reconciler.observe_queue(raw, deleted=deleted)
        else:
            self.reconciler.observe(_KINDS[plural], raw, deleted=deleted)

    # The process ---------------------------------------------------------------------------------

    async def _start(self) -> None:
        self._listen()  # the watch begins with the version of the first LIST
        self._interrupted()
        await self._see()
        self._spawn(self.sweeper.run())

    async def _lead(self) -> None:
        await self._see()
        self.leads = True

    async def _see(self) -> None:
        while True:
            try:
                return await self.sweeper.sweep()
            except KubeError:
                await asyncio.sleep(1)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if not self.alive:
            work.close()
            return
        task = self._api.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self.alive and not task.cancelled() and (error := task.exception()) is not None:
            where = traceback.extract_tb(error.__traceback__)[-1]
            self._fail(f"the operator ended by {error!r} in {where.name}: {where.line}")
