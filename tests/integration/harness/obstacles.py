"""What stands in the way of Jobs: a quota, a policy, a name that is taken; until it is removed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp

from harness.api import Raw, Space
from harness.install import WEBHOOKS
from harness.waiting import eventually

_POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
_BINDINGS = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
_QUOTA = "no-jobs"


async def forbid_by_quota(space: Space) -> None:
    """No Job may be created in ``space``."""
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": _QUOTA},
        "spec": {"hard": {"count/jobs.batch": "0"}},
    }
    await space.api.create(_quotas(space), quota)

    async def in_force() -> bool:
        _, answer = await _would(space, "CREATE")
        return "exceeded quota" in answer.get("message", "")

    await eventually(in_force, "the quota is in force")


async def lift_quota(space: Space) -> None:
    """Until a Job could be created: the quota's end is not noticed at once."""
    await space.api.delete(f"{_quotas(space)}/{_QUOTA}")

    async def lifted() -> bool:
        return (await _would(space, "CREATE"))[0] == 201

    await eventually(lifted, "the quota is lifted")


async def forbid_by_policy(space: Space, operation: str, message: str) -> None:
    """No Job may be created, or deleted, in ``space``: ``operation`` is CREATE or DELETE."""
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": space.name}}
    policy = {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [_on_jobs(operation)],
            "namespaceSelector": _only(space),
        },
        "validations": [{"expression": "false", "message": message}],
    }
    if operation == "DELETE":
        await space.api.create(space.jobs, foreign_job("probe"))
    await space.api.create(_POLICIES, kind | {"kind": "ValidatingAdmissionPolicy", "spec": policy})
    binding = {"policyName": space.name, "validationActions": ["Deny"]}
    await space.api.create(
        _BINDINGS, kind | {"kind": "ValidatingAdmissionPolicyBinding", "spec": binding}
    )

    async def in_force() -> bool:
        return (await _would(space, operation))[0] == 422

    await eventually(in_force, "the policy is in force")


async def lift_policy(space: Space, operation: str) -> None:
    await space.api.delete(f"{_BINDINGS}/{space.name}")
    await space.api.delete(f"{_POLICIES}/{space.name}")

    async def lifted() -> bool:
        return (await _would(space, operation))[0] in (200, 201)

    await eventually(lifted, "the policy is lifted")


@asynccontextmanager
async def hanging_webhook(space: Space) -> AsyncIterator[None]:
    """Somebody's, for the Jobs of ``space``: it is there, and says nothing."""
    asked, over = asyncio.Event(), asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await over.wait()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    webhook = {
        "name": "silent.example.com",
        "clientConfig": {"url": f"https://127.0.0.1:{port}/"},
        "rules": [_on_jobs("CREATE")],
        "namespaceSelector": _only(space),
        "timeoutSeconds": 30,
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    body = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": space.name},
        "webhooks": [webhook],
    }
    await space.api.create(WEBHOOKS, body)

    async def in_force() -> bool:
        with suppress(aiohttp.ClientError):  # the API server hangs up
            await space.api.call("POST", f"{space.jobs}?dryRun=All&timeout=1s", foreign_job("p"))
        return asked.is_set()

    try:
        await eventually(in_force, "the webhook is asked")
        yield
    finally:
        await space.api.delete(f"{WEBHOOKS}/{space.name}")
        over.set()
        server.close()


def foreign_job(name: str) -> Raw:
    """One of somebody else's, which runs nothing."""
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "example/c:1"}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"suspend": True, "template": {"spec": pod}},
    }


def _on_jobs(operation: str) -> Raw:
    return {
        "apiGroups": ["batch"],
        "apiVersions": ["v1"],
        "operations": [operation],
        "resources": ["jobs"],
    }


def _only(space: Space) -> Raw:
    return {"matchLabels": {"kubernetes.io/metadata.name": space.name}}


async def _would(space: Space, operation: str) -> tuple[int, Raw]:
    """What the API server would answer to that."""
    if operation == "DELETE":
        return await space.api.call("DELETE", f"{space.jobs}/probe?dryRun=All")
    return await space.api.call("POST", f"{space.jobs}?dryRun=All", foreign_job("probe"))


def _quotas(space: Space) -> str:
    return f"/api/v1/namespaces/{space.name}/resourcequotas"
