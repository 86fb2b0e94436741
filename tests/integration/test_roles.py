"""One process launches, another one admits and shows: over one Redis they count the same."""

import asyncio
import json
from collections import Counter

import pytest
import pytest_asyncio

from conftest import Cluster, NewOperator
from harness.api import Space, execution
from harness.events import follow
from harness.process import Operator
from harness.redis_server import RedisServer
from harness.steps import QUEUES, change_queue, make_queue, until, until_known, until_stats
from harness.waiting import eventually
from kindless import components

FULL = (5, 5, 50, 50)
KEY = "supercheck:ledger:v1"
SWEEPS = {"SWEEP_SECONDS": "1"}


@pytest_asyncio.fixture(loop_scope="session")
async def leader(new_operator: NewOperator, redis_server: RedisServer) -> Operator:
    """It admits nothing: it has an API of its own only so that both can be asked the same."""
    made = new_operator(
        flags=["--components", "controller,api"], REDIS_URL=redis_server.url, **SWEEPS
    )
    await made.start()
    return made


@pytest_asyncio.fixture(loop_scope="session")
async def front(leader: Operator, new_operator: NewOperator, redis_server: RedisServer) -> Operator:
    made = new_operator(
        flags=["--components", "admission,api"], REDIS_URL=redis_server.url, **SWEEPS
    )
    await made.start()
    await until_stats(made, "default", (0, 5, 0, 50))
    return made


async def test_of_94_at_once_55_are_admitted_and_all_of_them_run(
    new_operator: NewOperator, redis_server: RedisServer, space: Space
) -> None:
    """With nothing but the controller in the one process, and all the rest in the other."""
    for each in ("controller", "admission,api"):
        operator = new_operator(flags=["--components", each], REDIS_URL=redis_server.url, **SWEEPS)
        await operator.start()
    queue = await make_queue(space, f"burst-{space.name}")
    await until_known(operator, queue)
    answers = await asyncio.gather(
        *(space.try_submit(execution(f"e-{n}", queue=queue, runs_for="never")) for n in range(94))
    )
    admitted = [n for n, (status, _) in enumerate(answers) if status == 201]
    assert Counter(status for status, _ in answers) == {201: 55, 429: 39}
    await until_stats(operator, queue, (5, 5, 50, 50))
    await change_queue(space, queue, runningCapacity=55)
    for n in admitted:
        await until(space, f"e-{n}", "Running", within=60)
    await until_stats(operator, queue, (55, 55, 0, 50))
    await space.api.delete(f"{QUEUES}/{queue}")


async def test_both_show_the_same_at_rest_and_in_their_streams(
    leader: Operator, front: Operator, space: Space
) -> None:
    streams = [follow(f"{each.url}/api/queue-stats/sse") for each in (leader, front)]
    async with streams[0] as of_leader, streams[1] as of_front:
        await asyncio.gather(*(space.submit(execution(f"e-{n}", runs_for="1s")) for n in range(10)))
        for n in range(10):
            await until(space, f"e-{n}", "Passed")
        await asyncio.gather(
            *(space.submit(execution(f"f-{n}", runs_for="never")) for n in range(55))
        )
        for stream in (of_leader, of_front):
            seen: list[tuple[int, int]] = []
            while seen[-1:] != [(5, 50)]:
                told = json.loads(await stream.message())
                assert (told["runningCapacity"], told["queuedCapacity"]) == (5, 50)
                seen.append((told["running"], told["queued"]))
            assert all(running <= 5 and queued <= 50 for running, queued in seen)
    assert await leader.stats() == await front.stats() == FULL
    for line in ("running", "queued"):
        metric = f'supercheck_executions_{line}{{queue="default"}}'
        assert await leader.metric(metric) == await front.metric(metric) > 0

    async def same() -> bool:
        """Positions, reasons, attempts, times, estimated starts; to the second they are told in."""
        one, other = [await each.get("/api/executions") for each in (leader, front)]
        return one == other and one[0] == 200

    await eventually(same, "both show the same executions")
    shown = json.loads((await front.get("/api/executions"))[1])
    assert len(shown["queued"]) == 50
    assert all(each["estimatedStart"] for each in shown["queued"])


async def test_only_who_has_the_controller_writes(
    leader: Operator, front: Operator, space: Space
) -> None:
    leader.kill()
    await space.submit(execution("waits", runs_for="0s"))
    await until_stats(front, "default", (1, 5, 0, 50))  # there is a slot for it
    assert (await space.status("waits"))["phase"] == "Queued"
    assert await space.api.items(space.jobs) == []
    for resource in ("jobs", "testexecutions"):
        for verb in ("create", "patch", "delete"):
            line = f'supercheck_kube_writes_total{{resource="{resource}",verb="{verb}"}}'
            assert await front.metric(line) == 0
    await leader.start()
    await until(space, "waits", "Passed")


@pytest.mark.parametrize("lost", ["wiped", "without a sign of its controller for a minute"])
async def test_figures_that_nobody_keeps_true_are_none(
    leader: Operator, front: Operator, space: Space, redis_server: RedisServer, lost: str
) -> None:
    for n in range(7):
        await space.submit(execution(f"e-{n}", runs_for="never"))
    await until_stats(front, "default", (5, 5, 2, 50))
    leader.kill()
    assert await front.stats() == (5, 5, 2, 50)  # what was told last is kept for a minute
    async with follow(f"{front.url}/api/queue-stats/sse") as stream:
        assert json.loads(await stream.message())["running"] == 5
        if lost == "wiped":
            redis_server.command("FLUSHALL")
        else:
            redis_server.command("HSET", KEY, "until", 1)  # as if it were over
        async with asyncio.timeout(5):
            while (await stream.event())[0] != "unavailable":
                pass
        assert (await front.get("/api/queue-stats"))[0] == 503
        assert (await space.try_submit(execution("refused")))[0] == 503
        await leader.start()
        assert json.loads(await stream.message())["running"] == 5
    await until_stats(front, "default", (5, 5, 2, 50))


async def test_executions_that_were_not_seen_for_long_are_not_shown(
    leader: Operator, front: Operator, cluster: Cluster, space: Space
) -> None:
    """For three sweeps and 15 s, that is; here 18 s."""
    await space.submit(execution("e", runs_for="never"))
    await until(space, "e", "Running")
    await asyncio.to_thread(components.kill, cluster.name, "kube-apiserver")
    try:

        async def hidden() -> bool:
            return (await front.get("/api/executions"))[0] == 503

        await eventually(hidden, "what was seen long ago is shown no more", within=40)
    finally:
        await asyncio.to_thread(components.start, cluster.name, "kube-apiserver")

    async def shown() -> bool:
        status, text = await front.get("/api/executions")
        return status == 200 and len(json.loads(text)["running"]) == 1

    await eventually(shown, "it is shown again", within=30)
