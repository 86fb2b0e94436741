"""What must hold in the cluster itself, at every change, whatever the operator believes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from tests.simulation.api import Api
from tests.simulation.cluster import EXECUTIONS, JOBS, PODS, QUEUES, Cluster

from supercheck_operator.resources import (
    LABEL_EXECUTION_UID,
    LABEL_QUEUE,
    LABEL_TEST,
    Phase,
    Raw,
    Reason,
)
from supercheck_operator.resources import StopPolicy as Policy

_ENDS: Final = tuple(phase for phase in Phase if phase.final)
_MOVES: Final = {
    (Phase.QUEUED, Phase.RUNNING, 1),
    (Phase.QUEUED, Phase.QUEUED, 1),
    (Phase.RUNNING, Phase.RUNNING, 0),
    (Phase.RUNNING, Phase.QUEUED, 0),
    *((Phase.RUNNING, end, 0) for end in _ENDS),
    *((Phase.QUEUED, end, begun) for end in _ENDS for begun in (0, 1)),
}
"""From a phase to a phase, and how many attempts are begun by it."""
_RESULT: Final = ("phase", "reason", "message", "exitCode", "attempts", "pod")
_WRITTEN_ONCE: Final = ("phase", "reason", "message", "tests", "startedAt", "completedAt")


class Truth:
    """Sees every change of ``api``; ``fail`` is told of the first that must not be.

    ``blindness`` is for how many seconds the operator may not know what its users have changed.
    """

    def __init__(
        self,
        api: Api,
        cluster: Cluster,
        *,
        blindness: Callable[[], float],
        fail: Callable[[str], None],
    ) -> None:
        self.finals: dict[str, Phase] = {}
        """Executions by the UID that have come to their end, also if they are deleted by now."""
        self.clock_error = timedelta()
        """By how much the operator's clock has differed from that of others, at most."""
        self.last_change = 0.0
        self.started: set[str] = set()
        self._api = api
        self._cluster = cluster
        self._blindness = blindness
        self._fail = fail
        self._asked_at: dict[str, float] = {}
        self._ever_asked: set[str] = set()
        self._unforeseen: set[str] = set()
        """A Job of theirs came after its request was answered with a failure: it may come after
        their end. That it counts, and is cleared away, is asked for."""
        self._unknown: set[str] = set()
        """What came of them was asked for, or begun, before the operator that leads was there."""
        self._result_at: dict[tuple[str, str], float] = {}
        self._rests_until: dict[str, datetime] = {}
        self._unwanted_since: dict[str, float] = {}
        self._capacities: defaultdict[str, list[tuple[float, Raw]]] = defaultdict(list)
        api.listeners.append(self._changed)
        api.job_asked = self._job_asked

    def restarted(self) -> None:
        """What was claimed and has no Job is forgotten, and so is whose pod may still come."""
        self._asked_at.clear()
        late = self._cluster.coming_late()
        self._unknown |= {job["metadata"]["labels"][LABEL_EXECUTION_UID] for job in late}

    def occupying(self, queue: str, namespace: str | None = None) -> set[str]:
        """UIDs of the executions that hold a slot: something of them is alive."""
        uids = {
            job["metadata"]["labels"][LABEL_EXECUTION_UID]
            for job in (
                *self._api.objects[JOBS].values(),
                *self._api.objects[PODS].values(),
                *self._cluster.coming_late(),
            )
            if job["metadata"]["labels"][LABEL_QUEUE] == queue
            and namespace in (None, job["metadata"]["namespace"])
        }
        return {uid for uid in uids if self._cluster.live_tests(uid)}

    def _job_asked(self, job: Raw) -> None:
        uid = job["metadata"]["labels"][LABEL_EXECUTION_UID]
        self._asked_at.setdefault(uid, self._api.loop.time())
        self._ever_asked.add(uid)

    def _changed(self, plural: str, before: Raw | None, after: Raw | None) -> None:
        self.last_change = self._api.loop.time()
        if plural == JOBS and before is None and after is not None:
            self._job_created(after)
        elif plural == PODS and before is None and after is not None:
            self._pod_created(after)
        elif plural == QUEUES:
            raw = after or before
            assert raw is not None
            spec = raw["spec"] if after is not None else {"stopPolicy": "Hold"}
            self._capacities[raw["metadata"]["name"]].append((self.last_change, spec))
        elif plural == EXECUTIONS and after is not None:
            if before is None:
                self._admitted(after)
            self._want(after)
            if before is not None:
                self._status_changed(before, after)

    # Jobs ----------------------------------------------------------------------------------------

    def _job_created(self, job: Raw) -> None:
        metadata, labels = job["metadata"], job["metadata"]["labels"]
        uid, test, queue = labels[LABEL_EXECUTION_UID], labels[LABEL_TEST], labels[LABEL_QUEUE]
        if self._api.late:
            self._unforeseen.add(uid)
            if uid not in self._asked_at:
                self._unknown.add(uid)
        if uid in self._unforeseen:
            return
        if (uid, test) in self._result_at:
            self._fail(f"{test} of {uid} gets a Job although it has a result")
        others = self._cluster.live_tests(uid, but=metadata["uid"])
        if test in others:
            self._fail(f"{test} of {uid} gets a Job while another, or a pod of it, lives")
        if others and uid not in self.started:
            self._fail(f"{uid} begins an attempt while {sorted(others)} of the last one live")
        if uid in self.started:
            return
        self.started.add(uid)
        if self._api.now() < self._rests_until.get(uid, self._api.now()) - self.clock_error:
            self._fail(f"{uid} begins its next attempt before its backoff is over")
        asked = self._asked_at.get(uid, self._api.loop.time())
        since = asked - self._blindness()
        if self._unwanted_since.get(uid, asked) < since:
            self._fail(f"{uid} was started long after it was cancelled or suspended")
        self._has_room(uid, queue, None, since)
        self._has_room(uid, queue, metadata["namespace"], since)

    def _has_room(self, uid: str, queue: str, namespace: str | None, since: float) -> None:
        others = self.occupying(queue, namespace) - self._unknown - {uid}
        capacity = max(_running_capacity(spec, namespace) for spec in self._in_force(queue, since))
        if len(others) >= capacity:
            where = f"{queue}/{namespace}" if namespace else queue
            self._fail(f"{uid} was started in {where} beside {sorted(others)}, room is {capacity}")

    def _pod_created(self, pod: Raw) -> None:
        """The second one of a Job may come when its slot is another's by now."""
        queue = pod["metadata"]["labels"][LABEL_QUEUE]
        living = self.occupying(queue) - self._unknown - self._unforeseen
        capacity = max(_running_capacity(spec, None) for _, spec in self._capacities[queue])
        if len(living) > capacity:
            self._fail(f"{sorted(living)} live in {queue}, room was for {capacity} at most")

    def _in_force(self, queue: str, since: float) -> list[Raw]:
        """Every spec that ``queue`` has had after ``since``."""
        specs = self._capacities[queue]
        later = [spec for at, spec in specs if at > since]
        first = next((spec for at, spec in reversed(specs) if at <= since), None)
        return [*later, first] if first is not None else later

    # Executions ----------------------------------------------------------------------------------

    def _admitted(self, execution: Raw) -> None:
        queue = execution["spec"]["queue"]
        specs = self._in_force(queue, self._api.loop.time() - self._blindness())
        for namespace in (None, execution["metadata"]["namespace"]):
            limits = [_whole_capacity(spec, namespace) for spec in specs]
            present = self._present(queue, namespace) - self._unknown
            if len(present) > max(limits):
                where = f"{queue}/{namespace}" if namespace else queue
                self._fail(f"{where} takes {sorted(present)}, room is {max(limits)}")

    def _present(self, queue: str, namespace: str | None) -> set[str]:
        """Executions that no operator can take to be over."""
        waiting = {
            raw["metadata"]["uid"]
            for raw in self._api.objects[EXECUTIONS].values()
            if raw["spec"]["queue"] == queue
            and namespace in (None, raw["metadata"]["namespace"])
            and raw["status"]["phase"] == Phase.QUEUED
            and not raw["spec"].get("cancel")
            and not raw["spec"].get("suspend")
            and "queueTimeoutSeconds" not in raw["spec"]
            and "deletionTimestamp" not in raw["metadata"]
            and raw["metadata"]["uid"] not in self._ever_asked
        }
        drained = any(
            spec.get("stopPolicy") == Policy.HOLD_AND_DRAIN
            for spec in self._in_force(queue, self._api.loop.time() - self._blindness())
        )
        return self.occupying(queue, namespace) | (set() if drained else waiting)

    def _want(self, execution: Raw) -> None:
        uid, spec = execution["metadata"]["uid"], execution["spec"]
        if spec.get("cancel") or spec.get("suspend"):
            self._unwanted_since.setdefault(uid, self._api.loop.time())
        else:
            self._unwanted_since.pop(uid, None)

    def _status_changed(self, before: Raw, after: Raw) -> None:
        old, new = before["status"], after["status"]
        if old == new:
            return
        uid = after["metadata"]["uid"]
        was, phase = Phase(old["phase"]), Phase(new["phase"])
        if was.final:
            for field in _WRITTEN_ONCE:
                if old.get(field) != new.get(field):
                    told = f"{old.get(field)} → {new.get(field)}"
                    self._fail(f"{field} of {uid} changed after its end: {told}")
            return
        made, makes = old.get("attempts", 0), new["attempts"]
        if (was, phase, makes - made) not in _MOVES:
            self._fail(f"{uid} went from {was} ({made} attempts) to {phase} ({makes})")
        if phase is Phase.QUEUED and new.get("reason") != Reason.RETRYING:
            self._fail(f"{uid} was written while it waits")
        if phase.final:
            self.finals[uid] = phase
        self._results_changed(uid, old, new)
        if phase is Phase.QUEUED:
            self._next_attempt(uid, after)

    def _results_changed(self, uid: str, old: Raw, new: Raw) -> None:
        """A result stays until the attempt is over; what passed, for ever."""
        results = {test["name"]: test for test in new.get("tests") or ()}
        for test in old.get("tests") or ():
            name, phase = test["name"], Phase(test["phase"])
            same = all(test.get(field) == results[name].get(field) for field in _RESULT)
            if not phase.final or same:
                continue
            if phase is Phase.PASSED or new["phase"] != Phase.QUEUED:
                self._fail(f"the result of {name} of {uid} changed: {test} → {results[name]}")
        for name, test in results.items():
            if Phase(test["phase"]).final:
                self._result_at.setdefault((uid, name), self._api.loop.time())
            else:
                self._result_at.pop((uid, name), None)

    def _next_attempt(self, uid: str, execution: Raw) -> None:
        """It is in the line again, and has no slot until its backoff is over."""
        status, retry = execution["status"], execution["spec"]["retry"]
        backoff = timedelta(seconds=retry["backoffSeconds"] * 2 ** (status["attempts"] - 1))
        ends = [
            datetime.fromisoformat(test["completedAt"])
            for test in status["tests"]
            if test.get("reason") == Reason.RETRYING
        ]
        self._rests_until[uid] = max(ends) + backoff
        self.started.discard(uid)
        self._asked_at.pop(uid, None)


def _running_capacity(spec: Raw, namespace: str | None) -> float:
    if Policy(spec.get("stopPolicy", "None")).holds:
        return 0
    return _capacity(spec, namespace, "runningCapacity")


def _whole_capacity(spec: Raw, namespace: str | None) -> float:
    queued = _capacity(spec, namespace, "queuedCapacity")
    return queued + _capacity(spec, namespace, "runningCapacity")


def _capacity(spec: Raw, namespace: str | None, field: str) -> float:
    share = (spec.get("perNamespace") or {}) if namespace else spec
    capacity = share.get(field)
    return float("inf") if capacity is None else capacity
