"""The controller tells a ledger in Redis what it knows, and never waits for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Final

import pytest

from harness.redis_server import HOST, RedisServer
from harness.waiting import eventually
from supercheck_operator.ledger.address import Address, Kind
from supercheck_operator.ledger.buffered import BufferedLedger
from supercheck_operator.ledger.capacity import Limits, Occupancy
from supercheck_operator.ledger.contract import (
    Holder,
    LedgerUnavailableError,
    Reservation,
    State,
)
from supercheck_operator.ledger.redis_ledger import RedisLedger

NEWS: Final = 500


class Controller:
    """What it knows, a sweep that is asked for, and nobody else who would repair anything."""

    def __init__(self, ledger: BufferedLedger) -> None:
        self.ledger = ledger
        self.known: dict[str, Holder] = {}
        self.sweeps = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def see(self, uid: str, state: State | None) -> None:
        if state is None:
            del self.known[uid]
            await self.ledger.release(uid, "default")
        else:
            self.known[uid] = Holder(uid, "default", "team-a", state)
            await self.ledger.hold(self.known[uid])

    async def sweep(self) -> None:
        await self.ledger.begin()
        await self.ledger.reconcile(dict(self.known))

    def sweep_soon(self) -> None:
        self.sweeps += 1
        self._spawn()

    def _spawn(self) -> None:
        task = asyncio.create_task(self.sweep())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
async def redis_ledger(server: RedisServer) -> AsyncIterator[RedisLedger]:
    address = Address(Kind.SINGLE, ((HOST, server.port),))
    ledger = RedisLedger(address)
    yield ledger
    await ledger.close()


@pytest.fixture
async def controller(redis_ledger: RedisLedger) -> AsyncIterator[Controller]:
    controller = Controller(BufferedLedger(redis_ledger, sign=0.1))
    await controller.sweep()
    running = asyncio.create_task(controller.ledger.run(controller.sweep_soon))
    yield controller
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def counts(ledger: RedisLedger) -> Occupancy | None:
    try:
        return await ledger.occupancy("default")
    except LedgerUnavailableError:
        return None


async def until_counted(controller: Controller, ledger: RedisLedger, what: str) -> None:
    """As many as the controller knows; ``controller`` may go on meanwhile."""

    async def counted() -> bool:
        states = [holder.state for holder in controller.known.values()]
        return await counts(ledger) == Occupancy(
            *(states.count(each) for each in (State.RUNNING, State.WAITING, State.PARKED))
        )

    await eventually(counted, what, within=15)


async def test_of_each_execution_the_latest_is_told_and_nothing_is_swept_for_it(
    controller: Controller, redis_ledger: RedisLedger
) -> None:
    for n in range(NEWS):
        await controller.see(f"u{n}", State.WAITING)
    await until_counted(controller, redis_ledger, "all wait")
    for n in range(NEWS):
        await controller.see(f"u{n}", State.RUNNING)
        if n % 2:
            await controller.see(f"u{n}", None)
    await until_counted(controller, redis_ledger, "half run, half are over")
    assert controller.sweeps == 0


async def test_a_release_before_anything_was_seen_frees_what_was_reserved(
    controller: Controller, redis_ledger: RedisLedger
) -> None:
    wanted = Reservation("u", "default", "team-a")
    answer = await controller.ledger.reserve(wanted, Limits(1, 0), dry_run=False)
    assert answer.admitted
    await controller.ledger.release("u", "default")
    await until_counted(controller, redis_ledger, "nothing is reserved")


@pytest.mark.parametrize("silent", [True, False])
async def test_telling_takes_no_time_while_redis_is_away_and_all_is_told_when_it_is_back(
    server: RedisServer, controller: Controller, redis_ledger: RedisLedger, silent: bool
) -> None:
    for n in range(NEWS):
        await controller.see(f"u{n}", State.WAITING)
    await until_counted(controller, redis_ledger, "all wait")
    (server.stop if silent else server.kill)()
    assert await counts(redis_ledger) is None
    slowest = 0.0
    for n in range(NEWS):
        began = time.monotonic()
        await controller.see(f"u{n}", State.RUNNING if n % 2 else None)
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 0.1
    await asyncio.wait_for(controller.sweep(), 5)  # comes to nothing, in time, without an error
    (server.go_on if silent else server.start)()
    began = time.monotonic()
    await until_counted(controller, redis_ledger, "all that happened meanwhile is counted")
    assert time.monotonic() - began < 5
    assert controller.sweeps > 0


@pytest.mark.parametrize("silent", [True, False])
async def test_what_was_reserved_and_is_over_while_redis_is_away_takes_no_place_when_it_is_back(
    server: RedisServer, controller: Controller, redis_ledger: RedisLedger, silent: bool
) -> None:
    """No LIST shows that it was ever there, so none could tell that it is over."""
    for n in range(5):
        wanted = Reservation(f"u{n}", "default", "team-a", name=f"n{n}")
        assert (await controller.ledger.reserve(wanted, Limits(5, 0), dry_run=False)).admitted
    server.command("SAVE")
    (server.stop if silent else server.kill)()
    for n in range(5):
        await controller.see(f"u{n}", State.RUNNING)
        await controller.see(f"u{n}", None)
    assert await counts(redis_ledger) is None
    (server.go_on if silent else server.start)()
    await until_counted(controller, redis_ledger, "none is left")


async def test_what_cannot_be_told_is_not_remembered_for_ever(
    server: RedisServer, redis_ledger: RedisLedger
) -> None:
    server.kill()
    ledger = BufferedLedger(redis_ledger, sign=0.1, young=0.3)
    running = asyncio.create_task(ledger.run(lambda: None))
    for n in range(NEWS):
        await ledger.release(f"u{n}", "default")

    async def forgotten() -> bool:
        return not ledger._untold

    await eventually(forgotten, "nothing is remembered", within=10)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_wiped_it_is_rebuilt_without_anybody_who_asks(
    server: RedisServer, controller: Controller, redis_ledger: RedisLedger
) -> None:
    await controller.see("u", State.RUNNING)
    await until_counted(controller, redis_ledger, "it runs")
    for _ in range(3):
        server.command("FLUSHALL")
        await until_counted(controller, redis_ledger, "it is counted again")


async def test_out_of_reach_no_sweep_is_asked_for_and_it_is_said_once(
    server: RedisServer, controller: Controller, caplog: pytest.LogCaptureFixture
) -> None:
    """Sweeps list everything: as long as there is no ledger, they are of no use to it."""
    with caplog.at_level(logging.INFO, logger="supercheck_operator.ledger"):
        server.kill()

        async def told() -> bool:
            return bool(caplog.messages)

        await eventually(told, "it is said")
        for _ in range(5):
            await controller.sweep()
        assert controller.sweeps == 0
        server.start()

        async def whole() -> bool:
            return caplog.messages[-1] == "the ledger has been rebuilt and is open"

        await eventually(whole, "it is said that it is over")
    out_of_reach = [each for each in caplog.messages if "cannot be reached" in each]
    assert len(out_of_reach) == 1
    assert out_of_reach[0].endswith("; nothing is admitted until it is right again")
    assert len(caplog.messages) == 3  # out of reach, back but empty, rebuilt


async def test_news_of_before_a_sweep_does_not_undo_what_it_found(
    controller: Controller, redis_ledger: RedisLedger
) -> None:
    """Without a task that tells, in between: what lies there goes before what was found."""
    ledger = BufferedLedger(redis_ledger)
    await ledger.begin()
    await ledger.hold(Holder("u", "default", "team-a", State.WAITING))
    found = {"u": Holder("u", "default", "team-a", State.RUNNING)}
    assert await ledger.reconcile(found) == {"missing": 1}
    assert await redis_ledger.occupancy("default") == Occupancy(running=1)
