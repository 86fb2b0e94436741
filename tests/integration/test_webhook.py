"""The webhook's port itself: whatever arrives there, nothing is admitted by mistake."""

import asyncio
import json
import ssl
import uuid
import warnings
from collections.abc import AsyncIterator, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from harness.api import Api, Raw, Space, execution
from harness.process import Operator
from harness.slow_api import slow_api
from harness.steps import until_stats
from harness.waiting import eventually
from harness.webhook import Webhook, registered, review, still_answers

SETTINGS = {"SWEEP_SECONDS": "1"}


@pytest_asyncio.fixture(loop_scope="session")
async def operator(lasting_operator: Operator) -> Operator:
    await until_stats(lasting_operator, "default", (0, 5, 0, 50), within=60)
    return lasting_operator


@pytest_asyncio.fixture(loop_scope="session")
async def webhook(operator: Operator, api: Api) -> AsyncIterator[Webhook]:
    made = Webhook(*await registered(operator, api))
    yield made
    await made.close()


async def test_its_certificate_is_of_the_authority_that_is_registered(
    webhook: Webhook, operator: Operator
) -> None:
    """With the name checked as well: the connection of the fixture stands on both."""
    await still_answers(webhook)
    stranger = ssl.create_default_context()
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.open_connection("127.0.0.1", operator.webhook_port, ssl=stranger)


async def test_it_speaks_no_tls_older_than_1_2(webhook: Webhook, operator: Operator) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError) as refused:  # noqa: PT011 - a reset, or an alert before it
        await asyncio.open_connection("127.0.0.1", operator.webhook_port, ssl=old)
    assert "NO_PROTOCOLS" not in str(refused.value), "it was this side that refused"
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        new = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        new.check_hostname, new.verify_mode = False, ssl.CERT_NONE
        new.minimum_version = new.maximum_version = version
        _, writer = await asyncio.open_connection("127.0.0.1", operator.webhook_port, ssl=new)
        writer.close()
        await writer.wait_closed()
    await still_answers(webhook)


async def test_plain_http_and_noise_on_its_port_disturb_nobody(
    webhook: Webhook, operator: Operator
) -> None:
    for noise in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00" * 5000, b"\x16\x03\x01\xff\xff"):
        _, writer = await asyncio.open_connection("127.0.0.1", operator.webhook_port)
        writer.write(noise)
        await writer.drain()
        writer.close()
    await still_answers(webhook)


GARBAGE: dict[str, bytes] = {
    "nothing": b"",
    "binary": bytes(range(256)),
    "cut off": json.dumps(review()).encode()[:-1],
    "twice": json.dumps(review()).encode() * 2,
    "not UTF-8": b'{"kind": "\xff\xfe"}',
    "brackets 100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    "objects 100,000 deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "null": b"null",
    "true": b"true",
    "a number": b"1",
    "a number of 10,000 digits": b"1" * 10_000,
    "text": b'"AdmissionReview"',
    "a list": b"[]",
    "a list of reviews": json.dumps([review()]).encode(),
    "an empty object": b"{}",
    "only its kind": b'{"kind": "AdmissionReview"}',
    "not a number": b"NaN",
}


@pytest.mark.parametrize("case", GARBAGE)
async def test_what_is_no_review_is_a_bad_request(webhook: Webhook, case: str) -> None:
    status, text = await webhook.send(GARBAGE[case])
    assert status == 400, text
    await still_answers(webhook)


def _set(body: Raw, path: str, value: Any) -> Raw:
    changed = deepcopy(body)
    *parents, last = path.split(".")
    place: Any = changed
    for parent in parents:
        place = place[parent]
    if value is MISSING:
        del place[last]
    else:
        place[last] = value
    return changed


MISSING = object()
WRONG: list[Any] = [MISSING, None, True, 0, -1, 1.5, "", "x", [], ["x"], {}, {"x": {}}]


@pytest.mark.parametrize(
    "path",
    [
        "apiVersion",
        "kind",
        "request",
        "request.uid",
        "request.kind",
        "request.kind.group",
        "request.kind.kind",
        "request.operation",
        "request.namespace",
        "request.object",
        "request.object.metadata",
        "request.object.metadata.uid",
    ],
)
async def test_a_review_that_cannot_be_answered_is_a_bad_request(
    webhook: Webhook, path: str
) -> None:
    fine = {
        "request.uid": ["x"],
        "request.namespace": ["x"],
        "request.object.metadata.uid": ["x"],
    }
    for value in WRONG:
        if value in fine.get(path, []):
            continue
        body = _set(review(), path, value)
        status, text = await webhook.send(json.dumps(body).encode())
        assert status == 400, (value, text)
    await still_answers(webhook)


@pytest.mark.parametrize(
    ("path", "fine"),
    [
        ("spec", []),
        ("spec.tests", []),
        ("spec.tests.0", []),
        ("spec.tests.0.name", ["x"]),
        ("spec.tests.0.image", ["x"]),
        ("metadata.name", ["", "x"]),
    ],
)
async def test_an_execution_that_is_none_is_refused_with_its_field(
    webhook: Webhook, path: str, fine: list[Any]
) -> None:
    """The API server's schema comes first; this is what reaches the port past it."""
    for value in WRONG:
        if value in fine or (value is MISSING and path == "spec.tests.0"):
            continue
        body = review()
        made = body["request"]["object"]
        if path.startswith("spec.tests."):
            [test] = made["spec"]["tests"]
            field = path.removeprefix("spec.tests.0").removeprefix(".")
            made["spec"]["tests"] = [_set(test, field, value) if field else value]
        else:
            body["request"]["object"] = _set(made, path, value)
        status, text = await webhook.send(json.dumps(body).encode())
        assert status < 500, (value, text)
        if status == 200:
            response = json.loads(text)["response"]
            assert not response["allowed"], (value, response)
            assert response["status"]["code"] == 422
            assert path.split(".", maxsplit=1)[0] in response["status"]["message"]
    await still_answers(webhook)


async def test_wrong_types_anywhere_are_never_a_server_error(webhook: Webhook) -> None:
    """Every place of a review, with every wrong value; allowed only where it does not matter."""
    whole = review()
    whole["request"]["object"]["spec"] |= {
        "priority": 1,
        "template": {"metadata": {"annotations": {"a": "b"}}},
        "retry": {"limit": 0},
    }
    bodies = [_set_at(whole, path, value) for path in _paths(whole) for value in WRONG[1:]] + [
        _set_at(whole, path, "\ud800") for path in _paths(whole)
    ]
    limit = asyncio.Semaphore(20)

    async def send(body: Raw) -> tuple[int, str]:
        async with limit:
            return await webhook.send(json.dumps(body).encode())

    answers = await asyncio.gather(*map(send, bodies))
    assert len(answers) > 300
    broken = [
        (body, answer) for body, answer in zip(bodies, answers, strict=True) if answer[0] >= 500
    ]
    assert not broken, broken[0]
    await still_answers(webhook)


Path_ = tuple[str | int, ...]


def _paths(node: Any, so_far: Path_ = ()) -> Iterator[Path_]:
    children = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    for key, child in children:
        yield (*so_far, key)
        yield from _paths(child, (*so_far, key))


def _set_at(body: Raw, path: Path_, value: Any) -> Raw:
    changed = deepcopy(body)
    place: Any = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


async def test_a_body_of_10_mb_is_too_large(webhook: Webhook) -> None:
    status, _ = await webhook.send(b" " * 10_000_000)
    assert status == 413
    body = review()
    body["request"]["object"]["spec"]["tests"][0]["script"] = "x" * 10_000_000
    status, _ = await webhook.send(json.dumps(body).encode())
    assert status == 413
    await still_answers(webhook)


async def test_the_largest_object_that_the_api_server_takes_is_answered(webhook: Webhook) -> None:
    body = review()
    body["request"]["object"]["spec"]["tests"] = [
        {"name": f"t{i}", "image": "i", "script": "x" * 256 * 1024} for i in range(11)
    ]
    assert (await webhook.review(body))["allowed"]


async def test_anything_but_json_by_post_to_its_path_is_refused(webhook: Webhook) -> None:
    body = json.dumps(review()).encode()
    for content_type in ("text/plain", "application/yaml", "application/x-www-form-urlencoded"):
        assert (await webhook.send(body, content_type=content_type))[0] == 415
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"):
        assert (await webhook.send(body, method=method))[0] == 405
    for path in ("/", "/validate/", "/validate/x", "/mutate", "/../validate/../", "/metrics"):
        url = webhook.url.removesuffix("/validate") + path
        status, _ = await webhook.send(body, url=url)
        assert status == 404, path
    assert (await webhook.send(body, content_type="application/json; charset=utf-8"))[0] == 200
    await still_answers(webhook)


async def test_reviews_of_other_kinds_and_versions_are_refused(webhook: Webhook) -> None:
    for change in (
        {"apiVersion": "admission.k8s.io/v1beta1"},
        {"kind": "ConversionReview"},
    ):
        assert (await webhook.send(json.dumps(review() | change).encode()))[0] == 400
    for kind in ("Job", "Pod", "ExecutionQueue"):
        body = review(kind={"group": "supercheck.io", "version": "v1alpha1", "kind": kind})
        assert (await webhook.send(json.dumps(body).encode()))[0] == 400
    await still_answers(webhook)


async def test_a_dry_run_takes_no_place(webhook: Webhook, operator: Operator) -> None:
    answers = await asyncio.gather(*(webhook.review(review()) for _ in range(60)))
    assert all(answer["allowed"] for answer in answers)
    assert await operator.stats() == (0, 5, 0, 50)


async def test_changes_and_deletions_never_depend_on_capacity(
    webhook: Webhook, operator: Operator, space: Space
) -> None:
    await asyncio.gather(*(space.submit(execution(f"e-{i}", runs_for="never")) for i in range(55)))
    assert not (await webhook.review(review()))["allowed"]
    for change in ({"operation": "UPDATE"}, {"operation": "DELETE"}, {"operation": "CONNECT"}):
        body = review(dry_run=False, **change)
        assert await webhook.review(body) == {"uid": body["request"]["uid"], "allowed": True}
    body = review(dry_run=False, subResource="status")
    assert (await webhook.review(body))["allowed"]
    assert await operator.stats() == (5, 5, 50, 50)


async def test_until_the_caches_are_read_nothing_is_admitted(tmp_path: Path) -> None:
    async with slow_api(tmp_path) as kubeconfig:
        operator = Operator(kubeconfig, tmp_path / "log")
        operator.launch()
        try:
            anybody = ssl.create_default_context()
            anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
            await eventually(lambda: _serving(operator, anybody), "the webhook serves")
            told = "Unable to verify queue capacity due to an error. Please try again later."
            body = review(dry_run=False)
            async with (
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=anybody)) as session,
                session.post(
                    f"https://127.0.0.1:{operator.webhook_port}/validate", json=body
                ) as response,
            ):
                assert response.status == 200
                answer = (await response.json())["response"]
            assert answer == {
                "uid": body["request"]["uid"],
                "allowed": False,
                "status": {
                    "status": "Failure",
                    "code": 503,
                    "reason": "ServiceUnavailable",
                    "message": told,
                },
            }
            assert await operator.get("/readyz") == (503, "waiting for the caches\n")
            assert (await operator.get("/healthz"))[0] == 200
            status, text = await operator.get("/api/queue-stats")
            assert status == 503
            assert json.loads(text) == {"error": "Service unavailable", "message": told}
            # Nobody may take what was not read yet for nothing.
            assert (await operator.get("/api/executions"))[0] == 503
            assert await operator.metric("supercheck_ledger_up") == 0
        finally:
            assert await asyncio.to_thread(operator.stop) == 0


async def _serving(operator: Operator, tls: ssl.SSLContext) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", operator.webhook_port, ssl=tls)
    except OSError:
        return False
    writer.transport.abort()
    return True


async def test_the_same_review_again_takes_no_second_place(
    webhook: Webhook, operator: Operator
) -> None:
    """The last one of this module: what it takes is free again only half a minute later."""
    body = review(dry_run=False)
    first = await webhook.review(body)
    assert first["allowed"]
    assert await operator.stats() == (1, 5, 0, 50)
    again = await asyncio.gather(*(webhook.review(body) for _ in range(20)))
    assert again == [first] * 20
    # The API server gives a review it repeats a new UID; the object's own is what counts.
    repeated = _set(body, "request.uid", str(uuid.uuid4()))
    assert (await webhook.review(repeated))["allowed"]
    assert await operator.stats() == (1, 5, 0, 50)
