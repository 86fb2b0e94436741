"""That every benchmark runs and tells what it should, at a size that says nothing of speed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def figures(tmp_path: Path, name: str, *arguments: str) -> Any:
    """The JSON of ``python -m benchmarks.NAME``."""
    into = tmp_path / "figures.json"
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments, "--into", str(into)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    return json.loads(into.read_text())


def draw(tmp_path: Path) -> None:
    """The picture of those figures."""
    command = [sys.executable, "-m", "benchmarks.plot", "figures.json", "--into", "."]
    subprocess.run(command, cwd=tmp_path, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert (tmp_path / "figures.svg").read_text().count("<path") > 10


def test_size(tmp_path: Path) -> None:
    told = figures(
        tmp_path, "size", "--sizes", "20", "--queues", "1", "3", "--handoffs", "10",
        "--requests", "3", "--sweeps", "1", "--sweep-seconds", "1",
    )  # fmt: skip
    shapes = [(row["shape"], row["queues"], row["executions"]) for row in told["rows"]]
    assert shapes == [("queued", 1, 20), ("queued", 3, 20), ("finished", 1, 20)]
    assert all(row["first Job s"] > 0 and row["executions/s"] > 0 for row in told["rows"])
    draw(tmp_path)


def test_size_to_the_end(tmp_path: Path) -> None:
    [end] = figures(tmp_path, "size", "--to-the-end", "60", "--sweep-seconds", "1")["rows"]
    assert (end["Passed"], end["lost"], end["Jobs made twice"]) == (60, 0, 0)


def test_handoff(tmp_path: Path) -> None:
    told = figures(
        tmp_path, "handoff", "--contenders", "ideal", "operator",
        "--capacities", "5", "--durations", "0", "--executions", "20",
    )  # fmt: skip
    for rows in (told["rows"], told["costs"]):
        assert [row["contender"] for row in rows] == ["ideal", "operator"]
    assert all(row["per second"] > 0 and row["pod max"] > 0 for row in told["rows"])
    # Nobody has fewer: the Job, its pod, and where that is bound.
    created = {row["write"]: row for row in told["writes"]}
    for write in ("POST jobs", "POST pods", "POST pods/binding"):
        assert (created[write]["ideal"], created[write]["operator"]) == (1, 1)
    draw(tmp_path)


def test_admission(tmp_path: Path) -> None:
    told = figures(tmp_path, "admission", "--rates", "10", "--seconds", "2")
    rows = told["rows"]
    cases = ["memory", "redis", "redis, balanced", "redis, 2 replicas"]
    assert [(row["case"], row["rate /s"]) for row in rows] == [(case, 10) for case in cases]
    for row in rows:
        assert (row["refused"], row["failed"]) == (0, 0)
        assert sum(map(int, row["judged by"].split("/"))) == 20
        assert 0 < row["p50"] <= row["p99"]
        assert 0 < row["judging"] < row["call"]
    draw(tmp_path)


def test_sse(tmp_path: Path) -> None:
    arguments = ("--clients", "1", "3", "--rate", "5", "--seconds", "1", "--waves", "1")
    told = figures(tmp_path, "sse", *arguments)
    assert [row["clients"] for row in told["rows"]] == [1, 3]
    for row in told["rows"]:
        assert (row["missed"], row["dropped"]) == (0, 0)
        assert row["events/s"] > 0
        assert all(0 <= row[f"{what} p50"] <= row[f"{what} p99"] for what in ("came", "went"))


def test_scale(tmp_path: Path) -> None:
    asked = ("--executions", "1000", "--clusters", "5", "--slots", "2", "--places", "1")
    rows = figures(tmp_path, "scale", *asked)["rows"]
    assert rows == figures(tmp_path, "scale", *asked)["rows"]
    assert all(row["answers 429"] > 0 for row in rows)
