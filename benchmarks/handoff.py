"""How long a slot stays empty: this operator beside an ideal loop, in one run on one cluster.

The ideal loop is the least that could work: one watch on pods, one Job created for each that has
ended, no admission, no status, no crash safety. What the operator costs is the ratio to it.

    .venv/bin/python -m benchmarks.handoff [--executions 300] [--waiting 1000]

Times depend on the machine; compare ratios. Figures go to the standard output.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from harness.api import Api, Raw, Space, execution
from harness.process import Operator
from harness.waiting import eventually

KINDLESS = Path(sys.executable).with_name("kindless")
SLOTS = 5
TERMINAL = ("Succeeded", "Failed")


@dataclass
class Result:
    """What a watcher of pods and Jobs saw of one contender."""

    seconds: float = 0.0
    handoffs: list[float] = field(default_factory=list)

    def row(self, name: str, count: int) -> str:
        cuts = statistics.quantiles(self.handoffs, n=20)
        p50, p95, most = cuts[9], cuts[18], max(self.handoffs)
        figures = "".join(f"{1000 * value:8.0f}" for value in (p50, p95, most))
        return f"{name:<12}{count / self.seconds:8.1f}/s{figures} ms"


class Stopwatch:
    """Pairs every pod that ends with the next Job that is created, by the time each is seen."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._free: deque[float] = deque()
        self._seen: set[str] = set()
        self.ended = 0
        self.result = Result()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        for path, seen in ((self._space.pods, self._pod), (self._space.jobs, self._job)):
            version = (await self._space.api.get(path))["metadata"]["resourceVersion"]
            self._tasks.append(asyncio.create_task(self._follow(path, version, seen)))
        self._began = time.monotonic()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.result.seconds = time.monotonic() - self._began
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self, path: str, version: str, seen: Callable[[Raw], None]) -> None:
        async for event in self._space.api.watch(path, version):
            seen(event["object"])

    def _pod(self, pod: Raw) -> None:
        uid = pod["metadata"]["uid"]
        if pod["status"].get("phase") in TERMINAL and uid not in self._seen:
            self._seen.add(uid)
            self._free.append(time.monotonic())
            self.ended += 1

    def _job(self, job: Raw) -> None:
        uid = job["metadata"]["uid"]
        if uid not in self._seen:
            self._seen.add(uid)
            if self._free:
                self.result.handoffs.append(time.monotonic() - self._free.popleft())

    async def until_ended(self, count: int) -> None:
        async def all_ended() -> bool:
            return self.ended >= count

        await eventually(all_ended, f"{count} pods have ended", within=600)


async def ideal(space: Space, count: int) -> Result:
    """The least that could work."""
    wanted = deque(_job(f"ideal-{i}") for i in range(count))

    async def next_job() -> None:
        if wanted:
            await space.api.create(space.jobs, wanted.popleft())

    async with Stopwatch(space) as watch:
        version = (await space.api.get(space.pods))["metadata"]["resourceVersion"]
        loop = asyncio.create_task(_on_each_end(space, version, next_job))
        await asyncio.gather(*(next_job() for _ in range(SLOTS)))
        await watch.until_ended(count)
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
    return watch.result


async def _on_each_end(space: Space, version: str, act: Callable[[], Awaitable[None]]) -> None:
    ended: set[str] = set()
    acting: set[asyncio.Future[None]] = set()
    async for event in space.api.watch(space.pods, version):
        pod = event["object"]
        uid = pod["metadata"]["uid"]
        if pod["status"].get("phase") in TERMINAL and uid not in ended:
            ended.add(uid)
            task = asyncio.ensure_future(act())
            acting.add(task)
            task.add_done_callback(acting.discard)


async def ours(space: Space, count: int) -> Result:
    """Everything waits before the first may start, so that both begin alike."""
    queue = "/apis/supercheck.io/v1alpha1/executionqueues/default"
    await space.api.patch(queue, {"spec": {"stopPolicy": "Hold"}})
    for i in range(count):
        await space.submit(execution(f"ours-{i}"))
    async with Stopwatch(space) as watch:
        await space.api.patch(queue, {"spec": {"stopPolicy": "None"}})
        await watch.until_ended(count)
    return watch.result


async def memory(space: Space, operator: Operator, waiting: int) -> tuple[float, float]:
    """Resident MiB idle, and with that many executions in line."""
    idle = _resident(operator.pid)
    for i in range(SLOTS):
        await space.submit(execution(f"busy-{i}", runs_for="never"))
    answers = [await space.try_submit(execution(f"waits-{i}")) for i in range(waiting)]
    assert all(status == 201 for status, _ in answers)
    return idle, _resident(operator.pid)


async def admission(operator: Operator) -> tuple[float, float]:
    """p50 and p99 of the time to judge, in ms: upper bounds by the histogram's buckets."""
    _, text = await operator.get("/metrics")
    buckets: list[tuple[float, float]] = []
    for line in text.splitlines():
        if line.startswith("supercheck_admission_duration_seconds_bucket"):
            bound, count = line.split('le="')[1].split('"} ')
            buckets.append((float(bound), float(count)))
    total = buckets[-1][1]
    found = [next(b for b, c in buckets if c >= share * total) for share in (0.5, 0.99)]
    return found[0] * 1000, found[1] * 1000


def _resident(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _job(name: str) -> dict[str, Any]:
    container = {"name": "test", "image": "example/e2e:1"}
    pod = {"containers": [container], "restartPolicy": "Never"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    }


async def compare(kubeconfig: Path, log: Path, executions: int, waiting: int) -> None:
    api = Api(kubeconfig)
    operator = Operator(kubeconfig, log, QUEUED_CAPACITY="100000")
    try:
        await operator.start()
        spaces = [await _space(api, name) for name in ("warm", "ideal", "ours", "memory")]
        await ideal(spaces[0], 20)
        by_ideal = await ideal(spaces[1], executions)
        by_us = await ours(spaces[2], executions)
        idle, loaded = await memory(spaces[3], operator, waiting)
        p50, p99 = await admission(operator)
    finally:
        if operator.running:
            operator.stop()
        await api.close()
    print(f"{'':<12}{'through':>10}{'p50':>8}{'p95':>8}{'max':>8}")
    print(by_ideal.row("ideal loop", executions))
    print(by_us.row("operator", executions))
    print(f"throughput: {by_ideal.seconds / by_us.seconds:.2f} of the ideal loop's")
    print(f"admission: p50 <= {p50:g} ms, p99 <= {p99:g} ms within the webhook")
    print(f"resident: {idle:.0f} MiB idle, {loaded:.0f} MiB with {waiting} waiting")


async def _space(api: Api, name: str) -> Space:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"bench-{name}"}}
    await api.create("/api/v1/namespaces", body)
    return Space(api, f"bench-{name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--executions", type=int, default=300)
    parser.add_argument("--waiting", type=int, default=1000)
    arguments = parser.parse_args()
    name = f"supercheck-bench-{os.getpid()}"
    with tempfile.TemporaryDirectory() as folder:
        kubeconfig = Path(folder, "kubeconfig")
        subprocess.run(
            [
                KINDLESS, "create", "cluster", "--name", name, "--kubeconfig", kubeconfig,
                "--no-node", "--fake-nodes", "1", "--owner-pid", str(os.getpid()),
            ],
            check=True,
        )  # fmt: skip
        try:
            asyncio.run(
                compare(kubeconfig, Path(folder, "log"), arguments.executions, arguments.waiting)
            )
        finally:
            subprocess.run([KINDLESS, "delete", "cluster", "--name", name], check=True)


if __name__ == "__main__":
    main()
