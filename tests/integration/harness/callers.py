"""Callers of the HTTP API: each with a service account, its token, and the rights bound to it."""

import json
from collections.abc import Sequence
from typing import Any

import aiohttp

from harness.api import Raw, Space
from harness.process import Operator

RBAC = "/apis/rbac.authorization.k8s.io/v1"
_GROUP = "rbac.authorization.k8s.io"


async def ask_as(
    operator: Operator, path: str, authorization: str
) -> tuple[int, Raw, dict[str, str]]:
    headers = {"Authorization": authorization} if authorization else {}
    async with (
        aiohttp.ClientSession() as session,
        session.get(operator.url + path, headers=headers) as response,
    ):
        answer: Raw = json.loads(await response.text())
        return response.status, answer, dict(response.headers)


async def new_token(space: Space, name: str) -> str:
    """A token of a new service account of that name."""
    accounts = f"/api/v1/namespaces/{space.name}/serviceaccounts"
    body: Raw = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
    await space.api.create(accounts, body)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer = await space.api.create(f"{accounts}/{name}/token", request)
    return str(answer["status"]["token"])


async def allow(
    space: Space,
    account: str,
    verbs: str,
    resource: str,
    *,
    names: Sequence[str] = (),
    namespace: str = "",
) -> None:
    """Let ``account`` of ``space`` do that, in one namespace or in all; until ``disallow``."""
    role = f"{account}-{space.name}-{resource}"
    rule: dict[str, Any] = {
        "apiGroups": ["supercheck.io"],
        "resources": [resource],
        "verbs": verbs.split(),
    }
    if names:
        rule["resourceNames"] = list(names)
    about: Raw = {"apiVersion": f"{_GROUP}/v1", "metadata": {"name": role}}
    await space.api.create(f"{RBAC}/clusterroles", about | {"kind": "ClusterRole", "rules": [rule]})
    binding = about | {
        "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
        "roleRef": {"apiGroup": _GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": space.name}],
    }
    where = f"namespaces/{namespace}/rolebindings" if namespace else "clusterrolebindings"
    await space.api.create(f"{RBAC}/{where}", binding)


async def disallow(space: Space, account: str, resource: str) -> None:
    """Take back what was allowed in all namespaces."""
    role = f"{account}-{space.name}-{resource}"
    for kind in ("clusterrolebindings", "clusterroles"):
        await space.api.delete(f"{RBAC}/{kind}/{role}")
