"""A fair share, measured by a witness that knows nothing of the operator but its Jobs and pods."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import pytest
import pytest_asyncio

from harness.api import Api, Space, execution
from harness.chronicle import Chronicle, Moment
from harness.process import Operator
from harness.steps import change_queue, make_queue, until
from harness.waiting import eventually

CAPACITY = 6
IN_FLIGHT = 0.2
"""Seconds: what was decided before the newcomer was seen has its Job by then."""
SETTINGS = {"SWEEP_SECONDS": "2"}
Teams = list[Space]


@pytest_asyncio.fixture(loop_scope="session")
async def operator(lasting_operator: Operator) -> Operator:
    return lasting_operator


@asynccontextmanager
async def _team(api: Api, name: str) -> AsyncIterator[Space]:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    status, answer = await api.call("POST", "/api/v1/namespaces", body)
    assert status in (201, 409), answer
    space = Space(api, name)
    yield space
    for kind in (space.executions, f"{space.jobs}?propagationPolicy=Background", space.pods):
        await api.delete(kind)

    async def empty() -> bool:
        return not [p for kind in (space.executions, space.pods) for p in await api.items(kind)]

    await eventually(empty, f"{name} is empty", within=60)


@pytest_asyncio.fixture(loop_scope="session")
async def teams(api: Api, operator: Operator) -> AsyncIterator[Teams]:
    """Three that flood, and a newcomer."""
    assert operator.running
    async with AsyncExitStack() as stack:
        names = ("team-red", "team-green", "team-blue", "newcomer")
        yield [await stack.enter_async_context(_team(api, name)) for name in names]


async def _flood(team: Space, queue: str, count: int, runs_for: Callable[[int], str]) -> None:
    for i in range(count):
        await team.submit(execution(f"e-{i:03d}", queue=queue, runs_for=runs_for(i)))


def _unlike(team: int, number: int) -> str:
    return f"{400 + 90 * ((number * 7 + team) % 5)}ms"


async def _ended(spaces: Teams) -> bool:
    phases = [phase for each in spaces for phase in (await each.phases()).values()]
    return set(phases) == {"Passed"}


@pytest.mark.parametrize("ageing", [None, 3600])
async def test_three_floods_share_six_slots_two_each_at_every_moment(
    api: Api, operator: Operator, teams: Teams, ageing: int | None
) -> None:
    """One has submitted everything before the others, and all for unlike times."""
    flooding, newcomer = teams[:3], teams[3]
    queue = await make_queue(
        newcomer, f"fair-{ageing or 0}", runningCapacity=CAPACITY, queuedCapacity=500,
        ordering="FairShare", ageingSeconds=ageing, stopPolicy="Hold",
    )  # fmt: skip
    async with Chronicle(api) as chronicle:
        for number, team in enumerate(flooding):
            await _flood(team, queue, 30, partial(_unlike, number))
        await change_queue(newcomer, queue, stopPolicy="None")

        async def some_ended() -> bool:
            return list((await flooding[2].phases()).values()).count("Passed") >= 5

        await eventually(some_ended, "the last team has had a few turns", within=60)
        await newcomer.submit(execution("first", queue=queue, runs_for="100ms"))
        await until(newcomer, "first", "Passed", within=60)
        await eventually(lambda: _ended(flooding), "all have passed", within=180)
        await chronicle.caught_up()
    moments = list(chronicle.moments())
    assert max(moment.count(queue) for moment in moments) == CAPACITY
    assert sum(moment.starts for moment in moments) == 91
    _shares_are_fair(moments, queue, [team.name for team in flooding])
    await api.delete(f"/apis/supercheck.io/v1alpha1/executionqueues/{queue}")


def _shares_are_fair(moments: list[Moment], queue: str, names: list[str]) -> None:
    """While all have work waiting: nobody above its share by more than one slot; nor below, at
    every moment at which the slots are taken (one that is just being handed on is nobody's)."""
    started: Counter[str] = Counter()
    judged = 0
    for moment in moments:
        started[moment.execution.namespace] += moment.starts
        if any(started[name] >= 30 for name in names):
            break
        shares = moment.shares(queue)
        assert all(shares[name] <= 3 for name in names), shares
        if moment.count(queue) == CAPACITY:
            judged += 1
            assert all(shares[name] >= 1 for name in names), shares
    assert judged > 10, "the slots were taken most of the time"


@pytest.mark.parametrize("capacity", [1, 2, 6])
async def test_a_newcomer_starts_within_one_turn_of_a_flood(
    api: Api, operator: Operator, teams: Teams, capacity: int
) -> None:
    """Also where there are fewer slots than teams, so that every team has at times none."""
    red, newcomer = teams[0], teams[3]
    others = teams[:3]
    queue = await make_queue(
        newcomer, f"turns-{capacity}", runningCapacity=capacity, queuedCapacity=500,
        ordering="FairShare", stopPolicy="Hold",
    )  # fmt: skip
    async with Chronicle(api) as chronicle:
        await asyncio.gather(*(_flood(team, queue, 12, lambda _: "300ms") for team in others))
        await change_queue(newcomer, queue, stopPolicy="None")

        async def under_way() -> bool:
            return "Passed" in (await red.phases()).values()

        await eventually(under_way, "the flood has begun", within=60)
        await newcomer.submit(execution("first", queue=queue))
        decided_later = time.monotonic() + IN_FLIGHT
        await until(newcomer, "first", "Passed", within=60)
        await chronicle.caught_up()
    ahead: Counter[str] = Counter()
    for moment in chronicle.moments():
        if moment.execution.namespace == newcomer.name:
            break
        if moment.starts and moment.seen > decided_later:
            ahead[moment.execution.namespace] += 1
    assert all(count <= 1 for count in ahead.values()), ahead
    assert "Queued" in (await red.phases()).values(), "the flood is still there"
    await api.delete(f"/apis/supercheck.io/v1alpha1/executionqueues/{queue}")
