"""An operator whose ledger is in Redis, which fails: nothing is admitted, nothing is delayed."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import pytest
import pytest_asyncio

from conftest import NewOperator
from harness.api import Space, execution
from harness.process import Operator
from harness.redis_server import RedisServer
from harness.steps import until, until_stats
from harness.waiting import eventually

UNVERIFIABLE = (
    'admission webhook "admission.supercheck.io" denied the request: '
    "Unable to verify queue capacity due to an error. Please try again later."
)
FULL = (5, 5, 50, 50)
SWEEPS_ARE_RARE = {"SWEEP_SECONDS": "600"}
"""So that what recovers within seconds does so because Redis is back."""


@pytest_asyncio.fixture(loop_scope="session")
async def operator(new_operator: NewOperator, redis_server: RedisServer) -> Operator:
    made = new_operator(REDIS_URL=redis_server.url, **SWEEPS_ARE_RARE)
    await made.start()
    return made


async def fill(space: Space, first: int = 0) -> None:
    """94 at once; as many are admitted as there is room for."""
    answers = await asyncio.gather(
        *(space.try_submit(execution(f"e-{first + i}", runs_for="never")) for i in range(94))
    )
    assert Counter(status for status, _ in answers) == {201: 55, 429: 39}


async def refused(operator: Operator, space: Space) -> None:
    """In time, with the contract's sentence, and without figures for anybody."""
    began = time.monotonic()
    status, body = await space.try_submit(execution("refused"))
    assert time.monotonic() - began < 4
    assert (status, body["message"]) == (503, UNVERIFIABLE)
    assert (await operator.get("/api/queue-stats"))[0] == 503
    assert await operator.metric("supercheck_ledger_up") == 0


async def open_again(operator: Operator, *, within: float = 10) -> None:
    async def up() -> bool:
        return await operator.metric("supercheck_ledger_up") == 1

    await eventually(up, "the ledger is open", within=within)


async def test_of_94_at_once_exactly_55_are_admitted_and_killed_redis_loses_none(
    operator: Operator, space: Space, redis_server: RedisServer
) -> None:
    await fill(space)
    assert await operator.stats() == FULL
    redis_server.kill()
    await refused(operator, space)
    redis_server.start()
    await open_again(operator)
    assert await operator.stats() == FULL
    status, _ = await space.try_submit(execution("no-room"))
    assert status == 429
    assert await operator.metric("supercheck_ledger_errors_total") > 0


def _wiped(server: RedisServer) -> None:
    server.command("FLUSHALL")


def _started_again(server: RedisServer) -> None:
    server.kill()
    server.start()


@pytest.mark.parametrize("forget", [_wiped, _started_again])
async def test_a_redis_that_forgets_is_told_again_at_once(
    operator: Operator,
    space: Space,
    redis_server: RedisServer,
    forget: Callable[[RedisServer], None],
) -> None:
    for n in range(7):
        await space.submit(execution(f"e-{n}", runs_for="never"))
    for _ in range(3):
        forget(redis_server)
        await until_stats_again(operator, (5, 5, 2, 50))
    await fill_the_rest(space, room=48)
    assert await operator.stats() == FULL


async def until_stats_again(operator: Operator, expected: tuple[int, int, int, int]) -> None:
    await open_again(operator)
    assert await operator.stats() == expected


async def fill_the_rest(space: Space, *, room: int) -> None:
    answers = await asyncio.gather(
        *(space.try_submit(execution(f"more-{i}", runs_for="never")) for i in range(94))
    )
    assert Counter(status for status, _ in answers) == {201: room, 429: 94 - room}


@pytest.mark.parametrize("silent", [True, False])
async def test_what_was_admitted_goes_on_and_ends_while_redis_is_away(
    operator: Operator, space: Space, redis_server: RedisServer, silent: bool
) -> None:
    """Two by two through five slots: hand-offs, status and all, as if nothing were amiss."""
    await asyncio.gather(*(space.submit(execution(f"e-{n}", runs_for="1s")) for n in range(20)))
    (redis_server.stop if silent else redis_server.kill)()
    began = time.monotonic()
    for n in range(20):
        await until(space, f"e-{n}", "Passed", within=30)
    took = time.monotonic() - began
    assert took < 20
    slow = await operator.metric('supercheck_handoff_seconds_bucket{le="1.0",queue="default"}')
    assert slow == await operator.metric('supercheck_handoff_seconds_count{queue="default"}')
    await refused(operator, space)
    (redis_server.go_on if silent else redis_server.start)()
    await open_again(operator)
    await until_stats(operator, "default", (0, 5, 0, 50), within=5)
    await fill(space, first=100)


async def test_a_redis_that_is_not_there_at_the_start_is_waited_for(
    new_operator: NewOperator, space: Space
) -> None:
    with RedisServer() as server:
        server.kill()
        operator = new_operator(REDIS_HOST="127.0.0.1", REDIS_PORT=str(server.port))
        await operator.start()
        await refused(operator, space)
        told = [line for line in operator.log.splitlines() if "cannot be reached" in line]
        assert len([line for line in told if "nothing is admitted until" in line]) == 1
        server.start()
        await open_again(operator)
        await fill(space)


async def test_killed_and_started_again_the_operator_finds_what_it_had(
    operator: Operator, space: Space
) -> None:
    await fill(space)
    operator.kill()
    await operator.start()
    await open_again(operator)
    assert await operator.stats() == FULL
    assert (await space.try_submit(execution("no-room")))[0] == 429


async def test_a_deletion_gives_its_place_back_by_its_event(
    operator: Operator, space: Space
) -> None:
    await fill(space)
    phases = await space.phases()
    waiting = next(name for name, phase in phases.items() if phase == "Queued")
    await space.remove(waiting)
    await until_stats(operator, "default", (5, 5, 49, 50), within=10)
    assert (await space.try_submit(execution("next")))[0] == 201


async def test_a_termination_ends_it_within_3_s_while_redis_is_silent(
    operator: Operator, space: Space, redis_server: RedisServer
) -> None:
    await space.submit(execution("e", runs_for="never"))
    await until(space, "e", "Running")
    redis_server.stop()
    await refused(operator, space)
    began = time.monotonic()
    assert await asyncio.to_thread(operator.stop) == 0
    assert time.monotonic() - began < 3
    assert "Traceback" not in operator.log
    redis_server.go_on()
