"""Why what waits is waiting: one answer for everyone who shows it. Pure.

A waiting execution is never written, so its status cannot say: whoever shows it asks here.
"""

from __future__ import annotations

from dataclasses import dataclass

from supercheck_operator.resources import ExecutionQueueSpec, Reason, TestExecution


@dataclass(frozen=True, slots=True)
class Why:
    """One of the reasons of the phase Queued, and a sentence for a person."""

    reason: Reason
    message: str


def why(
    execution: TestExecution,
    queue: ExecutionQueueSpec | None,
    *,
    resting: bool,
    namespace_running: int,
) -> Why:
    """What keeps ``execution``, which has no slot, from starting.

    First what keeps it out of the line (it is suspended, or ``resting`` until its next attempt),
    then what keeps its queue, then what keeps its namespace, of which ``namespace_running`` run in
    this queue; otherwise it waits for its turn. ``queue`` is None while it does not exist.
    """
    name, namespace = execution.spec.queue, execution.metadata.namespace
    if execution.spec.suspend:
        return Why(Reason.SUSPENDED, "It is suspended: it keeps its place and does not start.")
    if resting:
        told = execution.status.message
        return Why(Reason.RETRYING, told or "It rests before its next attempt.")
    if queue is None:
        message = f'Queue "{name}" does not exist; it goes on when a queue of that name does.'
        return Why(Reason.QUEUE_HELD, message)
    if queue.stop_policy.holds:
        message = f'Queue "{name}" starts nothing: its stopPolicy is {queue.stop_policy.value}.'
        return Why(Reason.QUEUE_HELD, message)
    share = queue.per_namespace.running_capacity if queue.per_namespace else None
    if share is not None and namespace_running >= share:
        message = f'Namespace "{namespace}" runs {namespace_running} of {share} in queue "{name}".'
        return Why(Reason.NAMESPACE_AT_CAPACITY, message)
    return Why(Reason.WAITING, f'It waits for its turn in queue "{name}".')
