"""What a decision costs is the same, however many wait; no clock judges it."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit import builders

from supercheck_operator.ledger.capacity import Limits
from supercheck_operator.ledger.contract import Holder, Reservation, State
from supercheck_operator.ledger.memory import MemoryLedger
from supercheck_operator.queueing.line import Entry
from supercheck_operator.queueing.queue import Queue

SLOTS = 5


def cost(decide: Callable[[], object]) -> tuple[int, int]:
    """Calls of functions that one ``decide`` makes, and blocks of memory that it leaves; in the
    mean of a hundred."""
    decide()
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    gc.collect()
    gc.disable()
    before = sys.getallocatedblocks()
    try:
        for _ in range(100):
            decide()
        left = sys.getallocatedblocks() - before
        sys.setprofile(count)
        for _ in range(100):
            decide()
    finally:
        sys.setprofile(None)
        gc.enable()
    return round(calls / 100), round(left / 100)


def assert_alike(few: tuple[int, int], many: tuple[int, int], *, most: tuple[int, int]) -> None:
    """``most`` is for both; what little they differ by, a tree that is deeper or a dictionary that
    grows, is in it."""
    assert max(few[0], many[0]) <= most[0]
    assert max(few[1], many[1]) <= most[1]
    assert abs(many[0] - few[0]) <= most[0] // 4
    assert abs(many[1] - few[1]) <= 2


def full(waiting: int, *, namespaces: int, **spec: Any) -> Queue:
    queue = Queue("q")
    queue.resource = builders.queue(runningCapacity=SLOTS, **spec)
    for number in range(SLOTS):
        queue.put_running(f"r-{number}", "a")
    for number in range(waiting):
        queue.put_waiting(an_entry(number, f"n-{number % namespaces}"))
    return queue


def an_entry(number: int, namespace: str) -> Entry:
    return Entry(f"w-{number:06}", namespace, f"w-{number}", 0, "2026-03-01T12:00:00Z", number)


@pytest.mark.parametrize("spec", [{}, {"ordering": "FairShare"}, {"ageingSeconds": 60}])
def test_a_slot_is_handed_on_for_the_same_whatever_waits(spec: dict[str, Any]) -> None:
    def of(waiting: int, namespaces: int) -> tuple[int, int]:
        queue = full(waiting, namespaces=namespaces, **spec)
        running = [f"r-{number}" for number in range(SLOTS)]

        def hand_on() -> None:
            queue.put_aside(running.pop(0))
            entry = queue.next(SLOTS)
            assert entry is not None
            queue.put_running(entry.uid, entry.namespace)
            running.append(entry.uid)

        return cost(hand_on)

    assert_alike(of(300, 1), of(20_000, 100), most=(120, 5))


def test_a_place_is_reserved_for_the_same_whatever_waits() -> None:
    def of(waiting: int) -> tuple[int, int]:
        ledger = MemoryLedger()
        limits = Limits(running=SLOTS, queued=10**6)
        found = {
            f"w-{n}": Holder(f"w-{n}", "q", f"n-{n % 10}", State.WAITING) for n in range(waiting)
        }
        asyncio.run(ledger.reconcile(found))
        numbers = iter(range(10**6))

        async def reserve() -> None:
            number = next(numbers)
            wanted = Reservation(f"new-{number}", "q", "n-1", name=f"new-{number}", parked=False)
            assert (await ledger.reserve(wanted, limits, dry_run=False)).admitted

        def once() -> None:
            step = reserve()
            with pytest.raises(StopIteration):
                step.send(None)

        return cost(once)

    assert_alike(of(100), of(20_000), most=(120, 12))
