"""What one pod says about its test: the verdict of its end, or why it has not begun. Pure.

``Failed`` is a verdict about the software under test; ``Error`` says that the run itself could not
be completed. The rules are asked in their order, and the first that has an answer decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from supercheck_operator.execution.observed import CONTAINER, Job, Pod
from supercheck_operator.resources import Phase, Reason


@dataclass(frozen=True, slots=True)
class Verdict:
    """How something ended. Its reason tells the phase; only what passed has none."""

    reason: Reason | None = None
    message: str | None = None

    @property
    def phase(self) -> Phase:
        return self.reason.phase if self.reason else Phase.PASSED


PASSED: Final = Verdict()
JOB_DELETED: Final = Verdict(Reason.JOB_DELETED, "The Job was deleted before its test ended.")

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
    return PASSED if pod.done and pod.exit_code == 0 and not _cut(pod) else None


def _out_of_memory(pod: Pod, _: Job | None) -> Verdict | None:
    if pod.exit_reason != "OOMKilled":
        return None
    return Verdict(Reason.OOM_KILLED, f"{_container(pod)} used more memory than its limit.")


def _disrupted(pod: Pod, _: Job | None) -> Verdict | None:
    if not pod.disruption and pod.reason != "Evicted":
        return None
    reason = Reason.NODE_LOST if pod.disruption in _NODE_LOSS else Reason.EVICTED
    return Verdict(reason, pod.disruption_message or pod.message or pod.disruption)


def _deleted(pod: Pod, job: Job | None) -> Verdict | None:
    if not _cut(pod) and not (pod.gone and pod.exit_code is None):
        return None
    if job is not None and (job.gone or job.id.deleting):
        return JOB_DELETED
    return Verdict(Reason.POD_DELETED, f"Pod {pod.id.name} was deleted before it ended.")


def _lost_by_its_node(pod: Pod, _: Job | None) -> Verdict | None:
    if pod.exit_reason != "ContainerStatusUnknown":
        return None
    return Verdict(Reason.NODE_LOST, pod.exit_message or "The node lost the container.")


def _not_startable(pod: Pod, _: Job | None) -> Verdict | None:
    if pod.exit_reason not in _NOT_STARTED_EXITS:
        return None
    return Verdict(Reason.INVALID_TEMPLATE, pod.exit_message or "Cannot be started.")


def _failed(pod: Pod, _: Job | None) -> Verdict | None:
    if pod.exit_code is None:
        return None
    said = pod.exit_message or f"Exit code {pod.exit_code}."
    return Verdict(Reason.TEST_FAILED, said if pod.done else f"{_container(pod)} failed. {said}")


def _over_without_an_exit(pod: Pod, _: Job | None) -> Verdict:
    if pod.phase == "Succeeded":
        return PASSED
    if pod.reason:
        return Verdict(Reason.POD_REJECTED, f"{pod.reason}: {pod.message}")
    return Verdict(Reason.INTERNAL, "The pod failed before its test container started.")


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


def _container(pod: Pod) -> str:
    return "The container" if pod.ended_by == CONTAINER else f"Init container {pod.ended_by}"


@dataclass(frozen=True, slots=True)
class Delay:
    """Why a test has not started: the reason it gets when its time is up."""

    reason: Reason
    cause: str
    trouble: bool = True
    """Worth telling at once; a container that is just being created is not."""
    in_events: bool = False
    """Only Events can tell the cause, or whether it is still the same."""


def why_no_pod(told: str) -> Delay:
    """What keeps a Job without a pod, by the message of the API server's last refusal of one."""
    if not told:
        return Delay(Reason.START_TIMEOUT, "No pod exists yet.", trouble=False, in_events=True)
    reason = refusal_reason(told)
    return Delay(reason, f"{reason}: {told}", in_events=True)


def refusal_reason(told: str) -> Reason:
    """Why the API server did not take a Job or a pod, by its message."""
    return Reason.QUOTA_EXCEEDED if "exceeded quota" in told else Reason.POD_REJECTED


def why_not_started(pod: Pod, told: str = "") -> Delay:
    """What holds up a pod that is neither started nor over; ``told`` is its last Warning event."""
    if pod.unschedulable:
        return Delay(Reason.UNSCHEDULABLE, f"Unschedulable: {pod.unschedulable}")
    if pod.waiting_reason in _BEING_CREATED:
        cause = told or "The container is being created."
        return Delay(Reason.START_TIMEOUT, cause, trouble=bool(told), in_events=True)
    pulling = pod.waiting_reason in _PULL_REASONS
    reason = Reason.IMAGE_PULL_FAILED if pulling else Reason.START_TIMEOUT
    return Delay(reason, f"{pod.waiting_reason}: {pod.waiting_message}")
