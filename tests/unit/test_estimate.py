"""The guess of when those who wait start."""

from supercheck_operator.queueing.estimate import starts, typical


def test_a_run_takes_what_most_of_the_latest_took() -> None:
    assert typical([10, 12, 11]) == 11
    assert typical([10] * 20 + [1000] * 50) == 10


def test_without_any_end_nobody_can_tell() -> None:
    assert typical([]) is None
    assert starts(capacity=2, running=[1, 1], takes=None, count=2) == [None, None]


def test_a_queue_without_slots_starts_nobody() -> None:
    assert starts(capacity=0, running=[], takes=10, count=1) == [None]


def test_a_slot_is_handed_on_when_its_run_has_taken_its_time() -> None:
    assert starts(capacity=2, running=[4, 7], takes=10, count=5) == [3, 6, 13, 16, 23]


def test_free_slots_are_taken_at_once() -> None:
    assert starts(capacity=3, running=[4], takes=10, count=4) == [0, 0, 6, 10]


def test_what_runs_longer_than_usual_ends_any_moment() -> None:
    assert starts(capacity=1, running=[99], takes=10, count=2) == [0, 10]


def test_slots_beyond_a_lowered_capacity_are_handed_to_nobody() -> None:
    assert starts(capacity=1, running=[8, 5, 1], takes=10, count=2) == [9, 19]
