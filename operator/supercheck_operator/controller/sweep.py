"""Watches are distrusted: every half minute everything is listed and compared.

A watch that lists again after 410 Gone never tells what was deleted in the gap, and a reservation
whose create came to nothing has no event at all. Both are found here, by consistent LISTs; after
every list of a watch at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from supercheck_operator.clock import utc_now
from supercheck_operator.controller.reconcile import Reconciler
from supercheck_operator.controller.world import Kind, parse_execution
from supercheck_operator.execution.observed import parse_job, parse_time
from supercheck_operator.execution.retention import expired, expired_jobs
from supercheck_operator.kube import (
    EXECUTIONS,
    JOBS,
    PODS,
    QUEUES,
    AlreadyExistsError,
    Kube,
    KubeError,
    Resource,
)
from supercheck_operator.ledger.contract import Ledger
from supercheck_operator.reporting.metrics import Metrics
from supercheck_operator.resources import (
    API_VERSION,
    DEFAULT_QUEUE,
    LABEL_EXECUTION_UID,
    Phase,
    Raw,
)

logger = logging.getLogger(__name__)

_KINDS: Final = ((Kind.EXECUTION, EXECUTIONS), (Kind.JOB, JOBS), (Kind.POD, PODS))
_LIST_GOES_ON: Final = 0.1
"""Seconds without another item after which a watch's list is at its end."""
_NEWS_TAKES: Final = 60.0
"""Seconds after which no watch tells any more what was known to a LIST."""
_STALE_AFTER: Final = 15.0
"""Seconds beyond three sweeps; each of them has some to end in."""
_FIRST_INTERVAL: Final = 5.0
"""Seconds to the second sweep, which finds what was deleted before the watches began."""


class Sweeper:
    def __init__(
        self,
        *,
        kube: Kube,
        reconciler: Reconciler,
        ledger: Ledger,
        metrics: Metrics,
        interval: float,
        job_ttl: timedelta,
        namespaces: Sequence[str] = (),
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """``namespaces`` are those that it lists; none: all of them."""
        self._kube = kube
        self._namespaces = namespaces or ("",)
        self._reconciler = reconciler
        self._ledger = ledger
        self._metrics = metrics
        self._interval = interval
        self._job_ttl = job_ttl
        self._now = now
        self._swept: deque[tuple[float, int]] = deque()
        """When and at which version, since the last one that is older than any news."""
        self._wanted = asyncio.Event()
        self._turn = asyncio.Lock()
        self._led = False
        """The last sweep was that of a leader: one by one, it does not begin with deletions."""
        self.last_success = 0.0
        """Monotonic time of the last complete sweep; 0 before the first."""

    @property
    def stale(self) -> bool:
        """Whether what is known may be long over, as the API server tells nothing."""
        return time.monotonic() - self.last_success > 3 * self._interval + _STALE_AFTER

    def soon(self) -> None:
        """Sweep before anything else is done: a watch has begun with a list."""
        self._reconciler.hold()
        self._wanted.set()

    async def run(self) -> None:
        """Sweep for ever; an API server that does not answer is waited for."""
        delay = _FIRST_INTERVAL
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._wanted.wait()
            while self._wanted.is_set():
                self._wanted.clear()
                await asyncio.sleep(_LIST_GOES_ON)
            delay = self._interval
            try:
                await self.sweep()
            except KubeError as error:
                logger.warning("sweep not complete: %s", error)
                delay = min(self._interval, _FIRST_INTERVAL)

    async def sweep(self) -> None:
        """Make everything known what the API server has. Raises KubeError."""
        async with self._turn:
            await self._sweep(leads=self._reconciler.leads)

    async def _sweep(self, *, leads: bool) -> None:
        if leads:
            await self._ledger.begin()
        await self._compare_queues()
        listed = [(kind, *await self._list(resource)) for kind, resource in _KINDS]
        self._compare(listed)
        if leads:
            await self._rebuild_ledger()
        if not self._wanted.is_set() and leads is self._reconciler.leads:
            self._reconciler.release_hold()
        _, executions, version = listed[0]
        self.last_success = time.monotonic()
        self._clear_graves(version)
        if leads and self._led:
            await self._remove_expired(executions)
            await self._remove_jobs(listed[1][1].values(), executions)
        self._led = leads

    def _clear_graves(self, version: int) -> None:
        self._swept.append((self.last_success, version))
        old = self.last_success - _NEWS_TAKES
        while len(self._swept) > 1 and self._swept[1][0] <= old:
            self._swept.popleft()
        at, known = self._swept[0]
        if at <= old:
            self._reconciler.world.clear_graves(known)

    async def _compare_queues(self) -> None:
        listed, version = await self._kube.list(QUEUES)
        for raw in listed:
            self._reconciler.observe_queue(raw)
        names = {raw["metadata"]["name"] for raw in listed}
        for queue in self._reconciler.queues.missing(names, version):
            self._reconciler.touch_queue(queue)

    def _compare(self, listed: Sequence[tuple[Kind, Mapping[str, Raw], int]]) -> None:
        # Executions first, or what has ended of an unfinished one would have nobody to tell it to;
        # and again last, for those that are finished while something of them still lives.
        for kind, objects, _ in (*listed, listed[0]):
            for raw in objects.values():
                self._reconciler.take(kind, raw)
        for kind, objects, seen in listed:
            for run in self._reconciler.world.missing(kind, objects, seen):
                self._metrics.ledger_corrections.labels(f"missed_{kind.value}").inc()
                logger.warning("a %s of %s went unseen", kind.value, run.uid)
                self._reconciler.touch(run)
        _, executions, version = listed[0]
        self._reconciler.results.missing(executions.keys(), version)

    async def _rebuild_ledger(self) -> None:
        # Before the ledger opens: who comes first must not find that there is no queue.
        await self._create_default_queue()
        found = {run.uid: holder for run in self._reconciler.world if (holder := run.holder)}
        corrections = await self._ledger.reconcile(found)
        for name, count in corrections.items():
            self._metrics.ledger_corrections.labels(name).inc(count)

    async def _list(self, resource: Resource) -> tuple[dict[str, Raw], int]:
        """By UID, and the version as of which nothing is missing."""
        labels = "" if resource is EXECUTIONS else LABEL_EXECUTION_UID
        found: dict[str, Raw] = {}
        versions: list[int] = []
        for namespace in self._namespaces:
            items, version = await self._kube.list(resource, namespace=namespace, labels=labels)
            found |= {item["metadata"]["uid"]: item for item in items}
            versions.append(version)
        return found, min(versions)

    async def _create_default_queue(self) -> None:
        if self._reconciler.queues.get(DEFAULT_QUEUE).resource is not None:
            return
        body = {
            "apiVersion": API_VERSION,
            "kind": "ExecutionQueue",
            "metadata": {"name": DEFAULT_QUEUE},
        }
        try:
            self._reconciler.observe_queue(await self._kube.create(QUEUES, body))
        except AlreadyExistsError:
            return
        except KubeError as error:
            logger.warning("queue %s cannot be created: %s", DEFAULT_QUEUE, error)

    async def _remove_expired(self, raw: Mapping[str, Raw]) -> None:
        queues = self._reconciler.queues
        history = {queue.name: queue.spec.history for queue in queues if queue.spec}
        limited = [
            item
            for item in raw.values()
            if item["spec"].get("ttlSecondsAfterFinished") is not None
            or history.get(item["spec"]["queue"])
        ]
        for execution in expired(map(parse_execution, limited), history, self._now()):
            metadata = execution.metadata
            await self._remove(EXECUTIONS, metadata.name, metadata.namespace, metadata.uid)

    async def _remove_jobs(self, jobs: Iterable[Raw], executions: Mapping[str, Raw]) -> None:
        ended = {
            uid: completed
            for uid, item in executions.items()
            if Phase(item.get("status", {}).get("phase", Phase.QUEUED)).final
            and (completed := parse_time(item["status"].get("completedAt"))) is not None
        }
        for job in expired_jobs(map(parse_job, jobs), ended, self._job_ttl, self._now()):
            await self._remove(JOBS, job.id.name, job.id.namespace, job.id.uid)

    async def _remove(self, resource: Resource, name: str, namespace: str, uid: str) -> None:
        try:
            await self._kube.delete(resource, name, namespace, uid=uid)
        except KubeError as error:
            logger.warning("%s %s cannot be removed: %s", resource.plural, name, error)
