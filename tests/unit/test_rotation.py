from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from supercheck_operator.admission.certificates import Certificates, issue
from supercheck_operator.admission.rotation import Held, advance, noticed_within

NAMES = ["webhook.ns.svc"]
LIFE = timedelta(days=90)
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def made(after: timedelta = timedelta(), names: list[str] = NAMES) -> Certificates:
    return issue(names, BEGAN + after, LIFE)


def after(held: Held | None, passed: timedelta, *, trusted: bool = True) -> Held:
    return advance(
        held, names=NAMES, now=BEGAN + passed, trusted=trusted, issue=lambda: made(passed)
    )


def test_where_nothing_is_held_a_certificate_is_made_and_served() -> None:
    held = after(None, timedelta())
    assert held.current.expires == BEGAN + LIFE
    assert (held.previous, held.upcoming) == (b"", None)
    assert held.bundle == held.current.authority


def test_nothing_is_due_before_two_thirds_of_its_life() -> None:
    held = Held(made())
    assert after(held, LIFE * 2 / 3 - timedelta(seconds=1)) is held


def test_another_authority_is_trusted_before_its_leaf_is_served() -> None:
    first = Held(made())
    introduced = after(first, LIFE * 2 / 3)
    assert introduced.current == first.current
    assert introduced.upcoming is not None
    assert introduced.bundle == first.current.authority + introduced.upcoming.authority
    assert after(introduced, LIFE * 2 / 3, trusted=False) is introduced


def test_a_trusted_one_is_served_and_the_bundle_stays_as_it_is() -> None:
    introduced = after(Held(made()), LIFE * 2 / 3)
    served = after(introduced, LIFE * 2 / 3 + timedelta(minutes=1))
    assert served.current == introduced.upcoming
    assert served.upcoming is None
    assert served.bundle == introduced.bundle


def test_an_authority_is_let_go_when_it_is_valid_no_more() -> None:
    old, new = made(), made(LIFE * 2 / 3)
    held = Held(new, previous=old.authority)
    assert after(held, LIFE - timedelta(seconds=1)) is held
    assert after(held, LIFE) == Held(new)


def test_what_has_expired_is_replaced_at_once() -> None:
    held = Held(made())
    replaced = after(held, LIFE, trusted=False)
    assert replaced.current.expires == BEGAN + 2 * LIFE
    assert replaced.previous == held.current.authority


def test_the_upcoming_one_takes_the_place_of_one_that_has_expired() -> None:
    held = Held(made(), upcoming=made(LIFE * 2 / 3))
    assert after(held, LIFE, trusted=False).current == held.upcoming


def test_a_certificate_for_another_name_is_replaced_at_once() -> None:
    held = Held(made(names=["other.ns.svc"]))
    assert after(held, timedelta(), trusted=False).current.names == set(NAMES)


def _steps(every: timedelta, until: timedelta) -> Iterator[tuple[Held, Held]]:
    """Each state and the next one, looked at ``every`` so often."""
    passed, held = timedelta(), after(None, timedelta())
    in_place, since = held.bundle, passed
    while passed < until:
        passed += every
        trusted = held.bundle == in_place and passed - since >= noticed_within(LIFE)
        following = after(held, passed, trusted=trusted)
        if following.bundle != in_place:
            in_place, since = following.bundle, passed
        yield held, following
        held = following


@pytest.mark.parametrize("every", [timedelta(seconds=40), timedelta(hours=7)])
def test_for_years_whoever_knows_the_last_bundle_trusts_what_is_served_next(
    every: timedelta,
) -> None:
    """Also an API server that has not noticed the last change, and one that is ahead."""
    until = timedelta(days=2) * 365 if every > timedelta(hours=1) else timedelta(days=200)
    served = set()
    for before, now in _steps(every, until):
        served.add(now.current.authority)
        if before is not now:
            assert now.current.authority in before.bundle
            assert before.current.authority in now.bundle
    assert len(served) == 1 + until // (LIFE * 2 / 3)


def test_a_short_life_is_not_spent_waiting_for_trust() -> None:
    assert noticed_within(timedelta(days=90)) == timedelta(minutes=1)
    assert noticed_within(timedelta(seconds=20)) == timedelta(seconds=1)
