"""Watches are distrusted: every half minute everything is listed and compared.

A watch that begins anew after 410 Gone never tells what was deleted in the gap, and a reservation
whose create came to nothing has no event at all. Both are found here, by consistent LISTs; before
such a watch begins again at once. A LIST is taken over page by page: what is kept of it is little.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import chain
from typing import Final

from supercheck_operator.clock import utc_now
from supercheck_operator.controller.reconcile import Reconciler
from supercheck_operator.controller.watches import SELECTORS, SOURCES
from supercheck_operator.controller.world import Kind
from supercheck_operator.execution.observed import parse_job
from supercheck_operator.execution.retention import Finished, expired, expired_jobs, finished
from supercheck_operator.kube import (
    EXECUTIONS,
    JOBS,
    NAMESPACES,
    QUEUES,
    AlreadyExistsError,
    ForbiddenError,
    Kube,
    KubeError,
    NotFoundError,
    Page,
    Resource,
    UnreachableError,
)
from supercheck_operator.ledger.contract import Ledger
from supercheck_operator.reporting.metrics import Metrics
from supercheck_operator.resources import (
    API_VERSION,
    DEFAULT_QUEUE,
    LABEL_EXECUTION_UID,
    Raw,
)

logger = logging.getLogger(__name__)

_NEWS_TAKES: Final = 60.0
"""Seconds after which no watch tells any more what was known to a LIST."""
_STALE_AFTER: Final = 15.0
"""Seconds beyond three sweeps; each of them has some to end in."""
_FIRST_INTERVAL: Final = 5.0
"""Seconds to the second sweep, which finds what was deleted before the watches began."""

_Old = tuple[Resource, str, str, str]
"""Resource, name, namespace and UID of what is kept no longer."""


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
        self._versions: dict[Kind, int] = {}
        self._queues_version = 0
        self._wanted = asyncio.Event()
        self._begun = self._complete = 0
        self._news = asyncio.Condition()
        self._turn = asyncio.Lock()
        self._led = False
        """The last sweep was that of a leader: one by one, it does not begin with deletions."""
        self.last_success = 0.0
        """Monotonic time of the last complete sweep; 0 before the first."""

    @property
    def stale(self) -> bool:
        """Whether what is known may be long over, as the API server tells nothing."""
        return time.monotonic() - self.last_success > 3 * self._interval + _STALE_AFTER

    def version(self, kind: Kind) -> int:
        """Up to which everything of ``kind`` is known, by the last LIST that came to its end."""
        return self._versions[kind]

    def soon(self) -> None:
        """Sweep without waiting for the time of the next one."""
        self._wanted.set()

    async def again(self) -> None:
        """Until a sweep that begins after this is complete; nothing else is done meanwhile."""
        self._reconciler.hold()
        self.soon()
        begun = self._begun
        async with self._news:
            await self._news.wait_for(lambda: self._complete > begun)

    async def run(self) -> None:
        """Sweep for ever; an API server that does not answer is waited for."""
        delay = _FIRST_INTERVAL
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._wanted.wait()
            delay = self._interval
            try:
                await self.sweep()
            except KubeError as error:
                logger.warning("sweep not complete: %s", error)
                delay = min(self._interval, _FIRST_INTERVAL)

    async def sweep(self) -> None:
        """Make everything known what the API server has. Raises KubeError."""
        async with self._turn:
            self._wanted.clear()  # not before: the sweep under way began too early
            self._begun += 1
            old = await self._sweep(leads=self._reconciler.leads)
            self._complete = self._begun
        async with self._news:
            self._news.notify_all()
        await self._remove(old)

    async def _sweep(self, *, leads: bool) -> Iterator[_Old]:
        """What is to be removed, as it is kept no longer."""
        if leads:
            await self._ledger.begin()
        await self._compare_queues()
        removes = leads and self._led
        over = await self._take_executions()
        jobs = await self._take_jobs(over if removes else {})
        await self._take(Kind.POD)
        await self._take_late(over)
        if leads:
            await self._rebuild_ledger()
        if not self._wanted.is_set() and leads is self._reconciler.leads:
            self._reconciler.release_hold()
        self.last_success = time.monotonic()
        self._clear_graves(self.version(Kind.EXECUTION))
        self._led = leads
        return chain(self._expired(over.values()), jobs) if removes else iter(())

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
        self._queues_version = version
        for raw in listed:
            self._reconciler.observe_queue(raw)
        names = {raw["metadata"]["name"] for raw in listed}
        for queue in self._reconciler.queues.missing(names, version):
            self._reconciler.touch_queue(queue)

    async def _take_executions(self) -> dict[str, Finished]:
        """Those that are over, by UID.

        Executions come first, or what has ended of an unfinished one would have nobody to tell.
        """
        over: dict[str, Finished] = {}

        def look(raw: Raw) -> None:
            if (execution := finished(raw)) is not None:
                over[execution.uid] = execution

        listed = await self._take(Kind.EXECUTION, look)
        self._reconciler.results.missing(listed, self.version(Kind.EXECUTION))
        return over

    async def _take_jobs(self, over: Mapping[str, Finished]) -> list[_Old]:
        """Those of ``over`` that are no longer kept."""
        now = self._now()
        old: list[_Old] = []

        def look(raw: Raw) -> None:
            if raw["metadata"].get("labels", {}).get(LABEL_EXECUTION_UID) in over:
                past = expired_jobs([parse_job(raw)], over, self._job_ttl, now)
                old.extend((JOBS, j.id.name, j.id.namespace, j.id.uid) for j in past)

        await self._take(Kind.JOB, look)
        return old

    async def _take(self, kind: Kind, look: Callable[[Raw], None] = lambda _: None) -> set[str]:
        """Take over what is listed of ``kind``, and that nothing else is there; the UIDs."""
        listed: set[str] = set()
        versions: list[int] = []
        for namespace in self._namespaces:
            async for page in self._pages(kind, namespace):
                version = page.version
                for raw in page.items:
                    listed.add(raw["metadata"]["uid"])
                    self._reconciler.take(kind, raw)
                    look(raw)
            versions.append(version)
        self._versions[kind] = min(versions)
        for run in self._reconciler.world.missing(kind, listed, self._versions[kind]):
            self._metrics.ledger_corrections.labels(f"missed_{kind.value}").inc()
            logger.warning("a %s of %s went unseen", kind.value, run.uid)
            self._reconciler.touch(run)
        return listed

    async def _pages(self, kind: Kind, namespace: str) -> AsyncIterator[Page]:
        """As listed; nothing of a namespace that is gone: our rights in it have gone with it."""
        try:
            async for page in self._kube.pages(
                SOURCES[kind], namespace=namespace, labels=SELECTORS[kind]
            ):
                yield page
        except ForbiddenError:
            if not namespace or not await self._is_gone(namespace):
                raise
            yield Page([], self._queues_version)

    async def _is_gone(self, namespace: str) -> bool:
        try:
            await self._kube.get(NAMESPACES, namespace)
        except NotFoundError:
            return True
        return False

    async def _take_late(self, over: Mapping[str, Finished]) -> None:
        """Of finished executions only those matter of which something still lives."""
        for run in list(self._reconciler.world):
            if run.execution is None and (execution := over.get(run.uid)) is not None:
                with suppress(NotFoundError):
                    raw = await self._kube.get(EXECUTIONS, execution.name, execution.namespace)
                    self._reconciler.take(Kind.EXECUTION, raw)

    async def _rebuild_ledger(self) -> None:
        # Before the ledger opens: who comes first must not find that there is no queue.
        await self._create_default_queue()
        found = {run.uid: holder for run in self._reconciler.world if (holder := run.holder)}
        corrections = await self._ledger.reconcile(found)
        for name, count in corrections.items():
            self._metrics.ledger_corrections.labels(name).inc(count)

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

    def _expired(self, over: Iterable[Finished]) -> Iterator[_Old]:
        history = {
            queue.name: queue.spec.history for queue in self._reconciler.queues if queue.spec
        }
        for execution in expired(over, history, self._now()):
            yield EXECUTIONS, execution.name, execution.namespace, execution.uid

    async def _remove(self, old: Iterable[_Old]) -> None:
        """One after the other, until a sweep is due: that one finds the rest."""
        due = self.last_success + self._interval
        for resource, name, namespace, uid in old:
            if self._wanted.is_set() or time.monotonic() > due:
                return
            try:
                await self._kube.delete(resource, name, namespace, uid=uid)
            except UnreachableError:
                return
            except KubeError as error:
                logger.warning("%s %s cannot be removed: %s", resource.plural, name, error)
