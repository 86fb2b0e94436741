"""What every ledger promises, one promise a test."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

import pytest
from tests.contract.backends import BACKENDS, Clock

from supercheck_operator.ledger.capacity import Limits, Occupancy, Stats
from supercheck_operator.ledger.contract import (
    CREATE_TIMEOUT,
    Holder,
    Ledger,
    LedgerUnavailableError,
    Reservation,
    State,
)

FIVE_AND_FIFTY: Final = Limits(running=5, queued=50)
NONE_WAITS: Final = Limits(running=1, queued=0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=BACKENDS)
async def closed(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[Ledger]:
    async with BACKENDS[request.param](clock) as ledger:
        yield ledger


@pytest.fixture
async def ledger(closed: Ledger, clock: Clock) -> Ledger:
    await reconcile(closed)
    return closed


async def reconcile(ledger: Ledger, *found: Holder) -> Counter[str]:
    """A LIST that takes no time."""
    await ledger.begin()
    return await ledger.reconcile({holder.uid: holder for holder in found})


def wanted(uid: str, *, namespace: str = "team-a", queue: str = "default") -> Reservation:
    return Reservation(uid, queue, namespace)


def runs(uid: str, *, namespace: str = "team-a", queue: str = "default") -> Holder:
    return Holder(uid, queue, namespace, State.RUNNING)


async def admitted(
    ledger: Ledger, reservation: Reservation, limits: Limits = FIVE_AND_FIFTY
) -> bool:
    return (await ledger.reserve(reservation, limits, dry_run=False)).admitted


async def test_a_ledger_is_closed_until_it_was_rebuilt_and_never_answers_zeros(
    closed: Ledger, clock: Clock
) -> None:
    with pytest.raises(LedgerUnavailableError):
        await closed.reserve(wanted("a"), FIVE_AND_FIFTY, dry_run=False)
    with pytest.raises(LedgerUnavailableError):
        await closed.reserve(wanted("a"), FIVE_AND_FIFTY, dry_run=True)
    with pytest.raises(LedgerUnavailableError):
        await closed.occupancy("default")
    await closed.begin()
    with pytest.raises(LedgerUnavailableError):
        await closed.occupancy("default")
    await closed.reconcile({})
    assert await closed.occupancy("default") == Occupancy()


async def test_what_is_held_while_closed_counts_once_open(closed: Ledger, clock: Clock) -> None:
    await closed.hold(runs("a"))
    await reconcile(closed, runs("a"))
    assert await closed.occupancy("default") == Occupancy(running=1)


async def test_of_94_at_the_same_time_exactly_55_are_admitted(ledger: Ledger) -> None:
    answers = await asyncio.gather(
        *(ledger.reserve(wanted(f"u{n}"), FIVE_AND_FIFTY, dry_run=False) for n in range(94))
    )
    assert sum(answer.admitted for answer in answers) == 55
    refusals = [answer.stats for answer in answers if not answer.admitted]
    assert set(refusals) == {Stats(5, 5, 50, 50)}
    assert await ledger.occupancy("default") == Occupancy(waiting=55)


async def test_the_same_uid_again_gets_the_same_place(ledger: Ledger) -> None:
    assert await admitted(ledger, wanted("a"), NONE_WAITS)
    assert await admitted(ledger, wanted("a"), NONE_WAITS)
    assert not await admitted(ledger, wanted("b"), NONE_WAITS)
    assert await ledger.occupancy("default") == Occupancy(waiting=1)


async def test_a_uid_that_runs_already_is_admitted_however_full_it_is(ledger: Ledger) -> None:
    await ledger.hold(runs("a"))
    assert await admitted(ledger, wanted("a"), Limits(running=0, queued=0))
    assert await ledger.occupancy("default") == Occupancy(running=1)


async def test_a_dry_run_is_judged_alike_and_takes_nothing(ledger: Ledger) -> None:
    for _ in range(3):
        assert (await ledger.reserve(wanted("a"), NONE_WAITS, dry_run=True)).admitted
    assert await ledger.occupancy("default") == Occupancy()
    assert await admitted(ledger, wanted("b"), NONE_WAITS)
    assert not (await ledger.reserve(wanted("a"), NONE_WAITS, dry_run=True)).admitted


async def test_queues_do_not_share_room(ledger: Ledger) -> None:
    assert await admitted(ledger, wanted("a", queue="one"), NONE_WAITS)
    assert await admitted(ledger, wanted("b", queue="two"), NONE_WAITS)
    assert not await admitted(ledger, wanted("c", queue="two"), NONE_WAITS)


async def test_a_suspended_submission_is_parked_and_needs_a_place_in_the_queue(
    ledger: Ledger,
) -> None:
    parked = Reservation("a", "default", "team-a", parked=True)
    assert not await admitted(ledger, parked, NONE_WAITS)
    assert await admitted(ledger, parked, Limits(running=1, queued=1))
    assert await ledger.occupancy("default") == Occupancy(parked=1)


async def test_a_held_queue_has_no_free_running_slot(ledger: Ledger) -> None:
    held = Limits(running=5, queued=1, held=True)
    assert await admitted(ledger, wanted("a"), held)
    answer = await ledger.reserve(wanted("b"), held, dry_run=False)
    assert not answer.admitted
    assert answer.stats == Stats(0, 5, 1, 1)


async def test_a_namespace_is_capped_and_told_its_own_figures(ledger: Ledger) -> None:
    limits = Limits(running=5, queued=50, namespace_running=1, namespace_queued=1)
    assert await admitted(ledger, wanted("a1", namespace="a"), limits)
    assert await admitted(ledger, wanted("a2", namespace="a"), limits)
    answer = await ledger.reserve(wanted("a3", namespace="a"), limits, dry_run=False)
    assert (answer.admitted, answer.namespace) == (False, "a")
    assert answer.stats == Stats(1, 1, 1, 1)
    assert await admitted(ledger, wanted("b1", namespace="b"), limits)


async def test_a_full_queue_is_told_before_a_full_namespace(ledger: Ledger) -> None:
    limits = Limits(running=1, queued=0, namespace_running=1, namespace_queued=0)
    assert await admitted(ledger, wanted("a"), limits)
    answer = await ledger.reserve(wanted("b"), limits, dry_run=False)
    assert answer.namespace is None


async def test_a_released_place_is_free_and_unknown_ones_are_no_error(ledger: Ledger) -> None:
    assert await admitted(ledger, wanted("a"), NONE_WAITS)
    await ledger.release("never-seen", "default")
    await ledger.release("a", "default")
    await ledger.release("a", "default")
    assert await ledger.occupancy("default") == Occupancy()
    assert await admitted(ledger, wanted("b"), NONE_WAITS)


async def test_a_holder_counts_as_what_it_was_last_found(ledger: Ledger) -> None:
    assert await admitted(ledger, wanted("a"))
    for state, counts in (
        (State.RUNNING, Occupancy(running=1)),
        (State.PARKED, Occupancy(parked=1)),
        (State.WAITING, Occupancy(waiting=1)),
    ):
        await ledger.hold(Holder("a", "default", "team-a", state))
        assert await ledger.occupancy("default") == counts


async def test_running_is_never_clamped(ledger: Ledger) -> None:
    for n in range(5):
        await ledger.hold(runs(f"u{n}"))
    answer = await ledger.reserve(wanted("more"), Limits(running=2, queued=0), dry_run=False)
    assert not answer.admitted
    assert answer.stats == Stats(5, 2, 0, 0)


@pytest.mark.parametrize(("age", "kept"), [(CREATE_TIMEOUT - 0.001, True), (CREATE_TIMEOUT, False)])
async def test_a_reservation_is_dropped_only_by_a_list_that_would_have_shown_it(
    ledger: Ledger, clock: Clock, age: float, kept: bool
) -> None:
    assert await admitted(ledger, wanted("a"))
    clock.now += age
    await ledger.begin()
    clock.now += 3600  # its own age drops nothing
    corrections = await ledger.reconcile({})
    assert await ledger.occupancy("default") == Occupancy(waiting=1 if kept else 0)
    assert corrections == ({} if kept else {"reservation": 1})


async def test_a_reservation_whose_object_was_seen_is_one_no_more(
    ledger: Ledger, clock: Clock
) -> None:
    assert await admitted(ledger, wanted("a"))
    await ledger.hold(Holder("a", "default", "team-a", State.WAITING))
    assert await reconcile(ledger) == {"holder": 1}
    assert await ledger.occupancy("default") == Occupancy()


async def test_a_retried_review_does_not_lengthen_a_reservation(
    ledger: Ledger, clock: Clock
) -> None:
    assert await admitted(ledger, wanted("a"))
    clock.now += 30
    assert await admitted(ledger, wanted("a"))
    clock.now += 4
    await reconcile(ledger)
    assert await ledger.occupancy("default") == Occupancy()


async def test_reconcile_brings_the_truth_back_and_counts_what_was_different(
    ledger: Ledger, clock: Clock
) -> None:
    await ledger.hold(runs("stays"))
    await ledger.hold(runs("gone"))
    await ledger.hold(Holder("changed", "default", "team-a", State.WAITING))
    found = [runs(uid) for uid in ("stays", "changed", "unseen")]
    corrections = await reconcile(ledger, *found)
    assert corrections == {"holder": 1, "missing": 2}
    assert await ledger.occupancy("default") == Occupancy(running=3)
    assert await reconcile(ledger, *found) == {}


async def test_a_first_filling_corrects_nothing(closed: Ledger, clock: Clock) -> None:
    assert await reconcile(closed, runs("a")) == {}
    assert await closed.occupancy("default") == Occupancy(running=1)


async def test_a_create_that_came_to_nothing_gives_its_place_to_the_next_of_its_name(
    ledger: Ledger,
) -> None:
    """A loop of creates under a taken name is admitted, then answered 409: one place, not many."""
    for attempt in range(60):
        again = Reservation(f"u-{attempt}", "default", "team-a", name="same")
        assert await admitted(ledger, again)
        await ledger.reserve(
            Reservation("dry", "default", "team-a", name="same"), FIVE_AND_FIFTY, dry_run=True
        )
    assert await ledger.occupancy("default") == Occupancy(waiting=1)
    elsewhere = Reservation("other", "default", "team-b", name="same")
    assert await admitted(ledger, elsewhere)
    assert await ledger.occupancy("default") == Occupancy(waiting=2)


async def test_what_was_seen_gives_its_place_to_nobody(ledger: Ledger) -> None:
    first = Reservation("first", "default", "team-a", name="same")
    assert await admitted(ledger, first)
    await ledger.hold(first.holder())
    assert await admitted(ledger, Reservation("second", "default", "team-a", name="same"))
    assert await ledger.occupancy("default") == Occupancy(waiting=2)
