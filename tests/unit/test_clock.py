from __future__ import annotations

from datetime import timedelta

import pytest
from tests.unit.builders import NOW

from supercheck_operator.clock import Clock, utc_now


class Times:
    """A time of day and a monotonic one, which pass together unless somebody sets the first."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.set_by = timedelta()

    def clock(self) -> Clock:
        return Clock(
            now=lambda: NOW + timedelta(seconds=self.passed) + self.set_by,
            monotonic=lambda: 1000 + self.passed,
        )


def test_time_that_passes_is_no_step() -> None:
    times = Times()
    clock = times.clock()
    times.passed = 3600
    assert clock.stepped() == timedelta()
    assert clock.now() == NOW + timedelta(hours=1)


@pytest.mark.parametrize("seconds", [-7200, 2, 7200])
def test_a_clock_that_is_set_has_stepped_by_as_much(seconds: int) -> None:
    times = Times()
    clock = times.clock()
    times.passed, times.set_by = 60, timedelta(seconds=seconds)
    assert clock.stepped() == timedelta(seconds=seconds)


def test_less_than_a_second_is_no_step() -> None:
    times = Times()
    clock = times.clock()
    times.set_by = timedelta(milliseconds=-900)
    assert clock.stepped() == timedelta()


def test_the_time_of_day_is_told_in_utc() -> None:
    assert utc_now().utcoffset() == timedelta()
