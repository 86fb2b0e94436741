"""One leader after the other goes, in peace or not: how long nothing is launched, and what is lost.

``CHAOS_FAILOVERS`` says how many there are; ``make failover`` makes 24.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from pathlib import Path
from random import Random
from statistics import median
from typing import Final

from tests.chaos.load import NAMESPACES
from tests.chaos.replicas import Replica
from tests.chaos.stage import Cluster, Stage, stage

from harness.api import Api, Space, execution

_FAILOVERS: Final = int(os.environ.get("CHAOS_FAILOVERS") or 2)
_WITHIN: Final = {"terminated": 10.0, "killed": 30.0}
"""Seconds until the next launch: generous, as the machine may be busy. What is measured is told."""


async def test_who_follows_launches_in_time_and_nothing_is_lost_or_doubled(
    cluster: Cluster, tmp_path: Path, reports: list[str]
) -> None:
    took: defaultdict[str, list[float]] = defaultdict(list)
    async with stage(cluster, tmp_path, Random(0), replicas=3, redis=True) as scene:
        pressure = asyncio.create_task(_keep_full(scene.api))
        try:
            for number in range(_FAILOVERS):
                how = "terminated" if number % 2 else "killed"
                took[how].append(await _fail_over(scene, how))
        finally:
            pressure.cancel()
            for how, seconds in took.items():
                reports.append(
                    f"{len(seconds)} leaders {how}: to the next launch"
                    f" {min(seconds):.1f} to {max(seconds):.1f} s, median {median(seconds):.1f} s"
                )
        await scene.settle()
        await scene.observer.caught_up()
        judge = scene.observer.judge
        reports.append(f"{len(judge.executions)} executions: {dict(judge.ends)}")
        assert judge.violations == []
        assert set(judge.ends) == {"Passed"}
        assert all(set(x.made.values()) == {1} for x in judge.executions.values())


async def _fail_over(scene: Stage, how: str) -> float:
    """Seconds until somebody else launches."""
    judge, observer = scene.observer.judge, scene.observer
    await scene.all_ready()
    known = len(judge.launches)
    await observer.until(
        lambda: len(judge.launches) > known and _leader(scene) is not None,
        "somebody leads and launches",
        within=60,
    )
    leader = _leader(scene)
    assert leader is not None
    holder, began = observer.holder, time.monotonic()
    await (leader.kill() if how == "killed" else leader.stop())
    leader.start()
    await observer.until(
        lambda: observer.holder not in ("", holder), "somebody else leads", within=60
    )
    known = len(judge.launches)
    await observer.until(
        lambda: len(judge.launches) > known, "somebody else launches", within=_WITHIN[how]
    )
    return judge.launches[known] - began


def _leader(scene: Stage) -> Replica | None:
    return next((r for r in scene.replicas if r.leads(scene.observer.holder)), None)


async def _keep_full(api: Api) -> None:
    """Always more than there is room for, so that a free slot is a launch."""
    space, number = Space(api, NAMESPACES[0]), 0
    while True:
        body = execution(f"e-{number:05d}", runs_for="300ms", queue="steady")
        status, _ = await space.try_submit(body)
        number += status == 201
        if status != 201:
            await asyncio.sleep(0.1)  # until there may be room again
