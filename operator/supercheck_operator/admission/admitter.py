"""Judging one submission: validity, then the queue's rules, then room, which is taken last."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from pydantic import ValidationError

from supercheck_operator.admission import judge
from supercheck_operator.admission.review import Answer, InvalidExecutionError, Submission
from supercheck_operator.kube import (
    NAMESPACES,
    QUEUES,
    Kube,
    KubeError,
    NotFoundError,
)
from supercheck_operator.ledger.contract import Ledger, LedgerUnavailableError, Reservation
from supercheck_operator.queueing.queue import Queues
from supercheck_operator.reporting.metrics import Metrics
from supercheck_operator.resources import (
    ExecutionQueue,
    ExecutionQueueSpec,
    TestExecution,
)
from supercheck_operator.settings import Settings

logger = logging.getLogger(__name__)

_LOOKUP_TIMEOUT: Final = 5.0
"""Seconds for what has to be asked of the API server; the webhook itself has 10."""


class Admitter:
    def __init__(
        self,
        *,
        kube: Kube,
        ledger: Ledger,
        queues: Queues,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self._kube = kube
        self._ledger = ledger
        self._queues = queues
        self._settings = settings
        self._metrics = metrics

    async def judge(self, submission: Submission) -> Answer:
        """The answer to ``submission``; if it is yes and no dry-run, its place is taken."""
        with self._metrics.admission_duration.time():
            try:
                execution = submission.execution()
            except InvalidExecutionError as error:
                answer, queue = judge.invalid(str(error)), ""
            else:
                queue = execution.spec.queue
                answer = await self._judge(submission, execution)
        known = queue if self._queues.spec(queue) else ""
        result = "admitted" if answer.allowed else "refused"
        self._metrics.admissions.labels(known, result, answer.reason).inc()
        return answer

    async def _judge(self, submission: Submission, execution: TestExecution) -> Answer:
        try:
            async with asyncio.timeout(_LOOKUP_TIMEOUT):
                queue = await self._queue(execution.spec.queue)
                labels = await self._labels(queue, submission.namespace)
            no = judge.forbidden(execution, queue, self._queues.existing(), labels)
            if no is not None or queue is None:
                return no or judge.UNVERIFIABLE
            limits = self._settings.limits(queue)
            wanted = Reservation(
                submission.uid,
                execution.spec.queue,
                submission.namespace,
                parked=execution.spec.suspend,
                name=execution.metadata.name,
            )
            room = await self._ledger.reserve(wanted, limits, dry_run=submission.dry_run)
        except (LedgerUnavailableError, KubeError, TimeoutError) as error:
            logger.warning("capacity cannot be verified: %s", error or "no answer in time")
            return judge.UNVERIFIABLE
        if room.admitted:
            return judge.ALLOWED
        return judge.refused(room.stats, room.namespace, self._settings.retry_after_seconds)

    async def _queue(self, name: str) -> ExecutionQueueSpec | None:
        """The queue's spec; one created a moment ago may not have been seen yet."""
        known = self._queues.spec(name)
        if known is not None:
            return known
        try:
            return ExecutionQueue.model_validate(await self._kube.get(QUEUES, name)).spec
        except (NotFoundError, ValidationError):
            return None

    async def _labels(self, queue: ExecutionQueueSpec | None, namespace: str) -> dict[str, str]:
        if queue is None or queue.namespace_selector is None:
            return {}
        found = await self._kube.get(NAMESPACES, namespace)
        return dict(found["metadata"].get("labels") or {})
