"""The order of the rules: which explanation wins when several fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.builders import Raw, job, pod, terminated

from supercheck_operator.execution.observed import Pod
from supercheck_operator.execution.verdict import pod_verdict, why_no_pod, why_not_started
from supercheck_operator.resources import Phase, Reason

DISRUPTED: Raw = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}


def ended(code: int, reason: str = "Error", **rest: Any) -> Pod:
    return pod(phase="Failed", state=terminated(code, until=-1, reason=reason), **rest)


@pytest.mark.parametrize(
    ("seen", "phase", "reason"),
    [
        (ended(0, conditions=[DISRUPTED]), Phase.PASSED, None),
        (ended(0, "OOMKilled", conditions=[DISRUPTED]), Phase.PASSED, None),
        (ended(137, "OOMKilled", conditions=[DISRUPTED]), Phase.ERROR, Reason.OOM_KILLED),
        (ended(137, "OOMKilled", deletion=-2), Phase.ERROR, Reason.OOM_KILLED),
        (ended(143, conditions=[DISRUPTED], deletion=-2), Phase.ERROR, Reason.NODE_LOST),
        (ended(0, conditions=[DISRUPTED], deletion=-2), Phase.ERROR, Reason.NODE_LOST),
        (ended(137, "ContainerStatusUnknown", deletion=-2), Phase.ERROR, Reason.POD_DELETED),
        (ended(128, "StartError", deletion=-2), Phase.ERROR, Reason.POD_DELETED),
        (ended(1, deletion=1), Phase.FAILED, Reason.TEST_FAILED),
    ],
)
def test_the_first_rule_that_explains_an_end_decides(
    seen: Pod, phase: Phase, reason: Reason | None
) -> None:
    verdict = pod_verdict(seen, job())
    assert (verdict.phase, verdict.reason) == (phase, reason)


def test_a_job_that_was_deleted_explains_only_what_no_pod_explains() -> None:
    lost = replace(job(), gone=True)
    assert pod_verdict(ended(1), lost).reason is Reason.TEST_FAILED
    assert pod_verdict(ended(143, deletion=-2), lost).reason is Reason.JOB_DELETED
    assert pod_verdict(ended(143, deletion=-2), None).reason is Reason.POD_DELETED


def test_what_the_scheduler_says_comes_before_what_a_container_waits_for() -> None:
    condition = {"type": "PodScheduled", "status": "False"}
    waiting = {"waiting": {"reason": "ImagePullBackOff"}}
    assert why_not_started(pod(state=waiting, conditions=[condition])).reason is (
        Reason.UNSCHEDULABLE
    )


@pytest.mark.parametrize(
    "reason",
    [
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "RegistryUnavailable",
        "ImageInspectError",
        "SignatureValidationFailed",
    ],
)
def test_whatever_keeps_an_image_away_is_a_failed_pull(reason: str) -> None:
    assert why_not_started(pod(state={"waiting": {"reason": reason}})).reason is (
        Reason.IMAGE_PULL_FAILED
    )


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ('pods "x" is forbidden: exceeded quota: small, requested: cpu=1', Reason.QUOTA_EXCEEDED),
        ('pods "x" is forbidden: violates PodSecurity "restricted"', Reason.POD_REJECTED),
        ('admission webhook "policy" denied the request: no', Reason.POD_REJECTED),
    ],
)
def test_what_refuses_a_pod_is_known_by_the_words_of_the_last_event(
    told: str, reason: Reason
) -> None:
    delay = why_no_pod(told)
    assert (delay.reason, delay.cause) == (reason, f"{reason}: {told}")
    assert delay.trouble
    assert delay.in_events


def test_without_an_event_a_missing_pod_is_no_trouble_yet() -> None:
    delay = why_no_pod("")
    assert (delay.reason, delay.trouble, delay.in_events) == (Reason.START_TIMEOUT, False, True)


def test_a_container_that_is_not_created_for_a_missing_volume_says_so() -> None:
    creating = pod(state={"waiting": {"reason": "ContainerCreating"}})
    delay = why_not_started(creating, 'FailedMount: configmap "x" not found')
    assert (delay.reason, delay.trouble) == (Reason.START_TIMEOUT, True)
    assert delay.cause == 'FailedMount: configmap "x" not found'


def test_the_end_of_a_container_before_the_test_is_told_as_its_own() -> None:
    status = [{"name": "seed", "state": terminated(137, reason="OOMKilled")}]
    killed = pod_verdict(pod(phase="Failed", initContainerStatuses=status), job())
    assert killed.reason is Reason.OOM_KILLED
    assert killed.message == "Init container seed used more memory than its limit."
