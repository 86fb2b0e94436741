"""Tables for people, JSON for everything else: the same figures."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

Row = Mapping[str, str | int | float | None]


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 and max of at least two ``values``, in their unit."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": max(values)}


def table(rows: Sequence[Row]) -> str:
    """Markdown. A column for every key of any row; numbers are rounded to three figures."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([_cell(row.get(key)) for key in columns] for row in rows)]
    widths = [max(len(line[n]) for line in cells) for n in range(len(columns))]
    lines = [_line(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def publish(what: str, rows: Sequence[Row], into: Path | None, **about: object) -> None:
    """Print the table; write the JSON to the file ``into``, or after the table if there is none."""
    print(f"## {what}\n\n{table(rows)}\n")
    document = {
        "benchmark": what,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"processors": _processors(), "python": platform.python_version()},
        "command": " ".join(["python", *sys.orig_argv[1:]]),
        **about,
        "rows": list(rows),
    }
    text = json.dumps(document, indent=1)
    if into is None:
        print(text)
    else:
        into.write_text(text + "\n")


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _processors() -> int:
    return len(os.sched_getaffinity(0))


def _cell(value: str | float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)
