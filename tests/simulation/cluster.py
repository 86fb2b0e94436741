"""What a cluster does by itself: the Job controller, nodes, and the garbage collector."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Final

from tests.simulation.api import Api
from tests.simulation.fates import Fate

from supercheck_operator.execution.observed import CONTAINER, format_time
from supercheck_operator.kube import AnsweredError, InvalidError
from supercheck_operator.resources import LABEL_EXECUTION_UID, LABEL_TEST, Raw

EXECUTIONS: Final = "testexecutions"
QUEUES: Final = "executionqueues"
JOBS: Final = "jobs"
PODS: Final = "pods"

_QUOTA_PASSES_AFTER: Final = 2.0
ENDED: Final = ("Succeeded", "Failed")


class Cluster:
    """Reacts to every change of what ``api`` stores, each time after a while."""

    def __init__(
        self, api: Api, noise: random.Random, fates: Callable[[str, str], tuple[Fate, ...]]
    ) -> None:
        self.api = api
        self._noise = noise
        self._fates = fates
        self._job_fates: dict[str, Fate] = {}
        self._attempts: Counter[str] = Counter()
        self._pod_fates: dict[str, Fate] = {}
        self._asked_at: dict[str, float] = {}
        self._over: set[str] = set()
        self._made: dict[str, float] = {}
        """When each Job, by UID, got its first pod."""
        self._blind_until = 0.0
        """The Job controller hears of nothing; what it does by then, it does by what it knew."""
        self._coming: dict[str, Raw] = {}
        """Jobs, by UID, whose pod is being made: it comes whatever becomes of them meanwhile."""
        self._not_made: set[str] = set()
        """Jobs, by UID, whose pod was asked for in vain: it is asked for again."""
        api.listeners.append(self._changed)
        api.admit_job = self._admit
        api.delete = self.delete

    # What anybody may ask for --------------------------------------------------------------------

    def delete(self, plural: str, raw: Raw) -> None:
        """In the background: a pod ends first, everything else is gone at once."""
        if plural == PODS:
            self.delete_pod(raw, grace=30)
        else:
            self.api.remove(plural, raw)

    def delete_slowly(self, plural: str, raw: Raw, seconds: float) -> None:
        """In the foreground, or kept by a finalizer: it is told to go ``seconds`` before."""
        if "deletionTimestamp" not in raw["metadata"]:
            ends = format_time(self.api.now())
            raw = self.api.replace(plural, raw, {"deletionTimestamp": ends})
            if plural == JOBS:
                self._later(0.2, self._delete_pods_of, raw["metadata"]["uid"])
            self._later(seconds, self._remove, plural, raw["metadata"]["uid"])

    def orphan(self, plural: str, raw: Raw) -> None:
        """Delete it, and let what it owns go on without an owner."""
        dependents = JOBS if plural == EXECUTIONS else PODS
        for child in self._owned_by(dependents, raw["metadata"]["uid"]):
            self.api.replace(dependents, child, {"ownerReferences": None})
        self.api.remove(plural, raw)

    def delete_pod(self, pod: Raw, *, grace: int) -> None:
        """It gets ``grace`` seconds; with 0 it is gone at once."""
        uid = pod["metadata"]["uid"]
        if grace == 0:
            self.api.remove(PODS, pod)
            return
        if "deletionTimestamp" in pod["metadata"]:
            return
        times = {
            "deletionTimestamp": format_time(self.api.now() + timedelta(seconds=grace)),
            "deletionGracePeriodSeconds": grace,
        }
        self.api.replace(PODS, pod, times)
        # Most end when they are told to; some use all of their grace.
        slow = self._noise.random() < 0.1
        self._later(grace if slow else 1.0, self._kill, uid)

    def remove_orphans(self) -> None:
        """Whoever left them behind tidies up: what has no owner and has not ended."""
        for plural, over in ((JOBS, _finished), (PODS, _ended)):
            for raw in list(self.api.objects[plural].values()):
                if not raw["metadata"].get("ownerReferences") and not over(raw):
                    self.delete(plural, raw)

    def lose_answers(self, seconds: float) -> None:
        """The Job controller does not hear of the pods that it has just asked for.

        After so many seconds it asks for them again, and some time later it sees what there is;
        by then it has also asked again for what was not made, whatever became of the Job.
        """
        self._blind_until = self.api.loop.time() + 1.5 * (seconds + 1.0)
        self._not_made |= self._coming.keys()
        for uid, at in self._made.items():
            if at > self.api.loop.time() - 1.0:
                self._later(seconds + 1.0, self._make_again, uid)

    # Jobs ----------------------------------------------------------------------------------------

    def _admit(self, job: Raw) -> None:
        name = job["metadata"]["name"]
        asked = self._asked_at.setdefault(name, self.api.loop.time())
        match self._fate_of(job):
            case Fate.INVALID:
                raise InvalidError(422, "Invalid", "spec.template is invalid")
            case Fate.OVER_QUOTA:
                raise AnsweredError(403, "Forbidden", "exceeded quota: compute")
            case Fate.QUOTA_PASSES if self.api.loop.time() < asked + _QUOTA_PASSES_AFTER:
                raise AnsweredError(403, "Forbidden", "exceeded quota: compute")

    def _fate_of(self, job: Raw) -> Fate:
        """The same for the same Job; attempt after attempt the fates of its test in turn."""
        name, labels = job["metadata"]["name"], job["metadata"]["labels"]
        if name not in self._job_fates:
            uid, test = labels[LABEL_EXECUTION_UID], labels[LABEL_TEST]
            fates = self._fates(uid, test)
            attempt = self._attempts[f"{uid}/{test}"]
            self._attempts[f"{uid}/{test}"] += 1
            self._job_fates[name] = fates[min(attempt, len(fates) - 1)]
        return self._job_fates[name]

    def _changed(self, plural: str, before: Raw | None, after: Raw | None) -> None:
        if plural == JOBS:
            self._job_changed(before, after)
        elif plural == PODS:
            self._pod_changed(before, after)
        elif plural == EXECUTIONS and before is not None and after is None:
            # The collector may need long to learn of a kind that is new to it.
            slow = self._noise.random() < 0.1
            self._later(35.0 if slow else 0.5, self._delete_jobs_of, before["metadata"]["uid"])

    def _job_changed(self, before: Raw | None, after: Raw | None) -> None:
        if after is None:
            assert before is not None
            self._later(0.5, self._delete_pods_of, before["metadata"]["uid"])
        elif before is None and self._fate_of(after) is not Fate.NO_POD:
            self._later(0.2, self._want_pod, after["metadata"]["uid"])

    def _want_pod(self, job_uid: str) -> None:
        job = self.api.of_uid(JOBS, job_uid)
        if job is not None and "deletionTimestamp" not in job["metadata"] and not _finished(job):
            self._coming[job_uid] = job
            slow = self._noise.random() < 0.1
            self._later(0.8 if slow else 0.1, self._make_pod, job_uid)

    def _make_pod(self, job_uid: str) -> None:
        if job_uid in self._not_made:
            self._not_made.discard(job_uid)
            self._later(self._blind_until - self.api.loop.time(), self._make_pod, job_uid)
            return
        self._made[job_uid] = self.api.loop.time()
        self._create_pod(self._coming.pop(job_uid))

    def _make_again(self, job_uid: str) -> None:
        job = self.api.of_uid(JOBS, job_uid)
        if job is not None and "deletionTimestamp" not in job["metadata"] and not _finished(job):
            self._create_pod(job)
            self._later(1.0, self._take_away, job_uid)

    def _take_away(self, job_uid: str) -> None:
        """Now it sees both: what has not ended goes when the other has, else the younger one."""
        pods = self._owned_by(PODS, job_uid)
        living = [pod for pod in pods if not _ended(pod)]
        for pod in living if len(living) < len(pods) else living[1:]:
            self.delete_pod(pod, grace=30)

    def _create_pod(self, job: Raw) -> None:
        metadata = job["metadata"]
        name = f"{metadata['name']}-{self.api.version}"
        uid = metadata["uid"]
        owner = {"kind": "Job", "name": metadata["name"], "uid": uid, "controller": True}
        body = {
            "metadata": {
                "name": name,
                "namespace": metadata["namespace"],
                "labels": metadata["labels"],
                "ownerReferences": [owner],
            },
            "status": {"phase": "Pending"},
        }
        pod = self.api.create(PODS, body)
        self._pod_fates[pod["metadata"]["uid"]] = self._fate_of(job)

    def _delete_jobs_of(self, execution_uid: str) -> None:
        for job in self._owned_by(JOBS, execution_uid):
            self.api.remove(JOBS, job)

    def _delete_pods_of(self, job_uid: str) -> None:
        for pod in self._owned_by(PODS, job_uid):
            self.delete_pod(pod, grace=30)

    def _job_of(self, pod: Raw) -> Raw | None:
        owners = pod["metadata"].get("ownerReferences")
        return self.api.of_uid(JOBS, owners[0]["uid"]) if owners else None

    def _finish_job(self, job_uid: str, *, passed: bool) -> None:
        job = self.api.of_uid(JOBS, job_uid)
        if job is None or _finished(job):
            return
        blind = self.api.loop.time() < self._blind_until
        if blind or any(not _ended(pod) for pod in self._owned_by(PODS, job_uid)):
            self._later(1.0, lambda: self._finish_job(job_uid, passed=passed))
            return
        condition = {
            "type": "Complete" if passed else "Failed",
            "status": "True",
            "reason": "CompletionsReached" if passed else "BackoffLimitExceeded",
            "message": "",
        }
        self.api.replace(JOBS, job, status={"conditions": [condition]})

    # Pods ----------------------------------------------------------------------------------------

    def _pod_changed(self, before: Raw | None, after: Raw | None) -> None:
        if before is None:
            assert after is not None
            self._later(0.2, self._schedule, after["metadata"]["uid"])
            if self._job_of(after) is None:
                self._later(0.5, self._delete_pods_of, _owner(after))
        elif after is None:
            if not _ended(before) and (job := self._job_of(before)) is not None:
                self._pod_lost(job)
        elif _ended(after) and not _ended(before) and (job := self._job_of(after)) is not None:
            uid, passed = job["metadata"]["uid"], after["status"]["phase"] == "Succeeded"
            self._over.add(uid)
            self._later(1.0, self._take_away, uid)
            self._later(1.0, lambda: self._finish_job(uid, passed=passed))

    def _pod_lost(self, job: Raw) -> None:
        uid = job["metadata"]["uid"]
        if self._fate_of(job) is Fate.REPLACED:
            self._job_fates[job["metadata"]["name"]] = Fate.PASSES
            self._later(0.5, self._want_pod, uid)
        else:
            self._later(1.0, lambda: self._finish_job(uid, passed=False))

    def _schedule(self, uid: str) -> None:
        pod = self._waiting_pod(uid)
        if pod is None:
            return
        match self._pod_fates[uid]:
            case Fate.NO_NODE:
                condition = {"type": "PodScheduled", "status": "False", "message": "no node fits"}
                self._set(pod, conditions=[condition])
            case Fate.NO_IMAGE:
                self._set_state(pod, {"waiting": {"reason": "ImagePullBackOff"}})
            case Fate.REFUSED_BY_NODE:
                self._set(pod, phase="Failed", reason="UnexpectedAdmissionError")
            case _:
                self._set_state(pod, {"waiting": {"reason": "ContainerCreating"}})
                self._later(0.5, self._run, uid)

    def _run(self, uid: str) -> None:
        pod = self._waiting_pod(uid)
        if pod is None:
            return
        fate = self._pod_fates[uid]
        others = [{"name": "proxy", "state": {"running": {}}}]
        self._set_state(
            pod,
            {"running": {"startedAt": format_time(self.api.now())}},
            phase="Running",
            others=others if fate is Fate.SIDECAR_STAYS else [],
        )
        if fate.value.takes is not None:
            self.api.loop.call_later(fate.value.takes, self._end, uid, fate)

    def _end(self, uid: str, fate: Fate) -> None:
        pod = self.api.of_uid(PODS, uid)
        if pod is None or _ended(pod):
            return
        match fate:
            case Fate.SIDECAR_STAYS:
                others = pod["status"]["containerStatuses"][1:]
                self._set_state(pod, self._terminated(pod, 0, ""), phase="Running", others=others)
            case Fate.EVICTED:
                self._set(pod, phase="Failed", reason="Evicted", message="disk pressure")
            case Fate.NODE_LOST:
                self._set(pod, conditions=[_disruption("DeletionByTaintManager")])
                self._later(0.1, self._delete_on_lost_node, uid)
            case Fate.VANISHES | Fate.REPLACED:
                self.api.remove(PODS, pod)
            case _:
                course = fate.value
                state = self._terminated(pod, course.exit_code, course.exit_reason)
                self._set_state(pod, state, phase="Failed" if course.exit_code else "Succeeded")

    def _delete_on_lost_node(self, uid: str) -> None:
        pod = self.api.of_uid(PODS, uid)
        if pod is not None and "deletionTimestamp" not in pod["metadata"]:
            times = {"deletionTimestamp": format_time(self.api.now() + timedelta(seconds=30))}
            self.api.replace(PODS, pod, times | {"deletionGracePeriodSeconds": 30})
            # Until somebody takes it away by force.
            self._later(10.0, self._remove, PODS, uid)

    def _kill(self, uid: str) -> None:
        """The kubelet has done what a deletion asks it to do."""
        pod = self.api.of_uid(PODS, uid)
        if pod is None:
            return
        if not _ended(pod) and "running" in _state(pod):
            self._set_state(pod, self._terminated(pod, 143, "Error"), phase="Failed")
        elif not _ended(pod) and "terminated" in _state(pod):
            self._set_state(pod, _state(pod), phase="Failed")
        self._later(0.3, self._remove, PODS, uid)

    def _waiting_pod(self, uid: str) -> Raw | None:
        pod = self.api.of_uid(PODS, uid)
        if pod is None or _ended(pod) or "deletionTimestamp" in pod["metadata"]:
            return None
        return pod

    def _terminated(self, pod: Raw, code: int, reason: str) -> Raw:
        return {
            "terminated": {
                "exitCode": code,
                "reason": reason or ("Error" if code else "Completed"),
                "startedAt": _state(pod).get("running", {}).get("startedAt"),
                "finishedAt": format_time(self.api.now()),
            }
        }

    def _set_state(
        self, pod: Raw, state: Raw, *, phase: str = "Pending", others: list[Raw] | None = None
    ) -> None:
        containers = [{"name": CONTAINER, "state": state}, *(others or [])]
        self._set(pod, phase=phase, containerStatuses=containers)

    def _set(self, pod: Raw, **status: Any) -> None:
        self.api.replace(PODS, pod, status=pod["status"] | status)

    # Everything ----------------------------------------------------------------------------------

    def _later(self, seconds: float, act: Callable[..., None], *arguments: Any) -> None:
        self.api.loop.call_later(seconds * (0.5 + self._noise.random()), act, *arguments)

    def _remove(self, plural: str, uid: str) -> None:
        raw = self.api.of_uid(plural, uid)
        if raw is not None:
            self.api.remove(plural, raw)

    def _owned_by(self, plural: str, uid: str) -> list[Raw]:
        return [
            raw
            for raw in self.api.objects[plural].values()
            if any(owner["uid"] == uid for owner in raw["metadata"].get("ownerReferences") or [])
        ]

    # What is, for whoever wants to know the truth ------------------------------------------------

    def of_execution(self, plural: str, uid: str) -> Iterator[Raw]:
        """Its Jobs or pods, also those whose owner is gone."""
        for raw in self.api.objects[plural].values():
            if raw["metadata"]["labels"][LABEL_EXECUTION_UID] == uid:
                yield raw

    def alive(self, job: Raw) -> bool:
        """Whether it has a pod that lives, or may still make one."""
        uid = job["metadata"]["uid"]
        pods = [pod for pod in self.api.objects[PODS].values() if _owner(pod) == uid]
        if any(not _ended(pod) for pod in pods):
            return True
        return not pods and uid not in self._over and not _finished(job)

    def coming_late(self) -> list[Raw]:
        """The Jobs that have gone since their pod was begun to be made."""
        return [job for uid, job in self._coming.items() if self.api.of_uid(JOBS, uid) is None]

    def live_tests(self, uid: str, *, but: str = "") -> set[str]:
        """Tests of an execution that occupy the cluster now; not by the Job of UID ``but``."""
        jobs = [job for job in self.of_execution(JOBS, uid) if self.alive(job)]
        coming = [job for job in self.coming_late() if _label(job, LABEL_EXECUTION_UID) == uid]
        pods = [pod for pod in self.of_execution(PODS, uid) if not _ended(pod)]
        return {
            *(_label(job, LABEL_TEST) for job in jobs + coming if job["metadata"]["uid"] != but),
            *(_label(pod, LABEL_TEST) for pod in pods if _owner(pod) not in ("", but)),
        }


def _label(raw: Raw, name: str) -> str:
    return str(raw["metadata"]["labels"][name])


def _disruption(reason: str) -> Raw:
    return {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "lost"}


def _owner(pod: Raw) -> str:
    owners = pod["metadata"].get("ownerReferences")
    return str(owners[0]["uid"]) if owners else ""


def _state(pod: Raw) -> Raw:
    containers = pod["status"].get("containerStatuses")
    state: Raw = containers[0]["state"] if containers else {}
    return state


def _ended(pod: Raw) -> bool:
    return pod["status"]["phase"] in ENDED


def _finished(job: Raw) -> bool:
    return bool(job.get("status", {}).get("conditions"))
