"""Every ledger against one that is too simple to be wrong: it counts by counting."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.contract.backends import BACKENDS, Clock

from supercheck_operator.ledger.capacity import Limits, Occupancy, Stats
from supercheck_operator.ledger.contract import (
    Holder,
    LedgerUnavailableError,
    Reservation,
    State,
)

T = TypeVar("T")

QUEUES = ("one", "two")
NAMESPACES = ("a", "b", "c")

numbers = st.integers(0, 11)
"""An execution is a number; its queue and its namespace follow from it and never change."""
states = st.sampled_from(State)
small = st.integers(0, 3)
caps = st.none() | small
limits = st.builds(
    Limits,
    running=small,
    queued=small,
    namespace_running=caps,
    namespace_queued=caps,
    held=st.booleans(),
)


def queue_of(number: int) -> str:
    return QUEUES[number % 2]


def holder_of(number: int, state: State) -> Holder:
    return Holder(f"u{number}", queue_of(number), NAMESPACES[number % 3], state)


class Model:
    """The set of holders, and the formula of the contract."""

    def __init__(self) -> None:
        self.holders: dict[str, Holder] = {}
        self.reserved_at: dict[str, float] = {}
        self.open = False
        self.listed_at = 0.0

    def occupancy(self, queue: str, namespace: str | None = None) -> Occupancy:
        here = [
            holder.state
            for holder in self.holders.values()
            if holder.queue == queue and namespace in (None, holder.namespace)
        ]
        return Occupancy(
            here.count(State.RUNNING), here.count(State.WAITING), here.count(State.PARKED)
        )

    def held_back(self, queue: str, namespace: str, share: int | None, extra: int = 0) -> int:
        now = self.occupancy(queue, namespace)
        free = 99 if share is None else max(0, share - now.running)
        return max(0, now.waiting + extra - free)

    def figures(self, occupancy: Occupancy, running: int, queued: int, held: bool) -> Stats:
        counted_running, left = occupancy.running, occupancy.waiting
        while left > occupancy.held_back and counted_running < running and not held:
            counted_running, left = counted_running + 1, left - 1
        return Stats(counted_running, running, left + occupancy.parked, queued)

    def refusal(self, wanted: Reservation, limits: Limits) -> tuple[Stats, str | None] | None:
        share = limits.namespace_running
        held_back = sum(self.held_back(wanted.queue, name, share) for name in NAMESPACES)
        barred = self.held_back(wanted.queue, wanted.namespace, share, extra=1) > 0
        whole = replace(self.occupancy(wanted.queue), held_back=held_back)
        now = self.figures(whole, limits.running, limits.queued, limits.held)
        useful = now.running < limits.running and not limits.held and not wanted.parked
        if not (useful and not barred) and now.queued >= limits.queued:
            return now, None
        if share is None and limits.namespace_queued is None:
            return None
        running = limits.running if share is None else share
        queued = limits.queued if limits.namespace_queued is None else limits.namespace_queued
        part = self.occupancy(wanted.queue, wanted.namespace)
        now = self.figures(part, running, queued, limits.held)
        useful = now.running < running and not limits.held and not wanted.parked
        return None if useful or now.queued < queued else (now, wanted.namespace)


class LedgerMachine(RuleBasedStateMachine):
    backend: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.model = Model()
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize()
    def begin(self) -> None:
        self.ledger = self.do(self.stack.enter_async_context(BACKENDS[self.backend](self.clock)))
        self.a_list_begins()

    @rule(seconds=st.sampled_from([0.5, 1, 33, 34, 35]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(number=numbers, parked=st.booleans(), limits=limits, dry_run=st.booleans())
    def reserve(self, number: int, parked: bool, limits: Limits, dry_run: bool) -> None:
        holder = holder_of(number, State.PARKED if parked else State.WAITING)
        wanted = Reservation(holder.uid, holder.queue, holder.namespace, parked)
        call = self.ledger.reserve(wanted, limits, dry_run=dry_run)
        if not self.model.open:
            with pytest.raises(LedgerUnavailableError):
                self.do(call)
            return
        answer = self.do(call)
        if wanted.uid in self.model.holders:
            assert answer.admitted
            return
        refusal = self.model.refusal(wanted, limits)
        assert answer.admitted is (refusal is None)
        if refusal is not None:
            assert (answer.stats, answer.namespace) == refusal
        elif not dry_run:
            self.model.holders[wanted.uid] = holder
            self.model.reserved_at[wanted.uid] = self.clock.now

    @rule(number=numbers, state=states)
    def hold(self, number: int, state: State) -> None:
        holder = holder_of(number, state)
        self.do(self.ledger.hold(holder))
        self.model.holders[holder.uid] = holder
        self.model.reserved_at.pop(holder.uid, None)

    @rule(number=numbers)
    def release(self, number: int) -> None:
        self.do(self.ledger.release(f"u{number}", queue_of(number)))
        self.model.holders.pop(f"u{number}", None)
        self.model.reserved_at.pop(f"u{number}", None)

    @rule()
    def a_list_begins(self) -> None:
        self.do(self.ledger.begin())
        self.model.listed_at = self.clock.now

    @rule(began_here=st.booleans(), shown=st.dictionaries(numbers, states, max_size=6))
    def reconcile(self, began_here: bool, shown: dict[int, State]) -> None:
        if began_here:
            self.a_list_begins()
        found = {f"u{n}": holder_of(n, state) for n, state in shown.items()}
        listed_at = self.model.listed_at
        corrections = self.do(self.ledger.reconcile(found))
        model, expected = self.model, Counter[str]()
        for uid in list(model.holders):
            reserved_at = model.reserved_at.get(uid)
            if uid in found or (reserved_at is not None and listed_at - reserved_at < 34):
                continue
            expected["holder" if reserved_at is None else "reservation"] += 1
            del model.holders[uid]
            model.reserved_at.pop(uid, None)
        expected["missing"] = sum(model.holders.get(u) != holder for u, holder in found.items())
        model.holders |= found
        for uid in found:
            model.reserved_at.pop(uid, None)
        assert corrections == (expected if model.open else Counter())
        model.open = True

    @precondition(lambda self: not self.model.open)
    @rule(queue=st.sampled_from(QUEUES))
    def a_closed_ledger_says_nothing(self, queue: str) -> None:
        with pytest.raises(LedgerUnavailableError):
            self.do(self.ledger.occupancy(queue))

    @precondition(lambda self: self.model.open)
    @invariant()
    def counts_are_exact(self) -> None:
        for queue in QUEUES:
            assert self.do(self.ledger.occupancy(queue)) == self.model.occupancy(queue)

    def teardown(self) -> None:
        self.do(self.stack.aclose())
        self.loop.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_ledger_is_exact_in_any_order_of_calls(backend: str) -> None:
    run_state_machine_as_test(type("Machine", (LedgerMachine,), {"backend": backend}))
