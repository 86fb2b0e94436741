"""Objects as the API server shows them, said in as few words as a test needs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from supercheck_operator.execution.naming import job_name
from supercheck_operator.execution.observed import Job, Pod, format_time, parse_job, parse_pod
from supercheck_operator.resources import (
    LABEL_EXECUTION,
    LABEL_EXECUTION_UID,
    LABEL_QUEUE,
    LABEL_TEST,
    ExecutionQueue,
    TestExecution,
)

Raw = dict[str, Any]

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """A moment relative to NOW."""
    return NOW + timedelta(seconds=seconds)


def when(seconds: float) -> str:
    """The same, as Kubernetes writes it."""
    return format_time(at(seconds))


def raw_execution(
    *tests: str | Raw,
    uid: str = "uid-1",
    name: str = "run",
    namespace: str = "team-a",
    version: int = 1,
    created: float = -60,
    status: Raw | None = None,
    **spec: Any,
) -> Raw:
    """``tests`` are names, or the whole of a test; by default there is one, ``login``."""
    return {
        "apiVersion": "supercheck.io/v1alpha1",
        "kind": "TestExecution",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid,
            "resourceVersion": str(version),
            "generation": 1,
            "creationTimestamp": when(created),
        },
        "spec": {
            "queue": "default",
            "tests": [
                {"name": test, "image": "image:1"} if isinstance(test, str) else test
                for test in tests or ("login",)
            ],
        }
        | spec,
        "status": {"phase": "Queued", "observedGeneration": -1} if status is None else status,
    }


def execution(*tests: str | Raw, **rest: Any) -> TestExecution:
    return TestExecution.model_validate(raw_execution(*tests, **rest))


def _metadata(test: str, execution_uid: str, *, uid: str, version: int, created: float) -> Raw:
    return {
        "name": uid,
        "namespace": "team-a",
        "uid": uid,
        "resourceVersion": str(version),
        "creationTimestamp": when(created),
        "labels": {
            LABEL_EXECUTION: "run",
            LABEL_EXECUTION_UID: execution_uid,
            LABEL_QUEUE: "default",
            LABEL_TEST: test,
        },
    }


def _suffix(attempt: int) -> str:
    return "" if attempt == 1 else f"-{attempt}"


def raw_job(
    test: str = "login",
    *,
    execution_uid: str = "uid-1",
    uid: str | None = None,
    version: int = 10,
    created: float = -30,
    condition: Raw | None = None,
    owned: bool = True,
    attempt: int = 1,
) -> Raw:
    uid = uid or f"job-{execution_uid}-{test}{_suffix(attempt)}"
    status = {"conditions": [{"status": "True", **condition}]} if condition else {}
    metadata = _metadata(test, execution_uid, uid=uid, version=version, created=created)
    metadata["name"] = job_name("run", execution_uid, test, attempt)
    if owned:
        metadata["ownerReferences"] = [{"kind": "TestExecution", "uid": execution_uid}]
    return {"metadata": metadata, "status": status}


def job(test: str = "login", **rest: Any) -> Job:
    return parse_job(raw_job(test, **rest))


COMPLETE: Raw = {"type": "Complete", "reason": "CompletionsReached", "message": "all is well"}
FAILED: Raw = {"type": "Failed", "reason": "BackoffLimitExceeded", "message": "it is not"}


def raw_pod(
    test: str = "login",
    *,
    execution_uid: str = "uid-1",
    uid: str | None = None,
    version: int = 20,
    created: float = -29,
    deletion: float | None = None,
    grace: int = 30,
    phase: str = "Pending",
    state: Raw | None = None,
    containers: list[Raw] | None = None,
    attempt: int = 1,
    init: list[Raw] | None = None,
    **status: Any,
) -> Raw:
    """``state`` is that of the test's container, ``containers`` are the statuses of others.

    ``init`` are the init containers of its spec.
    """
    uid = uid or f"pod-{execution_uid}-{test}{_suffix(attempt)}"
    metadata = _metadata(test, execution_uid, uid=uid, version=version, created=created)
    name = job_name("run", execution_uid, test, attempt)
    owner = {"kind": "Job", "name": name, "uid": f"job-{execution_uid}-{test}", "controller": True}
    metadata["ownerReferences"] = [owner]
    if deletion is not None:
        metadata["deletionTimestamp"] = when(deletion + grace)
        metadata["deletionGracePeriodSeconds"] = grace
    main = [] if state is None else [{"name": "test", "state": state}]
    statuses = [*main, *(containers or [])]
    whole = {"phase": phase, **({"containerStatuses": statuses} if statuses else {}), **status}
    spec = {"spec": {"initContainers": init}} if init else {}
    return {"metadata": metadata, "status": whole, **spec}


def pod(test: str = "login", **rest: Any) -> Pod:
    return parse_pod(raw_pod(test, **rest))


def running_pod(test: str = "login", *, since: float = -10, **rest: Any) -> Pod:
    return pod(test, phase="Running", state={"running": {"startedAt": when(since)}}, **rest)


def terminated(code: int, *, since: float = -10, until: float = -1, **rest: Any) -> Raw:
    return {
        "terminated": {
            "exitCode": code,
            "startedAt": when(since),
            "finishedAt": when(until),
            "reason": "Completed" if code == 0 else "Error",
            **rest,
        }
    }


def ended_pod(test: str = "login", *, code: int = 0, **rest: Any) -> Pod:
    """A pod that has come to its end by itself."""
    phase = "Succeeded" if code == 0 else "Failed"
    of_pod = ("uid", "version", "deletion", "grace", "attempt", "execution_uid")
    pod_fields = {k: rest.pop(k) for k in of_pod if k in rest}
    return pod(test, phase=phase, state=terminated(code, **rest), **pod_fields)


def queue(
    name: str = "default", *, uid: str = "q-1", version: int = 1, **spec: Any
) -> ExecutionQueue:
    metadata = {"name": name, "uid": uid, "resourceVersion": version, "generation": 3}
    return ExecutionQueue.model_validate({"metadata": metadata, "spec": spec})
