"""What users do meanwhile: all of it is drawn from the seed, whatever the answers are."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Final

import aiohttp

from harness.api import GROUP, Api, Raw, Space, execution

QUEUES: Final[dict[str, Raw]] = {
    "steady": {"runningCapacity": 4, "queuedCapacity": 6},
    "shared": {
        "runningCapacity": 4,
        "queuedCapacity": 8,
        "ordering": "FairShare",
        "perNamespace": {"runningCapacity": 3, "queuedCapacity": 5},
    },
    "moving": {"runningCapacity": 3, "queuedCapacity": 5},
}
"""Of the first two, limits never change, so that nobody can have an older one in mind. Retries are
in ``steady`` only, and what is suspended in ``moving`` only: what rests while a slot is free makes
room for one more, and the sums would be no longer exact."""
NAMESPACES: Final = ("chaos-a", "chaos-b")
RATE: Final = 10.0
"""Actions a second, in the mean."""
_PATIENCE: Final = 45.0
"""Seconds for one request, which the API server gives up after 34."""
_AT_ONCE: Final = 60


@dataclass(frozen=True, slots=True)
class _Action:
    what: str
    namespace: str
    name: str
    body: Raw


class Load:
    """Acts in ``spaces``, one for each of NAMESPACES."""

    def __init__(self, api: Api, random: Random) -> None:
        self.answers: Counter[str] = Counter()
        """What submissions were answered."""
        self.actions: Counter[str] = Counter()
        self.judged: list[float] = []
        """Monotonic times of the answers that admission has decided on: 201 and 429."""
        self._api = api
        self._random = random
        self._spaces = {name: Space(api, name) for name in NAMESPACES}
        self._made: list[tuple[str, str]] = []
        self._suspended: list[tuple[str, str]] = []
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def run(self, seconds: float) -> None:
        """For that long; returns when every request has been answered, or given up."""
        until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as requests:
            while time.monotonic() < until:
                await asyncio.sleep(self._random.expovariate(RATE))
                await self._slots.acquire()
                requests.create_task(self._act(self._draw()))

    async def finish(self) -> None:
        """Let everything that is suspended start."""
        for namespace, name in self._suspended:
            await self._spaces[namespace].change(name, {"suspend": False})

    def _draw(self) -> _Action:
        drawn = self._random.random()
        if drawn < 0.78 or not self._made:
            return self._submission()
        if drawn < 0.79:
            limits = {
                "runningCapacity": self._random.randint(1, 5),
                "queuedCapacity": self._random.randint(0, 8),
            }
            return _Action("limit", "", "moving", limits)
        if drawn < 0.82 and self._suspended:
            namespace, name = self._random.choice(self._suspended[-10:])
            return _Action("resume", namespace, name, {"suspend": False})
        # Mostly of the latest, which are not over yet.
        namespace, name = self._random.choice(self._made[-30:])
        if drawn < 0.92:
            return _Action("cancel", namespace, name, {"cancel": True})
        return _Action("delete", namespace, name, {})

    def _submission(self) -> _Action:
        random = self._random
        namespace, queue = random.choice(NAMESPACES), random.choice(sorted(QUEUES))
        name = f"e-{len(self._made):05d}"
        spec: Raw = {"queue": queue, "priority": random.choice([0, 0, 0, 5])}
        tests = random.choice([1, 1, 1, 2, 3, 4])
        spec["tests"] = [{"name": f"t{n}", "image": "example/e2e:1"} for n in range(tests)]
        spec["maxConcurrentTests"] = random.randint(1, 3)
        spec["failFast"] = random.random() < 0.2
        annotations = {}
        if random.random() < 0.2:
            annotations["stage.kindless/exit-code"] = "1"
        if queue == "steady" and random.random() < 0.4:
            spec["retry"] = {
                "limit": random.randint(1, 2),
                "on": ["Failure", "Error"],
                "backoffSeconds": 1,
            }
        suspended = queue == "moving" and random.random() < 0.1
        if suspended:
            spec["suspend"] = True
            self._suspended.append((namespace, name))
        self._made.append((namespace, name))
        lasts = f"{random.randint(50, 900)}ms"
        body = execution(name, runs_for=lasts, annotations=annotations, **spec)
        return _Action("submit", namespace, name, body)

    async def _act(self, action: _Action) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                status, answer = await self._send(action)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            status, answer = 0, {"message": type(error).__name__}
        finally:
            self._slots.release()
        self.actions[action.what] += 1
        if action.what == "submit":
            capacity = "Queue capacity limit reached" in answer.get("message", "")
            if status == 201 or capacity:
                self.judged.append(time.monotonic())
            self.answers["no answer" if not status else "full" if capacity else str(status)] += 1

    async def _send(self, action: _Action) -> tuple[int, Raw]:
        if action.what == "limit":
            return await self._api.patch(
                f"{GROUP}/executionqueues/{action.name}", {"spec": action.body}
            )
        space = self._spaces[action.namespace]
        match action.what:
            case "submit":
                return await space.try_submit(action.body)
            case "delete":
                return await self._api.call("DELETE", f"{space.executions}/{action.name}")
            case _:
                return await space.change(action.name, action.body)
