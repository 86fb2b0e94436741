"""What people change: executions (cancel, suspend, resume), queues (hold, drain, close, open)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from supercheck_operator.cli import output
from supercheck_operator.cli.cluster import Cluster
from supercheck_operator.cli.exits import Exit, Problem, no_execution
from supercheck_operator.kube import EXECUTIONS, QUEUES, AnsweredError, NotFoundError
from supercheck_operator.resources import Phase, Raw, StopPolicy

_EXECUTION: Final = "execution/"
_QUEUE: Final = "queue/"
_DONE: Final = {
    StopPolicy.NONE: "is open",
    StopPolicy.HOLD: "is on hold: nothing new starts, what runs goes on",
    StopPolicy.HOLD_AND_DRAIN: "is drained: what waits and runs is cancelled, nothing new starts",
    StopPolicy.CLOSED: "is closed: it admits nothing, and finishes the rest",
}


async def cancel(cluster: Cluster, names: Sequence[str]) -> None:
    for name in names:
        found = await _execution(cluster, name)
        if (phase := _phase(found)).final:
            output.say(f"{name} is {phase} already.")
            continue
        await _change_execution(cluster, found, cancel=True)
        output.say(f"{name} is being cancelled.")


async def suspend(cluster: Cluster, names: Sequence[str]) -> None:
    for name in names:
        found = await _execution(cluster, name)
        if (phase := _phase(found)) is not Phase.QUEUED:
            raise Problem(
                f"{name} is {phase}: only what waits can be suspended; cancel ends what runs.",
                Exit.INVALID,
            )
        await _change_execution(cluster, found, suspend=True)
        output.say(f"{name} is suspended: it keeps its place and does not start.")


async def resume(cluster: Cluster, names: Sequence[str]) -> None:
    """Executions that are suspended and queues that are stopped, whichever has the name."""
    for name in names:
        execution = queue = None
        if not name.startswith(_QUEUE):
            execution = await _get(cluster, name.removeprefix(_EXECUTION), queue=False)
        if not name.startswith(_EXECUTION):
            queue = await _get(cluster, name.removeprefix(_QUEUE), queue=True)
        if execution is None and queue is None:
            raise Problem(
                f"There is no TestExecution in namespace {cluster.namespace}, and no"
                f" ExecutionQueue, called {name}.",
                Exit.NOT_FOUND,
            )
        suspended = execution is not None and bool(execution["spec"].get("suspend"))
        stopped = queue is not None and queue["spec"].get("stopPolicy", "None") != "None"
        if suspended and stopped:
            raise Problem(
                f"{name} is a suspended execution and a stopped queue: say {_EXECUTION}{name} or"
                f" {_QUEUE}{name}.",
                Exit.USAGE,
            )
        if execution is not None and suspended:
            await _change_execution(cluster, execution, suspend=False)
            output.say(f"{name.removeprefix(_EXECUTION)} takes its turn again.")
        elif queue is not None and stopped:
            await set_policy(cluster, queue["metadata"]["name"], StopPolicy.NONE)
        else:
            output.say(f"{name} is neither suspended nor stopped.")


async def set_policy(cluster: Cluster, name: str, policy: StopPolicy) -> None:
    body = {"spec": {"stopPolicy": policy.value}}
    try:
        await cluster.kube.patch(QUEUES, name, body)
    except NotFoundError as error:
        raise _no_queue(name) from error
    output.say(f"Queue {name} {_DONE[policy]}.")


async def count(cluster: Cluster, name: str) -> tuple[int, int]:
    """How many run and wait in a queue."""
    found = await _get(cluster, name, queue=True)
    if found is None:
        raise _no_queue(name)
    status = found.get("status") or {}
    return status.get("running", 0), status.get("queued", 0)


def _no_queue(name: str) -> Problem:
    return Problem(f"There is no ExecutionQueue {name}.", Exit.NOT_FOUND)


def _phase(found: Raw) -> Phase:
    return Phase(found["status"]["phase"])


async def _execution(cluster: Cluster, name: str) -> Raw:
    found = await _get(cluster, name, queue=False)
    if found is None:
        raise no_execution(name, cluster.namespace)
    return found


async def _get(cluster: Cluster, name: str, *, queue: bool) -> Raw | None:
    """None if there is none, or if one may not look for queues."""
    try:
        if queue:
            return await cluster.kube.get(QUEUES, name)
        return await cluster.kube.get(EXECUTIONS, name, cluster.namespace)
    except NotFoundError:
        return None
    except AnsweredError as error:
        if queue and error.status == 403:
            return None
        raise


async def _change_execution(cluster: Cluster, found: Raw, **spec: bool) -> None:
    metadata = found["metadata"]
    # The object that was looked at, not a namesake that came meanwhile.
    body = {"metadata": {"uid": metadata["uid"]}, "spec": spec}
    await cluster.kube.patch(EXECUTIONS, metadata["name"], body, namespace=metadata["namespace"])
