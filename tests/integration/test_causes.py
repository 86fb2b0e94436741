"""Rows of "Causes" in docs/life.md that one real node cannot bring about, by their name.

As on the real node (``e2e/test_causes.py``), each is told by phase, reason and message, and another
execution that waits for the one slot gets it when it is free, and not before.
"""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from harness.api import Raw, Space, execution
from harness.observer import Observer
from harness.obstacles import (
    forbid_by_policy,
    forbid_by_quota,
    foreign_job,
    hanging_webhook,
    lift_policy,
    lift_quota,
)
from harness.process import Operator
from harness.steps import (
    QUEUES,
    job_path,
    jobs_of,
    make_queue,
    pod_of,
    until,
    until_stats,
    until_status,
)

SETTINGS = {"SWEEP_SECONDS": "1"}
DOOMED = "doomed"
_NODE = f"/api/v1/nodes/{DOOMED}"


@pytest.fixture
def operator(lasting_operator: Operator) -> Operator:
    return lasting_operator


@pytest_asyncio.fixture(loop_scope="session")
async def narrow(space: Space, operator: Operator) -> AsyncIterator[str]:
    """A queue in which one runs at a time; in the end none does, and no pod is left alive."""
    queue = await make_queue(space, f"narrow-{space.name}", runningCapacity=1)
    yield queue
    await until_stats(operator, queue, (0, 1, 0, 50))
    live = ("Pending", "Running")
    assert not [p for p in await space.api.items(space.pods) if p["status"]["phase"] in live]
    await space.api.delete(f"{QUEUES}/{queue}")


async def test_a_quota_refuses_the_job(space: Space, operator: Operator, narrow: str) -> None:
    await forbid_by_quota(space)
    await space.submit(execution("e", queue=narrow, startTimeoutSeconds=4))
    await space.submit(execution("next", queue=narrow))
    await _hindered(space, "e", "QuotaExceeded: ")
    assert await operator.stats(narrow) == (1, 1, 1, 50)
    status = await until(space, "e", "Error")
    assert status["reason"] == "QuotaExceeded"
    assert "exceeded quota: no-jobs, requested: count/jobs.batch=1" in status["message"]
    await _hindered(space, "next", "QuotaExceeded: ")  # it has the slot
    await lift_quota(space)
    await until(space, "next", "Passed")
    assert not await jobs_of(space, "e")


async def test_a_policy_refuses_the_job(space: Space, operator: Operator, narrow: str) -> None:
    await forbid_by_policy(space, "CREATE", "no tests before noon")
    await space.submit(execution("e", queue=narrow, startTimeoutSeconds=4))
    await space.submit(execution("next", queue=narrow))
    await _hindered(space, "e", "PodRejected: ")
    assert await operator.stats(narrow) == (1, 1, 1, 50)
    status = await until(space, "e", "Error")
    assert status["reason"] == "PodRejected"
    assert "denied request: no tests before noon" in status["message"]
    await _hindered(space, "next", "PodRejected: ")
    await lift_policy(space, "CREATE")
    await until(space, "next", "Passed")
    assert not await jobs_of(space, "e")


async def test_a_webhook_for_jobs_hangs(space: Space, narrow: str) -> None:
    async with hanging_webhook(space):
        await space.submit(execution("e", queue=narrow, startTimeoutSeconds=4))
        await space.submit(execution("next", queue=narrow))
        await _hindered(space, "e", "StartTimeout: The API server answers others")
        status = await until(space, "e", "Error")
        assert status["reason"] == "StartTimeout"
        assert "as where a webhook for Jobs hangs" in status["message"]
        await _hindered(space, "next", "StartTimeout: ")
    await until(space, "next", "Passed")
    assert not await jobs_of(space, "e")


async def test_the_template_is_refused_by_the_api_server(space: Space, narrow: str) -> None:
    mount = {"name": "test", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    async with Observer(space) as observer:
        await space.submit(execution("busy", queue=narrow, runs_for="1s"))
        await space.submit(execution("e", queue=narrow, pod={"containers": [mount]}))
        await space.submit(execution("next", queue=narrow))
        status = await until(space, "e", "Error")
        assert status["reason"] == "InvalidTemplate"
        refused = 'spec.template.spec.containers[0].volumeMounts[0].name: Not found: "v"'
        assert refused in status["message"]
        assert "startedAt" not in status
        await until(space, "next", "Passed")
        await observer.caught_up()
    assert observer.started == ["busy", "next"]
    assert observer.most_live == 1


async def test_the_name_of_a_job_is_taken(space: Space, operator: Operator, narrow: str) -> None:
    await forbid_by_quota(space)
    await space.submit(execution("e", queue=narrow))
    await space.submit(execution("next", queue=narrow))
    name = (await _hindered(space, "e", "QuotaExceeded: "))["message"].split('"')[1]
    assert name.startswith("e-t-")
    operator.kill()
    await lift_quota(space)
    await space.api.create(space.jobs, foreign_job(name))
    await operator.start()
    status = await until(space, "e", "Error")
    assert status["reason"] == "Internal"
    assert status["message"] == f"Job {name} exists and is not of this execution."
    await until(space, "next", "Passed")
    job = await space.api.get(f"{space.jobs}/{name}")
    assert "deletionTimestamp" not in job["metadata"], "it is somebody else's"
    await space.api.delete(job_path(space, job))


async def test_a_pod_does_not_start_and_nobody_says_why(space: Space, narrow: str) -> None:
    async with Observer(space) as observer:
        await space.submit(execution("e", queue=narrow, startTimeoutSeconds=5, start="never"))
        await space.submit(execution("next", queue=narrow))
        status = await until(space, "e", "Error")
        assert status["reason"] == "StartTimeout"
        assert status["message"] == "Not started within 5 s. The container is being created."
        assert "startedAt" not in status
        await until(space, "next", "Passed")
        await observer.caught_up()
    assert observer.most_live == 1


async def _deleted(space: Space) -> None:
    await space.api.delete(_NODE)


async def _declared_out_of_service(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/#non-graceful-node-shutdown"""
    taint = {"key": "node.kubernetes.io/out-of-service", "value": "lost", "effect": "NoExecute"}
    status, answer = await space.api.patch(_NODE, {"spec": {"taints": [taint]}})
    assert status == 200, answer


@pytest.mark.parametrize(
    ("lose", "told"),
    [
        (_deleted, "PodGC: node no longer exists"),
        (_declared_out_of_service, "Taint manager: deleting due to NoExecute taint"),
    ],
    ids=["deleted", "out of service"],
)
async def test_a_node_is_lost(
    space: Space, narrow: str, lose: Callable[[Space], Awaitable[None]], told: str
) -> None:
    await space.api.create("/api/v1/nodes", _node())
    there = {"nodeSelector": {"kubernetes.io/hostname": DOOMED}}
    async with Observer(space) as observer:
        await space.submit(execution("e", queue=narrow, runs_for="never", pod=there))
        await space.submit(execution("next", queue=narrow))
        await until(space, "e", "Running")
        assert (await pod_of(space, "e"))["spec"]["nodeName"] == DOOMED
        await lose(space)
        status = await until(space, "e", "Error", within=120)
        assert status["reason"] == "NodeLost"
        assert status["message"] == told
        await until(space, "next", "Passed")
        await observer.caught_up()
    assert observer.most_live == 1
    assert observer.jobs == {"e/t": 1, "next/t": 1}
    await space.api.delete(_NODE)


def _node() -> Raw:
    """A fake one of the test's own."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": DOOMED,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"kubernetes.io/hostname": DOOMED},
        },
    }


async def _hindered(space: Space, name: str, cause: str) -> Raw:
    """The status of one that has its slot, but no Job yet."""
    status = await until_status(
        space, name, lambda status: status.get("message", "").startswith(cause), f"{name}: {cause}"
    )
    assert (status["phase"], status["reason"]) == ("Running", "Starting")
    return status
