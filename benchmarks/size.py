"""How everything grows with the number of executions: memory, start, sweeps, hand-offs, answers.

Three shapes, each on a cluster of its own: all wait in one queue; all wait, spread over many
queues; all have finished and are kept. Hand-offs are always those of one queue, of executions that
end at once, five at a time, with no sweep among them; how long a sweep keeps everything waiting is
told beside them.

    .venv/bin/python -m benchmarks.size [--sizes 100 1000 10000 100000] [--into FILE]
    .venv/bin/python -m benchmarks.size --to-the-end 100000 [--into FILE]

The second lets so many wait, and run to their end, and counts what has become of them.

Times depend on the machine; etcd does not wait for its disk there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from benchmarks.lib import many, report, sweeps
from benchmarks.lib.control_plane import ControlPlane, control_plane
from benchmarks.lib.cost import cpu_seconds, forget_peak, peak_mib, resident_mib
from benchmarks.lib.stopwatch import Stopwatch
from benchmarks.lib.stored import database_mib, value_bytes
from harness.api import Raw, Space, execution
from harness.process import Operator
from harness.steps import QUEUES, change_queue, jobs_of, make_queue, pods_of, until
from harness.waiting import eventually

MEASURED: Final = "q-0"
"""The queue whose executions start; all others stay on hold."""
SLOTS: Final = 5
END_SLOTS: Final = 10
"""To run everything to its end: of more, most only wait for the Job controller to make a pod."""
PLACES: Final = 100_000
NOT_PASSED: Final = ("Failed", "Error", "Cancelled")
SPARE: Final = 20
"""Executions for what starts beside the hand-offs."""
PATIENCE: Final = 1800.0
"""Seconds for a start with 100,000."""
LONGEST: Final = 2**26
"""Bytes of one event."""
AT_MOST: Final = 60.0
"""Seconds for which one question is repeated."""
WEBHOOK: Final = (
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/supercheck-operator"
)


@dataclass(frozen=True)
class Shape:
    name: str
    queues: int = 1


@dataclass(frozen=True)
class Asked:
    handoffs: int
    requests: int
    sweeps: int
    sweep_seconds: float


@dataclass(frozen=True)
class Result:
    row: dict[str, str | int | float | None]
    stored: dict[str, int]
    """Bytes of one object of each kind in etcd, and in a LIST."""


class Case:
    """One shape at one size, on a cluster of its own. Every Job that is made there is counted."""

    def __init__(
        self, plane: ControlPlane, space: Space, jobs: many.Jobs, shape: Shape, size: int
    ) -> None:
        self.plane = plane
        self.space = space
        self.jobs = jobs
        self.shape = shape
        self.size = size

    def operator(self, asked: Asked, *, job_ttl_seconds: int = 86_400) -> Operator:
        return Operator(
            self.plane.kubeconfig,
            self.plane.folder / "log",
            QUEUED_CAPACITY=str(PLACES),
            SWEEP_SECONDS=str(asked.sweep_seconds),
            JOB_TTL_SECONDS=str(job_ttl_seconds),
        )

    async def make_queues(self, operator: Operator) -> None:
        """On hold, and known to the operator."""
        names = [f"q-{number}" for number in range(self.shape.queues)]
        spec = {"stopPolicy": "Hold", "runningCapacity": 1}
        await many.each(names, lambda name: make_queue(self.space, name, **spec))

        async def known() -> bool:
            _, text = await operator.get("/metrics")
            return text.count("\nsupercheck_queued_capacity{") > len(names)  # and default

        await eventually(known, "the operator knows the queues", within=PATIENCE)

    async def fill(self, count: int, *, first: int, prefix: str = "e") -> None:
        """``first`` of them in the queue that is measured, the others in all queues alike."""

        def bodies() -> Iterator[Raw]:
            for number in range(count):
                queue = 0 if number < first else number % self.shape.queues
                yield execution(f"{prefix}-{number:06}", queue=f"q-{queue}")

        await many.each(bodies(), self.space.submit)

    async def fill_finished(self) -> None:
        """As the operator, which must be down, has left one that it has run."""
        model = await self.space.get("model")
        text = json.dumps(model["status"])
        await self.space.api.delete(WEBHOOK)

        async def admitted() -> bool:
            answer, _ = await self.space.try_submit(execution("x"), dry_run=True)
            return answer == 201

        await eventually(admitted, "executions are stored without being judged")

        async def store(number: int) -> None:
            name = f"f-{number:06}"
            await self.space.submit(execution(name, queue=MEASURED))
            status = {"status": json.loads(text.replace("model", name))}
            path = f"{self.space.executions}/{name}/status"
            answer, body = await self.space.api.patch(path, status)
            assert answer == 200, body

        await many.each(range(self.size), store)

    async def start(self, operator: Operator) -> tuple[float, float]:
        """Killed, and a slot is free when it starts: seconds to ready, and to the first Job."""
        if operator.running:
            operator.kill()
        await change_queue(self.space, MEASURED, stopPolicy="None")
        known = len(self.jobs.seen_at)
        began = time.monotonic()
        operator.launch()

        async def is_ready() -> bool:
            assert operator.running, operator.log
            try:
                return (await operator.get("/readyz"))[0] == 200
            except aiohttp.ClientError:
                return False

        async def launched() -> bool:
            return len(self.jobs.seen_at) > known

        async def ready_after() -> float:
            await eventually(is_ready, "ready", within=PATIENCE)
            return time.monotonic() - began

        ready, _ = await asyncio.gather(
            ready_after(), eventually(launched, "a Job is made", within=PATIENCE)
        )
        first = self.jobs.seen_at[known] - began
        await change_queue(self.space, MEASURED, stopPolicy="Hold")
        await self.quiet(operator)
        return ready, first

    async def quiet(self, operator: Operator) -> None:
        async def nothing_runs() -> bool:
            return (await operator.stats(MEASURED))[0] == 0

        await eventually(nothing_runs, "nothing runs", within=PATIENCE)

    async def hand_on(self, operator: Operator, most: int) -> dict[str, float]:
        """Let up to ``most`` of those that wait run, then hold the queue again."""
        _, _, waiting, _ = await operator.stats(MEASURED)
        count = min(most, waiting)
        async with Stopwatch(self.space, waiting) as watch:
            began, before = time.monotonic(), cpu_seconds(operator.pid)
            await change_queue(self.space, MEASURED, stopPolicy="None", runningCapacity=SLOTS)

            async def ended() -> bool:
                return len(watch.course(began).ended) >= count

            await eventually(ended, f"{count} pods have ended", within=PATIENCE)
            spent = cpu_seconds(operator.pid) - before
            course = watch.course(began)
        await change_queue(self.space, MEASURED, stopPolicy="Hold")
        await self.quiet(operator)
        took = report.quantiles(course.to_job(SLOTS))
        return {
            "executions/s": len(course.ended) / course.seconds,
            "CPU ms each": 1000 * spent / len(course.ended),
            "hand-off p50 ms": 1000 * took["p50"],
            "p99 ms": 1000 * took["p99"],
        }

    async def stored(self) -> dict[str, int]:
        """Of one that waits and one that has passed, with its Job and its pod."""
        found: dict[str, tuple[str, Raw]] = {}
        for item in (await self.space.api.get(f"{self.space.executions}?limit=500"))["items"]:
            kind = f"TestExecution {item['status']['phase']}"
            found.setdefault(kind, ("supercheck.io/testexecutions", item))
        passed = found["TestExecution Passed"][1]["metadata"]["name"]
        found["Job"] = ("jobs", (await jobs_of(self.space, passed))[0])
        found["Pod"] = ("pods", (await pods_of(self.space, passed))[0])
        told: dict[str, int] = {}
        for kind, (resource, item) in found.items():
            name = item["metadata"]["name"]
            in_etcd = await value_bytes(self.plane, resource, self.space.name, name)
            told |= {kind: in_etcd, f"{kind}, JSON": len(json.dumps(item, separators=(",", ":")))}
        return told

    async def to_the_end(self, operator: Operator) -> dict[str, int | float]:
        """What becomes of everything that waits, and whether all is right afterwards."""
        await change_queue(self.space, MEASURED, stopPolicy="None", runningCapacity=END_SLOTS)
        began = time.monotonic()

        async def all_made() -> bool:
            return len(self.jobs.of) == self.size

        await eventually(all_made, "everything has begun", within=PATIENCE + self.size)

        async def told() -> bool:
            status = (await self.space.api.get(f"{QUEUES}/{MEASURED}"))["status"]
            return (status["running"], status["queued"]) == (0, 0)

        await eventually(told, "the queue is empty", within=PATIENCE)
        seconds = time.monotonic() - began
        running, _, queued, _ = await operator.stats(MEASURED)
        phases = await self._last_phases()
        _, metrics = await operator.get("/metrics")
        return {
            "executions": self.size,
            "seconds": seconds,
            "executions/s": self.size / seconds,
            "CPU ms each": 1000 * cpu_seconds(operator.pid) / self.size,
            "peak MiB": peak_mib(operator.pid),
            "Passed": phases["Passed"],
            "Failed, Error or Cancelled": sum(phases[each] for each in NOT_PASSED),
            "lost": self.size - phases["Passed"],
            "Jobs made twice": sum(count > 1 for count in self.jobs.of.values()),
            "running": running,
            "queued": queued,
            "ledger up": int("\nsupercheck_ledger_up 1.0" in metrics),
            "ledger corrections": _sum(metrics, "supercheck_ledger_corrections_total{"),
            "database MiB": await database_mib(self.space.api),
        }

    async def _last_phases(self) -> Counter[str]:
        """A slot is free when its pod has ended, a moment before the end is written."""
        found: Counter[str] = Counter()

        async def all_final() -> bool:
            nonlocal found
            found = await many.phases(self.space)
            return not found["Queued"] and not found["Running"]

        with suppress(AssertionError):  # then it is told how many there are
            await eventually(all_final, "every end is written", within=60)
        return found


@asynccontextmanager
async def case(shape: Shape, size: int) -> AsyncIterator[Case]:
    async with control_plane("size") as plane:
        space = await plane.space("bench")
        async with many.Jobs(space) as jobs:
            yield Case(plane, space, jobs, shape, size)


async def measure(shape: Shape, size: int, asked: Asked) -> Result:
    async with case(shape, size) as one:
        operator = one.operator(asked)
        await operator.start()
        try:
            idle = resident_mib(operator.pid)
            await one.make_queues(operator)
            began = time.monotonic()
            if shape.name == "finished":
                await change_queue(one.space, MEASURED, stopPolicy="None")
                await one.space.submit(execution("model", queue=MEASURED))
                await until(one.space, "model", "Passed")
                await change_queue(one.space, MEASURED, stopPolicy="Hold")
                await one.fill(asked.handoffs + SPARE, first=asked.handoffs + SPARE)
                operator.kill()
                began = time.monotonic()
                await one.fill_finished()
            else:
                await one.fill(size, first=asked.handoffs + SPARE)
            filling = time.monotonic() - began
            filled = resident_mib(operator.pid) if operator.running else None
            ready, first = await one.start(operator)
            restarted, peak = resident_mib(operator.pid), peak_mib(operator.pid)
            forget_peak(operator.pid)
            sweep = await sweeps.measure(
                one.space.api, operator, interval=asked.sweep_seconds, count=asked.sweeps
            )
            row = {
                "shape": shape.name,
                "queues": shape.queues,
                "executions": size,
                "filled/s": size / filling,
                "idle MiB": idle,
                "filled MiB": filled,
                "restarted MiB": restarted,
                "start's peak MiB": peak,
                "sweep's peak MiB": peak_mib(operator.pid),
                "ready s": ready,
                "first Job s": first,
                "sweep s": sweep.seconds,
                "sweep CPU s": sweep.cpu_seconds,
                "sweep pause s": sweep.pause,
                **await one.hand_on(operator, asked.handoffs),
                **await answers(operator, asked.requests),
                "database MiB": await database_mib(one.space.api),
            }
            stored = await one.stored()
        finally:
            if operator.running:
                operator.kill()
        return Result(row, stored)


async def run_to_the_end(size: int, asked: Asked) -> dict[str, int | float]:
    async with case(Shape("queued"), size) as one:
        # Jobs go a minute after their end, or there would be more than etcd has room for.
        operator = one.operator(asked, job_ttl_seconds=60)
        await operator.start()
        try:
            await one.make_queues(operator)
            await one.fill(size, first=size)
            operator.kill()
            await operator.start()
            end = await one.to_the_end(operator)
            if not right(end):
                sys.stderr.write(operator.log[-10_000:])
            return end
        finally:
            if operator.running:
                operator.kill()


async def answers(operator: Operator, count: int) -> dict[str, float]:
    """Milliseconds until the whole answer is there, asked ``count`` times, one after the other;
    and what the answers take in memory. Of the page's stream, ``/api/live``, it is the first event.
    """
    found: dict[str, float] = {}
    forget_peak(operator.pid)
    async with aiohttp.ClientSession(operator.url, read_bufsize=LONGEST) as session:
        for path in ("/metrics", "/api/queue-stats", "/api/executions", "/api/live"):
            took: list[float] = []
            began = time.monotonic()
            while len(took) < 2 or (len(took) < count and time.monotonic() - began < AT_MOST):
                asked_at = time.monotonic()
                async with session.get(path) as response:
                    assert response.status == 200, path
                    await _all_of(response)
                took.append(1000 * (time.monotonic() - asked_at))
            cuts = report.quantiles(took)
            found |= {f"{path} p50 ms": cuts["p50"], f"{path} p99 ms": cuts["p99"]}
    return found | {"answers' peak MiB": peak_mib(operator.pid)}


async def _all_of(response: aiohttp.ClientResponse) -> None:
    if response.content_type != "text/event-stream":
        await response.read()
        return
    async for line in response.content:
        if line.startswith(b"data:"):
            return


def right(end: dict[str, int | float]) -> bool:
    """Nothing is lost, nothing was made twice, and every count says so."""
    wrong = ("lost", "Jobs made twice", "running", "queued", "ledger corrections")
    return not any(end[name] for name in wrong) and end["ledger up"] == 1


def _sum(metrics: str, begins: str) -> int:
    lines = (line for line in metrics.splitlines() if line.startswith(begins))
    return sum(int(float(line.rpartition(" ")[2])) for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--sizes", type=int, nargs="+", default=[100, 1000, 10_000])
    add("--queues", type=int, nargs="+", default=[1, 1000], help="to spread over what waits")
    add("--shapes", nargs="+", choices=["queued", "finished"], default=["queued", "finished"])
    add("--handoffs", type=int, default=300)
    add("--requests", type=int, default=50, help="of each kind, within a minute")
    add("--sweeps", type=int, default=2)
    add("--sweep-seconds", type=float, default=30, help="SWEEP_SECONDS of the operator")
    add("--to-the-end", type=int, metavar="COUNT", help="instead: run so many to their end")
    add("--into", type=Path)
    told = parser.parse_args()
    asked = Asked(told.handoffs, told.requests, told.sweeps, told.sweep_seconds)
    if told.to_the_end:
        end = asyncio.run(run_to_the_end(told.to_the_end, asked))
        report.publish("size to the end", [end], told.into)
        sys.exit(None if right(end) else "Not all is right at the end.")
    shapes = [Shape("queued", queues) for queues in told.queues if "queued" in told.shapes]
    shapes += [Shape("finished")] * ("finished" in told.shapes)
    results: list[Result] = []
    try:
        for shape in shapes:
            for size in told.sizes:
                print(f"{shape.name}: {size} in {shape.queues} queues", file=sys.stderr)
                results.append(asyncio.run(measure(shape, size, asked)))
    finally:  # a run of hours is not lost for its last step
        if results:
            publish(results, told.into)


def publish(results: list[Result], into: Path | None) -> None:
    stored = {what: size for result in results for what, size in result.stored.items()}
    print(f"## bytes of one object, in etcd and in a LIST\n\n{report.table([stored])}\n")
    report.publish("size", [result.row for result in results], into, stored=stored)


if __name__ == "__main__":
    main()
