"""When those in line may start, by how long others held their slot."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.builders import NOW, at

from supercheck_operator.reporting.pace import Holding, Pace, expected
from supercheck_operator.resources import ExecutionQueueSpec


def held(*seconds: float, namespace: str = "a") -> list[Holding]:
    return [Holding(namespace, at(-each)) for each in seconds]


def starts(
    line: list[str],
    holding: list[Holding],
    *,
    slots: int,
    slot_seconds: float | None = 10,
    **queue: Any,
) -> list[float | None]:
    spec = ExecutionQueueSpec.model_validate(queue)
    return list(expected(line, holding, spec, slots=slots, slot_seconds=slot_seconds, now=NOW))


def test_a_free_slot_is_for_the_first_in_line_at_once() -> None:
    assert starts(["a"], held(5), slots=2) == [0]


def test_the_line_takes_the_slots_in_the_order_they_become_free() -> None:
    assert starts(["a"] * 4, held(1, 8), slots=2) == [2, 9, 12, 19]


def test_who_is_over_the_mean_may_end_any_moment() -> None:
    assert starts(["a", "a"], held(60), slots=1) == [0, 10]


def test_who_has_not_started_holds_the_slot_for_all_of_the_mean() -> None:
    assert starts(["a"], [Holding("a", None)], slots=1) == [10]


def test_a_start_in_the_future_of_this_clock_is_one_of_now() -> None:
    assert starts(["a"], held(-3), slots=1) == [10]


def test_more_running_than_slots_are_waited_for() -> None:
    assert starts(["a"], held(1, 5, 9), slots=1) == [9]


def test_without_a_slot_nobody_ever_starts() -> None:
    assert starts(["a", "b"], [], slots=0) == [None, None]
    assert starts(["a"], [], slots=3, perNamespace={"runningCapacity": 0}) == [None]


def test_a_namespace_waits_for_its_own_share_too() -> None:
    running = held(2, namespace="a")
    found = starts(["a", "b", "a"], running, slots=5, perNamespace={"runningCapacity": 1})
    assert found == [8, 0, 18]


def test_nothing_is_expected_of_a_held_queue_or_before_anything_was_measured() -> None:
    assert starts(["a"], [], slots=1, stopPolicy="Hold") == [None]
    assert starts(["a"], [], slots=1, slot_seconds=None) == [None]


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
    pace.freed("u", "q", now=3)
    pace.freed("u", "q", now=90)
    assert pace.mean("q") == 2
