from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from tests.unit.builders import NOW

from supercheck_operator.clock import Clock, utc_now

HERE = NOW + timedelta(seconds=0.9)
"""What the API server tells is without the rest of its second."""


class Times:
    """Seconds that pass here, and two times of day that may differ."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.ahead = 0.0
        """Seconds by which the API server's clock is ahead of this machine's."""
        self.clock = Clock(now=self._here, monotonic=lambda: 1000 + self.passed)

    def _here(self) -> datetime:
        return HERE + timedelta(seconds=self.passed)

    def ask(self, took: float = 0.1) -> None:
        since = self.clock.now()
        told = self._here() + timedelta(seconds=self.ahead)
        self.passed += took
        self.clock.heard(told.replace(microsecond=0), since)

    def error(self) -> float:
        """Seconds by which the clock is ahead of the API server's."""
        there = self._here() + timedelta(seconds=self.ahead)
        return (self.clock.now() - there).total_seconds()


def test_time_passes_as_it_does_here() -> None:
    times = Times()
    times.passed = 3600
    assert times.clock.now() == HERE + timedelta(hours=1)
    assert times.clock.stepped() == timedelta()


@pytest.mark.parametrize("ahead", [-7200.0, -5.0, 5.0, 7200.0])
def test_the_clock_of_the_api_server_counts_and_to_find_it_is_no_step(ahead: float) -> None:
    times = Times()
    times.ahead = ahead
    times.ask()
    assert abs(times.error()) <= 2.1
    assert times.clock.stepped() == timedelta()


@pytest.mark.parametrize("seconds", [-7200.0, -5.0, 5.0, 7200.0])
def test_when_that_is_set_it_has_stepped_by_as_much(seconds: float) -> None:
    times = Times()
    times.ask()
    times.ahead = seconds
    times.ask()
    assert abs(times.error()) <= 2.1
    assert abs(times.clock.stepped() - timedelta(seconds=seconds)) <= timedelta(seconds=2.1)


@pytest.mark.parametrize("ahead", [-1.9, -0.9, 0.0, 0.9, 1.9])
def test_what_is_too_small_to_be_told_changes_nothing(ahead: float) -> None:
    times = Times()
    times.ahead = ahead
    for _ in range(20):
        times.passed += 0.7
        times.ask()
    assert times.clock.now() == HERE + timedelta(seconds=times.passed)


def test_an_answer_that_was_slow_or_was_read_late_is_no_error_of_a_clock() -> None:
    times = Times()
    times.ask(took=60)
    assert times.error() == 0
    assert times.clock.stepped() == timedelta()


def test_the_time_of_day_is_told_in_utc() -> None:
    assert utc_now().utcoffset() == timedelta()
