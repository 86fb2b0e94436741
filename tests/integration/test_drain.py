"""An operator that is asked to end: what it has begun to answer is answered, and where others go on
it answers until everybody knows."""

import asyncio
import json
import os
import signal
import ssl
import time

import aiohttp
import pytest

from conftest import NewOperator
from harness.api import Raw, Space, execution
from harness.redis_server import RedisServer
from harness.waiting import eventually
from supercheck_operator.controller import controller

DRAIN = 3.0


async def test_it_admits_and_starts_nothing_and_asks_everybody_to_go_elsewhere(
    new_operator: NewOperator, space: Space, redis_server: RedisServer
) -> None:
    operator = new_operator(
        REDIS_URL=redis_server.url, DRAIN_SECONDS=str(DRAIN), QUEUED_CAPACITY="100000"
    )
    await operator.start()
    async with aiohttp.ClientSession(operator.url) as session:
        async with session.get("/api/queue-stats") as kept:
            assert kept.headers.get("Connection", "keep-alive") == "keep-alive"
        stream = await session.get("/api/queue-stats/sse")
        os.kill(operator.pid, signal.SIGTERM)
        began = time.monotonic()

        async def unready() -> bool:
            async with session.get("/readyz") as answer:
                return answer.status == 503 and answer.headers.get("Connection") == "close"

        await eventually(unready, "it says that it is going")
        admitted: list[float] = []
        while (answer := await space.try_submit(execution(f"e-{len(admitted)}")))[0] == 201:
            admitted.append(time.monotonic() - began)
        assert "failed calling webhook" in answer[1]["message"]
        assert DRAIN - 0.5 < admitted[-1] < DRAIN + 1.5
        events = (await stream.read()).decode()  # to its end, which is a proper one
    told = json.loads(events.rpartition("data: ")[2])
    assert told["running"] + told["queued"] > 0.8 * len(admitted), "its news were old"
    assert operator.ended() == 0
    assert time.monotonic() - began < DRAIN + 3
    assert set((await space.phases()).values()) == {"Queued"}


async def test_one_that_counts_in_memory_ends_at_once(new_operator: NewOperator) -> None:
    operator = new_operator()
    await operator.start()
    began = time.monotonic()
    assert operator.stop() == 0
    assert time.monotonic() - began < 2


async def test_a_review_on_its_way_is_answered_before_the_end(
    new_operator: NewOperator, redis_server: RedisServer
) -> None:
    operator = new_operator(REDIS_URL=redis_server.url)
    await operator.start()
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", operator.webhook_port, ssl=trusting)
    review = json.dumps(_review()).encode()
    redis_server.stop()
    writer.write(
        b"POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(review)
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    writer.write(review)
    os.kill(operator.pid, signal.SIGTERM)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert json.loads(body)["response"]["status"]["code"] == 503, "Redis does not answer"
    writer.close()
    assert operator.ended() == 0


def _review() -> Raw:
    made = execution("on-its-way")
    made["metadata"] |= {"namespace": "default", "uid": "2"}
    kind = {"group": "supercheck.io", "version": "v1alpha1", "kind": "TestExecution"}
    request = {
        "uid": "1",
        "kind": kind,
        "operation": "CREATE",
        "namespace": "default",
        "name": "on-its-way",
        "object": made,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


async def test_when_kopf_ends_by_itself_the_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    monkeypatch.setattr(os, "_exit", ended.set_result)
    monkeypatch.setattr(controller, "_ENDS_WITHIN", 0.0)
    task = asyncio.create_task(controller._end_in_time())
    await asyncio.sleep(0)
    task.cancel()  # as Kopf does with all that began after it
    assert await asyncio.wait_for(ended, 5) == 1
