"""The event stream of a queue's figures, followed as the seed's page follows it."""

import asyncio
import errno
import json
import socket
import time
from pathlib import Path

import aiohttp
import pytest

from harness.api import Space, execution
from harness.events import EventSource, follow
from harness.process import Operator
from harness.steps import QUEUES, make_queue, until_known, until_stats
from harness.waiting import eventually

IDLE = 1000
FIGURES = ["running", "runningCapacity", "queued", "queuedCapacity"]


def _path(queue: str) -> str:
    return f"/api/queue-stats/sse?queue={queue}"


async def test_each_message_is_four_numbers_and_a_lost_connection_is_back_after_5_s(
    operator: Operator, space: Space
) -> None:
    """The seed: EventSource on the default queue, JSON.parse of each message, again in 5 s."""
    async with EventSource(f"{operator.url}/api/queue-stats/sse") as source:
        first = json.loads(await source.message())
        assert list(first) == FIGURES
        assert first == {"running": 0, "runningCapacity": 5, "queued": 0, "queuedCapacity": 50}
        for i in range(7):
            await space.submit(execution(f"e-{i}", runs_for="never"))
        seen = first
        while (seen["running"], seen["queued"]) != (5, 2):
            seen = json.loads(await source.message())
            assert list(seen) == FIGURES
            assert all(isinstance(value, int) for value in seen.values())
        operator.kill()
        await operator.start()
        again = json.loads(await source.message())
        assert (again["running"], again["queued"]) == (5, 2)
        waited = source.opened_at[1] - source.lost_at[0]
        assert waited >= 5


async def test_a_change_is_told_within_100_ms(lasting_operator: Operator, space: Space) -> None:
    queue = await _new_queue(lasting_operator, space, "quick", runningCapacity=1)
    async with follow(lasting_operator.url + _path(queue)) as stream:
        await stream.message()
        delays: list[float] = []
        for i in range(10):
            told = asyncio.create_task(stream.message())
            await asyncio.sleep(0)
            sent = time.monotonic()
            await space.submit(execution(f"e-{i}", queue=queue, runs_for="never"))
            admitted = time.monotonic()
            figures = json.loads(await told)
            # The place is taken during the request, and told from then on.
            delays.append(time.monotonic() - admitted)
            assert figures["running"] + figures["queued"] == i + 1
            assert admitted > sent
        assert sorted(delays)[5] < 0.1, delays
    await space.api.delete(f"{QUEUES}/{queue}")


async def test_many_changes_at_once_become_few_messages(
    lasting_operator: Operator, space: Space
) -> None:
    queue = await _new_queue(lasting_operator, space, "many", runningCapacity=0, queuedCapacity=200)
    async with follow(lasting_operator.url + _path(queue)) as stream:
        await stream.message()
        began = time.monotonic()
        submits = asyncio.gather(
            *(space.submit(execution(f"e-{i}", queue=queue)) for i in range(100))
        )
        messages = 0
        while json.loads(await stream.message())["queued"] < 100:
            messages += 1
        took = time.monotonic() - began
        await submits
    assert messages <= took / 0.05 + 1
    await space.api.delete(f"{QUEUES}/{queue}")


async def test_the_stream_asks_for_5_s_and_beats_every_15(lasting_operator: Operator) -> None:
    async with follow(lasting_operator.url + _path("default")) as stream:
        response = stream.response
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        assert (await stream.event())[0] == "message"
        assert stream.retry == 5000
        beats: list[float] = []
        while len(beats) < 2:
            async with asyncio.timeout(20):
                kind, words = await stream.event()
            if kind == "comment":
                assert words == "heartbeat"
                beats.append(time.monotonic())
        assert 14 < beats[1] - beats[0] < 16.5


async def test_a_queue_that_is_deleted_ends_its_stream(
    lasting_operator: Operator, space: Space
) -> None:
    queue = await _new_queue(lasting_operator, space, "short-lived")
    async with follow(lasting_operator.url + _path(queue)) as stream:
        await stream.message()
        await space.api.delete(f"{QUEUES}/{queue}")
        with pytest.raises(EOFError):
            await stream.message()
    async with follow(lasting_operator.url + _path(queue)) as stream:
        assert stream.response.status == 404


async def test_a_thousand_idle_followers_take_less_than_50_mb(
    lasting_operator: Operator,
) -> None:
    before = _resident(lasting_operator)
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        url = lasting_operator.url + _path("default")
        answers: list[aiohttp.ClientResponse] = []
        for _ in range(IDLE // 100):
            hundred = await asyncio.gather(*(session.get(url) for _ in range(100)))
            answers += hundred
            for answer in hundred:
                assert answer.status == 200
                await answer.content.readuntil(b"}\n\n")
        grown = _resident(lasting_operator) - before
        assert grown < 50e6, f"{grown / 1e6:.1f} MB"
        for answer in answers:
            answer.close()
        assert await lasting_operator.get("/healthz") == (200, "ok\n")


async def test_who_does_not_read_is_dropped_and_the_others_are_not_kept_waiting(
    lasting_operator: Operator, space: Space
) -> None:
    """The page's stream, whose messages are large enough to fill what the kernel keeps."""
    queue = await _new_queue(
        lasting_operator, space, "read-by-some", runningCapacity=0, queuedCapacity=300
    )
    for i in range(200):
        await space.submit(execution(f"a-rather-long-name-of-an-execution-{i}", queue=queue))
    before = _resident(lasting_operator)
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    deaf.connect(("127.0.0.1", lasting_operator.http_port))
    deaf.sendall(b"GET /api/live HTTP/1.1\r\nHost: localhost\r\n\r\n")

    async def dropped() -> bool:
        return deaf.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET

    async with follow(f"{lasting_operator.url}/api/live") as stream:
        await stream.message()
        waiting = asyncio.create_task(eventually(dropped, "it is dropped", within=60))
        turn = 0
        while not waiting.done():
            name = f"a-rather-long-name-of-an-execution-{turn % 200}"
            await space.change(name, {"priority": turn + 1})
            await stream.message(within=5)
            turn += 1
        await waiting
    assert _resident(lasting_operator) - before < 50e6
    deaf.close()
    await space.api.delete(f"{QUEUES}/{queue}")


async def test_a_server_with_followers_ends_at_once(lasting_operator: Operator) -> None:
    async with follow(lasting_operator.url + _path("default")) as stream:
        await stream.message()
        began = time.monotonic()
        assert await asyncio.to_thread(lasting_operator.stop) == 0
        assert time.monotonic() - began < 10
        with pytest.raises((EOFError, aiohttp.ClientError)):
            await stream.message()


async def test_figures_follow_what_else_changes_them(
    lasting_operator: Operator, space: Space
) -> None:
    queue = await _new_queue(lasting_operator, space, "changing", runningCapacity=2)
    async with follow(lasting_operator.url + _path(queue)) as stream:
        assert json.loads(await stream.message())["runningCapacity"] == 2
        await space.api.patch(f"{QUEUES}/{queue}", {"spec": {"runningCapacity": 7}})
        assert json.loads(await stream.message())["runningCapacity"] == 7
        await space.submit(execution("e", queue=queue, runs_for="1s"))
        assert json.loads(await stream.message())["running"] == 1
        assert json.loads(await stream.message())["running"] == 0
    await until_stats(lasting_operator, queue, (0, 7, 0, 50))
    await space.api.delete(f"{QUEUES}/{queue}")


async def _new_queue(operator: Operator, space: Space, name: str, **spec: object) -> str:
    """One that the operator knows."""
    queue = await make_queue(space, name, **spec)
    await until_known(operator, queue)
    return queue


def _resident(operator: Operator) -> float:
    """Bytes of memory that the process has."""
    for line in Path(f"/proc/{operator.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")
