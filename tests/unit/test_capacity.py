from __future__ import annotations

import pytest

from supercheck_operator.ledger.capacity import Limits, Occupancy, Stats, full, stats


@pytest.mark.parametrize(
    ("occupancy", "figures"),
    [
        (Occupancy(), Stats(0, 5, 0, 50)),
        (Occupancy(waiting=3), Stats(3, 5, 0, 50)),
        (Occupancy(running=4, waiting=3), Stats(5, 5, 2, 50)),
        (Occupancy(running=5, waiting=50), Stats(5, 5, 50, 50)),
        (Occupancy(running=1, parked=2), Stats(1, 5, 2, 50)),
    ],
)
def test_what_waits_and_fits_a_free_slot_counts_as_running(
    occupancy: Occupancy, figures: Stats
) -> None:
    assert stats(occupancy, Limits(running=5, queued=50)) == figures


def test_a_capacity_lowered_below_what_runs_is_shown_as_it_is() -> None:
    assert stats(Occupancy(running=5, waiting=1), Limits(2, 50)) == Stats(5, 2, 1, 50)


def test_in_a_held_queue_nothing_counts_as_about_to_start() -> None:
    held = Limits(running=5, queued=50, held=True)
    assert stats(Occupancy(running=1, waiting=2), held) == Stats(1, 5, 2, 50)


def test_a_queue_is_full_when_slots_and_places_are_taken() -> None:
    limits = Limits(running=5, queued=50)
    assert not full(Occupancy(running=5, waiting=49), limits)
    assert full(Occupancy(running=5, waiting=50), limits)
    assert not full(Occupancy(running=4, waiting=50), limits)
    assert full(Occupancy(running=4, waiting=51), limits)


def test_no_places_in_the_queue_admit_only_what_can_run_now() -> None:
    limits = Limits(running=1, queued=0)
    assert not full(Occupancy(), limits)
    assert full(Occupancy(waiting=1), limits)
    assert full(Occupancy(), limits, parked=True)
    assert full(Occupancy(), Limits(running=1, queued=0, held=True))


def test_a_capacity_of_nothing_admits_nothing() -> None:
    assert full(Occupancy(), Limits(running=0, queued=0))


def test_a_namespace_without_a_cap_on_its_queue_is_not_judged_by_itself() -> None:
    assert Limits(running=5, queued=50).of_namespace() is None


def test_a_namespace_runs_as_much_as_the_queue_unless_it_has_its_own_cap() -> None:
    assert Limits(5, 50, namespace_queued=2).of_namespace() == Limits(5, 2)
    assert Limits(5, 50, 3, 2, held=True).of_namespace() == Limits(3, 2, held=True)


def test_a_namespace_capped_in_one_way_has_the_queues_limit_in_the_other() -> None:
    only_running = Limits(running=5, queued=0, namespace_running=1).of_namespace()
    assert only_running == Limits(running=1, queued=0)
    assert full(Occupancy(running=1), only_running)
    only_queued = Limits(running=5, queued=50, namespace_queued=2, held=True).of_namespace()
    assert only_queued == Limits(running=5, queued=2, held=True)
    assert Limits(running=5, queued=50).of_namespace() is None
