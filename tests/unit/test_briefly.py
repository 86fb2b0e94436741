"""Answers believed for a while, and how often somebody may ask."""

from __future__ import annotations

import asyncio

import pytest

from supercheck_operator.web.briefly import Briefly, Lately
from supercheck_operator.web.rates import Rates, TooManyError


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Asked:
    """Somebody who is asked; ``count`` says how often."""

    count = 0

    async def __call__(self) -> int:
        await asyncio.sleep(0)
        self.count += 1
        return self.count


async def test_an_answer_is_believed_for_its_time_and_then_asked_for_again() -> None:
    clock, asked = Clock(), Asked()
    answers: Briefly[str, int] = Briefly(10, limit=9, monotonic=clock)
    assert [await answers.get("a", asked), await answers.get("a", asked)] == [1, 1]
    clock.now = 10
    assert await answers.get("a", asked) == 2


async def test_all_who_ask_meanwhile_get_the_same_answer() -> None:
    asked = Asked()
    answers: Briefly[str, int] = Briefly(10, limit=9, monotonic=Clock())
    assert await asyncio.gather(*(answers.get("a", asked) for _ in range(50))) == [1] * 50


async def test_who_goes_away_takes_the_answer_from_nobody() -> None:
    asked = Asked()
    answers: Briefly[str, int] = Briefly(10, limit=9, monotonic=Clock())
    leaving = asyncio.create_task(answers.get("a", asked))
    staying = asyncio.create_task(answers.get("a", asked))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == 1


async def test_an_error_is_not_kept() -> None:
    answers: Briefly[str, int] = Briefly(10, limit=9, monotonic=Clock())

    async def fail() -> int:
        raise OSError("nobody there")

    with pytest.raises(OSError, match="nobody there"):
        await answers.get("a", fail)
    assert await answers.get("a", Asked()) == 1


async def test_no_more_than_the_limit_are_kept() -> None:
    asked = Asked()
    answers: Briefly[int, int] = Briefly(10, limit=3, monotonic=Clock())
    for key in range(5):
        await answers.get(key, asked)
    assert [answers.knows(key) for key in range(5)] == [False, False, True, True, True]


def test_what_was_noted_is_known_for_its_time_or_until_it_is_forgotten() -> None:
    clock = Clock()
    lately: Lately[str] = Lately(10, limit=9, monotonic=clock)
    lately.note("a")
    clock.now = 5
    for key in ("a", "b"):
        lately.note(key)
    lately.forget("b")
    lately.forget("c")
    clock.now = 14
    assert [key in lately for key in "abc"] == [True, False, False]
    clock.now = 15
    assert "a" not in lately


def test_of_more_than_the_limit_those_noted_last_are_known() -> None:
    lately: Lately[int] = Lately(10, limit=2, monotonic=Clock())
    for key in (0, 1, 0, 2):
        lately.note(key)
    assert [key in lately for key in range(3)] == [True, False, True]


def test_a_request_that_is_given_back_does_not_count() -> None:
    clock = Clock()
    rates = Rates(2, 1, monotonic=clock)
    rates.give_back("a")
    for _ in range(3):
        rates.take("a")
        rates.give_back("a")
    rates.take("a")
    with pytest.raises(TooManyError):
        rates.take("a")
    rates.give_back("a")
    clock.now = 9
    rates.take("a")  # the burst is no larger for it
    with pytest.raises(TooManyError):
        rates.take("a")


def test_after_a_burst_requests_are_spread() -> None:
    clock = Clock()
    rates = Rates(2, 3, monotonic=clock)
    for _ in range(3):
        rates.take("a")
    with pytest.raises(TooManyError) as told:
        rates.take("a")
    assert told.value.retry_after == 0.5
    rates.take("b")
    clock.now = 0.5
    rates.take("a")
    with pytest.raises(TooManyError):
        rates.take("a")
