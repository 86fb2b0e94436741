"""Submission, queue and room → the answer, in the contract's words. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from supercheck_operator.admission.review import Answer
from supercheck_operator.ledger import contract
from supercheck_operator.ledger.capacity import Stats
from supercheck_operator.resources import ExecutionQueueSpec, StopPolicy, TestExecution

ALLOWED: Final = Answer(allowed=True)
UNVERIFIABLE: Final = Answer(
    allowed=False,
    code=503,
    reason="ServiceUnavailable",
    message=contract.UNVERIFIABLE,
)


def invalid(message: str) -> Answer:
    """What no schema could catch; ``message`` names the field."""
    return Answer(allowed=False, code=422, reason="Invalid", message=message)


def forbidden(
    execution: TestExecution,
    queue: ExecutionQueueSpec | None,
    existing: Sequence[str],
    namespace_labels: Mapping[str, str],
) -> Answer | None:
    """The refusal of a queue that does not take ``execution``, whatever room it has."""
    name, namespace = execution.spec.queue, execution.metadata.namespace
    if queue is None:
        choice = ", ".join(existing[:20]) or "none"
        return _forbidden(f'Queue "{name}" does not exist. Existing queues: {choice}.')
    if queue.stop_policy is StopPolicy.CLOSED:
        return _forbidden(f'Queue "{name}" is closed: it finishes what it has and takes no more.')
    selector = queue.namespace_selector
    if selector is not None and not selector.matches(dict(namespace_labels)):
        wanted = selector.model_dump_json(by_alias=True, exclude_none=True)
        return _forbidden(
            f'Queue "{name}" does not take executions of namespace "{namespace}":'
            f" its labels do not match the queue's namespaceSelector {wanted}."
        )
    return None


def refused(figures: Stats, namespace: str | None, retry_after_seconds: int) -> Answer:
    """No room: 429 with the figures that say so, of the queue or of one namespace in it."""
    where = f' in namespace "{namespace}"' if namespace else ""
    return Answer(
        allowed=False,
        code=429,
        reason="TooManyRequests",
        message=(
            f"Queue capacity limit reached ({figures.queued}/{figures.queued_capacity}"
            " queued jobs). Please try again later when running capacity"
            f" ({figures.running}/{figures.running_capacity}) is available{where}."
        ),
        retry_after_seconds=retry_after_seconds,
    )


def _forbidden(message: str) -> Answer:
    return Answer(allowed=False, code=403, reason="Forbidden", message=message)
