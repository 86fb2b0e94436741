"""The ideal loop, the least that could work: a watch on pods, a Job created for each that ends.

No admission, no status, no crash safety. It is a process of its own, as the others are.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.contenders import Case, Turn, clear, job
from benchmarks.lib.control_plane import ControlPlane
from benchmarks.lib.helper import helper, serve
from harness.api import Api, Raw, Space

ENDED: Final = ("Succeeded", "Failed")


@asynccontextmanager
async def ideal(plane: ControlPlane, space: Space, case: Case) -> AsyncIterator[Turn]:
    async with helper(__name__, str(plane.kubeconfig), space.name) as loop:
        submit = partial(loop.ask, "hold", executions=case.executions, seconds=case.seconds)
        go = partial(loop.ask, "go", capacity=case.capacity)

        async def settled() -> None:
            """It writes nothing when a pod has ended but the next Job."""

        yield Turn(loop.pid, submit, go, settled)
        await clear(space)


class Loop:
    def __init__(self, space: Space) -> None:
        self._space = space
        self._wanted: deque[Raw] = deque()
        self._ended: set[str] = set()
        self._acting: set[asyncio.Task[None]] = set()

    async def hold(self, *, executions: int, seconds: float) -> Raw:
        case = Case(0, seconds, executions)
        self._wanted.extend(job(f"ideal-{number}", case) for number in range(executions))
        version = (await self._space.api.get(self._space.pods))["metadata"]["resourceVersion"]
        self._act(self._on_each_end(version))
        return {}

    async def go(self, *, capacity: int) -> Raw:
        for _ in range(capacity):
            self._act(self._next())
        return {}

    def _act(self, what: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(what)
        self._acting.add(task)
        task.add_done_callback(self._acting.discard)

    async def _on_each_end(self, version: str) -> None:
        async for event in self._space.api.watch(self._space.pods, version):
            pod = event["object"]
            uid = pod["metadata"]["uid"]
            if pod["status"].get("phase") in ENDED and uid not in self._ended:
                self._ended.add(uid)
                self._act(self._next())

    async def _next(self) -> None:
        if self._wanted:
            await self._space.api.create(self._space.jobs, self._wanted.popleft())


async def main(kubeconfig: Path, namespace: str) -> None:
    api = Api(kubeconfig)
    loop = Loop(Space(api, namespace))
    await serve(hold=loop.hold, go=loop.go)
    await api.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
