"""What followers of GET /api/queue-stats/sse cost, and how soon they know.

Executions come and go at a steady rate, in waves: all of a wave come before the first one goes, so
that the number that a message tells says how many have come, and later how many have gone. Fake
pods run as long as a wave takes to come and three seconds more. Nothing waits for a slot. Each row
has an operator of its own; its last wave has no followers, and is what the others are compared to.

    .venv/bin/python -m benchmarks.sse [--clients 1 100 1000] [--rate 5] [--into FILE]

Columns: ``idle``, the memory that the followers take before anything happens, in MiB and for each
of them in KiB; ``loaded``, what it has grown to after the waves, which also leave something (see
the row of one client). CPU in % of a core: of the operator in the wave without followers, in those
with, and of the process of the followers, which must not be what is slow. ``events/s``: messages to
each follower, over whole waves; changes within 50 ms are one message. ``came`` is the delay in ms
from the 201 of a submission to the message that counts it, over all followers (0 where the message
was first); ``went`` from a pod's end, as a watch beside tells it. ``missed``: followers who were
not told of everything, once for each wave; ``dropped``: who got no connection or lost it.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from benchmarks.lib.control_plane import ControlPlane, control_plane
from benchmarks.lib.cost import cpu_seconds, resident_mib
from benchmarks.lib.helper import helper
from benchmarks.lib.report import Row, publish, quantiles
from harness.api import Raw, Space, execution
from harness.following import Following
from harness.process import Operator
from harness.steps import until_stats
from harness.waiting import eventually

CAPACITY: Final = 10_000
STREAM: Final = "/api/queue-stats/sse?queue=default"
_APART: Final = 3
"""Seconds between the last that comes and the first that goes."""
_ENDED: Final = ("Succeeded", "Failed")


@dataclass(frozen=True)
class Waves:
    """How many there are, and how many executions come a second, for how many seconds."""

    count: int
    rate: float
    seconds: float

    @property
    def size(self) -> int:
        return round(self.rate * self.seconds)


class Load(Following):
    """Executions in ``space``, and a watch that tells when their pods end."""

    def __init__(self, space: Space, operator: Operator, rate: float) -> None:
        super().__init__()
        self._space = space
        self._operator = operator
        self._rate = rate
        self._submitted = 0
        self._ended: dict[str, float] = {}

    async def __aenter__(self) -> Self:
        version = (await self._space.api.get(self._space.pods))["metadata"]["resourceVersion"]
        self._tasks.append(asyncio.create_task(self._follow(version)))
        return self

    async def _follow(self, version: str) -> None:
        async for event in self._space.api.watch(self._space.pods, version):
            pod = event["object"]
            if pod["status"].get("phase") in _ENDED:
                self._ended.setdefault(pod["metadata"]["uid"], time.monotonic())

    async def wave(self, size: int) -> Raw:
        """Its begin and end, and when all of its executions came and went (monotonic seconds)."""
        lasts = f"{size / self._rate + _APART}s"
        begin, before = time.monotonic(), len(self._ended)
        async with asyncio.TaskGroup() as tasks:
            coming = []
            for number in range(size):
                await asyncio.sleep(max(0, begin + number / self._rate - time.monotonic()))
                coming.append(tasks.create_task(self._submit(lasts)))
        came = sorted(each.result() for each in coming)

        async def all_went() -> bool:
            return len(self._ended) == before + size

        await eventually(all_went, "all of the wave have ended", within=120)
        await until_stats(self._operator, "default", (0, CAPACITY, 0, CAPACITY))
        await asyncio.sleep(1)  # for the last message, if it is late
        went = sorted(self._ended.values())[before:]
        assert came[-1] < went[0], "the wave is too slow to tell who comes from who goes"
        return {"begin": begin, "end": time.monotonic(), "came": came, "went": went}

    async def _submit(self, lasts: str) -> float:
        self._submitted += 1
        await self._space.submit(execution(f"e-{self._submitted}", runs_for=lasts))
        return time.monotonic()


async def row(plane: ControlPlane, clients: int, waves: Waves) -> Row:
    space, capacity = await plane.space(f"for-{clients}"), str(CAPACITY)
    operator = Operator(
        plane.kubeconfig, plane.folder / f"{clients}.log",
        RUNNING_CAPACITY=capacity, QUEUED_CAPACITY=capacity,
    )  # fmt: skip
    try:
        await operator.start()
        async with Load(space, operator, waves.rate) as load:
            found = await _measure(load, operator, clients, waves)
        await plane.api.delete(space.executions)
    finally:
        if operator.running:
            await asyncio.to_thread(operator.stop)
    return found


async def _measure(load: Load, operator: Operator, clients: int, waves: Waves) -> Row:
    await load.wave(1)  # what is made at the first time only is made
    before = resident_mib(operator.pid)
    async with helper("benchmarks.lib.followers", str(operator.http_port), STREAM) as followers:
        await followers.ask("connect", count=clients)
        idle = resident_mib(operator.pid) - before
        ours, theirs = Spent(operator.pid), Spent(followers.pid)
        told = [await load.wave(waves.size) for _ in range(waves.count)]
        cpu, client_cpu = ours.percent(), theirs.percent()
        loaded = resident_mib(operator.pid) - before
        heard = await followers.ask("judge", waves=told)
    alone = Spent(operator.pid)
    await load.wave(waves.size)
    without = alone.percent()
    lasted = sum(wave["end"] - wave["begin"] for wave in told)
    delays = {
        f"{what} {cut}": 1000 * quantiles(heard[what])[cut] if heard[what] else None
        for what in ("came", "went")
        for cut in ("p50", "p99")
    }
    return {
        "clients": clients,
        "RSS before": before,
        "idle MiB": idle,
        "idle KiB each": 1024 * idle / clients,
        "loaded MiB": loaded,
        "CPU % without": without,
        "CPU %": cpu,
        "client CPU %": client_cpu,
        "events/s": heard["messages"] / clients / lasted,
        **delays,
        "missed": heard["missed"],
        "dropped": heard["dropped"],
    }


class Spent:
    """CPU of a process from here on."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._since = time.monotonic()
        self._before = cpu_seconds(pid)

    def percent(self) -> float:
        """Of a core."""
        took = cpu_seconds(self._pid) - self._before
        return 100 * took / (time.monotonic() - self._since)


async def measure(clients: Sequence[int], waves: Waves) -> list[Row]:
    async with control_plane("sse") as plane:
        return [await row(plane, each, waves) for each in clients]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 100, 1000], metavar="N")
    parser.add_argument("--rate", type=float, default=5, help="executions that come a second")
    parser.add_argument("--seconds", type=float, default=10, help="for which a wave comes")
    parser.add_argument("--waves", type=int, default=3, help="with followers")
    parser.add_argument("--into", type=Path)
    chosen = parser.parse_args()
    waves = Waves(chosen.waves, chosen.rate, chosen.seconds)
    rows = asyncio.run(measure(chosen.clients, waves))
    publish("sse", rows, chosen.into)


if __name__ == "__main__":
    main()
