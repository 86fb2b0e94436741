"""What an installation puts into a cluster, put there and taken away by hand."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from harness.api import Api, Raw
from harness.waiting import eventually

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
NAME = "supercheck-operator"
_FOLDER = Path(__file__).parents[3] / "crds"


def definitions() -> list[Raw]:
    return [yaml.safe_load(file.read_text()) for file in sorted(_FOLDER.glob("*.yaml"))]


async def install_definitions(api: Api) -> None:
    for manifest in definitions():
        await api.create(CRDS, manifest)

    async def established() -> bool:
        found = [item["status"].get("conditions") or [] for item in await api.items(CRDS)]
        return [_established(conditions) for conditions in found] == [True, True]

    await eventually(established, "the definitions are established")


async def install_webhook(api: Api, port: int, *, namespaces: Sequence[str] = ()) -> None:
    """As the chart does, but by URL: nothing runs in this cluster that a service could lead to.

    ``namespaces``: those whose creations are judged; all, if there are none.
    """
    rule = {
        "apiGroups": ["supercheck.io"],
        "apiVersions": ["v1alpha1"],
        "operations": ["CREATE"],
        "resources": ["testexecutions"],
    }
    webhook: Raw = {
        "name": "admission.supercheck.io",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": f"https://127.0.0.1:{port}/validate"},
        "rules": [rule],
        "failurePolicy": "Fail",
        "sideEffects": "NoneOnDryRun",
        "timeoutSeconds": 10,
    }
    if namespaces:
        label = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": [*namespaces]}
        webhook["namespaceSelector"] = {"matchExpressions": [label]}
    body = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": NAME},
        "webhooks": [webhook],
    }
    await api.create(WEBHOOKS, body)


async def uninstall(api: Api) -> None:
    await api.delete(f"{WEBHOOKS}/{NAME}")
    for manifest in definitions():
        await api.delete(f"{CRDS}/{manifest['metadata']['name']}")

    async def gone() -> bool:
        return not await api.items(CRDS)

    await eventually(gone, "the definitions are gone")


def _established(conditions: list[Raw]) -> bool:
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)
