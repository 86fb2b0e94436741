"""Every answer of the contract, word by word."""

from __future__ import annotations

import pytest
from tests.unit.builders import Raw, execution, queue

from supercheck_operator.admission import judge
from supercheck_operator.admission.review import Answer
from supercheck_operator.ledger.capacity import Stats
from supercheck_operator.resources import ExecutionQueueSpec

FULL = Stats(running=5, running_capacity=5, queued=50, queued_capacity=50)


def test_room_is_a_plain_yes() -> None:
    assert Answer(allowed=True) == judge.ALLOWED


def test_a_full_queue_is_429_in_the_contracts_words() -> None:
    assert judge.refused(FULL, None, 0) == Answer(
        allowed=False,
        code=429,
        reason="TooManyRequests",
        message="Queue capacity limit reached (50/50 queued jobs). Please try again later when"
        " running capacity (5/5) is available.",
    )


def test_a_full_namespace_is_429_and_named() -> None:
    answer = judge.refused(Stats(3, 3, 20, 20), "team-a", 0)
    assert (answer.code, answer.reason) == (429, "TooManyRequests")
    assert answer.message == (
        "Queue capacity limit reached (20/20 queued jobs). Please try again later when"
        ' running capacity (3/3) is available in namespace "team-a".'
    )


def test_counts_beyond_a_lowered_capacity_are_told_as_they_are() -> None:
    message = judge.refused(Stats(5, 2, 60, 50), None, 0).message
    assert "(60/50 queued jobs)" in message
    assert "(5/2)" in message


def test_a_client_is_told_when_to_retry_if_so_configured() -> None:
    assert judge.refused(FULL, None, 30).retry_after_seconds == 30


def test_a_capacity_that_cannot_be_verified_is_503() -> None:
    assert (
        Answer(
            allowed=False,
            code=503,
            reason="ServiceUnavailable",
            message="Unable to verify queue capacity due to an error. Please try again later.",
        )
        == judge.UNVERIFIABLE
    )


def test_what_no_schema_can_catch_is_422() -> None:
    assert judge.invalid("spec.tests: names must be unique") == Answer(
        allowed=False, code=422, reason="Invalid", message="spec.tests: names must be unique"
    )


def forbidden(
    spec: ExecutionQueueSpec | None,
    labels: dict[str, str] | None = None,
    existing: list[str] | None = None,
) -> Answer | None:
    return judge.forbidden(execution(queue="nightly"), spec, existing or [], labels or {})


def test_an_unknown_queue_is_403_and_told_which_exist() -> None:
    answer = forbidden(None, existing=["default", "slow"])
    assert answer == Answer(
        allowed=False,
        code=403,
        reason="Forbidden",
        message='Queue "nightly" does not exist. Existing queues: default, slow.',
    )


def test_not_every_queue_of_many_is_told_and_none_is_a_word() -> None:
    many = forbidden(None, existing=[f"q{n}" for n in range(100)])
    assert many is not None
    assert many.message.endswith("q18, q19.")
    none = forbidden(None)
    assert none is not None
    assert none.message.endswith("Existing queues: none.")


def test_a_closed_queue_is_403() -> None:
    answer = forbidden(queue(stopPolicy="Closed").spec)
    assert answer is not None
    assert (answer.code, answer.reason) == (403, "Forbidden")
    assert answer.message == 'Queue "nightly" is closed: it finishes what it has and takes no more.'


@pytest.mark.parametrize("policy", ["None", "Hold", "HoldAndDrain"])
def test_a_queue_that_is_not_closed_takes_submissions(policy: str) -> None:
    assert forbidden(queue(stopPolicy=policy).spec) is None


SELECTOR: Raw = {"matchLabels": {"tier": "gold"}}


def test_a_namespace_that_is_not_selected_is_403() -> None:
    answer = forbidden(queue(namespaceSelector=SELECTOR).spec, {"tier": "tin"})
    assert answer is not None
    assert (answer.code, answer.reason) == (403, "Forbidden")
    assert answer.message == (
        'Queue "nightly" does not take executions of namespace "team-a": its labels do not match'
        ' the queue\'s namespaceSelector {"matchLabels":{"tier":"gold"}}.'
    )


def test_a_selected_namespace_and_an_empty_selector_pass() -> None:
    assert forbidden(queue(namespaceSelector=SELECTOR).spec, {"tier": "gold"}) is None
    assert forbidden(queue(namespaceSelector={}).spec) is None
