"""What one pod says about its test: the verdict of its end, or why it has not begun. Pure.

``Failed`` is a verdict about the software under test; ``Error`` says that the run itself could not
be completed. The rules are asked in their order, and the first that has an answer decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from supercheck_operator.execution.observed import Job, Pod
from supercheck_operator.resources import Phase, Reason

Verdict = tuple[Phase, Reason | None, str | None]

PASSED: Final[Verdict] = (Phase.PASSED, None, None)
JOB_DELETED: Final[Verdict] = (
    Phase.ERROR,
    Reason.JOB_DELETED,
    "The Job was deleted before its test ended.",
)

_PULL_REASONS: Final = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
    | {"RegistryUnavailable", "ImageInspectError", "SignatureValidationFailed"}
)
_BEING_CREATED: Final = ("", "ContainerCreating", "PodInitializing")
_NODE_LOSS: Final = frozenset({"DeletionByTaintManager", "DeletionByPodGC"})
_NOT_STARTED_EXITS: Final = frozenset({"StartError", "ContainerCannotRun"})


def pod_verdict(pod: Pod, job: Job | None) -> Verdict:
    """The verdict of a pod whose test container has ended, or that is over without."""
    answers = (rule(pod, job) for rule in _RULES)
    return next(answer for answer in answers if answer is not None)


def _passed(pod: Pod, _: Job | None) -> Verdict | None:
    return PASSED if pod.exit_code == 0 and not _cut(pod) else None


def _out_of_memory(pod: Pod, _: Job | None) -> Verdict | None:
    if pod.exit_reason != "OOMKilled":
        return None
    return Phase.ERROR, Reason.OOM_KILLED, "The container used more memory than its limit."


def _disrupted(pod: Pod, _: Job | None) -> Verdict | None:
    if not pod.disruption and pod.reason != "Evicted":
        return None
    reason = Reason.NODE_LOST if pod.disruption in _NODE_LOSS else Reason.EVICTED
    return Phase.ERROR, reason, pod.disruption_message or pod.message or pod.disruption


def _deleted(pod: Pod, job: Job | None) -> Verdict | None:
    if not _cut(pod) and not (pod.gone and pod.exit_code is None):
        return None
    if job is not None and (job.gone or job.id.deleting):
        return JOB_DELETED
    return Phase.ERROR, Reason.POD_DELETED, f"Pod {pod.id.name} was deleted before it ended."


def _lost_by_its_node(pod: Pod, _: Job | None) -> Verdict | None:
    if pod.exit_reason != "ContainerStatusUnknown":
        return None
    return Phase.ERROR, Reason.NODE_LOST, pod.exit_message or "The node lost the container."


def _not_startable(pod: Pod, _: Job | None) -> Verdict | None:
    if pod.exit_reason not in _NOT_STARTED_EXITS:
        return None
    return Phase.ERROR, Reason.INVALID_TEMPLATE, pod.exit_message or "Cannot be started."


def _failed(pod: Pod, _: Job | None) -> Verdict | None:
    if pod.exit_code is None:
        return None
    return Phase.FAILED, Reason.TEST_FAILED, pod.exit_message or f"Exit code {pod.exit_code}."


def _over_without_an_exit(pod: Pod, _: Job | None) -> Verdict:
    if pod.phase == "Succeeded":
        return PASSED
    if pod.reason:
        return Phase.ERROR, Reason.POD_REJECTED, f"{pod.reason}: {pod.message}"
    return Phase.ERROR, Reason.INTERNAL, "The pod failed before its test container started."


_RULES: Final = (
    _passed,
    _out_of_memory,
    _disrupted,
    _deleted,
    _lost_by_its_node,
    _not_startable,
    _failed,
    _over_without_an_exit,
)


def _cut(pod: Pod) -> bool:
    """Whether the container ended because its pod was being deleted, not by itself.

    Both times are whole seconds of different clocks; at a tie the container may have ended first,
    but an exit that a deletion can explain is no verdict about the software under test.
    """
    if pod.delete_requested is None:
        return False
    return pod.finished is None or pod.finished >= pod.delete_requested


@dataclass(frozen=True, slots=True)
class Delay:
    """Why a test has not started: the reason it gets when its time is up."""

    reason: Reason
    cause: str
    trouble: bool = True
    """Worth telling at once; a container that is just being created is not."""


def why_not_started(pod: Pod) -> Delay:
    """What holds up a pod that is neither started nor over."""
    if pod.unschedulable:
        return Delay(Reason.UNSCHEDULABLE, f"Unschedulable: {pod.unschedulable}")
    if pod.waiting_reason in _BEING_CREATED:
        return Delay(Reason.START_TIMEOUT, "The container is being created.", trouble=False)
    pulling = pod.waiting_reason in _PULL_REASONS
    reason = Reason.IMAGE_PULL_FAILED if pulling else Reason.START_TIMEOUT
    return Delay(reason, f"{pod.waiting_reason}: {pod.waiting_message}")
