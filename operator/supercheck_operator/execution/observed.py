"""Jobs and pods as this project sees them: only what a verdict needs, in a few hundred bytes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from supercheck_operator.execution.naming import attempt_of
from supercheck_operator.resources import (
    LABEL_EXECUTION,
    LABEL_EXECUTION_UID,
    LABEL_QUEUE,
    LABEL_TEST,
    Raw,
)

CONTAINER: Final = "test"
"""Name of the container whose exit code is the verdict."""
_LONGEST_GRACE: Final = 366 * 24 * 3600
"""Seconds: API servers take any number, of which dates cannot be made."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which object it is, and whose it says to be.

    Labels can be had by anybody. The name of the Job that it is, or that controls it, is harder to
    have: for one of ours it follows from the labels, and tells which ``attempt`` at the test it is.
    """

    uid: str
    namespace: str
    name: str
    version: int
    execution: str
    execution_uid: str
    queue: str
    test: str
    attempt: int
    """Counted from 1; 0 for what is none of ours, whatever its labels say."""
    created: datetime
    deleting: bool

    def follows(self, known: Identity) -> bool:
        """Whether it takes the place of ``known``: a later attempt's, or made anew after it went.

        The latter should not happen, and does: when a request that failed is carried out late.
        """
        if self.attempt != known.attempt:
            return self.attempt > known.attempt
        return self.uid != known.uid and self.version > known.version


@dataclass(frozen=True, slots=True)
class Job:
    id: Identity
    owned: bool = True
    """By its execution; not so after a deletion that leaves orphans on purpose."""
    stepped: timedelta = timedelta()
    """How far the clock had stepped when this was first seen: see ``clock``."""
    finished: bool = False
    reason: str = ""
    message: str = ""
    gone: bool = False
    may_repeat: bool = False
    """Its controller may not have heard that its pod was made, and make another."""

    @property
    def over(self) -> bool:
        """No pod of it is made any more."""
        return self.gone or self.finished


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod; ``gone`` once the API server no longer has it."""

    id: Identity
    phase: str
    stepped: timedelta = timedelta()
    """As of its Job, and once more when its container has started."""
    delete_requested: datetime | None = None
    """When its deletion was asked for, by the API server's clock (whole seconds)."""
    reason: str = ""
    message: str = ""
    unschedulable: str = ""
    waiting_reason: str = ""
    waiting_message: str = ""
    begun: datetime | None = None
    """When the first of its containers started, one for its initialization included."""
    started: datetime | None = None
    """When the test's own container started."""
    initializing: str = ""
    """The container that runs before the test's own."""
    initialized: datetime | None = None
    """When the last of those ended."""
    finished: datetime | None = None
    ended_by: str = CONTAINER
    """The container whose end this is: the test's own, or one before it that failed."""
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
    def done(self) -> bool:
        """The test's own container has ended."""
        return self.exit_code is not None and self.ended_by == CONTAINER

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
    identity = _identity(raw, _controlling_job(metadata))
    containers: list[Raw] = status.get("containerStatuses") or []
    main: Raw = next((c for c in containers if c.get("name") == CONTAINER), {})
    state: Raw = main.get("state") or {}
    initial = _initial(raw)
    failed = next((c for c in initial if _exit_code(c)), {}) if "terminated" not in state else {}
    deciding = failed or main
    terminated: Raw = (deciding.get("state") or {}).get("terminated") or {}
    waiting: Raw = _waiting(status.get("initContainerStatuses") or []) or state.get("waiting") or {}
    conditions: dict[str, Raw] = {c["type"]: c for c in status.get("conditions") or []}
    scheduled = conditions.get("PodScheduled", {})
    disrupted = conditions.get("DisruptionTarget", {})
    disrupted = disrupted if disrupted.get("status") == "True" else {}
    starts = [_started(c, identity.created) for c in (*initial, main)]
    return Pod(
        id=identity,
        phase=status.get("phase", "Pending"),
        delete_requested=_delete_requested(metadata),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        unschedulable=scheduled.get("message", "no node fits")
        if scheduled.get("status") == "False"
        else "",
        waiting_reason=waiting.get("reason", ""),
        waiting_message=waiting.get("message", ""),
        begun=min((at for at in starts if at is not None), default=None),
        started=starts[-1],
        initializing=next((c["name"] for c in initial if "running" in c["state"]), ""),
        initialized=max((at for c in initial if (at := _finished(c)) is not None), default=None),
        finished=parse_time(terminated.get("finishedAt")),
        ended_by=deciding.get("name", CONTAINER),
        exit_code=terminated.get("exitCode"),
        exit_reason=terminated.get("reason", ""),
        exit_message=terminated.get("message", ""),
        disruption=disrupted.get("reason", ""),
        disruption_message=disrupted.get("message", ""),
        others_open=any(
            "terminated" not in (c.get("state") or {}) for c in containers if c is not main
        ),
    )


def _initial(raw: Raw) -> list[Raw]:
    """The containers that must end before the test's own starts: not those that stay beside it.

    https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/
    """
    staying = {
        container["name"]
        for container in raw.get("spec", {}).get("initContainers") or []
        if container.get("restartPolicy") == "Always"
    }
    return [
        container
        for container in raw.get("status", {}).get("initContainerStatuses") or []
        if container["name"] not in staying and container.get("state")
    ]


def _exit_code(container: Raw) -> int:
    code: int = (container["state"].get("terminated") or {}).get("exitCode", 0)
    return code


def _finished(container: Raw) -> datetime | None:
    return parse_time((container["state"].get("terminated") or {}).get("finishedAt"))


def _waiting(before: list[Raw]) -> Raw:
    """What a container waits for that the test's own waits for in turn."""
    states = (container.get("state") or {} for container in before)
    return next((state["waiting"] for state in states if state.get("waiting")), {})


def _started(container: Raw, created: datetime) -> datetime | None:
    """When a container started; one that could not be is dated to the beginning of time.

    Not before its pod was created, whatever the clock of its node says.
    """
    state = container.get("state") or {}
    started = parse_time((state.get("running") or state.get("terminated") or {}).get("startedAt"))
    return max(started, created) if started is not None and started.timestamp() > 0 else None


def _controlling_job(metadata: Raw) -> str:
    owners = metadata.get("ownerReferences") or []
    return next((o["name"] for o in owners if o.get("controller") and o["kind"] == "Job"), "")


def _delete_requested(metadata: Raw) -> datetime | None:
    """The deletion timestamp says when the grace ends, not when the deletion was asked for."""
    ends = parse_time(metadata.get("deletionTimestamp"))
    if ends is None:
        return None
    grace = min(metadata.get("deletionGracePeriodSeconds") or 0, _LONGEST_GRACE)
    return ends - timedelta(seconds=grace)


def _identity(raw: Raw, job: str) -> Identity:
    metadata: Raw = raw["metadata"]
    labels: dict[str, str] = metadata.get("labels") or {}
    execution, uid = labels.get(LABEL_EXECUTION, ""), labels.get(LABEL_EXECUTION_UID, "")
    test = labels.get(LABEL_TEST, "")
    return Identity(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        version=int(metadata["resourceVersion"]),
        execution=execution,
        execution_uid=uid,
        queue=labels.get(LABEL_QUEUE, ""),
        test=test,
        attempt=attempt_of(job, execution, uid, test),
        created=datetime.fromisoformat(metadata["creationTimestamp"]),
        deleting="deletionTimestamp" in metadata,
    )
