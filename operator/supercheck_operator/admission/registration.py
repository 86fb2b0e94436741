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


class LocalRegistration:
    """The configuration of an operator outside the cluster, which is its own to write."""

    def __init__(self, kube: Kube, port: int) -> None:
        self._kube = kube
        self._port = port
        self._bundle: bytes | None = None

    async def trust(self, bundle: bytes) -> bool:
        """Create it, or take over the one of an earlier start; whether that was done already.

        Raises KubeError.
        """
        if bundle == self._bundle:
            return True
        await self._kube.apply(WEBHOOKS, local_configuration(self._port, bundle), manager=NAME)
        self._bundle = bundle
        return False


async def trust(kube: Kube, name: str, bundle: bytes) -> bool:
    """Put ``bundle`` into the configuration that the installation owns, if it is not there.

    Whether it was. Raises KubeError; NotFoundError if nothing is installed.
    """
    encoded = base64.b64encode(bundle).decode()
    current = await kube.get(WEBHOOKS, name)
    webhooks = [
        webhook | {"clientConfig": webhook["clientConfig"] | {"caBundle": encoded}}
        for webhook in current["webhooks"]
    ]
    if webhooks == current["webhooks"]:
        return True
    version = {"resourceVersion": current["metadata"]["resourceVersion"]}
    await kube.patch(WEBHOOKS, name, {"metadata": version, "webhooks": webhooks})
    return False
