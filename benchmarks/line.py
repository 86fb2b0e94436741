"""What a decision of the line costs: who starts next, and the line brought up to date.

A start is an end (a slot is free), the choice of the next, and its move from the line to the slots.
All of it is memory; no cluster is needed.

    .venv/bin/python -m benchmarks.line [--starts 2000]

Figures go to the standard output, in microseconds. The bound of the contract is a millisecond.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections import deque
from itertools import cycle, islice, product

from supercheck_operator.queueing.line import Entry
from supercheck_operator.queueing.queue import Queue
from supercheck_operator.resources import ExecutionQueue, Ordering

CAPACITY = 6
NOON = "2026-03-01T12:00:00Z"


def queue(name: str, spec: dict[str, object], waiting: int, namespaces: int) -> Queue:
    """With ``waiting`` in line; where namespaces are capped, half of them before all others are of
    one that has nothing left."""
    made = Queue(name)
    made.resource = ExecutionQueue.model_validate({"metadata": {"name": name}, "spec": spec})
    capped = waiting // 2 if "perNamespace" in spec else 0
    if capped:
        for number in range(2):
            made.put_running(f"{name}-c{number}", "capped")
    for number in range(waiting):
        namespace = "capped" if number < capped else f"team-{number % namespaces}"
        made.put_waiting(Entry(f"{name}-{number}", namespace, "run", number % 3, NOON, number))
    return made


def starts(queues: list[Queue], count: int) -> list[float]:
    """Seconds of each of ``count`` starts, taken from the queues in turn."""
    running: dict[str, deque[str]] = {each.name: deque() for each in queues}
    took: list[float] = []
    for each in islice(cycle(queues), count):
        slots = running[each.name]
        began = time.perf_counter()
        if len(slots) == CAPACITY - 2:
            each.put_aside(slots.popleft())
        entry = each.next(CAPACITY)
        assert entry is not None
        each.put_running(entry.uid, entry.namespace)
        took.append(time.perf_counter() - began)
        slots.append(entry.uid)
    return took


def told(queues: list[Queue], count: int) -> list[float]:
    """Seconds to tell the first ten of a line, as the status of a queue does."""
    took: list[float] = []
    for each in islice(cycle(queues), count):
        began = time.perf_counter()
        assert len(list(each.upcoming(10))) == 10
        took.append(time.perf_counter() - began)
    return took


def row(name: str, took: list[float]) -> str:
    cuts = statistics.quantiles(took, n=100)
    figures = "".join(f"{1e6 * value:10.1f}" for value in (cuts[49], cuts[98], max(took)))
    return f"{name:<64}{figures}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=2000)
    count = parser.parse_args().starts
    print(f"{'µs':<64}{'p50':>10}{'p99':>10}{'most':>10}")
    shapes = ((1, 100_000, 1), (1, 100_000, 50), (1, 100_000, 10_000), (1000, 100, 10))
    for (queues, waiting, namespaces), ordering, capped, ageing in product(
        shapes, Ordering, (False, True), (None, 600)
    ):
        spec: dict[str, object] = {"ordering": ordering, "ageingSeconds": ageing}
        if capped:
            spec["perNamespace"] = {"runningCapacity": 2}
            if namespaces == 1:
                continue  # all of it would be capped
        made = [queue(f"q{n}", spec, waiting, namespaces) for n in range(queues)]
        gc.collect()
        what = f"{queues} x {waiting} of {namespaces} namespaces, {ordering}"
        what += ", capped" * capped + ", ageing" * (ageing is not None)
        print(row(what, starts(made, count)))
        print(row("    first ten told", told(made, count // 4)))


if __name__ == "__main__":
    main()
