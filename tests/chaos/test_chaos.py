"""Faults and load at random, from a seed: never one too many, never one lost."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from random import Random

import pytest
from tests.chaos import faults
from tests.chaos.load import Load
from tests.chaos.report import Report
from tests.chaos.stage import Cluster, Stage, stage


@pytest.mark.parametrize(
    ("replicas", "redis", "seconds"), [(1, False, 20), (3, True, 600)], ids=["memory", "redis"]
)
async def test_never_one_too_many_never_one_lost(
    cluster: Cluster,
    tmp_path: Path,
    seed: str,
    reports: list[str],
    replicas: int,
    redis: bool,
    seconds: float,
) -> None:
    seconds = float(os.environ.get("CHAOS_SECONDS") or seconds)
    planned = faults.plan(Random(f"{seed}/faults"), seconds, _kinds(redis=redis))
    sys.stdout.write(f"seed {seed}, {seconds:.0f} s\n" + "".join(f"{f}\n" for f in planned))
    ways = Random(f"{seed}/ways")
    async with stage(cluster, tmp_path, ways, replicas=replicas, redis=redis) as scene:
        load = Load(scene.api, Random(f"{seed}/load"))
        injected: list[faults.Injected] = []
        began = time.monotonic()
        try:
            await _play(scene, load, planned, injected, seconds, began)
        finally:
            await scene.observer.caught_up()
            ends = [end for replica in scene.replicas for end in replica.ends]
            title = f"{replicas} replica(s), seed {seed}, {seconds:.0f} s"
            observer = scene.observer
            made = Report(title, began, injected, observer.leaders, load, observer.judge, ends)
            (tmp_path / "timeline").write_text(made.timeline())
            reports.append(str(made))
            for replica in scene.replicas:
                sys.stdout.write(f"--- a replica's log ---\n{replica.operator.log[-20000:]}\n")
        if scene.observer.judge.violations:
            pytest.fail(made.story(), pytrace=False)
        assert not any(replica.crashes for replica in scene.replicas), made


def _kinds(*, redis: bool) -> list[str]:
    """All that can be, or those of CHAOS_KINDS, separated by commas."""
    wanted = os.environ.get("CHAOS_KINDS")
    kinds = wanted.split(",") if wanted else list(faults.KINDS)
    return [kind for kind in kinds if redis or faults.KINDS[kind].lane != "redis"]


async def _play(
    scene: Stage,
    load: Load,
    planned: list[faults.Fault],
    injected: list[faults.Injected],
    seconds: float,
    began: float,
) -> None:
    async with asyncio.TaskGroup() as acts:
        acts.create_task(load.run(seconds))
        acts.create_task(faults.inject(scene, planned, injected, began=began))
    await scene.all_ready()
    await load.finish()
    await scene.settle()
    await scene.refill()
