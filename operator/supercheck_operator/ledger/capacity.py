"""How much room a queue has: limits and counts → stats and the admission decision. Pure.

The counting is that of the contract: what waits but fits free running slots is about to start, so
it counts as running; what exceeds them counts as queued. Nothing is clamped: a capacity lowered
below what runs shows as 5/2.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What a queue allows in all, and each namespace within it (None: no cap of its own)."""

    running: int
    queued: int
    namespace_running: int | None = None
    namespace_queued: int | None = None
    held: bool = False
    """Nothing new starts, so a free slot is no room for anyone."""

    def of_namespace(self) -> Limits | None:
        """The limits of one namespace; None when it has none of its own."""
        if self.namespace_running is None and self.namespace_queued is None:
            return None
        return Limits(
            running=or_else(self.namespace_running, self.running),
            queued=or_else(self.namespace_queued, self.queued),
            held=self.held,
        )


def or_else(said: int | None, otherwise: int) -> int:
    """What is said, 0 included; where nothing is, ``otherwise``."""
    return otherwise if said is None else said


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Executions by what they do; ``parked`` ones are suspended: they wait and will not start."""

    running: int = 0
    waiting: int = 0
    parked: int = 0
    held_back: int = 0
    """Of the waiting: those that could not start in a free slot, for their namespace's share."""


@dataclass(frozen=True, slots=True)
class Stats:
    """The four figures users see."""

    running: int
    running_capacity: int
    queued: int
    queued_capacity: int


def stats(occupancy: Occupancy, limits: Limits) -> Stats:
    """The figures of ``occupancy`` as the contract counts them."""
    free = 0 if limits.held else max(0, limits.running - occupancy.running)
    starting = min(free, occupancy.waiting - occupancy.held_back)
    return Stats(
        running=occupancy.running + starting,
        running_capacity=limits.running,
        queued=occupancy.waiting - starting + occupancy.parked,
        queued_capacity=limits.queued,
    )


def full(occupancy: Occupancy, limits: Limits, *, parked: bool = False) -> bool:
    """Whether one more finds neither a free running slot nor a place in the queue.

    One that is ``parked``, or held back, cannot use a running slot: it needs a place in the queue.
    """
    now = stats(occupancy, limits)
    slot_is_free = not parked and not limits.held and now.running < now.running_capacity
    return not slot_is_free and now.queued >= now.queued_capacity
