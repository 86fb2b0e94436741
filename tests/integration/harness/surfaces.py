"""What six surfaces tell of one queue, each asked over and over, with the moments of it."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import inf

from playwright.async_api import Page

from harness.api import Raw, Space
from harness.cli import Cli, Running
from harness.events import Stream, follow
from harness.process import Operator
from harness.steps import QUEUES

FIGURES = ("running", "runningCapacity", "queued", "queuedCapacity")
METRICS = ("executions_running", "running_capacity", "executions_queued", "queued_capacity")
SURFACES = {"rest", "stream", "page", "metrics", "status", "cli"}

Figures = tuple[int, ...]
"""In the order of FIGURES."""


@dataclass(frozen=True)
class Sample:
    """``figures`` were what it told at some moment between the two (monotonic seconds)."""

    asked_at: float
    told_at: float
    figures: Figures


class Course:
    """What became of one queue while its figures went one way only, as every surface told it.

    ``order`` gives later figures a higher number.
    """

    def __init__(
        self, told: Mapping[str, Sequence[Sample]], order: Callable[[Figures], int]
    ) -> None:
        self._told = told
        self._order = order

    @property
    def states(self) -> set[Figures]:
        """All that anybody told."""
        return {sample.figures for samples in self._told.values() for sample in samples}

    @property
    def went_back(self) -> set[str]:
        """Surfaces that told earlier figures after later ones."""
        return {
            name
            for name, samples in self._told.items()
            for before, after in pairwise(samples)
            if self._order(after.figures) < self._order(before.figures)
        }

    @property
    def slowest(self) -> float:
        """Seconds: the longest that anybody took to answer."""
        return max(each.told_at - each.asked_at for some in self._told.values() for each in some)

    def behind(self) -> dict[str, float]:
        """By surface, for how many seconds at most it told what another had told to be over."""
        over = self._over_since()
        return {
            name: max(sample.asked_at - over[self._order(sample.figures)] for sample in samples)
            for name, samples in self._told.items()
        }

    def _over_since(self) -> dict[int, float]:
        """By number, since when somebody has told of later figures."""
        first: dict[int, float] = {}
        for samples in self._told.values():
            for sample in samples:
                number = self._order(sample.figures)
                first[number] = min(sample.told_at, first.get(number, inf))
        since, over = inf, {}
        for number in sorted(first, reverse=True):
            over[number], since = since, min(since, first[number])
        return over


class Surfaces:
    """``told``: by surface every sample, in the order of time."""

    def __init__(self, operator: Operator, space: Space, queue: str, page: Page) -> None:
        self._operator = operator
        self._api = space.api
        self._queue = queue
        self._shown = page.get_by_role("article", name=f"Queue {queue}").locator(".figure")
        self._pushed: dict[str, Figures] = {}
        self.told: defaultdict[str, list[Sample]] = defaultdict(list)

    @asynccontextmanager
    async def watched(self, cli: Cli) -> AsyncIterator[None]:
        """All of them are looked at, each as fast as it answers."""
        url = f"{self._operator.url}/api/queue-stats/sse?queue={self._queue}"
        command = ("queue", self._queue, "--watch", "--output", "json")
        async with AsyncExitStack() as stack:
            stream = await stack.enter_async_context(follow(url))
            running = await stack.enter_async_context(cli.started(*command))
            looks = [
                self._take_pushed("stream", self._of_stream(stream)),
                self._take_pushed("cli", self._of_cli(running)),
                *(
                    self._look(name, ask)
                    for name, ask in (
                        ("rest", self._rest),
                        ("metrics", self._metrics),
                        ("page", self._page),
                        ("status", self._status),
                        ("stream", partial(self._last_pushed, "stream")),
                        ("cli", partial(self._last_pushed, "cli")),
                    )
                ),
            ]
            tasks = [asyncio.create_task(look) for look in looks]
            try:
                yield
                failed = [task for task in tasks if task.done()]
                assert not failed, failed
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def course(self, order: Callable[[Figures], int]) -> Course:
        """Of what was told since the last one."""
        told, self.told = self.told, defaultdict(list)
        return Course(told, order)

    async def all_say(self, expected: Figures) -> bool:
        return self.told.keys() == SURFACES and all(
            samples[-1].figures == expected for samples in self.told.values()
        )

    async def _look(self, name: str, ask: Callable[[], Awaitable[Figures | None]]) -> None:
        while True:
            asked_at = time.monotonic()
            figures = await ask()
            if figures is not None:
                self.told[name].append(Sample(asked_at, time.monotonic(), figures))
            await asyncio.sleep(0.02)

    async def _rest(self) -> Figures:
        return await self._operator.stats(self._queue)

    async def _metrics(self) -> Figures:
        """Of one answer: of several, each could be of another moment."""
        _, text = await self._operator.get("/metrics")
        lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
        label = f'{{queue="{self._queue}"}}'
        return tuple(int(float(lines[f"supercheck_{name}{label}"])) for name in METRICS)

    async def _page(self) -> Figures | None:
        figures = await self._shown.all_inner_texts()
        return tuple(int(part) for figure in figures for part in figure.split("/")) or None

    async def _status(self) -> Figures | None:
        status = (await self._api.get(f"{QUEUES}/{self._queue}")).get("status")
        return _figures(status) if status else None

    async def _last_pushed(self, name: str) -> Figures | None:
        return self._pushed.get(name)

    async def _take_pushed(self, name: str, news: AsyncIterator[Raw]) -> None:
        async for each in news:
            self._pushed[name] = _figures(each)

    async def _of_stream(self, stream: Stream) -> AsyncIterator[Raw]:
        while True:
            yield json.loads(await stream.message())

    async def _of_cli(self, running: Running) -> AsyncIterator[Raw]:
        async for line in running.lines():
            yield json.loads(line)


def _figures(told: Raw) -> Figures:
    return tuple(told[name] for name in FIGURES)
