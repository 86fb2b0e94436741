"""Two replicas with a Redis between them, installed by the chart: they count as one, they are
replaced and lost without anybody being refused, or anything being lost or done twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import pytest_asyncio
from e2e.chart.release import (
    NAMESPACE,
    RELEASE,
    Helm,
    installed,
    its_namespace,
    operators,
    sleeping,
    with_a_new_field,
)
from e2e.conftest import WAIT_SECONDS, Kubectl, Namespace, put_on_node

from harness.api import GROUP, Api, Space
from harness.waiting import eventually

if TYPE_CHECKING:
    from e2e.conftest import KindCluster, Raw

REDIS: Final = "localhost/supercheck-e2e/redis:1"
REPLICAS: Final = 2
LEASE: Final = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{RELEASE}"
PODS: Final = f"/api/v1/namespaces/{NAMESPACE}/pods"
FULL: Final = (
    'admission webhook "admission.supercheck.io" denied the request: Queue capacity limit reached'
    " (50/50 queued jobs). Please try again later when running capacity (5/5) is available."
)
RATE: Final = 20.0
"""Submissions a second."""
VALUES: Final = {
    "replicas": REPLICAS,
    "redis": {"enabled": True, "host": "redis", "existingSecret": "redis"},
    "podDisruptionBudget": {"enabled": True},
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
        }
    ],
    "queues": {"wide": {"runningCapacity": 2, "queuedCapacity": 100_000}},
}


@pytest.fixture(scope="module")
def redis(kubectl: Kubectl, kind_cluster: KindCluster) -> Generator[None, None, None]:
    """A Redis with a password, in the namespace of the operator."""
    put_on_node(kind_cluster, REDIS, Path(__file__).parents[1] / "images" / "redis")
    with its_namespace(kubectl):
        for manifest in _redis():
            kubectl("create", f"--namespace={NAMESPACE}", "--filename=-", stdin=manifest)
        where = (f"--namespace={NAMESPACE}", "deployment/redis")
        kubectl("rollout", "status", *where, f"--timeout={WAIT_SECONDS}s")
        yield


def _redis() -> Iterator[Raw]:
    metadata, labels = {"name": "redis"}, {"app": "redis"}
    password = {"name": "redis", "key": "password"}
    container: Raw = {
        "name": "redis",
        "image": REDIS,
        "imagePullPolicy": "Never",
        "args": ["--requirepass", "$(REDISCLI_AUTH)", "--save", ""],
        "env": [{"name": "REDISCLI_AUTH", "valueFrom": {"secretKeyRef": password}}],
        "readinessProbe": {"exec": {"command": ["redis-cli", "ping"]}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod: Raw = {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    yield {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "stringData": {"password": "e2e, of no use elsewhere"},
    }
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"selector": labels, "ports": [{"port": 6379}]},
    }
    yield {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }


@pytest.fixture(scope="module")
def helm(
    kubectl: Kubectl,
    redis: None,  # noqa: ARG001 - which must be there
    operator_image: str,  # noqa: ARG001 - which must be on the node
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[Helm, None, None]:
    folder = tmp_path_factory.mktemp("helm")
    values = folder / "values.json"
    values.write_text(json.dumps(VALUES))
    with installed(kubectl, folder, f"--values={values}") as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def api(kubectl: Kubectl) -> AsyncIterator[Api]:
    made = Api(kubectl.kubeconfig)
    yield made
    await made.close()


def execution(name: str, test: Raw, **spec: object) -> Raw:
    grace = {"spec": {"terminationGracePeriodSeconds": 1}}
    return {
        "apiVersion": "supercheck.io/v1alpha1",
        "kind": "TestExecution",
        "metadata": {"name": name},
        "spec": {"tests": [test], "template": grace} | spec,
    }


@dataclass
class Stream:
    """Submissions at a steady rate, as a CI has them: most wait for ever, some run."""

    space: Space
    image: str
    answers: dict[str, tuple[int, Raw]] = field(default_factory=dict)
    admitted_at: list[float] = field(default_factory=list)
    running: list[str] = field(default_factory=list)

    async def run(self, over: asyncio.Event) -> None:
        began, number = time.monotonic(), 0
        self.admitted_at.append(began)
        async with asyncio.TaskGroup() as tasks:
            while not over.is_set():
                tasks.create_task(self._submit(number))
                number += 1
                await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))
        self.admitted_at.append(time.monotonic())

    async def _submit(self, number: int) -> None:
        name, runs = f"s-{number}", number % 40 == 0
        body = execution(name, sleeping(self.image, 0), queue="wide", suspend=not runs)
        answer = await self.space.try_submit(body)
        self.answers[name] = answer
        if answer[0] == 201:
            self.admitted_at.append(time.monotonic())
            if runs:
                self.running.append(name)

    @property
    def refused(self) -> list[Raw]:
        return [body for status, body in self.answers.values() if status != 201]

    @property
    def gap(self) -> float:
        """Seconds between two admissions, at most."""
        return max(later - earlier for earlier, later in pairwise(sorted(self.admitted_at)))

    async def check_nothing_is_lost(self) -> None:
        phases = await self.space.phases()
        assert set(phases) >= {name for name, (status, _) in self.answers.items() if status == 201}
        for name in self.running:
            await self._passed(name)

    async def _passed(self, name: str) -> None:
        async def passed() -> bool:
            status = await self.space.status(name)
            assert status["phase"] in ("Queued", "Running", "Passed"), status
            return bool(status["phase"] == "Passed")

        await eventually(passed, f"{name} has passed", within=WAIT_SECONDS)


@asynccontextmanager
async def streaming(space: Space, image: str) -> AsyncIterator[Stream]:
    """Submissions go on as long as the block does, and have all been answered at its end."""
    stream, over = Stream(space, image), asyncio.Event()
    running = asyncio.create_task(stream.run(over))
    try:
        yield stream
    finally:
        over.set()
        await running


class PodCount:
    """Every pod that an execution of a namespace has ever had."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self.seen: set[tuple[str, str]] = set()
        """Name of the execution, name of the pod."""
        self.new = asyncio.Event()

    async def run(self) -> None:
        async for event in self._space.api.watch(self._space.pods, "0"):
            metadata = event["object"]["metadata"]
            self.seen.add((metadata["labels"]["supercheck.io/execution"], metadata["name"]))
            self.new.set()

    @property
    def by_execution(self) -> Counter[str]:
        return Counter(execution for execution, _ in self.seen)


@asynccontextmanager
async def pods_counted(space: Space) -> AsyncIterator[PodCount]:
    count = PodCount(space)
    counting = asyncio.create_task(count.run())
    try:
        yield count
    finally:
        counting.cancel()
        await asyncio.gather(counting, return_exceptions=True)


async def leader(api: Api) -> str:
    """The name of the pod that leads, or ""."""
    holder: str = (await api.get(LEASE))["spec"].get("holderIdentity") or ""
    return holder.rpartition("_")[0]


async def timed(probe: Callable[[], Awaitable[object]], what: str) -> float:
    """Seconds until it is so."""
    began = time.monotonic()
    await eventually(probe, what, within=WAIT_SECONDS)
    return time.monotonic() - began


@pytest.mark.usefixtures("helm")
def test_there_are_two_one_leads_and_none_had_to_start_again(kubectl: Kubectl) -> None:
    pods = operators(kubectl)
    assert len(pods) == REPLICAS
    assert [pod["status"]["containerStatuses"][0]["restartCount"] for pod in pods] == [0, 0]
    log = [kubectl("logs", f"--namespace={NAMESPACE}", pod["metadata"]["name"]) for pod in pods]
    assert sorted("leading as" in each for each in log) == [False, True]
    assert not [each for each in log if "Traceback" in each]


async def test_94_at_once_spread_over_both_and_exactly_55_are_admitted(
    kubectl: Kubectl, api: Api, team: Namespace, image: str
) -> None:
    space = Space(api, team.name)
    before = _judged(kubectl)
    body = sleeping(image, 600)
    answers = await asyncio.gather(
        *(space.try_submit(execution(f"e-{number}", body)) for number in range(94))
    )
    judged = _judged(kubectl) - before
    print(f"94 at once, judged by {dict(judged)}")
    assert Counter(status for status, _ in answers) == {201: 55, 429: 39}
    assert {answer["message"] for status, answer in answers if status == 429} == {FULL}
    assert judged.total() == 94
    assert len(judged) == REPLICAS, "the Service led to one of them only"

    async def as_many_run_as_may() -> bool:
        return Counter((await space.phases()).values()) == {"Running": 5, "Queued": 50}

    await eventually(as_many_run_as_may, "5 run and 50 wait", within=WAIT_SECONDS)
    await _clear(api, space)


def _judged(kubectl: Kubectl) -> Counter[str]:
    """How many submissions each replica has answered."""
    count: Counter[str] = Counter()
    for pod in operators(kubectl):
        name = pod["metadata"]["name"]
        metrics = kubectl("get", "--raw", f"{PODS}/{name}:8080/proxy/metrics")
        for line in metrics.splitlines():
            if line.startswith("supercheck_admissions_total{"):
                count[name] += int(float(line.rsplit(" ", 1)[1]))
    return count


async def _clear(api: Api, space: Space) -> None:
    await api.delete(space.executions)

    async def free() -> bool:
        found = await api.get(f"{GROUP}/executionqueues/default")
        return (found["status"]["running"], found["status"]["queued"]) == (0, 0)

    await eventually(free, "all slots are free", within=WAIT_SECONDS)


async def test_an_upgrade_with_a_new_field_refuses_nobody_and_loses_nothing(
    helm: Helm, kubectl: Kubectl, api: Api, team: Namespace, image: str, tmp_path: Path
) -> None:
    space, before = Space(api, team.name), _names(kubectl)
    async with pods_counted(space) as count:
        async with streaming(space, image) as stream:
            began = time.monotonic()
            await asyncio.to_thread(
                helm.upgrade, with_a_new_field(tmp_path), "--set=runningCapacity=4"
            )
            took = time.monotonic() - began
        assert not before & _names(kubectl)
        refused = stream.refused
        print(
            f"during the upgrade ({took:.0f} s): {len(stream.answers)} submitted, {len(refused)}"
            f" refused, {stream.gap:.2f} s at most between two admissions"
        )
        assert not refused, refused[0]
        await stream.check_nothing_is_lost()
        assert set(count.by_execution.values()) == {1}, "an execution ran twice"
    answer = await space.submit(execution("new", sleeping(image, 0), suspend=True, novelty="yes"))
    assert answer["spec"]["novelty"] == "yes"


def _names(kubectl: Kubectl) -> set[str]:
    return {pod["metadata"]["name"] for pod in operators(kubectl)}


async def test_a_drained_node_gives_one_replica_up_at_a_time_and_nobody_is_refused(
    kubectl: Kubectl, api: Api, team: Namespace, image: str
) -> None:
    space = Space(api, team.name)
    first = await leader(api)
    [other] = _names(kubectl) - {first}
    async with streaming(space, image) as stream:
        assert (await _evict(api, first))[0] == 201
        status, answer = await _evict(api, other)
        assert status == 429, answer
        assert "disruption budget" in answer["message"]

        async def follows() -> bool:
            return await leader(api) not in ("", first)

        took = await timed(follows, "another one leads")

        async def there_are_two() -> bool:
            found = await api.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{RELEASE}")
            return bool(found["status"].get("availableReplicas") == REPLICAS)

        await eventually(there_are_two, "there are two again", within=WAIT_SECONDS)
    refused = stream.refused
    print(
        f"an eviction of the leader: the next leads after {took:.1f} s; {len(stream.answers)}"
        f" submitted, {len(refused)} refused, {stream.gap:.2f} s at most between two admissions"
    )
    assert not refused, refused[0]
    await stream.check_nothing_is_lost()


async def _evict(api: Api, name: str) -> tuple[int, Raw]:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    return await api.call("POST", f"{PODS}/{name}/eviction", body)


async def test_a_leader_that_is_killed_is_followed_and_nothing_is_lost_or_done_twice(
    api: Api, team: Namespace, image: str
) -> None:
    space = Space(api, team.name)
    names = [f"e-{number}" for number in range(12)]
    async with pods_counted(space) as count:
        for name in names:
            await space.submit(execution(name, sleeping(image, 3), queue="wide"))

        async def two_run() -> bool:
            return len(count.seen) >= 2

        await eventually(two_run, "two run", within=WAIT_SECONDS)
        dead = await leader(api)
        async with streaming(space, image) as stream:
            _kill(await api.get(f"{PODS}/{dead}"))
            await api.delete(f"{PODS}/{dead}?gracePeriodSeconds=0")
            killed = time.monotonic()

            async def another() -> bool:
                return await leader(api) not in ("", dead)

            took = await timed(another, "another one leads")
            count.new.clear()
            async with asyncio.timeout(WAIT_SECONDS):
                await count.new.wait()
            launched = time.monotonic() - killed

            async def all_passed() -> bool:
                phases = await space.phases()
                return {phases[name] for name in names} == {"Passed"}

            await eventually(all_passed, "all have passed", within=WAIT_SECONDS)
        await stream.check_nothing_is_lost()
        assert set(count.by_execution.values()) == {1}, count.by_execution
    told = [body["message"] for body in stream.refused]
    print(
        f"the leader killed: the next leads after {took:.1f} s and launches after {launched:.1f} s;"
        f" {len(stream.answers)} submitted, {len(told)} refused,"
        f" {stream.gap:.2f} s at most between two admissions"
    )
    # What was on its way to the dead one; no other may be refused.
    assert all("failed calling webhook" in each for each in told), told
    assert stream.gap < 5
    statuses = [await space.status(name) for name in names]
    assert {status["attempts"] for status in statuses} == {1}


def _kill(pod: Raw) -> None:
    """Its process, as the machine knows it, by SIGKILL."""
    uid: str = pod["metadata"]["uid"]
    [found] = [process for process in Path("/proc").glob("[0-9]*") if _is_operator(process, uid)]
    os.kill(int(found.name), signal.SIGKILL)


def _is_operator(process: Path, uid: str) -> bool:
    try:
        group, command = (process / "cgroup").read_text(), (process / "cmdline").read_bytes()
    except OSError:  # it has just ended
        return False
    return (uid in group or uid.replace("-", "_") in group) and b"supercheck-operator" in command
