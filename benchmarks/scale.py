"""Many clusters behind one submission point, simulated: who is asked first, and what that comes to.

A day of executions, in a daily wave, with bursts as a merge queue makes them and one storm, arrives
at one point, which sends each to a cluster. Every cluster is one operator with the limits of its
one queue: so many run, so many wait, the next one is refused with 429. The point chooses by what it
was last told of each cluster, which may be old by then; a refusal tells it that this one is full,
and it asks the next. When all it asks refuse, the submitter comes back after Retry-After.

    .venv/bin/python -m benchmarks.scale [--executions 1000000] [--clusters 1000] [--into FILE]

The same seed gives the same table. Nothing of it is measured but ``--handoff``: assumptions are
marked as such in ``--help``.
"""

from __future__ import annotations

import argparse
import random
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from heapq import heappop, heappush
from itertools import repeat
from math import cos, inf, log, tau
from pathlib import Path
from typing import Final, Literal

from benchmarks.lib import report

_DAY: Final = 86_400.0
_HOUR: Final = 3_600.0

By = Literal["nothing", "load", "load, of two", "queue length"]
"""What a choice goes by: running and waiting, of all clusters or of two at random, or waiting."""


@dataclass(frozen=True)
class World:
    """Demand and clusters. Times in seconds."""

    executions: int
    clusters: int
    slots: int
    places: int
    seconds: float
    spread: float
    wave: float
    in_bursts: float
    burst: int
    storm: float
    handoff: float
    starting: float
    retry_after: float
    seed: int


@dataclass(frozen=True)
class Way:
    """How the submission point chooses. ``age``: seconds between two reports of all clusters, 0 for
    what is so now; ``counts``: it adds what it has sent since the last one."""

    by: By
    age: float = 0
    counts: bool = False
    asks: int = 3


WAYS: Final = (
    Way("nothing"),
    *(Way("load, of two", age) for age in (0, 5, 30, 120)),
    *(Way("load", age) for age in (0, 5, 30, 120)),
    *(Way("load", age, counts=True) for age in (5, 30, 120)),
    *(Way("queue length", age) for age in (0, 30)),
)


@dataclass
class Outcome:
    waits: list[float] = field(default_factory=list)
    """Seconds from the first submission of each execution to its Job."""
    refused: int = 0
    """Answers of clusters."""
    sent_back: int = 0
    """Submissions that all who were asked refused."""
    held: list[float] = field(default_factory=lambda: [0.0] * 24)
    """Slot seconds in each hour."""

    def hold(self, since: float, until: float) -> None:
        while since < min(until, _DAY):
            hour = int(since // _HOUR)
            part = min(until, (hour + 1) * _HOUR)
            self.held[hour] += part - since
            since = part


@cache
def demand(world: World) -> tuple[list[float], list[float]]:
    """When each execution is submitted, in order, and how long its slot is used."""
    chance = random.Random(world.seed)
    storm = int(world.storm * world.executions)
    in_bursts = int(world.in_bursts * world.executions)
    times = [14 * _HOUR + chance.uniform(0, 60) for _ in range(storm)]
    while len(times) < storm + in_bursts:
        at = _moment(chance, world.wave)
        size = 1 + int(chance.expovariate(1 / (world.burst - 1)))
        times += [at + chance.uniform(0, 5) for _ in range(size)]
    times += [_moment(chance, world.wave) for _ in range(world.executions - len(times))]
    times = sorted(times[: world.executions])
    mean = log(world.seconds) - world.spread**2 / 2
    return times, [chance.lognormvariate(mean, world.spread) for _ in times]


def _moment(chance: random.Random, wave: float) -> float:
    """A time of day, most likely at noon and least at midnight."""
    while True:
        at = chance.uniform(0, _DAY)
        if chance.uniform(0, 1 + wave) < 1 - wave * cos(tau * at / _DAY):
            return at


class View:
    """What the submission point believes of each cluster: a level, the lower the better."""

    def __init__(self, clusters: int, chance: random.Random) -> None:
        self.level = [0] * clusters
        self._chance = chance
        self._at: list[list[int]] = [list(range(clusters))]
        self._place = list(range(clusters))
        self._lowest = 0

    def set(self, cluster: int, level: int) -> None:
        before = self.level[cluster]
        if before == level:
            return
        group, place = self._at[before], self._place[cluster]
        last = group.pop()
        if last != cluster:
            group[place], self._place[last] = last, place
        while len(self._at) <= level:
            self._at.append([])
        self._place[cluster] = len(self._at[level])
        self._at[level].append(cluster)
        self.level[cluster] = level
        self._lowest = min(self._lowest, level)

    def best(self) -> int:
        """One of the lowest level, at random."""
        while not self._at[self._lowest]:
            self._lowest += 1
        group = self._at[self._lowest]
        return group[int(self._chance.random() * len(group))]

    def better_of_two(self) -> int:
        count = len(self.level)
        one, other = (int(self._chance.random() * count) for _ in range(2))
        return one if self.level[one] <= self.level[other] else other

    def any(self) -> int:
        return int(self._chance.random() * len(self.level))


class Simulation:
    def __init__(self, world: World, way: Way) -> None:
        self.outcome = Outcome()
        self._world = world
        self._way = way
        self._chance = random.Random(world.seed + 1)
        self._submitted, self._lasts = demand(world)
        self._view = View(world.clusters, self._chance)
        self._choose = {
            "nothing": self._view.any,
            "load": self._view.best,
            "load, of two": self._view.better_of_two,
            "queue length": self._view.best,
        }[way.by]
        self._running = [0] * world.clusters
        self._waiting: list[deque[int]] = [deque() for _ in self._running]
        self._changed: set[int] = set()
        """Clusters that the next report says something new of."""
        self._events: list[tuple[float, int]] = []
        """Who ends: its cluster; who comes back: ~its number."""

    def run(self) -> Outcome:
        """The day, and as long as it takes until everything has run."""
        arrivals, report_at = deque(enumerate(self._submitted)), self._way.age or inf
        while arrivals or self._events:
            arrives = arrivals[0][1] if arrivals else inf
            now = min(arrives, self._events[0][0]) if self._events else arrives
            while report_at <= now:
                self._report()
                report_at += self._way.age
            if now == arrives:
                self._submit(arrivals.popleft()[0], now)
                continue
            _, what = heappop(self._events)
            if what < 0:
                self._submit(~what, now)
            else:
                self._end(what, now)
        return self.outcome

    def _submit(self, execution: int, now: float) -> None:
        for _ in range(self._way.asks):
            cluster = self._choose()
            if self._takes(cluster, execution, now):
                if self._way.counts:
                    self._view.set(cluster, self._view.level[cluster] + 1)
                self._tell(cluster)
                return
            self.outcome.refused += 1
            self._view.set(cluster, self._world.slots + self._world.places)
            self._changed.add(cluster)
        self.outcome.sent_back += 1
        comes_back = now + self._world.retry_after * self._chance.uniform(1, 2)
        heappush(self._events, (comes_back, ~execution))

    def _takes(self, cluster: int, execution: int, now: float) -> bool:
        if self._running[cluster] < self._world.slots:
            self._running[cluster] += 1
            self._start(execution, cluster, now, 0)
        elif len(self._waiting[cluster]) < self._world.places:
            self._waiting[cluster].append(execution)
        else:
            return False
        return True

    def _start(self, execution: int, cluster: int, now: float, handoff: float) -> None:
        self.outcome.waits.append(now + handoff - self._submitted[execution])
        ends = now + handoff + self._world.starting + self._lasts[execution]
        heappush(self._events, (ends, cluster))
        self.outcome.hold(now, ends)

    def _end(self, cluster: int, now: float) -> None:
        if self._waiting[cluster]:
            self._start(self._waiting[cluster].popleft(), cluster, now, self._world.handoff)
        else:
            self._running[cluster] -= 1
        self._tell(cluster)

    def _tell(self, cluster: int) -> None:
        if self._way.age:
            self._changed.add(cluster)
        else:
            self._view.set(cluster, self._level(cluster))

    def _report(self) -> None:
        for cluster in self._changed:
            self._view.set(cluster, self._level(cluster))
        self._changed.clear()

    def _level(self, cluster: int) -> int:
        waits = len(self._waiting[cluster])
        return waits if self._way.by == "queue length" else self._running[cluster] + waits


def row(world: World, way: Way) -> dict[str, str | int | float]:
    outcome = Simulation(world, way).run()
    waits = report.quantiles(outcome.waits)
    slots = world.clusters * world.slots
    return {
        "chosen by": way.by,
        "told every s": way.age,
        "counts what it sent": "yes" if way.counts else "no",
        "slots held %": 100 * sum(outcome.held) / (slots * _DAY),
        "in the busiest hour %": 100 * max(outcome.held) / (slots * _HOUR),
        **{f"wait {name} s": waits[name] for name in ("p50", "p95", "p99", "max")},
        "answers 429": outcome.refused,
        "sent back": outcome.sent_back,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])

    def add(name: str, default: float, text: str) -> None:
        parser.add_argument(name, type=type(default), default=default, help=f"{text} (%(default)s)")

    add("--executions", 1_000_000, "of the day")
    add("--clusters", 1_000, "with the same limits each")
    add("--slots", 5, "of each: RUNNING_CAPACITY, the operator's default")
    add("--places", 50, "of each: QUEUED_CAPACITY, the operator's default")
    add("--seconds", 240.0, "a test runs, in the mean of a lognormal distribution; assumed")
    add("--spread", 0.8, "its sigma; assumed")
    add("--wave", 0.6, "how far noon is above the mean of the day, and midnight below; assumed")
    add("--in-bursts", 0.3, "share of executions in bursts of 5 s, as of a merge queue; assumed")
    add("--burst", 60, "executions of a burst, in the mean; assumed")
    add("--storm", 0.01, "share that comes within one minute, at two in the afternoon; assumed")
    add("--handoff", 0.1, "seconds from a free slot to the next Job; measure: benchmarks.size")
    add("--starting", 3.0, "seconds from a Job to its container, image at hand; assumed")
    add("--retry-after", 10.0, "seconds, and up to twice as many, until one sent back comes again")
    add("--seed", 1, "of everything that is left to chance")
    parser.add_argument("--into", type=Path)
    told = vars(parser.parse_args())
    into = told.pop("into")
    world = World(**told)
    demand(world)  # before the processes, which then share it
    with ProcessPoolExecutor() as pool:
        rows = list(pool.map(row, repeat(world), WAYS))
    report.publish("scale", rows, into, world=told)


if __name__ == "__main__":
    main()
