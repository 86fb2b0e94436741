"""Who is slow, who comes in crowds and who is too large keeps nobody else from being answered."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from harness.api import Api
from harness.process import Operator
from harness.webhook import Webhook, registered, review, still_answers

ENDED_WITHIN = 8.0
"""Seconds: five to say what it wants, and what a busy machine takes."""
CROWD = 1200
"""Connections; the door has room for 1,000."""


def _anybody() -> ssl.SSLContext:
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    return tls


TLS = _anybody()
BODY = json.dumps(review()).encode()
HEAD = (
    b"POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n" % len(BODY)
)
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest_asyncio.fixture(loop_scope="session")
async def operator(lasting_operator: Operator) -> Operator:
    return lasting_operator


@pytest_asyncio.fixture(loop_scope="session")
async def webhook(operator: Operator, api: Api) -> AsyncIterator[Webhook]:
    made = Webhook(*await registered(operator, api))
    yield made
    await made.close()


async def _connect(operator: Operator, tls: ssl.SSLContext | None = TLS) -> Connection:
    return await asyncio.open_connection("127.0.0.1", operator.webhook_port, ssl=tls)


async def _until_ended(connection: Connection, sending: bytes = b"") -> float:
    """Seconds until the other side ends it, while ``sending`` goes there a byte at a time."""
    reader, writer = connection
    began = time.monotonic()

    async def drip() -> None:
        for byte in sending:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.2)  # slow is what is tested

    dripping = asyncio.create_task(drip())
    try:
        async with asyncio.timeout(ENDED_WITHIN):
            await reader.read()
    except ConnectionError:
        pass
    finally:
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
        writer.transport.abort()
    return time.monotonic() - began


SLOW: dict[str, tuple[bytes, bytes]] = {
    "nothing": (b"", b""),
    "a head": (b"", HEAD + BODY),
    "no body": (HEAD, b""),
    "a body": (HEAD, BODY),
    "all but a byte": (HEAD + BODY[:-1], b""),
    "a chunk": (
        HEAD.replace(b"Content-Length: %d" % len(BODY), b"Transfer-Encoding: chunked"),
        b"1000\r\n" + BODY,
    ),
    "a 404": (b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", b" " * 1000),
}


async def test_who_takes_long_to_say_what_it_wants_is_ended(
    operator: Operator, webhook: Webhook
) -> None:
    """At once and then, a byte at a time; and some who begin no TLS, or do not end to begin it."""

    async def ended(at_once: bytes, slowly: bytes, tls: ssl.SSLContext | None) -> float:
        connection = await _connect(operator, tls)
        connection[1].write(at_once)
        return await _until_ended(connection, slowly)

    hello = b"\x16\x03\x01\x02\x00\x01"
    await asyncio.gather(
        *(ended(at_once, slowly, TLS) for at_once, slowly in SLOW.values()),
        ended(b"", b"", None),
        ended(b"", hello, None),
        ended(hello, b"", None),
    )
    await still_answers(webhook)
    assert "Traceback" not in operator.log


async def test_who_was_answered_once_is_not_trusted_to_be_quick_again(operator: Operator) -> None:
    reader, writer = await _connect(operator)
    for _ in range(2):  # and its connection is kept
        writer.write(HEAD + BODY)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        length = next(x for x in head.split(b"\r\n") if x.lower().startswith(b"content-length"))
        await reader.readexactly(int(length.split(b":")[1]))
    await _until_ended((reader, writer), HEAD)


async def _crowd(operator: Operator, said: bytes, tls: ssl.SSLContext | None) -> list[Connection]:
    found: list[Connection] = []
    for _ in range(CROWD // 50):
        some = await asyncio.gather(
            *(_connect(operator, tls) for _ in range(50)), return_exceptions=True
        )
        found += [each for each in some if not isinstance(each, BaseException)]
        for _, writer in found[-50:]:
            writer.write(said)
    return found


@pytest.mark.parametrize(
    ("said", "tls"),
    [(b"", None), (b"", TLS), (HEAD[:-2], TLS), (HEAD + BODY[:9], TLS), (HEAD + BODY, TLS)],
    ids=["no TLS", "nothing", "half a head", "half a body", "answered, then idle"],
)
async def test_a_crowd_that_waits_keeps_nobody_out(
    operator: Operator, webhook: Webhook, said: bytes, tls: ssl.SSLContext | None
) -> None:
    crowd = await _crowd(operator, said, tls)
    try:
        await asyncio.gather(*(still_answers(webhook) for _ in range(50)))
        assert len(_open_connections(operator)) < 1100  # some wait to be accepted
    finally:
        for _, writer in crowd:
            writer.transport.abort()


def _open_connections(operator: Operator) -> Sequence[str]:
    """Those established to the webhook's port, as the kernel counts them."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    port = f":{operator.webhook_port:04X}"
    return [line[1] for line in lines if line[1].endswith(port) and line[3] == "01"]


async def test_large_reviews_that_come_slowly_leave_small_ones_alone(
    operator: Operator, webhook: Webhook
) -> None:
    large = HEAD.replace(b"Content-Length: %d" % len(BODY), b"Content-Length: 4000000")
    crowd = [await _connect(operator) for _ in range(50)]
    for _, writer in crowd:
        writer.write(large + b" " * 100_000)
    try:
        await asyncio.gather(*(still_answers(webhook) for _ in range(20)))
    finally:
        for _, writer in crowd:
            writer.transport.abort()


async def test_heads_that_are_too_large_or_compressed_bodies_are_refused(
    operator: Operator, webhook: Webhook
) -> None:
    long = b"X-Long: " + b"x" * 10_000
    many = b"\r\n".join(b"X-%d: x" % n for n in range(200))
    for more, status in ((long, 400), (many, 400), (b"Content-Encoding: gzip", 415)):
        reader, writer = await _connect(operator)
        writer.write(HEAD[:-2] + more + b"\r\n\r\n" + BODY)
        answer = await asyncio.wait_for(reader.readline(), 5)
        assert int(answer.split()[1]) == status, (more[:20], answer)
        writer.transport.abort()
    await still_answers(webhook)
