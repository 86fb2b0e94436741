from __future__ import annotations

import asyncio

import pytest

from supercheck_operator.controller.lane import Lane


class Walk:
    """So many who want a turn; each keeps it until it is told to ``leave``."""

    def __init__(self, lane: Lane, count: int) -> None:
        self.inside: list[int] = []
        self._lane = lane
        self._leave = [asyncio.Event() for _ in range(count)]
        self.tasks = [asyncio.create_task(self._walk(number)) for number in range(count)]

    async def _walk(self, number: int) -> None:
        async with self._lane.turn():
            self.inside.append(number)
            await self._leave[number].wait()
            self.inside.remove(number)

    async def leave(self, number: int) -> list[int]:
        """Who is inside after that one has left."""
        self._leave[number].set()
        return await self.by_now()

    async def by_now(self) -> list[int]:
        for _ in range(20):
            await asyncio.sleep(0)
        return self.inside


async def test_a_few_go_one_by_one() -> None:
    walk = Walk(Lane(patient=3, abreast=2), 4)
    assert await walk.by_now() == [0]
    assert await walk.leave(0) == [1]
    assert await walk.leave(1) == [2]
    assert await walk.leave(2) == [3]
    assert await walk.leave(3) == []


async def test_many_go_side_by_side_until_they_are_a_few() -> None:
    walk = Walk(Lane(patient=3, abreast=2), 7)
    assert await walk.by_now() == [0, 1]
    assert await walk.leave(1) == [0, 2]
    assert await walk.leave(2) == [0, 3]
    assert await walk.leave(0) == [3]
    assert await walk.leave(3) == [4]


async def test_who_fails_leaves() -> None:
    lane = Lane(patient=3, abreast=2)
    with pytest.raises(ZeroDivisionError):
        async with lane.turn():
            raise ZeroDivisionError
    async with asyncio.timeout(1), lane.turn():
        pass


async def test_who_is_cancelled_leaves_whether_it_was_its_turn_or_not() -> None:
    walk = Walk(Lane(patient=3, abreast=2), 4)
    assert await walk.by_now() == [0]
    walk.tasks[1].cancel()
    walk.tasks[0].cancel()
    walk.inside.clear()
    assert await walk.by_now() == [2]


async def test_who_is_cancelled_at_the_moment_of_its_turn_gives_it_on() -> None:
    walk = Walk(Lane(patient=3, abreast=2), 3)
    assert await walk.by_now() == [0]
    walk.tasks[0].cancel()
    walk.inside.clear()
    await asyncio.sleep(0)  # the first one has left, the second one does not know yet
    walk.tasks[1].cancel()
    assert await walk.by_now() == [2]


async def test_when_all_are_cancelled_at_once_nobody_is_left() -> None:
    """The task of the next one does not know yet that it is."""
    lane = Lane(patient=3, abreast=2)
    walk = Walk(lane, 3)
    assert await walk.by_now() == [0]
    for task in walk.tasks:
        task.cancel()
    done = await asyncio.gather(*walk.tasks, return_exceptions=True)
    assert [type(each) for each in done] == [asyncio.CancelledError] * 3
    async with asyncio.timeout(1), lane.turn():
        pass


async def test_it_is_idle_when_nobody_has_a_turn_or_wants_one() -> None:
    lane = Lane(patient=3, abreast=2)
    await lane.idle(1000)
    walk = Walk(lane, 2)
    waits = asyncio.create_task(lane.idle(1000))
    for number in (0, 1):
        await walk.by_now()
        assert not waits.done()
        await walk.leave(number)
    assert waits.done()


async def test_who_waits_for_it_to_be_idle_does_so_for_a_while() -> None:
    lane = Lane(patient=3, abreast=2)
    async with lane.turn():
        await lane.idle(0)


async def test_it_is_idle_when_all_who_wanted_a_turn_were_cancelled() -> None:
    lane = Lane(patient=3, abreast=2)
    walk = Walk(lane, 3)
    await walk.by_now()
    for task in walk.tasks:
        task.cancel()
    await asyncio.gather(*walk.tasks, return_exceptions=True)
    async with asyncio.timeout(1):
        await lane.idle(1000)
