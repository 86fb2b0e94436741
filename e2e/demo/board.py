"""What the API server has shown of the demo's executions and queues."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

Raw = dict[str, Any]

EXPECT: Final = "demo/expect"
"""Annotation of an example: the verdict it must end with, `Phase` or `Phase/Reason`."""
REFUSED: Final = "Refused"
FINAL: Final = frozenset({"Passed", "Failed", "Error", "Cancelled"})


@dataclass(frozen=True, slots=True)
class Execution:
    """One TestExecution, as far as it is shown here."""

    name: str
    queue: str
    priority: int
    created: str
    version: int
    expected: str
    phase: str = "Queued"
    reason: str = ""
    message: str = ""
    progress: str = ""
    started: datetime | None = None
    completed: datetime | None = None

    @property
    def final(self) -> bool:
        return self.phase in FINAL

    @property
    def verdict(self) -> str:
        return f"{self.phase}/{self.reason}" if self.reason else self.phase

    @property
    def as_expected(self) -> bool:
        return self.expected in (self.verdict, self.phase)

    def seconds(self, now: datetime) -> float | None:
        """From the start of its first container to its end, or to ``now``."""
        if self.started is None:
            return None
        return max(0.0, ((self.completed or now) - self.started).total_seconds())


@dataclass(frozen=True, slots=True)
class Refusal:
    """A submission that the API server answered with a refusal."""

    name: str
    code: int
    message: str
    expected: str

    @property
    def as_expected(self) -> bool:
        return self.expected == f"{REFUSED}/{self.code}"


@dataclass(frozen=True, slots=True)
class Queue:
    name: str
    running: int
    running_capacity: int
    queued: int
    queued_capacity: int
    upcoming: tuple[str, ...]


@dataclass(slots=True)
class Board:
    """Executions in the order of their submission."""

    executions: dict[str, Execution] = field(default_factory=dict)
    queues: dict[str, Queue] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    submitted: bool = False
    """Everything has been submitted."""

    @property
    def done(self) -> bool:
        """Everything has its verdict, and no pod occupies a slot any more."""
        return (
            self.submitted
            and all(each.final for each in self.executions.values())
            and not any(queue.running for queue in self.queues.values())
        )

    @property
    def as_expected(self) -> bool:
        outcomes: list[Execution | Refusal] = [*self.executions.values(), *self.refusals]
        return self.done and all(each.as_expected for each in outcomes)

    def running(self) -> list[Execution]:
        return [each for each in self.executions.values() if each.phase == "Running"]

    def finished(self) -> list[Execution]:
        """The newest first."""
        over = [each for each in self.executions.values() if each.final]
        return sorted(over, key=lambda each: each.completed or datetime.now(UTC), reverse=True)

    def starting(self, queue: Queue) -> list[Execution]:
        """Those that left the line but are not said to run yet."""
        waiting = self._waiting(queue.name)
        first = next((i for i, e in enumerate(waiting) if e.name in queue.upcoming), len(waiting))
        return waiting[:first] if first < len(waiting) or not queue.queued else []

    def line(self, queue: Queue) -> list[Execution]:
        """Those that wait in ``queue``, in the order of their start."""
        starting = self.starting(queue)
        return [each for each in self._waiting(queue.name) if each not in starting]

    def _waiting(self, queue: str) -> list[Execution]:
        waiting = [e for e in self.executions.values() if e.phase == "Queued" and e.queue == queue]
        return sorted(waiting, key=lambda e: (-e.priority, e.created, e.version))


def execution(raw: Raw) -> Execution:
    metadata, spec, status = raw["metadata"], raw["spec"], raw.get("status", {})
    return Execution(
        name=metadata["name"],
        queue=spec["queue"],
        priority=spec["priority"],
        created=metadata["creationTimestamp"],
        version=int(metadata["resourceVersion"]),
        expected=expectation(raw),
        phase=status.get("phase", "Queued"),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        progress=status.get("progress", ""),
        started=_time(status.get("startedAt")),
        completed=_time(status.get("completedAt")),
    )


def queue(raw: Raw) -> Queue:
    status = raw.get("status", {})
    return Queue(
        name=raw["metadata"]["name"],
        running=status.get("running", 0),
        running_capacity=status.get("runningCapacity", 0),
        queued=status.get("queued", 0),
        queued_capacity=status.get("queuedCapacity", 0),
        upcoming=tuple(each["name"] for each in status.get("upcoming", [])),
    )


def expectation(raw: Raw) -> str:
    return str(raw["metadata"].get("annotations", {}).get(EXPECT, "Passed"))


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
