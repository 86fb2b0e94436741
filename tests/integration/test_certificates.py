"""The certificate of an installed webhook: kept in a Secret, trusted before it is served."""

import asyncio
import base64
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from conftest import NewOperator
from harness.api import Api, Raw, Space, execution
from harness.install import NAME, WEBHOOKS, install_definitions, install_webhook
from harness.process import Operator
from harness.waiting import eventually
from supercheck_operator.admission.certificates import Certificates, issue
from supercheck_operator.clock import utc_now

LIFE = 20
"""Seconds: renewed after 13, trusted one second before it is served."""
OLD = 0.5
"""Seconds."""
RATE = 50


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def definitions(api: Api) -> None:
    await install_definitions(api)


@pytest_asyncio.fixture(loop_scope="session")
async def secret(definitions: None, space: Space) -> str:
    """The path of the Secret as the chart makes it: there, and empty."""
    path = f"/api/v1/namespaces/{space.name}/secrets"
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "webhook"}}
    await space.api.create(path, body)
    return f"{path}/webhook"


@pytest_asyncio.fixture(loop_scope="session")
async def installed(
    api: Api,
    space: Space,
    secret: str,
    new_operator: NewOperator,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Operator]:
    """An operator that is not started, with all that the chart puts into the cluster."""
    operator = new_operator(
        local=False,
        flags=["--webhook-secret", "webhook"],
        POD_NAMESPACE=space.name,
        WEBHOOK_CERTIFICATE_SECONDS=str(getattr(request, "param", LIFE)),
        QUEUED_CAPACITY="100000",
    )
    await install_webhook(api, operator.webhook_port)
    yield operator
    await api.delete(f"{WEBHOOKS}/{NAME}")


async def _bundle(api: Api) -> bytes:
    [webhook] = (await api.get(f"{WEBHOOKS}/{NAME}"))["webhooks"]
    return base64.b64decode(webhook["clientConfig"].get("caBundle", ""))


async def _kept(api: Api, secret: str) -> dict[str, bytes]:
    data: Raw = (await api.get(secret)).get("data") or {}
    return {key: base64.b64decode(value) for key, value in data.items()}


async def _served(operator: Operator, bundle: bytes) -> bytes:
    """The certificate of a new connection by someone who trusts ``bundle``."""
    trusting = ssl.create_default_context(cadata=bundle.decode())
    _, writer = await asyncio.open_connection("127.0.0.1", operator.webhook_port, ssl=trusting)
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return found


class Stranger:
    """Connects anew all the time, trusting a bundle that is OLD, as an API server does that is slow
    to notice."""

    def __init__(self, api: Api, operator: Operator) -> None:
        self._api = api
        self._operator = operator
        self.served: list[bytes] = []

    async def run(self) -> None:
        known: deque[tuple[float, bytes]] = deque()
        while True:
            known.append((time.monotonic(), await _bundle(self._api)))
            while len(known) > 1 and known[1][0] < time.monotonic() - OLD:
                known.popleft()
            certificate = await _served(self._operator, known[0][1])
            if certificate not in self.served:
                self.served.append(certificate)
            await asyncio.sleep(0.02)


async def _submit_until(
    space: Space, stranger: Stranger, *, served: int
) -> tuple[list[tuple[int, Raw]], float]:
    """Until so many certificates have been served: every answer, and how many were asked for in a
    second."""
    answers: list[tuple[int, Raw]] = []
    connecting = asyncio.create_task(stranger.run())
    async with asyncio.TaskGroup() as creations:

        async def create(number: int) -> None:
            body = execution(f"e-{number}", suspend=True)
            answers.append(await space.try_submit(body))

        began, number = time.monotonic(), 0
        while len(stranger.served) < served:
            assert not connecting.done(), connecting.exception()
            assert time.monotonic() < began + 5 * LIFE, "nothing was replaced"
            creations.create_task(create(number))
            number += 1
            await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))
    connecting.cancel()
    return answers, number / (time.monotonic() - began)


async def test_authority_and_leaf_are_replaced_twice_and_no_creation_is_refused(
    api: Api, space: Space, installed: Operator, secret: str
) -> None:
    await installed.start()
    first = (await _kept(api, secret))["ca.crt"]
    answers, rate = await _submit_until(space, Stranger(api, installed), served=3)
    refused = [answer for answer in answers if answer[0] != 201]
    assert not refused, refused[0]
    assert len(answers) > 2 * (LIFE * 2 / 3) * RATE * 0.8
    assert rate > 0.8 * RATE
    assert first not in (await _kept(api, secret)).values()


@pytest.mark.parametrize("installed", [3600], indirect=True)
async def test_a_restart_serves_what_the_secret_has_and_writes_nothing(
    api: Api, installed: Operator, secret: str
) -> None:
    await installed.start()
    kept, bundle = await api.get(secret), await _bundle(api)
    served = await _served(installed, bundle)
    assert installed.stop() == 0
    await installed.start()
    assert await _served(installed, bundle) == served
    assert (await api.get(secret))["metadata"] == kept["metadata"]
    assert await _bundle(api) == bundle
    leaf = x509.load_der_x509_certificate(served)
    expires = await installed.metric("supercheck_webhook_certificate_expires_seconds")
    assert expires == leaf.not_valid_after_utc.timestamp()


async def test_what_others_do_to_secret_or_configuration_is_put_right(
    api: Api, space: Space, installed: Operator, secret: str
) -> None:
    await installed.start()
    bundle = await _bundle(api)
    [webhook] = (await api.get(f"{WEBHOOKS}/{NAME}"))["webhooks"]
    del webhook["clientConfig"]["caBundle"]
    status, answer = await api.patch(f"{WEBHOOKS}/{NAME}", {"webhooks": [webhook]})
    assert status == 200, answer
    assert await _bundle(api) != bundle

    async def trusted_again() -> bool:
        return bundle in await _bundle(api)

    await eventually(trusted_again, "the bundle is back", within=10)
    garbage = base64.b64encode(b"no certificate").decode()
    status, answer = await api.patch(secret, {"data": {"tls.crt": garbage}})
    assert status == 200, answer

    async def served_anew() -> bool:
        return (await _kept(api, secret))["tls.crt"] != b"no certificate"

    await eventually(served_anew, "there is a new certificate", within=10)

    async def admitted() -> bool:
        return (await space.try_submit(execution("after-all", suspend=True)))[0] == 201

    await eventually(admitted, "it admits again", within=10)


def _put(folder: Path, made: Certificates) -> None:
    """As the kubelet does it: what is in the folder leads to another one, at once."""
    new = folder.with_name(f"{folder.name}-{time.monotonic_ns()}")
    new.mkdir()
    (new / "tls.crt").write_bytes(made.certificate)
    (new / "tls.key").write_bytes(made.key)
    link = folder.with_name(f"{folder.name}-link")
    link.symlink_to(new)
    link.rename(folder)


async def test_files_of_somebody_else_are_taken_over_as_they_are_and_no_creation_is_refused(
    definitions: None, api: Api, space: Space, new_operator: NewOperator, tmp_path: Path
) -> None:
    folder = tmp_path / "certificates"
    first, second = (issue(["127.0.0.1"], utc_now()) for _ in range(2))
    _put(folder, first)
    operator = new_operator(
        local=False, flags=["--webhook-certificates", str(folder)], QUEUED_CAPACITY="100000"
    )
    await install_webhook(api, operator.webhook_port)
    try:
        # What injects the authority, which cert-manager does, is done before the leaf is replaced.
        [webhook] = (await api.get(f"{WEBHOOKS}/{NAME}"))["webhooks"]
        trusted = base64.b64encode(first.authority + second.authority).decode()
        webhook["clientConfig"]["caBundle"] = trusted
        status, answer = await api.patch(f"{WEBHOOKS}/{NAME}", {"webhooks": [webhook]})
        assert status == 200, answer
        await operator.start()
        stranger = Stranger(api, operator)

        async def exchange() -> None:
            _put(folder, replace(first, certificate=second.certificate))  # no pair

            async def noticed() -> bool:
                return "cannot be served" in operator.log

            await eventually(noticed, "half a pair is not served", within=15)
            _put(folder, second)

        replacing = asyncio.create_task(exchange())
        answers, _ = await _submit_until(space, stranger, served=2)
        await replacing
    finally:
        await api.delete(f"{WEBHOOKS}/{NAME}")
    refused = [answer for answer in answers if answer[0] != 201]
    assert not refused, refused[0]
    leaf = x509.load_pem_x509_certificate(second.certificate)
    assert stranger.served[-1] == leaf.public_bytes(serialization.Encoding.DER)
    expires = await operator.metric("supercheck_webhook_certificate_expires_seconds")
    assert expires == leaf.not_valid_after_utc.timestamp()
