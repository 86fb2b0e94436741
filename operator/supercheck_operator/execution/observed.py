"""Jobs and pods as this project sees them: only what a verdict needs, in a few hundred bytes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from supercheck_operator.resources import (
    LABEL_EXECUTION,
    LABEL_EXECUTION_UID,
    LABEL_QUEUE,
    LABEL_TEST,
    Raw,
)

CONTAINER: Final = "test"
"""Name of the container whose exit code is the verdict."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which object it is, and whose it says to be.

    Labels can be had by anybody. ``job`` is harder to have: the name of the Job that it is, or
    that controls it, which for one of ours follows from the labels.
    """

    uid: str
    namespace: str
    name: str
    version: int
    job: str
    execution: str
    execution_uid: str
    queue: str
    test: str
    created: datetime
    deleting: bool


@dataclass(frozen=True, slots=True)
class Job:
    id: Identity
    owned: bool = True
    """By its execution; not so after a deletion that leaves orphans on purpose."""
    finished: bool = False
    reason: str = ""
    message: str = ""
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod; ``gone`` once the API server no longer has it."""

    id: Identity
    phase: str
    delete_requested: datetime | None = None
    """When its deletion was asked for, by the API server's clock (whole seconds)."""
    reason: str = ""
    message: str = ""
    unschedulable: str = ""
    waiting_reason: str = ""
    waiting_message: str = ""
    started: datetime | None = None
    finished: datetime | None = None
    exit_code: int | None = None
    exit_reason: str = ""
    exit_message: str = ""
    disruption: str = ""
    disruption_message: str = ""
    others_open: bool = False
    """Another container of it has not ended: a sidecar that may never do."""
    gone: bool = False

    @property
    def ended(self) -> bool:
        """By its own phase, which is for ever."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def terminal(self) -> bool:
        return self.gone or self.ended


def parse_time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def format_time(moment: datetime) -> str:
    """As Kubernetes writes times: UTC, whole seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_job(raw: Raw) -> Job:
    ended = next(
        (
            condition
            for condition in raw.get("status", {}).get("conditions") or []
            if condition.get("status") == "True" and condition.get("type") in ("Complete", "Failed")
        ),
        None,
    )
    identity = _identity(raw, raw["metadata"]["name"])
    owners = raw["metadata"].get("ownerReferences") or []
    owned = any(owner["uid"] == identity.execution_uid for owner in owners)
    if ended is None:
        return Job(id=identity, owned=owned)
    return Job(
        id=identity,
        owned=owned,
        finished=True,
        # Only a Complete Job may be silent about its reason; older API servers give it none.
        reason=ended.get("reason") or ("" if ended["type"] == "Complete" else "Failed"),
        message=ended.get("message", ""),
    )


def parse_pod(raw: Raw) -> Pod:
    status: Raw = raw.get("status", {})
    metadata: Raw = raw["metadata"]
    containers: list[Raw] = status.get("containerStatuses") or []
    main: Raw = next((c for c in containers if c.get("name") == CONTAINER), {})
    state: Raw = main.get("state") or {}
    terminated: Raw = state.get("terminated") or {}
    waiting: Raw = state.get("waiting") or _waiting_init(status)
    conditions: dict[str, Raw] = {c["type"]: c for c in status.get("conditions") or []}
    scheduled = conditions.get("PodScheduled", {})
    disrupted = conditions.get("DisruptionTarget", {})
    disrupted = disrupted if disrupted.get("status") == "True" else {}
    return Pod(
        id=_identity(raw, _controlling_job(metadata)),
        phase=status.get("phase", "Pending"),
        delete_requested=_delete_requested(metadata),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        unschedulable=scheduled.get("message", "no node fits")
        if scheduled.get("status") == "False"
        else "",
        waiting_reason=waiting.get("reason", ""),
        waiting_message=waiting.get("message", ""),
        started=_started(state.get("running") or terminated),
        finished=parse_time(terminated.get("finishedAt")),
        exit_code=terminated.get("exitCode"),
        exit_reason=terminated.get("reason", ""),
        exit_message=terminated.get("message", ""),
        disruption=disrupted.get("reason", ""),
        disruption_message=disrupted.get("message", ""),
        others_open=any(
            "terminated" not in (c.get("state") or {}) for c in containers if c is not main
        ),
    )


def _started(state: Raw) -> datetime | None:
    """When a container started; one that could not be is dated to the beginning of time."""
    started = parse_time(state.get("startedAt"))
    return started if started is not None and started.timestamp() > 0 else None


def _controlling_job(metadata: Raw) -> str:
    owners = metadata.get("ownerReferences") or []
    return next((o["name"] for o in owners if o.get("controller") and o["kind"] == "Job"), "")


def _waiting_init(status: Raw) -> Raw:
    """What an init container waits for, when the test's own container shows nothing."""
    return next(
        (
            waiting
            for container in status.get("initContainerStatuses") or []
            if (waiting := (container.get("state") or {}).get("waiting"))
        ),
        {},
    )


def _delete_requested(metadata: Raw) -> datetime | None:
    """The deletion timestamp says when the grace ends, not when the deletion was asked for."""
    ends = parse_time(metadata.get("deletionTimestamp"))
    if ends is None:
        return None
    return ends - timedelta(seconds=metadata.get("deletionGracePeriodSeconds") or 0)


def _identity(raw: Raw, job: str) -> Identity:
    metadata: Raw = raw["metadata"]
    labels: dict[str, str] = metadata.get("labels") or {}
    return Identity(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        version=int(metadata["resourceVersion"]),
        job=job,
        execution=labels.get(LABEL_EXECUTION, ""),
        execution_uid=labels.get(LABEL_EXECUTION_UID, ""),
        queue=labels.get(LABEL_QUEUE, ""),
        test=labels.get(LABEL_TEST, ""),
        created=datetime.fromisoformat(metadata["creationTimestamp"]),
        deleting="deletionTimestamp" in metadata,
    )
