"""What crashes must not do: lose an execution, run one twice or one too many, change the order."""

import asyncio
from collections import Counter
from pathlib import Path

from conftest import Cluster, NewOperator
from harness.api import Raw, Space, execution
from harness.late_create import late_create
from harness.observer import UID, Observer
from harness.process import Operator
from harness.steps import (
    NOBODY,
    NOWHERE,
    SILENT,
    being_deleted,
    deleted,
    end,
    job_of,
    job_path,
    jobs_of,
    late_pod,
    let_go,
    pods_of,
    running,
    silent_pod_of,
    until,
)
from harness.waiting import eventually
from kindless import components

PLENTY = {"QUEUED_CAPACITY": "1000"}
_MADE_WITH = ("generateName", "labels", "annotations", "ownerReferences", "finalizers")
"""Metadata that a Job controller gives to its pods."""
FAKE_NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {
        "name": "late",
        "annotations": {"kwok.x-k8s.io/node": "fake"},
        "labels": {"arrives": "late", "kubernetes.io/hostname": "late"},
    },
    "status": {
        "allocatable": {"cpu": "1000", "memory": "1000Gi", "pods": "1000"},
        "capacity": {"cpu": "1000", "memory": "1000Gi", "pods": "1000"},
    },
}


async def test_killed_six_times_during_300_executions(
    new_operator: NewOperator, space: Space
) -> None:
    operator = new_operator(**PLENTY)
    await operator.start()
    names = [f"e-{i:03d}" for i in range(300)]
    async with Observer(space) as observer:
        await _submit_in_order(space, names)
        for kill in range(1, 7):
            await _until_passed(space, 40 * kill)
            operator.kill()
            await operator.start()
        await _until_passed(space, len(names))
        await observer.caught_up()
        await _none_lost_none_twice(space, observer, names)
        assert observer.started == names
    assert await operator.stats() == (0, 5, 0, 1000)


async def test_api_server_killed_twice_for_four_seconds_during_200_executions(
    cluster: Cluster, new_operator: NewOperator, space: Space
) -> None:
    operator = new_operator(**PLENTY)
    await operator.start()
    names = [f"e-{i:03d}" for i in range(200)]
    async with Observer(space) as observer:
        await _submit_in_order(space, names)
        for outage in range(1, 3):
            await _until_passed(space, 40 * outage)
            await asyncio.to_thread(components.kill, cluster.name, "kube-apiserver")
            await asyncio.sleep(4)  # the fault itself
            await asyncio.to_thread(components.start, cluster.name, "kube-apiserver")
        await _until_passed(space, len(names))
        await observer.caught_up()
        await _none_lost_none_twice(space, observer, names)
    assert operator.running
    assert await operator.stats() == (0, 5, 0, 1000)


async def test_a_start_in_a_cluster_waits_for_an_api_server_that_is_away(
    cluster: Cluster, operator: Operator, new_operator: NewOperator, space: Space
) -> None:
    # The first one has seen to it that there are definitions.
    assert operator.stop() == 0
    late = new_operator(
        local=False, flags=["--components", "controller,api"], POD_NAMESPACE=space.name
    )
    await asyncio.to_thread(components.kill, cluster.name, "kube-apiserver")
    try:
        late.launch()

        async def waits() -> bool:
            assert late.running, late.log
            return "waiting: The API server at https://" in late.log

        await eventually(waits, "it says that it waits")
        assert (await late.get("/readyz"))[0] == 503
        assert (await late.get("/healthz"))[0] == 200
        await asyncio.sleep(2)  # tries that change nothing
        assert late.log.count("waiting: ") == 1
    finally:
        await asyncio.to_thread(components.start, cluster.name, "kube-apiserver")
    await late.until_ready()


async def test_a_job_that_is_made_after_its_request_was_given_up_counts(
    cluster: Cluster, space: Space, tmp_path: Path
) -> None:
    async with late_create(cluster.kubeconfig, tmp_path) as (kubeconfig, way):
        operator = Operator(kubeconfig, tmp_path / "log", RUNNING_CAPACITY="1")
        await operator.start()
        try:
            await space.submit(execution("e", pod=SILENT))
            await space.submit(execution("next", pod=NOWHERE))

            async def asked() -> bool:
                return way.holds

            await eventually(asked, "a Job is asked for")
            await space.change("e", {"cancel": True})
            await until(space, "e", "Cancelled")
            await asyncio.sleep(1.5)  # it is not asked for again
            await way.carry_out()
            # Deleted before, it would have none: Job controllers may take their time.
            pod = await silent_pod_of(space, "e", within=120)
            way.keeps_back.clear()
            await being_deleted(space, pod)
            for _ in range(14):  # longer than it is waited for
                await asyncio.sleep(0.5)
                assert await operator.stats() == (1, 1, 1, 50), operator.log
            assert not await jobs_of(space, "next")
            await let_go(space, pod)
            await job_of(space, "next")
        finally:
            operator.kill()


async def test_a_second_pod_of_a_job_has_its_slot_when_the_api_server_was_away(
    cluster: Cluster, new_operator: NewOperator, space: Space
) -> None:
    """A Job controller makes it when it has not heard that the first was made."""
    operator = new_operator(RUNNING_CAPACITY="1")
    await operator.start()
    async with Observer(space) as observer:
        await space.submit(execution("e", runs_for="never"))
        await space.submit(execution("next", pod=NOWHERE))
        await running(space, "e")
        [first] = await pods_of(space, "e")
        for component in ("kube-controller-manager", "kube-apiserver"):
            await asyncio.to_thread(components.kill, cluster.name, component)
        await asyncio.to_thread(components.start, cluster.name, "kube-apiserver")
        await end(space, "e")
        await until(space, "e", "Passed")
        for _ in range(6):  # longer than it takes to hand over a slot
            await asyncio.sleep(0.5)
            assert await operator.stats() == (1, 1, 1, 50), operator.log
        second = {key: first["metadata"][key] for key in _MADE_WITH}
        made = {"metadata": second, "spec": {**first["spec"], "nodeName": None}}
        await space.api.create(space.pods, made)
        await asyncio.to_thread(components.start, cluster.name, "kube-controller-manager")
        await job_of(space, "next", within=120)
        await observer.caught_up()
        assert observer.most_live == 1
        assert observer.live_at_once[first["metadata"]["labels"][UID]] == 1


async def test_a_pod_may_come_long_after_its_job_has_gone_if_answers_were_lost_before(
    new_operator: NewOperator, space: Space
) -> None:
    operator = new_operator(RUNNING_CAPACITY="1")
    await operator.start()
    job = await _goes_without_a_pod(space)
    operator.kill()
    await operator.start()
    await _gone(space, job)
    await _its_pod_may_come(space, operator, job)


async def test_a_pod_may_come_long_after_its_job_has_gone_if_answers_are_lost_then(
    cluster: Cluster, new_operator: NewOperator, space: Space
) -> None:
    operator = new_operator(RUNNING_CAPACITY="1")
    await operator.start()
    job = await _goes_without_a_pod(space)
    await _gone(space, job)
    await asyncio.to_thread(components.kill, cluster.name, "kube-apiserver")
    await asyncio.to_thread(components.start, cluster.name, "kube-apiserver")
    await _its_pod_may_come(space, operator, job)


async def _goes_without_a_pod(space: Space) -> Raw:
    await space.submit(execution("e", pod=NOBODY))
    await space.submit(execution("next", pod=NOWHERE))
    return await job_of(space, "e")


async def _gone(space: Space, job: Raw) -> None:
    await space.change("e", {"cancel": True})
    await deleted(space, job_path(space, job))


async def _its_pod_may_come(space: Space, operator: Operator, job: Raw) -> None:
    """A Job controller asks for it again, until it hears that the Job has gone."""
    await asyncio.sleep(8)  # longer than it is waited for at other times
    await space.api.create(space.pods, late_pod(job))
    pod = await silent_pod_of(space, "e")
    await being_deleted(space, pod)
    assert await operator.stats() == (1, 1, 1, 50), operator.log
    assert not await jobs_of(space, "next")
    await let_go(space, pod)
    await job_of(space, "next")


async def test_order_of_creation_survives_a_restart(
    new_operator: NewOperator, space: Space
) -> None:
    operator = new_operator()
    await operator.start()
    # Named against their order, so that only creation can tell it.
    names = [f"e-{99 - i}" for i in range(55)]
    late = {"nodeSelector": {"arrives": "late"}}
    async with Observer(space) as observer:
        for name in names:
            await space.submit(execution(name, pod=late))
        created = {
            item["metadata"]["creationTimestamp"]
            for item in await space.api.items(space.executions)
        }
        assert len(created) < len(names), "some share their second: only resourceVersion tells"
        operator.kill()
        await operator.start()
        await space.api.create("/api/v1/nodes", FAKE_NODE)
        await _until_passed(space, len(names))
        await observer.caught_up()
        assert observer.started == names
    await space.api.delete("/api/v1/nodes/late")


async def test_without_the_operator_creates_are_refused_and_nothing_else_is(
    operator: Operator, space: Space
) -> None:
    await space.submit(execution("before", runs_for="never"))
    await space.submit(execution("other", suspend=True))
    operator.kill()

    status, answer = await space.try_submit(execution("meanwhile"))
    assert status == 500, answer
    assert "failed calling webhook" in answer["message"]
    assert "meanwhile" not in await space.phases()

    assert (await space.change("other", {"priority": 7}))[0] == 200
    assert (await space.change("before", {"cancel": True}))[0] == 200
    await space.remove("other")
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    await space.api.create(space.config_maps, config_map)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "example/c:1"}]},
    }
    await space.api.create(space.pods, pod)

    await operator.start()
    await space.submit(execution("after"))

    async def over() -> bool:
        return await space.phases() == {"before": "Cancelled", "after": "Passed"}

    await eventually(over, "it goes on where it stopped")


async def _submit_in_order(space: Space, names: list[str]) -> None:
    """All of them before the first may start, so that the faults meet a full line."""
    queue = "/apis/supercheck.io/v1alpha1/executionqueues/default"
    assert (await space.api.patch(queue, {"spec": {"stopPolicy": "Hold"}}))[0] == 200
    for name in names:
        await space.submit(execution(name, runs_for="100ms"))
    assert (await space.api.patch(queue, {"spec": {"stopPolicy": "None"}}))[0] == 200


async def _until_passed(space: Space, count: int) -> None:
    async def enough() -> bool:
        # An API server that has just started may answer 429 for a while.
        status, body = await space.api.call("GET", space.executions)
        phases = [item["status"]["phase"] for item in body.get("items", [])]
        return status == 200 and phases.count("Passed") >= count

    await eventually(enough, f"{count} have passed", within=180)


async def _none_lost_none_twice(space: Space, observer: Observer, names: list[str]) -> None:
    assert Counter((await space.phases()).values()) == {"Passed": len(names)}
    assert observer.jobs == {f"{name}/t": 1 for name in names}
    assert observer.most_live == 5
