"""What became of the slots, as a watch on the pods and one on the Jobs of a namespace saw it.

The clock is that of the watcher: when an event arrives, not when it happened.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from harness.api import Raw, Space

_ENDED = ("Succeeded", "Failed")
_FINISHED = ("Complete", "Failed")


@dataclass(frozen=True)
class Course:
    """Times in seconds, each list in its order.

    ``released``: a Job that is not suspended was seen, created so or resumed. ``started`` and
    ``ended``: a pod was seen to run, and to have ended.
    """

    began: float
    released: Sequence[float]
    started: Sequence[float]
    ended: Sequence[float]

    @property
    def seconds(self) -> float:
        """From the beginning to the last end."""
        return self.ended[-1] - self.began

    def to_job(self, capacity: int) -> list[float]:
        """From each end to the Job that takes its slot: the first ends to the first Jobs that
        cannot have one of the slots that were free at the beginning."""
        return _gaps(self.ended, self.released[capacity:])

    def to_pod(self, capacity: int) -> list[float]:
        """From each end to the start of the pod that takes its slot."""
        return _gaps(self.ended, self.started[capacity:])

    def utilisation(self, capacity: int) -> float:
        """The share of slots with a running pod, in the mean of the time when somebody waited."""
        until = self.released[-1]
        running = sum(min(end, until) for end in self.ended)
        running -= sum(min(start, until) for start in self.started)
        return running / (capacity * (until - self.began))


def _gaps(ended: Sequence[float], followed: Sequence[float]) -> list[float]:
    return [after - end for end, after in zip(ended, followed, strict=False)]


class Stopwatch:
    """Looks from when it is entered, until ``executions`` Jobs with a pod each are through."""

    def __init__(self, space: Space, executions: int) -> None:
        self._space = space
        self._executions = executions
        self._released: dict[str, float] = {}
        self._started: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._finished: set[str] = set()
        self._all_through = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        for path, seen in ((self._space.pods, self._pod), (self._space.jobs, self._job)):
            version = (await self._space.api.get(path))["metadata"]["resourceVersion"]
            self._tasks.append(asyncio.create_task(self._follow(path, version, seen)))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until_all_through(self, within: float) -> None:
        through = asyncio.create_task(self._all_through.wait())
        done, _ = await asyncio.wait(
            [through, *self._tasks], timeout=within, return_when=asyncio.FIRST_COMPLETED
        )
        through.cancel()
        assert through in done, (
            f"of {self._executions} Jobs in {self._space.name}: {len(self._released)} released,"
            f" {len(self._ended)} pods ended, {len(self._finished)} finished; {done}"
        )

    def course(self, began: float) -> Course:
        """``began``: when the first could start."""
        released, started, ended = (
            sorted(times.values()) for times in (self._released, self._started, self._ended)
        )
        return Course(began, released, started, ended)

    async def _follow(self, path: str, version: str, seen: Callable[[Raw], None]) -> None:
        async for event in self._space.api.watch(path, version):
            seen(event["object"])
            if len(self._ended) == len(self._finished) == self._executions:
                self._all_through.set()

    def _pod(self, pod: Raw) -> None:
        uid, phase, now = pod["metadata"]["uid"], pod["status"].get("phase"), time.monotonic()
        if phase == "Running" or phase in _ENDED:
            self._started.setdefault(uid, now)
        if phase in _ENDED:
            self._ended.setdefault(uid, now)

    def _job(self, job: Raw) -> None:
        uid = job["metadata"]["uid"]
        if not job["spec"].get("suspend"):
            self._released.setdefault(uid, time.monotonic())
        conditions = job.get("status", {}).get("conditions", [])
        if any(each["type"] in _FINISHED and each["status"] == "True" for each in conditions):
            self._finished.add(uid)
