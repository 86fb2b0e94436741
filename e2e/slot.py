"""One slot and two who want it: what the API server shows of its handing over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from e2e.conftest import Namespace, Operator, Raw

EXECUTION: Final = "supercheck.io/execution"
_PODS: Final = "/api/v1/namespaces/{}/pods"
_JOBS: Final = "/apis/batch/v1/namespaces/{}/jobs"
_TAKES: Final = "first"
_WANTS: Final = "second"


class Slot:
    """The only one of ``queue``: who waits for it shows when it is free, and not before."""

    def __init__(self, namespace: Namespace, operator: Operator, image: str, queue: str) -> None:
        self._namespace = namespace
        self._operator = operator
        self._image = image
        self.queue = queue
        listed = namespace.kubectl.raw(_PODS.format(namespace.name))
        self._since: str = listed["metadata"]["resourceVersion"]

    def take(self, *tests: Raw, **spec: object) -> str:
        """Submit who takes it, and who wants it; the name of the first."""
        self.take_alone(*tests, **spec)
        self.want()
        return _TAKES

    def take_alone(self, *tests: Raw, **spec: object) -> str:
        """Submit who takes it; ``want`` must follow."""
        return self._namespace.submit(_TAKES, *tests, queue=self.queue, **spec)

    def want(self) -> str:
        """Submit who wants it and, when it gets it, passes at once."""
        quick: Raw = {"name": "only", "image": self._image, "command": ["true"]}
        return self._namespace.submit(_WANTS, quick, queue=self.queue)

    def is_taken(self) -> bool:
        """Whether one runs and one waits, by the operator's word and by what exists."""
        stats = self._operator.stats(self.queue)
        waits = not self._namespace.jobs_of(_WANTS)
        return waits and (stats["running"], stats["queued"]) == (1, 1)

    def check_passed_on(self) -> None:
        """The second got it, when nothing of the first occupied the cluster; nothing does now."""
        assert self._namespace.finished(_WANTS)["phase"] == "Passed"
        version, jobs = self._jobs_when_passed_on()
        pods, ended = self._pods_at(version)
        assert [_name(pod) for pod in pods if not _over(pod)] == []
        assert [_name(job) for job in jobs if not _over(job) and _name(job) not in ended] == []
        left = [pod for name in (_TAKES, _WANTS) for pod in self._namespace.pods_of(name)]
        assert [_name(pod) for pod in left if not _over(pod)] == []

    def _jobs_when_passed_on(self) -> tuple[int, list[Raw]]:
        """When the second one's Job was created, as a resource version; the first one's then."""
        jobs: dict[str, Raw] = {}
        path = _JOBS.format(self._namespace.name)
        with self._namespace.kubectl.watch(path, self._since) as events:
            for event in events:
                job: Raw = event["object"]
                if _execution(job) == _WANTS:
                    return _version(job), list(jobs.values())
                _note(jobs, event)
        raise AssertionError("the second one has no Job")

    def _pods_at(self, version: int) -> tuple[list[Raw], set[str]]:
        """The first one's pods then, and the Jobs of those that had ended."""
        pods: dict[str, Raw] = {}
        ended: set[str] = set()
        path = _PODS.format(self._namespace.name)
        with self._namespace.kubectl.watch(path, self._since) as events:
            for event in events:
                pod: Raw = event["object"]
                if _version(pod) > version:
                    return list(pods.values()), ended
                _note(pods, event)
                if _over(pod):
                    ended.add(pod["metadata"]["labels"]["batch.kubernetes.io/job-name"])
        raise AssertionError("the second one has no pod")


def _note(known: dict[str, Raw], event: Raw) -> None:
    found: Raw = event["object"]
    if event["type"] == "DELETED":
        known.pop(_name(found), None)
    elif _execution(found) == _TAKES:
        known[_name(found)] = found


def _name(found: Raw) -> str:
    name: str = found["metadata"]["name"]
    return name


def _execution(found: Raw) -> str | None:
    name: str | None = found["metadata"].get("labels", {}).get(EXECUTION)
    return name


def _version(found: Raw) -> int:
    return int(found["metadata"]["resourceVersion"])


def _over(found: Raw) -> bool:
    """Whether a pod, or a Job, has come to its end."""
    status: Raw = found.get("status", {})
    if found["kind"] == "Pod":
        return status.get("phase") in ("Succeeded", "Failed")
    conditions: list[Raw] = status.get("conditions", [])
    return any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in conditions)
