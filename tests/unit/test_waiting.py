"""Why something waits, said once for everyone who shows it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit import builders

from supercheck_operator.queueing.waiting import Why, why
from supercheck_operator.resources import REASONS, Phase, Reason

HELD = {"stopPolicy": "Hold"}
CAPPED = {"perNamespace": {"runningCapacity": 2}}


def asked(
    *,
    queue: dict[str, Any] | None,
    running: int = 0,
    resting: bool = False,
    suspend: bool = False,
    status: dict[str, Any] | None = None,
) -> Why:
    return why(
        builders.execution(suspend=suspend, status=status),
        None if queue is None else builders.queue(**queue).spec,
        resting=resting,
        namespace_running=running,
    )


@pytest.mark.parametrize(
    ("told", "reason", "words"),
    [
        (asked(queue={}), Reason.WAITING, 'its turn in queue "default"'),
        (asked(queue={"stopPolicy": "Closed"}), Reason.WAITING, "its turn"),
        (asked(queue=CAPPED, running=1), Reason.WAITING, "its turn"),
        (
            asked(queue=CAPPED, running=2),
            Reason.NAMESPACE_AT_CAPACITY,
            'Namespace "team-a" runs 2 of 2 in queue "default".',
        ),
        (asked(queue={"perNamespace": {"queuedCapacity": 1}}, running=9), Reason.WAITING, "turn"),
        (
            asked(queue={"perNamespace": {"runningCapacity": 0}}),
            Reason.NAMESPACE_AT_CAPACITY,
            "runs 0 of 0",
        ),
        (asked(queue=HELD), Reason.QUEUE_HELD, "its stopPolicy is Hold"),
        (asked(queue={"stopPolicy": "HoldAndDrain"}), Reason.QUEUE_HELD, "HoldAndDrain"),
        (asked(queue=None), Reason.QUEUE_HELD, 'Queue "default" does not exist'),
        (asked(queue={}, suspend=True), Reason.SUSPENDED, "keeps its place"),
        (asked(queue={}, resting=True), Reason.RETRYING, "rests before its next attempt"),
    ],
)
def test_each_reason_is_told_with_a_sentence(told: Why, reason: Reason, words: str) -> None:
    assert told.reason is reason
    assert words in told.message
    assert told.message.endswith(".")
    assert told.reason in REASONS[Phase.QUEUED]


def test_what_it_wants_itself_comes_before_what_others_keep_from_it() -> None:
    capped = HELD | CAPPED
    assert asked(queue=capped, running=2, resting=True, suspend=True).reason is Reason.SUSPENDED
    assert asked(queue=capped, running=2, resting=True).reason is Reason.RETRYING
    assert asked(queue=capped, running=2).reason is Reason.QUEUE_HELD


def test_the_pause_before_a_retry_is_explained_as_its_status_does() -> None:
    status = {"phase": "Queued", "message": "Attempt 1 of 3 ended with OOMKilled."}
    assert asked(queue={}, resting=True, status=status).message == status["message"]
