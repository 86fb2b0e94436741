"""What every ledger promises; ``tests/contract`` holds each of them to it.

A ledger is a set of holders per queue, keyed by the UID of their object. It may be wiped at any
time: the API server is the truth, and ``reconcile`` brings the truth back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from supercheck_operator.ledger.capacity import Limits, Occupancy, Stats

CREATE_TIMEOUT: Final = 34.0
"""Seconds after which an admitted create can no longer be stored: the API server gives one create
34 s in all (``requestTimeoutUpperBound`` in k8s.io/apiserver's handlers/rest.go)."""


UNVERIFIABLE: Final = "Unable to verify queue capacity due to an error. Please try again later."
"""The contract's sentence for everyone who asks while nobody can tell."""


class State(StrEnum):
    """What a holder does."""

    WAITING = "waiting"
    PARKED = "parked"
    """Suspended: it keeps its place and will not start."""
    RUNNING = "running"


@dataclass(frozen=True, slots=True)
class Holder:
    """An execution that counts; which queue it counts in never changes."""

    uid: str
    queue: str
    namespace: str
    state: State


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a submission asks for. ``parked``: it is suspended from the start.

    Two objects of one name cannot be: a reservation replaces an earlier one of the same ``name``
    whose object was never seen (its create came to nothing). Without a name it replaces none.
    """

    uid: str
    queue: str
    namespace: str
    parked: bool = False
    name: str = ""

    def holder(self) -> Holder:
        state = State.PARKED if self.parked else State.WAITING
        return Holder(self.uid, self.queue, self.namespace, state)


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether there is room; if not, the figures that say so, and of which namespace they are."""

    admitted: bool
    stats: Stats
    namespace: str | None = None


class LedgerUnavailableError(Exception):
    """The ledger cannot say who occupies capacity: not rebuilt yet, or out of reach."""


class LedgerClosedError(LedgerUnavailableError):
    """It is there and waits for a ``reconcile``."""


class Ledger(Protocol):
    """Every call raises LedgerUnavailableError when it cannot be answered truly."""

    async def reserve(self, wanted: Reservation, limits: Limits, *, dry_run: bool) -> Answer:
        """Judge and take a place, in one step. The same UID again gets the same place.

        A ``dry_run`` is judged alike and takes nothing.
        """

    async def occupancy(self, queue: str, share: int | None = None) -> Occupancy:
        """The counts of ``queue``; what is reserved counts as waiting (or parked).

        ``share`` is how many each namespace may run; what waits beyond it is held back.
        """

    async def hold(self, holder: Holder) -> None:
        """The controller has found ``holder`` in this state."""

    async def release(self, uid: str, queue: str) -> None:
        """The controller has found that it is over. Unknown ones are no error."""

    async def begin(self) -> None:
        """A consistent LIST begins now: what it must show, the next ``reconcile`` judges by it."""

    async def reconcile(self, found: Mapping[str, Holder]) -> Counter[str]:
        """Make the ledger say what the LIST found, and open it if it was closed.

        A reservation without its object is dropped only by that evidence: it was CREATE_TIMEOUT old
        when the LIST began, which would have shown it. Returns corrections by kind.
        """
