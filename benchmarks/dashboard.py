"""A picture of the dashboard: its own queries, answered by a real Prometheus that has watched an
operator under load.

    .venv/bin/python -m benchmarks.dashboard [--minutes 3] [--into docs/images/dashboard.svg]

The cluster has fake nodes; everything else is real.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import time
from pathlib import Path

from charts.generate import picture
from charts.generate.picture import Answers, Series

from benchmarks.lib.control_plane import control_plane
from harness.api import Raw, Space, execution
from harness.chart import CHART
from harness.process import Operator
from harness.prometheus import Prometheus, running, scraping
from harness.steps import make_queue

ROOT = Path(__file__).parents[1]
DASHBOARD = CHART / "files" / "dashboards" / "supercheck-operator.json"
STEP = 2
"""Seconds between two points of a graph."""
KINDS: list[Raw] = [
    *[{"runs_for": "4s"}] * 12,
    *[{"runs_for": "2s", "annotations": {"stage.kindless/exit-code": "1"}}] * 2,
    {"pod": {"serviceAccountName": "nobody"}, "startTimeoutSeconds": 2},
]


async def load(space: Space) -> None:
    """For ever, by waves that are too much for a while."""
    began = time.monotonic()
    for number, kind in enumerate(itertools.cycle(KINDS)):
        queue = "nightly" if number % 4 == 0 else "default"
        await space.try_submit(execution(f"e-{number}", queue=queue, **kind))
        wave = 1 + math.sin((time.monotonic() - began) / 15)
        await asyncio.sleep(0.1 + 0.35 * wave)


async def ask(prometheus: Prometheus, panel: Raw, seconds: float) -> list[Series]:
    """What Grafana would ask for the panel, for all queues."""
    found, now = [], time.time()
    for target in panel["targets"]:
        query = target["expr"]
        for name, value in (
            ("$__rate_interval", "15s"),
            ("$__range", f"{seconds:.0f}s"),
            ("$queue", ".*"),
        ):
            query = query.replace(name, value)
        data = await prometheus.ask(
            "query_range", query=query, start=str(now - seconds), end=str(now), step=str(STEP)
        )
        for each in data["result"]:
            points = [(now - at, float(value)) for at, value in each["values"]]
            known = [(ago, value) for ago, value in points if not math.isnan(value)]
            if known:
                found.append(Series(picture.legend(target, each["metric"]), known))
    return found


async def draw(seconds: float) -> str:
    async with control_plane("dashboard") as plane:
        operator = Operator(
            plane.kubeconfig, plane.folder / "operator.log", SWEEP_SECONDS="5", QUEUED_CAPACITY="25"
        )
        await operator.start()
        try:
            space = await plane.space("shop")
            await make_queue(space, "nightly", runningCapacity=2, queuedCapacity=10)
            scraped = scraping(plane.folder, operator, plane.kubeconfig)
            async with running(plane.folder, scraped) as prometheus:
                submitting = asyncio.create_task(load(space))
                await asyncio.sleep(seconds)
                dashboard = json.loads(DASHBOARD.read_text())
                answers: Answers = {
                    panel["title"]: await ask(prometheus, panel, seconds)
                    for panel in dashboard["panels"]
                    if panel["type"] != "row"
                }
                submitting.cancel()
        finally:
            operator.stop()
    return picture.text(dashboard, answers, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--into", type=Path, default=ROOT / "docs" / "images" / "dashboard.svg")
    chosen = parser.parse_args()
    drawn = asyncio.run(draw(60 * chosen.minutes))
    chosen.into.write_text(drawn)
    print(chosen.into)


if __name__ == "__main__":
    main()
