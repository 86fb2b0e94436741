"""What is compared by the hand-off benchmark: whatever runs N pods, never more than some at once.

A contender is an asynchronous context manager. While it is entered, its process runs; when it is
left, neither that nor anything it has made is there any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

from benchmarks.lib.control_plane import ControlPlane
from harness.api import Api, Raw, Space
from harness.waiting import eventually

_CREATORS: Final = 32
"""Requests at once while what shall wait is created; nobody measures that."""


@dataclass(frozen=True)
class Case:
    """``seconds``: how long a pod runs."""

    capacity: int
    seconds: float
    executions: int

    @property
    def runs_for(self) -> str | None:
        """As the annotation of the fake nodes has it; None: it ends at once."""
        return f"{round(1000 * self.seconds)}ms" if self.seconds else None

    @property
    def within(self) -> float:
        """Seconds after which something must have gone wrong."""
        return 60 + self.executions * (1 + self.seconds)


@dataclass(frozen=True)
class Turn:
    """What is asked of a contender, one after the other; ``pid`` is its process.

    ``submit`` returns when all executions wait, ``go`` when the first may start, and ``settled``
    when the last word about each execution is written.
    """

    pid: int
    submit: Callable[[], Awaitable[object]]
    go: Callable[[], Awaitable[object]]
    settled: Callable[[], Awaitable[None]]


Contender = Callable[[ControlPlane, Space, Case], AbstractAsyncContextManager[Turn]]


def job(name: str, case: Case, labels: dict[str, str] | None = None, **spec: object) -> Raw:
    """With one pod, which runs once."""
    pod = {"containers": [{"name": "t", "image": "example/e2e:1"}], "restartPolicy": "Never"}
    notes = {"stage.kindless/runs-for": case.runs_for} if case.runs_for else {}
    template = {"metadata": {"annotations": notes}, "spec": pod}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"backoffLimit": 0, "template": template, **spec},
    }


async def create(api: Api, path: str, bodies: Iterable[Raw]) -> None:
    """All of them, several at a time."""
    room = asyncio.Semaphore(_CREATORS)

    async def one(body: Raw) -> None:
        async with room:
            await api.create(path, body)

    async with asyncio.TaskGroup() as tasks:
        for body in bodies:
            tasks.create_task(one(body))


async def until_all(api: Api, path: str, holds: Callable[[Raw], bool], within: float = 60) -> None:
    """Return when ``holds`` is true of all that ``path`` lists."""
    listed = await api.get(path)
    left = {item["metadata"]["uid"] for item in listed["items"] if not holds(item)}
    version = listed["metadata"]["resourceVersion"]
    if not left:
        return
    async with asyncio.timeout(within):
        async for event in api.watch(path, version):
            if holds(event["object"]):
                left.discard(event["object"]["metadata"]["uid"])
            if not left:
                return


async def clear(space: Space, *paths: str) -> None:
    """Delete what ``paths`` list, and the Jobs and pods; return when nothing of it is left."""
    # Asked for at once: the garbage collector knows a new kind only after up to 30 s.
    for path in (*paths, space.jobs):
        await space.api.delete(f"{path}?propagationPolicy=Background")
    await space.api.delete(f"{space.pods}?gracePeriodSeconds=0")

    async def empty() -> bool:
        some = [await space.api.get(f"{path}?limit=1") for path in (*paths, space.jobs, space.pods)]
        return not any(each["items"] for each in some)

    await eventually(empty, f"{space.name} is empty", within=180)
