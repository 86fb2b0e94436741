"""How long a slot stays empty, and at what cost: this operator, Kueue, and an ideal loop.

All run the same pods on one control plane, one after the other; only the process whose turn it is
runs. All executions of a case wait before the first may start, so that all begin alike. The ideal
loop is the least that could work (``contenders/ideal.py``); what the others cost is the ratio to
it. Kueue (``contenders/kueue.py``, ``lib/kueue.py``) runs with its webhooks and the configuration
that it ships, but for the benefit of speed without a limit on its requests.

    .venv/bin/python -m benchmarks.handoff [--capacities 5 50 500] [--durations 0 0.2 2]
        [--contenders ideal operator kueue-strict kueue-besteffort] [--executions N] [--into FILE]

Speed. ``per second``: executions, from the first possible start to the last end. ``job``: ms from
a pod's end until the Job that takes its slot is created, or resumed; ``pod``: until that Job's pod
runs. The first end is paired with the first Job that found no slot free at the beginning, and so
on. ``used``: the share of slots with a running pod, in the mean of the time when somebody waited.

Cost of an execution, from its submission to the last word about it. ``requests`` and ``writes``: of
all clients of the API server; ``to wait``: those of the writes until it waits. ``own``: ms of CPU
of the contender's process; ``API server``: of that one.

``/ideal`` is the ratio of the column before it to the ideal loop's.

Times depend on the machine; compare ratios. Where the API server is the bottleneck and not the
slots, as with many slots and short pods, what an end waits for is the queue of requests.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterable, Sequence
from itertools import groupby, product
from pathlib import Path
from typing import Final

from benchmarks.contenders import Case, Contender
from benchmarks.contenders.ideal import ideal
from benchmarks.contenders.kueue import Kueue
from benchmarks.contenders.measure import Result, measure, writes
from benchmarks.contenders.operator import operator
from benchmarks.lib import report
from benchmarks.lib.control_plane import control_plane

IDEAL: Final = "ideal"
CONTENDERS: Final[dict[str, Contender]] = {
    IDEAL: ideal,
    "operator": operator,
    "kueue-strict": Kueue("StrictFIFO"),
    "kueue-besteffort": Kueue("BestEffortFIFO"),
}


def executions_for(capacity: int, seconds: float) -> int:
    """So many that a contender takes about 20 s that starts 20 a second while a slot is free, but
    never so few that too little is handed over to speak of."""
    rate = min(20, capacity / (seconds + 0.2))
    return max(100, 2 * capacity, round(20 * rate))


async def compare(contenders: Sequence[str], cases: Sequence[Case]) -> list[Result]:
    """By case, in the order of ``contenders``."""
    results = []
    async with control_plane("handoff") as plane:
        # What is first has to fill the API server's caches.
        await measure(plane, IDEAL, ideal, await plane.space("warm"), Case(5, 0, 20))
        for number, case in enumerate(cases):
            for name in contenders:
                space = await plane.space(f"{name}-{number}")
                results.append(await measure(plane, name, CONTENDERS[name], space, case))
    return results


def speed(result: Result) -> report.Row:
    case, course = result.case, result.course
    waits = {"job": course.to_job(case.capacity), "pod": course.to_pod(case.capacity)}
    return {
        **_labels(result),
        "executions": case.executions,
        "per second": case.executions / course.seconds,
        **{
            f"{what} {name}": 1000 * value
            for what, gaps in waits.items()
            for name, value in report.quantiles(gaps).items()
        },
        "used": course.utilisation(case.capacity),
    }


def costs(result: Result) -> report.Row:
    """Of an execution."""
    executions, spent = result.case.executions, result.spent
    return {
        **_labels(result),
        "requests": spent.requests.total() / executions,
        "writes": writes(spent.requests).total() / executions,
        "to wait": writes(spent.waiting).total() / executions,
        "own": 1000 * spent.own / executions,
        "API server": 1000 * spent.api_server / executions,
    }


def kinds_of_writes(results: Sequence[Result]) -> list[report.Row]:
    """By case each kind of write, of an execution, with a column for each contender."""
    rows: list[report.Row] = []
    for case, of_case in groupby(results, lambda result: result.case):
        made = {result.contender: writes(result.spent.requests) for result in of_case}
        rows.extend(
            {
                "slots": case.capacity,
                "pod s": case.seconds,
                "write": f"{kind.verb} {kind.resource}",
                **{name: counted[kind] / case.executions for name, counted in made.items()},
            }
            for kind in sorted({kind for counted in made.values() for kind in counted})
        )
    return rows


def beside_ideal(rows: Iterable[report.Row], *columns: str) -> list[report.Row]:
    """With a ratio after each of ``columns``, if the ideal loop has been measured."""
    compared: list[report.Row] = []
    for _, grouped in groupby(rows, lambda row: (row["slots"], row["pod s"])):
        of_case = list(grouped)
        ideals = [row for row in of_case if row["contender"] == IDEAL]
        compared.extend(_beside(row, ideals[0], columns) if ideals else row for row in of_case)
    return compared


def _beside(row: report.Row, first: report.Row, columns: Sequence[str]) -> report.Row:
    beside: dict[str, str | int | float | None] = {}
    for column, value in row.items():
        beside[column] = value
        if column in columns:
            base = first[column]
            assert isinstance(value, int | float)
            assert isinstance(base, int | float)
            beside[f"{column} /ideal"] = value / base if base else None
    return beside


def _labels(result: Result) -> dict[str, str | float]:
    case = result.case
    return {"slots": case.capacity, "pod s": case.seconds, "contender": result.contender}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--capacities", type=int, nargs="+", default=[5, 50, 500])
    parser.add_argument("--durations", type=float, nargs="+", default=[0, 0.2, 2], help="seconds")
    parser.add_argument(
        "--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="NAME",
        help="of " + ", ".join(CONTENDERS),
    )  # fmt: skip
    parser.add_argument("--executions", type=int, help="of each case (by slots and duration)")
    parser.add_argument("--into", type=Path, help="a file for the JSON")
    arguments = parser.parse_args()
    cases = [
        Case(capacity, seconds, arguments.executions or executions_for(capacity, seconds))
        for capacity, seconds in product(arguments.capacities, arguments.durations)
    ]
    for case in cases:
        if case.executions < case.capacity + 2:
            parser.error(f"{case.executions} executions hand over no {case.capacity} slots")
    results = asyncio.run(compare(arguments.contenders, cases))
    rows = beside_ideal(
        [speed(result) for result in results], "per second", "job p50", "pod p50", "used"
    )
    of_cost = beside_ideal(
        [costs(result) for result in results], "requests", "writes", "API server"
    )
    of_writes = kinds_of_writes(results)
    report.publish("handoff", rows, arguments.into, costs=of_cost, writes=of_writes)
    print(f"### Cost of an execution\n\n{report.table(of_cost)}\n")
    print(f"### Writes of an execution\n\n{report.table(of_writes)}")


if __name__ == "__main__":
    main()
