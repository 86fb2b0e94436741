"""What admission adds to the creation of a TestExecution, in time and CPU.

Creates come at a steady rate, each at its planned time, and latency counts from there. They come in
blocks by turns: one to a namespace that the webhook judges and the operator watches, one to a
namespace that neither cares for, which is the baseline (of the webhook's configuration, the API
server looks at the namespaceSelector there, and goes on). So both see the same machine, API server
and moment, and what is told is the difference. Nothing is launched, as the queue is on hold, and
nothing is refused, or the run ends with an error. The API server of these control planes takes any
number of requests at once, so a rate that is too much for the machine shows as latency without end,
and at last as connections to the webhook that are reset.

Ledgers: in memory, in Redis, and in Redis with two replicas behind one address. That address is a
TCP round robin of ours, which costs a hop of its own: the case ``redis, balanced`` is one replica
behind it, so that its difference to ``redis`` is the round robin's, and that to ``redis, 2
replicas`` the second replica's. As behind a Service, connections are balanced, not reviews: at a
low rate the API server has only one or two.

    .venv/bin/python -m benchmarks.admission [--rates 10 100 300] [--seconds 20] [--into FILE]

Columns: ``p50``, ``p99`` of the create, and how much more that is than in the baseline of the same
row; ``call``, the mean of the webhook's answer as the API server waits for it; ``judging``, the
part of it that the operator's histogram knows, as mean and as the bucket that holds the p99. Times
in ms. CPU in ms a create: of all replicas, above what they take while the baseline is created
(they also watch what is stored), and of the API server. ``late`` is how long after its time the
latest create was sent: if it is not small beside the p99, the load measures itself.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.lib.control_plane import ControlPlane, control_plane
from benchmarks.lib.cost import cpu_seconds
from benchmarks.lib.helper import Helper, helper
from benchmarks.lib.report import Row, publish, quantiles
from harness.api import GROUP, Raw, Space, execution
from harness.install import NAME, WEBHOOKS, install_definitions, install_webhook
from harness.process import Operator
from harness.redis_server import RedisServer
from harness.steps import make_queue
from harness.waiting import eventually

HOME: Final = "supercheck"
SECRET: Final = "webhook"
QUEUE: Final = "held"
ROOM: Final = 100_000
"""Places of the queue, the most that it may have."""
_LOOK: Final = 0.25
_IDLE: Final = 0.2
"""Who takes less than this share of a core is done with a block."""
_JUDGING: Final = "supercheck_admission_duration_seconds"
_CALL: Final = "apiserver_admission_webhook_admission_duration_seconds"


@dataclass(frozen=True)
class Case:
    name: str
    replicas: int = 1
    redis: bool = False
    balanced: bool = False


CASES: Final = (
    Case("memory"),
    Case("redis", redis=True),
    Case("redis, balanced", redis=True, balanced=True),
    Case("redis, 2 replicas", replicas=2, redis=True, balanced=True),
)


@dataclass
class Side:
    """What the creates in one namespace came to; seconds."""

    space: Space
    latencies: list[float] = field(default_factory=list)
    lateness: list[float] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    operators: float = 0.0
    api_server: float = 0.0

    @property
    def created(self) -> int:
        return self.answers["201"]

    @property
    def refused(self) -> int:
        return self.answers["429"]

    @property
    def failed(self) -> int:
        return self.answers.total() - self.created - self.refused

    def add(self, block: Raw) -> None:
        self.latencies += block["latencies"]
        self.lateness += block["lateness"]
        self.answers.update(block["answers"])
        for trouble in block["troubles"]:
            print(f"{self.space.name}: {trouble}", file=sys.stderr)


@dataclass
class Histogram:
    """Seconds, summed over all that tell; ``buckets`` by upper bound, each with all below it."""

    sum: float = 0.0
    count: float = 0.0
    buckets: dict[float, float] = field(default_factory=dict)

    @classmethod
    def of(cls, texts: Sequence[str], name: str, label: str = "") -> Histogram:
        """What metrics say of ``name``, where ``label`` is among its labels."""
        found = cls()
        for line in "\n".join(texts).splitlines():
            if not line.startswith(name) or label not in line:
                continue
            value = float(line.rpartition(" ")[2])
            match line.removeprefix(name).partition("{")[0].partition(" ")[0]:
                case "_sum":
                    found.sum += value
                case "_count":
                    found.count += value
                case "_bucket":
                    bound = float(line.partition('le="')[2].partition('"')[0])
                    found.buckets[bound] = found.buckets.get(bound, 0) + value
        return found

    def since(self, before: Histogram) -> Histogram:
        buckets = {le: n - before.buckets.get(le, 0) for le, n in self.buckets.items()}
        return Histogram(self.sum - before.sum, self.count - before.count, buckets)

    @property
    def mean(self) -> float | None:
        return self.sum / self.count if self.count else None

    def within(self, share: float) -> float | None:
        """The least bound that holds so many; None if there are none."""
        enough = [le for le, n in self.buckets.items() if n >= share * self.count > 0]
        return min(enough, default=None)


class Contest:
    """One case on ``plane``: judged creates beside others."""

    def __init__(self, plane: ControlPlane, load: Helper, operators: Sequence[Operator]) -> None:
        self._plane = plane
        self._load = load
        self._operators = operators
        self._blocks = 0

    async def run(self, case: Case, rate: float, seconds: float, block: float) -> Row:
        plain, judged = (Side(Space(self._plane.api, name)) for name in ("plain", "judged"))
        before = await self._told()
        for _ in range(max(1, round(seconds / block))):
            for side in (plain, judged):
                await self._block(side, rate, min(block, seconds))
        after = await self._told()
        await self._sweep_up(plain, judged)
        if not judged.failed:
            assert sum(after.judged) - sum(before.judged) == judged.answers.total(), (before, after)
        return _row(case, rate, plain, judged, before, after)

    async def warm_up(self) -> None:
        """Until the API server asks the webhook, which can tell, and has done so some times."""
        space = Space(self._plane.api, "judged")

        async def judged() -> bool:
            status, _ = await space.try_submit(execution("e", queue=QUEUE), dry_run=True)
            return status == 201 and sum((await self._told()).judged) > 0

        await eventually(judged, "the webhook is asked and admits")
        sides = [Side(Space(self._plane.api, name)) for name in ("plain", "judged")]
        for side in sides:
            await self._block(side, 20, 2)
        await self._sweep_up(*sides)

    async def _block(self, side: Side, rate: float, seconds: float) -> None:
        pids = [each.pid for each in self._operators]
        server = self._plane.pid("kube-apiserver")
        operators, api_server = _cpu(pids), cpu_seconds(server)
        self._blocks += 1
        name, space = f"b{self._blocks}", side.space.name
        side.add(
            await self._load.ask(
                "block", namespace=space, queue=QUEUE, name=name, rate=rate, seconds=seconds
            )
        )
        await _rest([*pids, server])
        side.operators += _cpu(pids) - operators
        side.api_server += cpu_seconds(server) - api_server

    async def _sweep_up(self, *sides: Side) -> None:
        """Nothing is left for the next ones, nor in the ledger."""
        for side in sides:

            async def gone(path: str = side.space.executions) -> bool:
                await self._plane.api.delete(path)
                return not await self._plane.api.items(f"{path}?limit=1")

            await eventually(gone, "the executions are gone", within=300)

        async def empty() -> bool:
            line = f'supercheck_executions_queued{{queue="{QUEUE}"}}'
            return not any([await each.metric(line) for each in self._operators])

        await eventually(empty, "the ledger is empty", within=120)
        await _rest([each.pid for each in self._operators])

    async def _told(self) -> Told:
        texts = [(await each.get("/metrics"))[1] for each in self._operators]
        call = Histogram.of([await self._plane.api.text("/metrics")], _CALL, "admission.supercheck")
        counts = [int(Histogram.of([text], _JUDGING).count) for text in texts]
        return Told(counts, Histogram.of(texts, _JUDGING), call)


@dataclass(frozen=True)
class Told:
    """What metrics say: reviews by replica, the time to judge them, the time the webhook took."""

    judged: list[int]
    judging: Histogram
    call: Histogram


def _row(
    case: Case, rate: float, plain: Side, judged: Side, before: Told, after: Told
) -> dict[str, str | int | float | None]:
    theirs, ours = quantiles(plain.latencies), quantiles(judged.latencies)
    judging, call = after.judging.since(before.judging), after.call.since(before.call)
    count = len(judged.latencies)
    shares = [now - then for now, then in zip(after.judged, before.judged, strict=True)]
    return {
        "case": case.name,
        "rate /s": rate,
        "baseline p50": 1000 * theirs["p50"],
        "baseline p99": 1000 * theirs["p99"],
        "p50": 1000 * ours["p50"],
        "p99": 1000 * ours["p99"],
        "added p50": 1000 * (ours["p50"] - theirs["p50"]),
        "added p99": 1000 * (ours["p99"] - theirs["p99"]),
        "call": _ms(call.mean),
        "judging": _ms(judging.mean),
        "judging p99 <=": _ms(judging.within(0.99)),
        "operator CPU": 1000 * (judged.operators - plain.operators) / count,
        "API server CPU": 1000 * judged.api_server / count,
        "added API server CPU": 1000 * (judged.api_server - plain.api_server) / count,
        "judged by": "/".join(map(str, shares)),
        "refused": plain.refused + judged.refused,
        "failed": plain.failed + judged.failed,
        "late": 1000 * max(plain.lateness + judged.lateness),
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def _cpu(pids: Sequence[int]) -> float:
    return sum(map(cpu_seconds, pids))


async def _rest(pids: Sequence[int]) -> None:
    """Until none of them has much to do."""
    used = [cpu_seconds(pid) for pid in pids]

    async def idle() -> bool:
        nonlocal used
        await asyncio.sleep(_LOOK)
        before, used = used, [cpu_seconds(pid) for pid in pids]
        took = [now - then for now, then in zip(used, before, strict=True)]
        return max(took) < _IDLE * _LOOK

    await eventually(idle, "the block is digested", within=120)


async def install(plane: ControlPlane) -> None:
    home = await plane.space(HOME)
    spaces = [await plane.space(name) for name in ("plain", "judged")]
    secret: Raw = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}}
    await plane.api.create(f"/api/v1/namespaces/{home.name}/secrets", secret)
    await install_definitions(plane.api)
    await make_queue(spaces[0], QUEUE, stopPolicy="Hold", queuedCapacity=ROOM)

    async def served() -> bool:
        return (await plane.api.call("GET", f"{GROUP}/namespaces/plain/testexecutions"))[0] == 200

    await eventually(served, "executions are served")


@asynccontextmanager
async def running(plane: ControlPlane, case: Case) -> AsyncIterator[Sequence[Operator]]:
    """The replicas, ready, and the webhook's configuration, for one namespace only."""
    async with AsyncExitStack() as stack:
        environment, flags = {"WATCH_NAMESPACES": "judged"}, list[str]()
        if case.redis:
            server = stack.enter_context(RedisServer())
            environment |= {"REDIS_URL": server.url, "POD_NAMESPACE": HOME}
            flags = ["--webhook-secret", SECRET]
        operators = [
            Operator(
                plane.kubeconfig, plane.folder / f"{case.name}-{number}.log",
                local=False, flags=flags, **environment, POD_NAME=f"replica-{number}",
            )
            for number in range(case.replicas)
        ]  # fmt: skip
        ports = [each.webhook_port for each in operators]
        if case.balanced:
            balancer = await stack.enter_async_context(
                helper("benchmarks.lib.balancer", *map(str, ports))
            )
            ports = [(await balancer.ask("where"))["port"]]
        await install_webhook(plane.api, ports[0], namespaces=["judged"])
        stack.push_async_callback(plane.api.delete, f"{WEBHOOKS}/{NAME}")
        for each in operators:
            stack.push_async_callback(asyncio.to_thread, _stop, each)
            await each.start()
        yield operators


def _stop(operator: Operator) -> None:
    if operator.running:
        operator.stop()


async def measure(
    cases: Sequence[Case], rates: Sequence[float], seconds: float, block: float
) -> list[Row]:
    rows: list[Row] = []
    async with (
        control_plane("admission") as plane,
        helper("benchmarks.lib.creates", str(plane.kubeconfig)) as load,
    ):
        await install(plane)
        await load.ask("connect")
        for case in cases:
            async with running(plane, case) as operators:
                contest = Contest(plane, load, operators)
                await contest.warm_up()
                rows += [await contest.run(case, rate, seconds, block) for rate in rates]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rates", type=float, nargs="+", default=[10, 100, 300], metavar="N")
    parser.add_argument("--seconds", type=float, default=20, help="of load, for each rate and case")
    parser.add_argument("--block", type=float, default=2, help="seconds between turns")
    names = [case.name for case in CASES]
    parser.add_argument("--cases", nargs="+", choices=names, default=names)
    parser.add_argument("--into", type=Path)
    chosen = parser.parse_args()
    cases = [case for case in CASES if case.name in chosen.cases]
    rows = asyncio.run(measure(cases, chosen.rates, chosen.seconds, chosen.block))
    publish("admission", rows, chosen.into)
    if any(row["refused"] or row["failed"] for row in rows):
        sys.exit("Not all were created, so the figures are not of admission alone.")


if __name__ == "__main__":
    main()
