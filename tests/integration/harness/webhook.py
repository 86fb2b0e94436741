"""The webhook's port, asked as the API server asks it, and the reviews that it sends."""

import io
import json
import ssl
import uuid
from base64 import b64decode
from typing import Any

import aiohttp

from harness.api import Api, Raw, execution
from harness.process import Operator

CONFIGURATION = (
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/supercheck-operator"
)
JSON = "application/json"


async def registered(operator: Operator, api: Api) -> tuple[str, str]:
    """Where the API server is told that the webhook is, and whom to trust there."""
    [webhook] = (await api.get(CONFIGURATION))["webhooks"]
    client = webhook["clientConfig"]
    assert str(operator.webhook_port) in client["url"]
    return client["url"], b64decode(client["caBundle"]).decode()


class Webhook:
    """Talks to the port as the API server does: it trusts what the configuration says."""

    def __init__(self, url: str, authority: str) -> None:
        self.url = url
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=authority))
        )

    async def close(self) -> None:
        await self._session.close()

    async def send(
        self, body: bytes, *, content_type: str = JSON, method: str = "POST", url: str = ""
    ) -> tuple[int, str]:
        headers = {"Content-Type": content_type}
        async with self._session.request(
            method, url or self.url, data=io.BytesIO(body), headers=headers
        ) as response:
            return response.status, await response.text()

    async def review(self, body: Any) -> Raw:
        """The response part of the answer to a review that is answered."""
        status, text = await self.send(json.dumps(body).encode())
        assert status == 200, text
        answer: Raw = json.loads(text)
        assert (answer["apiVersion"], answer["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
        response: Raw = answer["response"]
        return response


def review(*, dry_run: bool = True, **request: Any) -> Raw:
    """A review as the API server sends it; dry, unless a place is meant to be taken."""
    made = execution(f"e-{uuid.uuid4().hex[:6]}")
    made["metadata"] |= {"namespace": "ns", "uid": str(uuid.uuid4())}
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": str(uuid.uuid4()),
            "kind": {"group": "supercheck.io", "version": "v1alpha1", "kind": "TestExecution"},
            "resource": {
                "group": "supercheck.io",
                "version": "v1alpha1",
                "resource": "testexecutions",
            },
            "name": made["metadata"]["name"],
            "namespace": "ns",
            "operation": "CREATE",
            "userInfo": {"username": "somebody"},
            "object": made,
            "oldObject": None,
            "dryRun": dry_run,
        }
        | request,
    }


async def still_answers(webhook: Webhook) -> None:
    body = review()
    response = await webhook.review(body)
    assert response == {"uid": body["request"]["uid"], "allowed": True}
