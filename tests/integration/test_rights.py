"""The chart's roles grant what the operator asks for: all of that, and nothing else.

The operator runs as the chart's service account through everything it ever does; the API server's
audit log says what it asked for.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
import yaml

from conftest import Cluster
from harness.api import Api, Raw, Space, execution
from harness.chart import RELEASE, rendered
from harness.install import WEBHOOKS, install_definitions, install_webhook
from harness.process import Operator
from harness.steps import QUEUES, deleted, jobs_of, make_queue, named, until, until_status
from supercheck_operator.execution.naming import job_name

Right = tuple[str, str, str]
"""Verb, resource as a role names it with its group, and the one object's name or ""."""

PATHS = {
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
}
ROLES = ("Role", "ClusterRole")


def granted(manifests: list[Raw]) -> set[Right]:
    """By the roles that are bound to the operator."""
    rules = [
        rule
        for each in manifests
        if each["kind"] in ROLES and each["metadata"]["name"] in (RELEASE, f"{RELEASE}-executions")
        for rule in each["rules"]
    ]
    return {
        (verb, f"{resource}.{group}", name)
        for rule in rules
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
    }


def asked(audit_log: Path, user: str) -> Iterator[tuple[Right, int]]:
    """Every request of ``user`` for an object, with the status of its answer."""
    for line in audit_log.read_text().splitlines():
        event = json.loads(line)
        about = event.get("objectRef")
        if event["user"]["username"] != user or about is None:
            continue
        resource = "/".join(about[key] for key in ("resource", "subresource") if key in about)
        right = (event["verb"], f"{resource}.{about.get('apiGroup', '')}", about.get("name", ""))
        yield right, event["responseStatus"]["code"]


def used(rights: set[Right], grants: set[Right]) -> set[Right]:
    """With its name only where the grant is for that name."""
    return {right if right in grants else (*right[:2], "") for right in rights}


async def _kubeconfig(cluster: Cluster, space: Space, folder: Path) -> Path:
    """Of the chart's service account."""
    path = f"/api/v1/namespaces/{space.name}/serviceaccounts/{RELEASE}/token"
    answer = await space.api.create(path, {"spec": {"expirationSeconds": 3600}})
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    [user] = config["users"]
    user["user"] = {"token": answer["status"]["token"]}
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    return file


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def definitions(api: Api) -> None:
    await install_definitions(api)


@pytest_asyncio.fixture(loop_scope="session")
async def home(api: Api) -> AsyncIterator[Space]:
    """The namespace of the operator; what it has in the cluster is gone at the end."""
    space = Space(api, f"home-{uuid.uuid4().hex[:8]}")
    await _make_namespace(space)
    yield space
    ours = "?labelSelector=app.kubernetes.io/name=supercheck-operator"
    for path in (PATHS["ClusterRole"], PATHS["ClusterRoleBinding"]):
        await api.delete(path + ours)
    await api.delete(QUEUES)
    await api.delete(f"{WEBHOOKS}/{RELEASE}")


async def _install(home: Space, *values: str) -> list[Raw]:
    """What the chart has of accounts, roles and Secrets; all of its manifests."""
    manifests = rendered(*values, namespace=home.name)
    for manifest in manifests:
        if path := PATHS.get(manifest["kind"]):
            await home.api.create(path.format(manifest["metadata"].get("namespace")), manifest)
    return manifests


async def _make_namespace(space: Space) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space.name}}
    await space.api.create("/api/v1/namespaces", body)


async def _remove_namespace(space: Space) -> None:
    path = f"/api/v1/namespaces/{space.name}"
    await space.api.delete(path)
    await deleted(space, path, within=60)


def _everywhere(_: Space) -> tuple[list[str], dict[str, str]]:
    return [], {}


def _in_one_namespace(space: Space) -> tuple[list[str], dict[str, str]]:
    return [f"--set=watchNamespaces={{{space.name}}}"], {"WATCH_NAMESPACES": space.name}


@pytest.mark.parametrize("watching", [_everywhere, _in_one_namespace])
async def test_the_roles_grant_all_that_the_operator_does_and_nothing_else(
    watching: Callable[[Space], tuple[list[str], dict[str, str]]],
    cluster: Cluster,
    definitions: None,
    home: Space,
    space: Space,
    tmp_path: Path,
) -> None:
    api = home.api
    values, environment = watching(space)
    queues = tmp_path / "queues.yaml"
    queues.write_text(
        "{apiVersion: supercheck.io/v1alpha1, kind: ExecutionQueue, metadata: {name: declared}}"
    )
    values = [*values, "--set=queues.declared.runningCapacity=3"]
    manifests = await _install(home, *values)
    operator = Operator(
        await _kubeconfig(cluster, home, tmp_path),
        tmp_path / "log",
        local=False,
        flags=["--webhook-secret", f"{RELEASE}-webhook", "--queues", str(queues)],
        POD_NAMESPACE=home.name,
        SWEEP_SECONDS="1",
        **environment,
    )
    await install_webhook(api, operator.webhook_port)
    await operator.start()
    try:
        await home.submit(execution("unwatched"))
        await _do_everything(home, space, operator)
        told = "Queued" if environment else "Passed"
        assert (await home.status("unwatched"))["phase"] == told
        await home.remove("unwatched")
    finally:
        assert await asyncio.to_thread(operator.stop) == 0, operator.log
    user = f"system:serviceaccount:{home.name}:{RELEASE}"
    requests = list(asked(cluster.audit_log, user))
    assert not [right for right, status in requests if status == 403]
    grants = granted(manifests)
    needs = used({right for right, _ in requests}, grants)
    assert needs - grants == set(), "asked for, and not granted"
    assert grants - needs == set(), "granted, and never asked for"


async def test_of_a_watched_namespace_that_is_deleted_only_its_own_executions_go(
    cluster: Cluster, definitions: None, home: Space, space: Space, tmp_path: Path
) -> None:
    """Our rights in it go with it: what is forbidden there must not stop all others."""
    gone = Space(home.api, f"gone-{uuid.uuid4().hex[:8]}")
    await _make_namespace(gone)
    watched = f"{gone.name},{space.name}"
    await _install(home, f"--set=watchNamespaces={{{watched}}}")
    operator = Operator(
        await _kubeconfig(cluster, home, tmp_path),
        tmp_path / "log",
        local=False,
        flags=["--webhook-secret", f"{RELEASE}-webhook"],
        POD_NAMESPACE=home.name,
        SWEEP_SECONDS="1",
        RUNNING_CAPACITY="1",
        WATCH_NAMESPACES=watched,
    )
    await install_webhook(home.api, operator.webhook_port)
    await operator.start()
    try:
        await gone.submit(execution("in-the-way", runs_for="never"))
        await until(gone, "in-the-way", "Running")
        await space.submit(execution("waits"))
        await _remove_namespace(gone)
        await until(space, "waits", "Passed")
        for name in ("after-a-kill", "again"):  # from its sweeps alone, with no watch from before
            operator.kill()
            await operator.start()
            await space.submit(execution(name))
            await until(space, name, "Passed")
    finally:
        assert await asyncio.to_thread(operator.stop) == 0, operator.log


async def _do_everything(home: Space, space: Space, operator: Operator) -> None:
    """Each line makes the operator use a right that no other line does."""
    await _see_figures(home, operator)
    status, _ = await space.try_submit(execution("astray", queue="no-such-queue"))
    assert status == 403
    await make_queue(
        space, f"chosen-{space.name}", namespaceSelector={"matchLabels": {"some": "label"}}
    )
    status, _ = await space.try_submit(execution("elsewhere", queue=f"chosen-{space.name}"))
    assert status == 403
    scripted = [named("t")[0] | {"script": "true"}]
    await space.submit(execution("scripted", tests=scripted, ttlSecondsAfterFinished=0))
    await deleted(space, f"{space.executions}/scripted")
    await space.submit(execution("cancelled", runs_for="never"))
    await until(space, "cancelled", "Running")
    await space.change("cancelled", {"cancel": True})
    await until(space, "cancelled", "Cancelled")
    await _meet_a_job_of_somebody_else(space)
    await _cancel_a_pod_without_its_job(space)
    await space.submit(execution("accountless", pod={"serviceAccountName": "nobody"}))
    await until_status(
        space, "accountless", lambda s: "nobody" in s.get("message", ""), "it is told why"
    )
    await space.change("accountless", {"cancel": True})


async def _see_figures(home: Space, operator: Operator) -> None:
    """As the operator's own account, which may see queues."""
    path = f"/api/v1/namespaces/{home.name}/serviceaccounts/{RELEASE}/token"
    token = (await home.api.create(path, {"spec": {}}))["status"]["token"]
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{operator.url}/api/queue-stats") as response,
    ):
        assert response.status == 200, await response.text()


async def _meet_a_job_of_somebody_else(space: Space) -> None:
    held = f"held-{space.name}"
    await make_queue(space, held, stopPolicy="Hold")
    made = await space.submit(execution("met", queue=held))
    name = job_name("met", made["metadata"]["uid"], "t")
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "example/e2e:1"}]}
    body = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"suspend": True, "template": {"spec": pod}},
    }
    await space.api.create(space.jobs, body)
    await space.api.patch(f"{QUEUES}/{held}", {"spec": {"stopPolicy": "None"}})
    await until(space, "met", "Error")


async def _cancel_a_pod_without_its_job(space: Space) -> None:
    await space.submit(execution("orphaned", runs_for="never", tests=named("a", "b")))
    await until(space, "orphaned", "Running")
    [job, *_] = await jobs_of(space, "orphaned")
    await space.api.delete(f"{space.jobs}/{job['metadata']['name']}?propagationPolicy=Orphan")
    await space.change("orphaned", {"cancel": True})
    await until(space, "orphaned", "Cancelled")
