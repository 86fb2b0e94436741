"""Thousands of ways in which events, people, crashes and failures may follow on each other."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import given, note, settings
from tests.simulation.loop import virtual_time
from tests.simulation.simulation import Simulation, Violation
from tests.simulation.story import Story, stories


@pytest.fixture
def quiet() -> Iterator[None]:
    """Whoever wants to know what happens reads the story; pytest would keep every word of it."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_whatever_happens_every_execution_comes_to_one_end_and_every_count_is_true(
    monkeypatch: pytest.MonkeyPatch, quiet: None
) -> None:
    virtual_time(monkeypatch)
    played = 0
    profile = settings.default
    assert profile is not None

    @settings(max_examples=100 * profile.max_examples, report_multiple_bugs=False)
    @given(stories)
    def play(story: Story) -> None:
        nonlocal played
        played += 1
        simulation = Simulation(story)
        try:
            simulation.play()
        except Violation:
            # Sets of strings, and so the order of some steps, depend on it.
            note(f"PYTHONHASHSEED={os.environ.get('PYTHONHASHSEED', 'random')}")
            note(simulation.told())
            raise

    play()
    assert played >= 10_000
