"""Pictures of what the benchmarks told: one SVG for each file of JSON.

    .venv/bin/python -m benchmarks.plot FILE.json ... --into FOLDER

Of the hand-off, the admission and the sizes; a file that tells of anything else is an error.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Row = dict[str, Any]
Curve = tuple[str, Sequence[float], Sequence[float]]
"""Label, x, y."""

mpl.rcParams.update({"svg.hashsalt": "benchmarks", "svg.fonttype": "none", "font.size": 9})


def handoff(document: Row) -> Figure:
    """By slots and duration: executions a second, and the wait for the next Job."""
    rows: list[Row] = document["rows"]
    cases = list(dict.fromkeys((row["slots"], row["pod s"]) for row in rows))
    names = list(dict.fromkeys(row["contender"] for row in rows))
    figure = Figure(figsize=(9, 6), layout="constrained")
    speed, wait = figure.subplots(2, 1, sharex=True)
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        own = {(row["slots"], row["pod s"]): row for row in rows if row["contender"] == name}
        places = [at + width * number for at, case in enumerate(cases) if case in own]
        found = [own[case] for case in cases if case in own]
        speed.bar(places, [row["per second"] for row in found], width, label=name)
        p50 = [row["job p50"] for row in found]
        above = [row["job p99"] - row["job p50"] for row in found]
        wait.errorbar(places, p50, yerr=[[0] * len(found), above], fmt="o", linewidth=0.7)
    labels = [f"{slots} slots\n{seconds:g} s" for slots, seconds in cases]
    wait.set_xticks([at + 0.4 - width / 2 for at in range(len(cases))], labels)
    speed.set_ylabel("executions a second")
    wait.set_ylabel("ms from a pod's end to the next Job\np50, whisker to p99")
    wait.set_yscale("log")
    for axes in (speed, wait):
        axes.grid(axis="y", alpha=0.3)
    figure.legend(ncols=len(names), loc="outside upper center", frameon=False)
    return figure


def admission(document: Row) -> Figure:
    """By rate: what the webhook adds."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    half, most = figure.subplots(1, 2)
    for axes, column in ((half, "added p50"), (most, "added p99")):
        curves: list[Curve] = [
            (case, [row["rate /s"] for row in rows], [row[column] for row in rows])
            for case, rows in _grouped(document["rows"], lambda row: str(row["case"]))
        ]
        _draw(axes, curves, "creates a second", f"ms {column.replace('added', 'added,')}")
    _legend(figure, half)
    return figure


def size(document: Row) -> Figure:
    """By the number of executions: memory, restart, hand-off, answers."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    columns = ("restarted MiB", "first Job s", "CPU ms each", "hand-off p50 ms", "sweep s",
               "/metrics p50 ms")  # fmt: skip
    grid = figure.subplots(2, 3)
    for axes, column in zip(grid.flat, columns, strict=True):
        curves: list[Curve] = [
            (shape, [row["executions"] for row in rows], [row[column] for row in rows])
            for shape, rows in _grouped(document["rows"], _shape)
        ]
        _draw(axes, curves, "executions", column)
    _legend(figure, grid[0][0])
    return figure


PICTURES: Final[dict[str, Callable[[Row], Figure]]] = {
    "handoff": handoff,
    "admission": admission,
    "size": size,
}


def _shape(row: Row) -> str:
    queues = f" in {row['queues']} queues" if row["queues"] > 1 else ""
    return f"{row['shape']}{queues}"


def _grouped(rows: Sequence[Row], key: Callable[[Row], str]) -> list[tuple[str, list[Row]]]:
    return [(name, list(found)) for name, found in groupby(sorted(rows, key=key), key)]


def _draw(axes: Axes, curves: Sequence[Curve], x: str, y: str) -> None:
    for label, xs, ys in curves:
        axes.plot(xs, ys, marker="o", markersize=3, label=label)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, ncols=3, loc="outside upper center", frameon=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE.json")
    parser.add_argument("--into", type=Path, required=True, metavar="FOLDER")
    arguments = parser.parse_args()
    for file in arguments.files:
        document = json.loads(file.read_text())
        picture = PICTURES.get(document.get("benchmark"))
        if picture is None:
            parser.error(f"{file} is of no benchmark that has a picture ({', '.join(PICTURES)}).")
        target = arguments.into / f"{file.stem}.svg"
        picture(document).savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main()
