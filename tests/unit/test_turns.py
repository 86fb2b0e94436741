"""The pace of a queue's status: a write a second at most, and no news older than a second."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from supercheck_operator.reporting.turns import INTERVAL, Turns

QUEUE = "default"
MOMENT = 0.001
"""Seconds by which the clock of these tests moves, and the longest that a sleep is late."""


def test_the_first_look_is_at_once() -> None:
    assert Turns().due(QUEUE, "sign", 0)


def test_while_a_look_is_under_way_there_is_no_other() -> None:
    turns = Turns()
    turns.begins(QUEUE, "sign", 0)
    assert not turns.due(QUEUE, "news", 9)
    turns.ends(QUEUE, wrote=True)
    assert turns.due(QUEUE, "news", 9)


def test_a_sign_is_looked_after_at_once_unless_there_was_a_write() -> None:
    turns = Turns()
    turns.begins(QUEUE, "before", 0)
    turns.ends(QUEUE, wrote=False)
    assert not turns.due(QUEUE, "before", 0.1)
    assert turns.due(QUEUE, "after", 0.1)
    turns.begins(QUEUE, "after", 0.1)
    turns.ends(QUEUE, wrote=True)
    assert not turns.due(QUEUE, "later", 1.05)
    assert turns.due(QUEUE, "later", 1.1)


def test_a_queue_that_comes_back_is_looked_at_at_once() -> None:
    turns = Turns()
    turns.begins(QUEUE, "sign", 0)
    turns.ends(QUEUE, wrote=True)
    turns.forget(QUEUE)
    assert turns.due(QUEUE, "sign", 0.1)


def test_a_queue_may_be_deleted_while_its_status_is_written() -> None:
    turns = Turns()
    turns.begins(QUEUE, "sign", 0)
    turns.forget(QUEUE)
    turns.ends(QUEUE, wrote=True)
    assert turns.due(QUEUE, "sign", 0.1)


def test_it_sleeps_until_the_first_is_due_and_no_longer() -> None:
    turns = Turns()
    assert turns.next(5) == INTERVAL
    for queue, began in (("a", 5.0), ("b", 5.5)):
        turns.begins(queue, "sign", began)
        turns.ends(queue, wrote=True)
    assert turns.next(5.75) == 0.25
    assert turns.next(7) == 0
    turns.begins("a", "sign", 7)
    assert turns.next(6) == 0.5, "what is under way is waited for by nobody"


@dataclass
class Operator:
    """Changes come to a queue at given moments, some without a sign; writes take their time."""

    changes: dict[int, bool]
    """By moment whether there is a sign of it."""
    write_takes: int
    turns: Turns = field(default_factory=Turns)
    untold: list[int] = field(default_factory=list)
    wrote_at: list[int] = field(default_factory=list)
    waited: list[int] = field(default_factory=list)
    sign: int = 0
    ends_at: int | None = None

    def step(self, now: int) -> None:
        if now in self.changes:
            self.untold.append(now)
            self.sign += self.changes[now]
        if self.ends_at == now:
            self.turns.ends(QUEUE, wrote=True)
        if self.turns.due(QUEUE, self.sign, now * MOMENT):
            self._look(now)

    def _look(self, now: int) -> None:
        self.turns.begins(QUEUE, self.sign, now * MOMENT)
        if self.untold:
            self.waited += [now - change for change in self.untold]
            self.untold = []
            self.wrote_at.append(now)
            self.ends_at = now + self.write_takes
        else:
            self.turns.ends(QUEUE, wrote=False)


@given(
    changes=st.dictionaries(st.integers(1, 4000), st.booleans(), min_size=1, max_size=60),
    write_takes=st.integers(1, 900),
)
def test_no_news_waits_longer_than_a_second_for_its_write_and_none_is_sent_in_less(
    changes: dict[int, bool], write_takes: int
) -> None:
    """Whatever comes when, and however long the API server takes, up to a second."""
    operator = Operator(changes, write_takes)
    for now in range(6000):
        operator.step(now)
    assert not operator.untold
    second = round(INTERVAL / MOMENT)
    assert max(operator.waited) <= second + 1
    gaps = [b - a for a, b in zip(operator.wrote_at, operator.wrote_at[1:], strict=False)]
    assert min(gaps, default=second) >= second
