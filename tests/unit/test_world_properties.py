"""The world against watches that replay, reorder and repeat.

A history of a few executions is made up first, each object with rising versions, and told in order.
Whatever is told again of it then is old, and must change nothing.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.unit.builders import Raw, raw_execution, raw_job, raw_pod, terminated, when

from supercheck_operator.controller.world import Kind, World
from supercheck_operator.ledger.contract import State

UIDS = ("u1", "u2")
uids = st.sampled_from(UIDS)


@dataclass
class Object:
    """An object as the API server has it: its newest text, and whether it is gone."""

    kind: Kind
    raw: Raw
    deleted: bool = False


@dataclass
class Event:
    kind: Kind
    raw: Raw
    deleted: bool = field(default=False)


class WorldMachine(RuleBasedStateMachine):
    """An API server that changes and tells of it; and a sweep now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.version = 0
        self.objects: dict[str, Object] = {}
        self.told: list[Event] = []

    def next_version(self) -> int:
        self.version += 1
        return self.version

    def change(self, uid: str, kind: Kind, raw: Raw, *, deleted: bool = False) -> None:
        """The object becomes ``raw``, and the watch tells so at once."""
        self.objects[uid] = Object(kind, raw, deleted)
        self.told.append(Event(kind, raw, deleted))
        self.world.observe(kind, raw, deleted=deleted)

    def exists(self, uid: str) -> bool:
        return uid in self.objects and not self.objects[uid].deleted

    def ended(self, uid: str) -> bool:
        phase: str = self.objects[uid].raw["status"].get("phase", "")
        return phase in ("Succeeded", "Failed")

    @rule(uid=uids, priority=st.integers(0, 3), phase=st.sampled_from(["Queued", "Running"]))
    def write_execution(self, uid: str, priority: int, phase: str) -> None:
        if uid in self.objects and (self.objects[uid].deleted or phase == "Queued"):
            return
        status = {"phase": phase}
        raw = raw_execution(uid=uid, version=self.next_version(), priority=priority, status=status)
        self.change(uid, Kind.EXECUTION, raw)

    @precondition(lambda self: self.objects)
    @rule(uid=uids)
    def write_job(self, uid: str) -> None:
        if self.exists(uid) and f"job-{uid}-login" not in self.objects:
            raw = raw_job(execution_uid=uid, version=self.next_version())
            self.change(f"job-{uid}-login", Kind.JOB, raw)

    @rule(uid=uids, step=st.sampled_from(["Pending", "Running", "Succeeded"]))
    def write_pod(self, uid: str, step: str) -> None:
        name = f"pod-{uid}-login"
        if not self.exists(f"job-{uid}-login"):
            return
        if name in self.objects and (self.objects[name].deleted or self.ended(name)):
            return
        state = {
            "Pending": None,
            "Running": {"running": {"startedAt": when(-10)}},
            "Succeeded": terminated(0),
        }[step]
        version = self.next_version()
        raw = raw_pod(execution_uid=uid, version=version, phase=step, state=state)
        self.change(name, Kind.POD, raw)

    @rule(uid=uids, prefix=st.sampled_from(["", "job-", "pod-"]))
    def delete(self, uid: str, prefix: str) -> None:
        name = f"{prefix}{uid}-login" if prefix else uid
        if self.exists(name):
            old = self.objects[name]
            raw = copy.deepcopy(old.raw)
            raw["metadata"]["resourceVersion"] = str(self.next_version())
            self.change(name, old.kind, raw, deleted=True)

    @rule(uid=uids)
    def proof_is_found(self, uid: str) -> None:
        if run := self.world.get(uid):
            run.unproven = frozenset()

    @rule()
    def forget_what_is_over(self) -> None:
        for run in [run for run in self.world if run.over and run.state is None]:
            self.world.forget(run)

    @rule()
    def sweep(self) -> None:
        """A LIST of what exists tells nothing new to a watch that missed nothing."""
        before = copy.deepcopy(list(self.world))
        for kind in Kind:
            listed = {
                uid: each.raw
                for uid, each in self.objects.items()
                if each.kind is kind and not each.deleted
            }
            for raw in listed.values():
                self.world.observe(kind, raw)
            assert self.world.missing(kind, listed, self.version) == []
        assert list(self.world) == before

    @precondition(lambda self: self.told)
    @rule(choice=st.lists(st.integers(0, 10_000), min_size=1, max_size=8))
    def old_news_changes_nothing(self, choice: list[int]) -> None:
        before = copy.deepcopy(list(self.world))
        for number in choice:
            event = self.told[number % len(self.told)]
            self.world.observe(event.kind, event.raw, deleted=event.deleted)
        assert list(self.world) == before

    @invariant()
    def each_is_in_its_queue(self) -> None:
        by_queue = {name: list(self.world.of(name)) for name in self.world.queues()}
        assert all(by_queue.values())
        assert all(run.queue == name for name, runs in by_queue.items() for run in runs)
        assert sum(map(len, by_queue.values())) == len(self.world)

    @invariant()
    def what_lives_counts_as_running(self) -> None:
        for uid in UIDS:
            pod = f"pod-{uid}-login"
            if self.exists(pod) and not self.ended(pod):
                run = self.world.get(uid)
                assert run is not None
                assert run.state is State.RUNNING

    @invariant()
    def what_is_gone_holds_nothing(self) -> None:
        for run in self.world:
            mine = (run.uid, f"job-{run.uid}-login", f"pod-{run.uid}-login")
            if not run.unproven and not any(self.exists(name) for name in mine):
                assert run.state is None


TestWorld = WorldMachine.TestCase
