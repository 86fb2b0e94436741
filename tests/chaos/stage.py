"""Where it is played: a cluster, replicas of the operator, Redis, and proxies between them all."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from tests.chaos.load import NAMESPACES, QUEUES
from tests.chaos.observer import Observer
from tests.chaos.proxy import Proxy
from tests.chaos.replicas import Replica, ready_ports

from harness.api import GROUP, Api, Raw, Space, execution
from harness.install import install_definitions, install_webhook
from harness.process import Operator
from harness.redis_server import RedisServer
from harness.waiting import eventually

HOME: Final = "supercheck"
_LEASE: Final = "supercheck-operator"
_RBAC: Final = "/apis/rbac.authorization.k8s.io/v1"
SETTLES_WITHIN: Final = 180.0
"""Seconds, once nothing fails any more: a lease runs out, reservations whose create came to
nothing are dropped by evidence (34 s and a sweep), what waits runs."""


@dataclass(frozen=True)
class Cluster:
    name: str
    kubeconfig: Path
    etcd_port: int


@dataclass
class Stage:
    cluster: Cluster
    api: Api
    observer: Observer
    replicas: Sequence[Replica]
    webhooks: Proxy
    redis: RedisServer | None
    token: str

    def leader_or_any(self, whom: int) -> Replica:
        """The leader for every even number."""
        leader = next((r for r in self.replicas if r.leads(self.observer.holder)), None)
        return leader if leader and whom % 2 == 0 else self.replicas[whom % len(self.replicas)]

    async def all_ready(self) -> None:
        async def ready() -> bool:
            return all(replica.ready for replica in self.replicas)

        await eventually(ready, "every replica is ready", within=SETTLES_WITHIN)

    async def settle(self) -> None:
        """Until all that was admitted is over, and everyone who counts says so."""
        await self.all_ready()
        judge = self.observer.judge
        try:
            await self.observer.until(
                lambda: not judge.at_rest(), "all is over", within=SETTLES_WITHIN
            )
        except AssertionError as error:
            raise AssertionError(f"{error}: {judge.at_rest()}") from error
        await self.count_nothing()

    async def count_nothing(self) -> None:
        """Until every replica counts nothing, and Redis has nothing left."""
        for queue in QUEUES:
            await self.all_count(queue, 0, 0)
        await self._told(self._left_in_redis, "Redis has nothing left")

    async def all_count(self, queue: str, running: int, queued: int) -> None:
        async def others() -> object:
            seen = [await replica.stats(queue, self.token) for replica in self.replicas]
            return [each for each in seen if each is None or each[::2] != (running, queued)]

        await self._told(others, f"all count {running} and {queued} in {queue}")

    async def refill(self) -> None:
        """There is room for exactly as many as the limits say, and for all again afterwards."""
        for queue in ("steady", "moving"):
            found = (await self.api.get(f"{GROUP}/executionqueues/{queue}"))["spec"]
            running, queued = found["runningCapacity"], found["queuedCapacity"]
            space = Space(self.api, NAMESPACES[0])
            names = [f"last-{queue}-{n}" for n in range(running + queued + 3)]
            answers = [
                (await space.try_submit(execution(name, runs_for="never", queue=queue)))[0]
                for name in names
            ]
            assert answers == [201] * (running + queued) + [429] * 3, (queue, answers)
            await self.all_count(queue, running, queued)
            for name in names[:-3]:
                assert (await space.change(name, {"cancel": True}))[0] == 200
        await self.settle()

    async def _left_in_redis(self) -> object:
        if self.redis is None:
            return None
        kept = self.redis.command("HGETALL", "supercheck:ledger:v1")
        return {key: value for key, value in kept.items() if key[1:2] == "/"}

    async def _told(self, wrong: Callable[[], Awaitable[object]], what: str) -> None:
        found: list[object] = []

        async def right() -> bool:
            found.append(await wrong())
            return not found[-1]

        try:
            await eventually(right, what, within=SETTLES_WITHIN)
        except AssertionError as error:
            raise AssertionError(f"{error}; instead: {found[-1]}") from error


@asynccontextmanager
async def stage(
    cluster: Cluster, folder: Path, random: Random, *, replicas: int, redis: bool
) -> AsyncIterator[Stage]:
    """With one replica and no Redis, it counts in its memory and needs no Lease."""
    async with AsyncExitStack() as stack:
        api = Api(cluster.kubeconfig)
        stack.push_async_callback(api.close)
        observer = await stack.enter_async_context(Observer(cluster.etcd_port, f"{HOME}/{_LEASE}"))
        token = await _install(api)
        server = stack.enter_context(RedisServer()) if redis else None
        made: list[Replica] = []
        webhooks = await stack.enter_async_context(Proxy(lambda: ready_ports(made), random))
        await install_webhook(api, webhooks.port)
        for number in range(replicas):
            own = folder / f"replica-{number}"
            own.mkdir()

            def make(
                kubeconfig: Path, own: Path = own, name: str = f"replica-{number}"
            ) -> Operator:
                return _operator(kubeconfig, own / "log", name, server)

            made.append(Replica(cluster.kubeconfig, own, make, random))
            await stack.enter_async_context(made[-1])
        found = Stage(cluster, api, observer, made, webhooks, server, token)
        await found.all_ready()
        await _make_queues(api)
        for queue in QUEUES:
            await found.all_count(queue, 0, 0)
        yield found


def _operator(kubeconfig: Path, log: Path, name: str, redis: RedisServer | None) -> Operator:
    environment = {"SWEEP_SECONDS": "10"}
    flags: list[str] = []
    if redis is not None:
        environment |= {"REDIS_URL": redis.url, "POD_NAMESPACE": HOME, "POD_NAME": name}
        flags = ["--webhook-secret", "webhook"]
    return Operator(kubeconfig, log, local=False, flags=flags, **environment)


async def _install(api: Api) -> str:
    """What a chart puts into a cluster; a token of somebody who may see everything."""
    for name in (HOME, *NAMESPACES):
        body: Raw = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await api.create("/api/v1/namespaces", body)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "webhook"}}
    await api.create(f"/api/v1/namespaces/{HOME}/secrets", secret)
    await install_definitions(api)
    account = f"/api/v1/namespaces/{HOME}/serviceaccounts/default"

    async def there() -> bool:
        return (await api.call("GET", account))[0] == 200

    await eventually(there, "there is a service account")
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": HOME}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    binding: Raw = {"metadata": {"name": "who-asks"}, "roleRef": role, "subjects": [subject]}
    await api.create(f"{_RBAC}/clusterrolebindings", binding)
    request: Raw = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token: str = (await api.create(f"{account}/token", request))["status"]["token"]
    return token


async def _make_queues(api: Api) -> None:
    for name, spec in QUEUES.items():
        await api.create(
            f"{GROUP}/executionqueues",
            {
                "apiVersion": "supercheck.io/v1alpha1",
                "kind": "ExecutionQueue",
                "metadata": {"name": name},
                "spec": spec,
            },
        )


def etcd_port(folder: Path) -> int:
    """Of the cluster whose record is in ``folder``."""
    port: int = json.loads((folder / "cluster.json").read_text())["ports"]["etcd"]
    return port
