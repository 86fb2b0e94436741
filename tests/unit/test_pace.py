"""When those in line may start, by how long others held their slot."""

from __future__ import annotations

import pytest

from supercheck_operator.reporting.pace import Holding, Pace, estimates


def held(*seconds: float, namespace: str = "a") -> list[Holding]:
    return [Holding(namespace, each) for each in seconds]


def test_a_free_slot_is_for_the_first_in_line_at_once() -> None:
    assert estimates(["a"], held(5), slots=2, slot_seconds=10) == [0]


def test_the_line_takes_the_slots_in_the_order_they_become_free() -> None:
    found = estimates(["a"] * 4, held(1, 8), slots=2, slot_seconds=10)
    assert found == [2, 9, 12, 19]


def test_who_is_over_the_mean_may_end_any_moment() -> None:
    assert estimates(["a", "a"], held(60), slots=1, slot_seconds=10) == [0, 10]


def test_more_running_than_slots_are_waited_for() -> None:
    assert estimates(["a"], held(1, 5, 9), slots=1, slot_seconds=10) == [9]


def test_without_a_slot_nobody_ever_starts() -> None:
    assert estimates(["a", "b"], [], slots=0, slot_seconds=10) == [None, None]
    assert estimates(["a"], [], slots=3, slot_seconds=10, share=0) == [None]


def test_a_namespace_waits_for_its_own_share_too() -> None:
    running = held(2, namespace="a")
    found = estimates(["a", "b", "a"], running, slots=5, slot_seconds=10, share=1)
    assert found == [8, 0, 18]


def test_pace_is_the_mean_of_the_latest_twenty() -> None:
    pace = Pace()
    assert pace.mean("q") is None
    for i in range(30):
        pace.began(str(i), now=0)
        pace.freed(str(i), "q", now=100 if i < 10 else 6)
    assert pace.mean("q") == pytest.approx(6)
    assert pace.mean("other") is None


def test_a_slot_whose_start_was_not_seen_tells_nothing() -> None:
    pace = Pace()
    pace.freed("adopted", "q", now=3)
    assert pace.mean("q") is None


def test_a_slot_is_measured_once() -> None:
    pace = Pace()
    pace.began("u", now=1)
    assert pace.since("u") == 1
    pace.freed("u", "q", now=3)
    pace.freed("u", "q", now=90)
    assert pace.mean("q") == 2
    assert pace.since("u") is None
