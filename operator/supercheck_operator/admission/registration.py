"""Telling the API server where the webhook is."""

from __future__ import annotations

import base64
from typing import Final

from supercheck_operator.admission.endpoint import PATH
from supercheck_operator.kube import WEBHOOKS, Kube
from supercheck_operator.resources import GROUP, VERSION, Raw

NAME: Final = "supercheck-operator"
WEBHOOK: Final = "admission.supercheck.io"
TIMEOUT_SECONDS: Final = 10


def local_configuration(port: int, authority: bytes) -> Raw:
    """A configuration that reaches a webhook on this machine by URL."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": NAME},
        "webhooks": [
            {
                "name": WEBHOOK,
                "admissionReviewVersions": ["v1"],
                "clientConfig": {
                    "url": f"https://127.0.0.1:{port}{PATH}",
                    "caBundle": base64.b64encode(authority).decode(),
                },
                "rules": [
                    {
                        "apiGroups": [GROUP],
                        "apiVersions": [VERSION],
                        "operations": ["CREATE"],
                        "resources": ["testexecutions"],
                        "scope": "Namespaced",
                    }
                ],
                "failurePolicy": "Fail",
                "matchPolicy": "Equivalent",
                "sideEffects": "NoneOnDryRun",
                "timeoutSeconds": TIMEOUT_SECONDS,
            }
        ],
    }


async def register_locally(kube: Kube, port: int, authority: bytes) -> None:
    """Create the configuration, or take over the one of an earlier start. Raises KubeError."""
    await kube.apply(WEBHOOKS, local_configuration(port, authority), manager=NAME)


async def trust(kube: Kube, authority: bytes) -> None:
    """Put our authority into the configuration that the installation owns.

    Raises KubeError; NotFoundError if nothing is installed.
    """
    bundle = base64.b64encode(authority).decode()
    current = await kube.get(WEBHOOKS, NAME)
    webhooks = [
        webhook | {"clientConfig": webhook["clientConfig"] | {"caBundle": bundle}}
        for webhook in current["webhooks"]
    ]
    version = {"resourceVersion": current["metadata"]["resourceVersion"]}
    await kube.patch(WEBHOOKS, NAME, {"metadata": version, "webhooks": webhooks})
