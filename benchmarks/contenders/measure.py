"""One contender at one case: its speed and what it cost."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

from benchmarks.contenders import Case, Contender
from benchmarks.lib import cost
from benchmarks.lib.control_plane import ControlPlane
from benchmarks.lib.stopwatch import Course, Stopwatch
from harness.api import Space


@dataclass(frozen=True)
class Spent:
    """From the first submission until all is settled.

    ``waiting`` are the requests until all wait. ``own`` and ``api_server`` are seconds of CPU, of
    the contender's process and of that.
    """

    waiting: Counter[cost.Request]
    requests: Counter[cost.Request]
    own: float
    api_server: float


def writes(requests: Counter[cost.Request]) -> Counter[cost.Request]:
    return Counter({each: n for each, n in requests.items() if each.writes})


@dataclass(frozen=True)
class Result:
    contender: str
    case: Case
    course: Course
    spent: Spent


async def measure(
    plane: ControlPlane, name: str, contender: Contender, space: Space, case: Case
) -> Result:
    async with contender(plane, space, case) as turn:
        before = await cost.requests(plane.api)
        own, api_server = _cpu(plane, turn.pid)
        await turn.submit()
        waiting = await cost.requests(plane.api)
        async with Stopwatch(space, case.executions) as watch:
            began = time.monotonic()
            await turn.go()
            await watch.until_all_through(case.within)
        await turn.settled()
        own_after, api_server_after = _cpu(plane, turn.pid)
        after = await cost.requests(plane.api)
    spent = Spent(waiting - before, after - before, own_after - own, api_server_after - api_server)
    return Result(name, case, watch.course(began), spent)


def _cpu(plane: ControlPlane, pid: int) -> tuple[float, float]:
    return cost.cpu_seconds(pid), cost.cpu_seconds(plane.pid("kube-apiserver"))
