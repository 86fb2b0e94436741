from __future__ import annotations

import pytest
from pydantic import ValidationError
from tests.unit.builders import Raw, execution, queue

from supercheck_operator.resources import LabelSelector, Phase, Reason, StopPolicy


def test_the_last_four_phases_are_final() -> None:
    assert [phase.value for phase in Phase if not phase.final] == ["Queued", "Running"]
    assert [phase.value for phase in Phase if phase.final] == [
        "Passed",
        "Failed",
        "Error",
        "Cancelled",
    ]


def test_the_reasons_are_those_of_the_contract() -> None:
    assert " ".join(reason.value for reason in Reason) == (
        "Waiting QueueHeld Suspended NamespaceAtCapacity Retrying Running Starting TestFailed"
        " TestTimeout ExecutionTimeout StartTimeout QueueTimeout ImagePullFailed Unschedulable"
        " OOMKilled Evicted NodeLost PodDeleted JobDeleted QuotaExceeded PodRejected"
        " InvalidTemplate Internal CancelledByUser QueueDrained FailFast"
    )


def test_an_execution_that_says_little_gets_the_defaults_of_the_contract() -> None:
    run = execution(status={})
    assert (run.spec.queue, run.spec.priority) == ("default", 0)
    assert run.spec.start_timeout_seconds == 300
    assert run.spec.queue_timeout_seconds is None
    assert run.spec.ttl_seconds_after_finished is None
    assert [run.spec.suspend, run.spec.cancel, run.spec.fail_fast] == [False] * 3
    assert run.status.phase is Phase.QUEUED


def test_what_is_not_known_is_ignored_and_what_was_read_stays_as_it_is() -> None:
    run = execution(addedInAnotherVersion=True)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(run.spec, "queue", "other")  # noqa: B010 - the type checker would not let it


@pytest.mark.parametrize(
    ("policy", "holds"),
    [("None", False), ("Hold", True), ("HoldAndDrain", True), ("Closed", False)],
)
def test_a_policy_holds_or_lets_start(policy: str, holds: bool) -> None:
    assert StopPolicy(policy).holds is holds
    assert queue(stopPolicy=policy).spec.stop_policy.holds is holds


def needs(operator: str, *values: str) -> Raw:
    return {"matchExpressions": [{"key": "tier", "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("selector", "labels", "matches"),
    [
        ({}, {}, True),
        ({}, {"tier": "gold"}, True),
        ({"matchLabels": {"tier": "gold"}}, {"tier": "gold"}, True),
        ({"matchLabels": {"tier": "gold"}}, {"tier": "tin"}, False),
        ({"matchLabels": {"tier": "gold"}}, {}, False),
        (needs("In", "gold", "tin"), {"tier": "tin"}, True),
        (needs("In", "gold"), {"tier": "tin"}, False),
        (needs("In", "gold"), {}, False),
        (needs("NotIn", "gold"), {"tier": "gold"}, False),
        (needs("NotIn", "gold"), {"tier": "tin"}, True),
        (needs("NotIn", "gold"), {}, True),
        (needs("Exists"), {"tier": ""}, True),
        (needs("Exists"), {}, False),
        (needs("DoesNotExist"), {}, True),
        (needs("DoesNotExist"), {"tier": "gold"}, False),
        ({"matchLabels": {"a": "b"}} | needs("Exists"), {"a": "b"}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "In"}]}, {"tier": "gold"}, False),
    ],
)
def test_a_selector_matches_as_in_kubernetes(
    selector: Raw, labels: dict[str, str], matches: bool
) -> None:
    assert LabelSelector.model_validate(selector).matches(labels) is matches
