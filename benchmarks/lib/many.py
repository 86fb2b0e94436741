"""Thousands of objects: made with many requests under way at once, counted page by page."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Self, TypeVar

from harness.api import Raw, Space
from harness.following import Following

T = TypeVar("T")

_AT_ONCE: Final = 32
_PAGE: Final = 1000


async def each(items: Iterable[T], do: Callable[[T], Awaitable[object]]) -> None:
    """``do`` for all of them, so many at once that the API server has no rest."""
    left = iter(items)

    async def work() -> None:
        for item in left:
            await do(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(work())


async def phases(space: Space) -> Counter[str]:
    """How many executions there are in each phase. A list of all of them may not fit."""
    found: Counter[str] = Counter()
    token = ""
    while True:
        page = await space.api.get(f"{space.executions}?limit={_PAGE}&continue={token}")
        found.update(item["status"]["phase"] for item in page["items"])
        token = page["metadata"].get("continue", "")
        if not token:
            return found


class Jobs(Following):
    """Every Job that is created in a namespace, by a watch. Each execution has one test."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self._space = space
        self._seen: set[str] = set()
        self.of: Counter[str] = Counter()
        """How many were made, by the UID of their execution."""
        self.seen_at: list[float] = []
        """Monotonic time of each."""

    async def __aenter__(self) -> Self:
        version = (await self._space.api.get(self._space.jobs))["metadata"]["resourceVersion"]
        self._tasks.append(asyncio.create_task(self._follow(version)))
        return self

    async def _follow(self, version: str) -> None:
        async for event in self._space.api.watch(self._space.jobs, version):
            self._take(event["object"])

    def _take(self, job: Raw) -> None:
        metadata = job["metadata"]
        if metadata["uid"] not in self._seen:
            self._seen.add(metadata["uid"])
            self.of[metadata["labels"]["supercheck.io/execution-uid"]] += 1
            self.seen_at.append(time.monotonic())
