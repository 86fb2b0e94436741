"""What must hold, write by write, whatever fails: judged from the writes alone, in their order.

Nothing here knows the operator: executions, queues, Jobs and pods are read as the contract names
their fields. All is judged so that nobody's lag matters: what the operator has freed, it has freed
after the write that freed it, so at each write it counts at least what is counted here. Only
changes of a limit are learned late, so a limit counts as long as it may still be believed; and who
has a slot keeps it when a limit is lowered, for all of its tests.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

from tests.chaos.etcd import Change

Raw = dict[str, Any]

FINAL: Final = ("Passed", "Failed", "Error", "Cancelled")
ENDED: Final = ("Succeeded", "Failed")
BELIEVED: Final = 60.0
"""Seconds for which a changed limit may still be acted upon: a failover, a sweep, requests that are
repeated until the API server is back."""
_UID: Final = "supercheck.io/execution-uid"
_TEST: Final = "supercheck.io/test"
_WRITTEN_ONCE: Final = ("phase", "reason", "message", "tests", "startedAt", "completedAt")
_MOVES: Final = {
    "Queued": ("Queued", "Running", *FINAL),
    "Running": ("Running", "Queued", *FINAL),
}


@dataclass
class Pod:
    test: str
    job: str
    phase: str = "Pending"
    exists: bool = True

    @property
    def lives(self) -> bool:
        return self.exists and self.phase not in ENDED


@dataclass
class Job:
    test: str
    finished: bool = False
    pods: set[str] = field(default_factory=set)
    """UIDs of all that it ever had."""


@dataclass
class Execution:
    """What is known of one, by its UID."""

    uid: str
    raw: Raw
    exists: bool = True
    jobs: dict[str, Job] = field(default_factory=dict)
    """By UID, those that exist."""
    made: Counter[str] = field(default_factory=Counter)
    """Jobs ever made, by test."""
    began: float = 0.0
    """When the first of them was: it has its slot since then, or since its next attempt."""
    pods: dict[str, Pod] = field(default_factory=dict)
    """By UID, all there ever were."""
    result: dict[str, str] = field(default_factory=dict)
    """By test, the phase in which its latest pod ended."""
    asked_to_end: bool = False
    """Somebody has cancelled or deleted it."""
    story: list[tuple[float, str]] = field(default_factory=list)
    """Every write of it, its Jobs and pods: when (monotonic), and what it says."""

    @property
    def name(self) -> str:
        return f"{self.raw['metadata']['namespace']}/{self.raw['metadata']['name']}"

    @property
    def namespace(self) -> str:
        found: str = self.raw["metadata"]["namespace"]
        return found

    @property
    def queue(self) -> str:
        found: str = self.raw["spec"]["queue"]
        return found

    @property
    def status(self) -> Raw:
        return self.raw.get("status") or {}

    @property
    def phase(self) -> str:
        found: str = self.status.get("phase", "Queued")
        return found

    @property
    def over(self) -> bool:
        return not self.exists or self.phase in FINAL

    def live_tests(self) -> set[str]:
        """Those with a pod that has not ended, or a Job that may yet get its pod."""
        waits = {job.test for job in self.jobs.values() if not job.finished and not job.pods}
        return waits | {pod.test for pod in self.pods.values() if pod.lives}

    @property
    def counts(self) -> bool:
        """Whether nobody can take it to be over, or to be resting before its next attempt."""
        if self.live_tests():
            return True
        if self.over or self.raw["spec"].get("cancel"):
            return False
        ends = self.result.values()
        if self.raw["spec"].get("failFast") and "Failed" in ends:
            return False
        return len(self.result) < len(self.raw["spec"]["tests"])


@dataclass(frozen=True, slots=True)
class Violation:
    """What must not have been: by which write, read when (monotonic)."""

    revision: int
    at: float
    what: str

    def __str__(self) -> str:
        return f"at {self.revision}: {self.what}"


class Judge:
    """Is shown every change, in order; ``violations`` says what must not have been."""

    def __init__(self) -> None:
        self.executions: dict[str, Execution] = {}
        self.violations: list[Violation] = []
        self.suspects: list[Execution] = []
        """Those of which there was one too many."""
        self.admissions: list[float] = []
        """When each execution was stored (monotonic)."""
        self.launches: list[float] = []
        """When each Job was."""
        self.pod_ends: list[float] = []
        """When a pod had ended, or was gone: nothing is launched without that, if all is full."""
        self.ends: Counter[str] = Counter()
        """Executions by their final phase."""
        self.most_live: Counter[str] = Counter()
        """By queue, the most that lived at once."""
        self.limits: defaultdict[str, list[tuple[float, Raw]]] = defaultdict(list)
        """Of each queue all that there ever were, and from when."""

    def see(self, change: Change) -> None:
        match change.kind:
            case "executionqueues":
                self._queue(change)
            case "testexecutions":
                self._execution(change)
                _tell(self.executions[change.raw["metadata"]["uid"]], change)
            case "jobs" | "pods":
                labels = change.raw["metadata"].get("labels") or {}
                execution = self.executions.get(labels.get(_UID, ""))
                if execution is None:
                    return
                _tell(execution, change)
                (self._job if change.kind == "jobs" else self._pod)(
                    change, execution, labels[_TEST]
                )

    def at_rest(self) -> list[str]:
        """Everything that is not over yet, or lives though it should not."""
        waiting = [f"{x.name} is {x.phase}" for x in self.executions.values() if not x.over]
        living = [f"{x.name} lives" for x in self.executions.values() if x.live_tests()]
        return waiting + living

    def _fails(self, change: Change, what: str) -> None:
        self.violations.append(Violation(change.revision, change.at, what))

    # Queues --------------------------------------------------------------------------------------

    def _queue(self, change: Change) -> None:
        if change.after is not None:
            name = change.after["metadata"]["name"]
            self.limits[name].append((change.at, change.after["spec"]))

    def _in_force(self, queue: str, since: float) -> list[Raw]:
        """Every spec of ``queue`` that somebody may have gone by ``since`` then."""
        specs = self.limits[queue]
        return [
            spec
            for (_, spec), (until, _) in zip(specs, [*specs[1:], (since, {})], strict=True)
            if until >= since - BELIEVED
        ]

    def _has_room(self, change: Change, queue: str, *, admitted: bool) -> None:
        """Among all of ``queue``, and among those of each namespace if that has a share of it."""
        everyone = [x for x in self.executions.values() if x.queue == queue]
        living = [x for x in everyone if x.live_tests()]
        live = [x.namespace for x in living]
        counted = [x.namespace for x in everyone if x.counts] if admitted else live
        # Between two starts those with a slot only become fewer: all had room if the last had it.
        since = change.at if admitted else max(x.began for x in living)
        specs = self._in_force(queue, since)
        if not admitted:
            self.most_live[queue] = max(self.most_live[queue], len(live))
        parked = [x.namespace for x in everyone if x.counts and x.raw["spec"].get("suspend")]
        parts = [(queue, len(counted), len(live), len(parked), specs)]
        if all("perNamespace" in spec for spec in specs):
            shares = [spec | spec["perNamespace"] for spec in specs]
            parts += [
                (f"{queue} of {name}", count, live.count(name), parked.count(name), shares)
                for name, count in Counter(counted).items()
            ]
        for where, count, running, suspended, limits in parts:
            room = max(_room(spec, running, suspended, admitted=admitted) for spec in limits)
            if count > room:
                what = "wait or run" if admitted else "live"
                self._fails(change, f"{count} {what} in {where}, room is {room}")
                if not admitted:
                    self.suspects += living

    # Executions ----------------------------------------------------------------------------------

    def _execution(self, change: Change) -> None:
        uid = change.raw["metadata"]["uid"]
        if change.after is None:
            gone = self.executions[uid]
            gone.exists, gone.asked_to_end = False, True
            return
        known = self.executions.get(uid)
        if known is None:
            made = self.executions[uid] = Execution(uid, change.after)
            self.admissions.append(change.at)
            self._has_room(change, made.queue, admitted=True)
            return
        before, known.raw = known.raw, change.after
        if known.raw["spec"].get("cancel") or "deletionTimestamp" in known.raw["metadata"]:
            known.asked_to_end = True
        self._moved(change, known, before.get("status") or {}, known.status)

    def _moved(self, change: Change, execution: Execution, old: Raw, new: Raw) -> None:
        was, phase = old.get("phase", "Queued"), execution.phase
        if was in FINAL:
            for key in _WRITTEN_ONCE:
                if old.get(key) != new.get(key):
                    told = f"{old.get(key)} → {new.get(key)}"
                    self._fails(change, f"{key} of {execution.name} changed after its end: {told}")
            return
        if phase not in _MOVES[was]:
            self._fails(change, f"{execution.name} went from {was} to {phase}")
        if new.get("attempts", 0) < old.get("attempts", 0):
            self._fails(change, f"{execution.name} has fewer attempts than before")
        if phase in FINAL:
            self.ends[phase] += 1
            self._ended(change, execution, phase)

    def _ended(self, change: Change, execution: Execution, phase: str) -> None:
        """The end told is the one its pods came to."""
        tests = {test["name"] for test in execution.raw["spec"]["tests"]}
        passed = {test for test in tests if execution.result.get(test) == "Succeeded"}
        true = {
            "Passed": passed == tests,
            "Failed": "Failed" in execution.result.values(),
            "Cancelled": execution.asked_to_end,
        }
        if not true.get(phase, False):
            told = f"{phase}, {execution.status.get('reason')}: {execution.status.get('message')}"
            self._fails(change, f"{execution.name} is {told}, its pods {execution.result}")
        # What is stopped is told at once, and keeps its slot until its pods are gone.
        stopped = phase == "Cancelled" or execution.raw["spec"].get("failFast")
        if execution.live_tests() and not stopped:
            self._fails(change, f"{execution.name} is {phase} while it lives")

    # Jobs and pods -------------------------------------------------------------------------------

    def _job(self, change: Change, execution: Execution, test: str) -> None:
        metadata = change.raw["metadata"]
        uid = metadata["uid"]
        if change.after is None:
            execution.jobs.pop(uid, None)
            return
        if change.before is None:
            self._launched(change, execution, test, uid)
        conditions = (change.after.get("status") or {}).get("conditions") or []
        execution.jobs[uid].finished = any(
            each["type"] in ("Complete", "Failed") and each["status"] == "True"
            for each in conditions
        )

    def _launched(self, change: Change, execution: Execution, test: str, uid: str) -> None:
        self.launches.append(change.at)
        what = f"{test} of {execution.name}"
        if test in execution.live_tests():
            self._fails(change, f"{what} gets a Job while another, or a pod of it, lives")
        if execution.exists and execution.phase in FINAL:
            self._fails(change, f"{what} gets a Job after its end")
        if not execution.made:
            execution.began = change.at
        execution.made[test] += 1
        limit = (execution.raw["spec"].get("retry") or {}).get("limit", 0)
        if execution.made[test] > 1 + limit:
            self._fails(change, f"{what} gets its Job no. {execution.made[test]}, retries: {limit}")
        if execution.result.pop(test, None) == "Succeeded":
            self._fails(change, f"{what} runs again although it has passed")
        execution.jobs[uid] = Job(test)
        self._has_room(change, execution.queue, admitted=False)

    def _pod(self, change: Change, execution: Execution, test: str) -> None:
        uid = change.raw["metadata"]["uid"]
        lived = uid in execution.pods and execution.pods[uid].lives
        if change.after is None:
            execution.pods[uid].exists = False
        else:
            self._pod_is(execution, test, uid, change.after)
        if lived and not execution.pods[uid].lives:
            self.pod_ends.append(change.at)

    def _pod_is(self, execution: Execution, test: str, uid: str, after: Raw) -> None:
        if uid not in execution.pods:
            job = after["metadata"]["ownerReferences"][0]["uid"]
            execution.pods[uid] = Pod(test, job)
            if job in execution.jobs:
                execution.jobs[job].pods.add(uid)
        pod = execution.pods[uid]
        pod.phase = after["status"].get("phase", "Pending")
        if pod.phase in ENDED:
            execution.result[test] = pod.phase


def _tell(execution: Execution, change: Change) -> None:
    metadata, status = change.raw["metadata"], change.raw.get("status") or {}
    said = [change.kind, metadata["name"], str(status.get("phase", ""))]
    said += [each["type"] for each in status.get("conditions") or () if each["status"] == "True"]
    said += ["cancelled"] * bool(change.raw.get("spec", {}).get("cancel"))
    said += ["being deleted"] * ("deletionTimestamp" in metadata)
    said += ["gone"] * (change.after is None)
    execution.story.append((change.at, f"{change.revision} {' '.join(filter(None, said))}"))


def _room(spec: Raw, running: int, suspended: int, *, admitted: bool) -> int:
    """For how many. Where a limit was lowered, more may run than it says, and as many as ever may
    wait beside them; and if more are suspended than may wait, a free slot is free for one more.
    """
    limit: int = spec["runningCapacity"]
    return max(limit, running) + max(spec["queuedCapacity"], suspended) if admitted else limit
