"""What is shown of executions and queues over HTTP, and where it comes from. Pure.

These models are the only definition: the OpenAPI document is made of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from pydantic import Field

from supercheck_operator.ledger.contract import LedgerUnavailableError
from supercheck_operator.resources import Model, Phase, Summary, TestStatus


class ShownExecution(Model):
    """One execution. Times are RFC 3339 in UTC."""

    namespace: str
    name: str
    uid: str
    queue: str
    priority: int = 0
    phase: Phase
    reason: str | None = None
    message: str | None = None
    created_at: str
    started_at: str | None = None
    completed_at: str | None = None
    attempts: int = 0
    summary: Summary
    tests: tuple[TestStatus, ...] = Field(
        default=(), description="Of what runs, and of a single execution; lists leave them out."
    )
    position: int | None = Field(
        default=None,
        description="Place in line, from 1; null for what runs, is over, or is kept out of the"
        " line: suspended, or until its next attempt.",
    )
    estimated_start: str | None = Field(
        default=None,
        description="When it may start, by how long executions of this queue lately held their"
        " slot; null where nothing was measured yet or the queue is held.",
    )


class Sample(Model):
    """A queue at one moment."""

    at: str
    running: int
    queued: int
    wait_seconds: float | None = Field(
        default=None, description="Mean wait of those started since the sample before; null: none."
    )


@dataclass(frozen=True, slots=True)
class QueueWays:
    """How a queue works, as far as it is shown."""

    stop_policy: str
    ordering: str
    slot_seconds: float | None
    """How long executions lately held their slot, on average; None if nobody knows yet."""


class Source(Protocol):
    """What is under way, from the memory of the process that decides."""

    @property
    def version(self) -> int:
        """Another number whenever something may have changed."""

    def queues(self) -> list[str]:
        """Names of the queues that exist, or that something waits or runs in."""

    def ways(self, queue: str) -> QueueWays: ...

    def namespaces(self) -> frozenset[str]:
        """Those of which something is shown."""

    def running(self, queue: str) -> list[ShownExecution]:
        """The longest running first."""

    def queued(self, queue: str, shows: Callable[[str], bool]) -> Iterator[ShownExecution]:
        """Those of the namespaces that ``shows`` names, made one by one, in the order of their
        start; those kept out of the line last."""

    def waiting(self, queue: str) -> Counter[str]:
        """How many of each namespace wait, those kept out of the line among them."""

    def finished(self, queue: str) -> list[ShownExecution]:
        """The latest first."""

    def find(self, namespace: str, name: str) -> ShownExecution | None:
        """One that waits or runs."""


class Shown:
    """Where the source is found once there is one."""

    def __init__(self) -> None:
        self._source: Source | None = None
        self._stale: Callable[[], bool] = lambda: False

    def is_shown_by(self, source: Source, stale: Callable[[], bool]) -> None:
        """``stale`` tells whether what ``source`` shows may be long over."""
        self._source, self._stale = source, stale

    @property
    def source(self) -> Source:
        """Raises LedgerUnavailableError while what there is has not been seen, or not for long."""
        if self._source is None or self._stale():
            raise LedgerUnavailableError("nothing has been read yet, or not for long")
        return self._source


def brief(executions: Iterable[ShownExecution]) -> list[ShownExecution]:
    """Without their tests."""
    return [each.model_copy(update={"tests": ()}) for each in executions]
