"""Several candidates for one Lease, of whom some die, sleep, or are cut off: never two lead."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from tests.simulation.api import START, Api, Client, Weather
from tests.simulation.loop import VirtualLoop

from supercheck_operator.controller.leadership import Leadership, LeadershipLostError, Times

TIMES: Final = Times()
REQUEST_TIMEOUT: Final = 5.0
"""Seconds in which a write that was sent by a leader may still land."""
LONGEST_GAP: Final = TIMES.lease + 3 * TIMES.period + 5
"""Seconds within which somebody leads again when nothing is in the way."""


@dataclass(frozen=True)
class Blow:
    """Something that befalls candidate ``whom`` after ``after`` seconds."""

    after: float
    whom: int
    what: str
    lasts: float


blows = st.builds(
    Blow,
    after=st.floats(0, 30),
    whom=st.integers(0, 2),
    what=st.sampled_from(["kill", "stop", "sleep", "cut off", "clock"]),
    lasts=st.floats(0.1, 40),
)


@dataclass
class Candidate:
    """One process that wants to lead; killed or stopped, it is started again after a while."""

    api: Api
    number: int
    noise: random.Random
    failing: float
    lives: int = 0
    skew: timedelta = timedelta()
    led: list[tuple[float, float, bool]] = field(default_factory=list)
    """From when to when it took itself for the leader, and whether it gave that up in the end."""
    client: Client = field(init=False)
    leadership: Leadership = field(init=False)
    task: asyncio.Task[None] | None = None
    asleep: bool = False

    def start(self) -> None:
        self.lives += 1
        self.client = Client(self.api, lambda _verb, _what: None, self.noise, self.api.now)
        self.client.weather = Weather(failing=self.failing)
        self.leadership = Leadership(
            kube=self.client,  # type: ignore[arg-type]  # it stands for Kube
            namespace="operator",
            name="supercheck-operator",
            identity=f"pod-{self.number}-{self.lives}",
            monotonic=self.api.loop.time,
            now=lambda: START + timedelta(seconds=self.api.loop.time()) + self.skew,
        )
        self.task = asyncio.get_running_loop().create_task(self._live())

    async def _live(self) -> None:
        await self.leadership.acquire()
        with suppress(LeadershipLostError):
            await self.leadership.keep()
        # A process that has lost it ends, and is started again.
        await asyncio.sleep(1)
        self.start()

    def kill(self) -> None:
        self.client.alive = False
        self._end()

    async def stop(self) -> None:
        """As by SIGTERM."""
        if self.task is not None:
            self.task.cancel()
        if self.leadership.fresh:
            self._mark(given_up=True)
        await self.leadership.release()
        self._end()

    def look(self, now: float) -> bool:
        """Whether it would send something now."""
        leads = self.client.alive and not self.asleep and self.leadership.fresh
        if leads:
            if self.led and self.led[-1][1] >= now - 0.11 and not self.led[-1][2]:
                self.led[-1] = (self.led[-1][0], now, False)
            else:
                self.led.append((now, now, False))
        return leads

    def _mark(self, *, given_up: bool) -> None:
        now = asyncio.get_running_loop().time()
        self.look(now)
        if self.led:
            self.led[-1] = (self.led[-1][0], now, given_up)

    def _end(self) -> None:
        if self.task is not None:
            self.task.cancel()
        self.task = None


async def befall(candidate: Candidate, blow: Blow) -> None:
    match blow.what:
        case "kill":
            candidate.kill()
            await asyncio.sleep(blow.lasts)
            candidate.start()
        case "stop":
            await candidate.stop()
            await asyncio.sleep(blow.lasts)
            candidate.start()
        case "sleep":  # SIGSTOP, SIGCONT: what it had under way is as if it was never asked for
            if candidate.task is not None:
                candidate.task.cancel()
            candidate.asleep = True
            await asyncio.sleep(blow.lasts)
            candidate.asleep = False
            woke = asyncio.get_running_loop().time()
            assert not candidate.look(woke) or blow.lasts < TIMES.deadline + 0.1
            candidate.task = asyncio.get_running_loop().create_task(candidate._live())
        case "cut off":
            candidate.client.outage = True
            await asyncio.sleep(blow.lasts)
            candidate.client.outage = False
        case _:
            candidate.skew += timedelta(hours=blow.lasts - 20)


async def contest(script: list[Blow], seed: int, failing: float) -> list[Candidate]:
    loop = asyncio.get_running_loop()
    noise = random.Random(seed)
    api = Api(loop, noise)
    candidates = [Candidate(api, number, noise, failing) for number in range(3)]
    for candidate in candidates:
        candidate.start()

    async def watch() -> None:
        while True:
            leading = [c.number for c in candidates if c.look(loop.time())]
            assert len(leading) <= 1, f"{leading} lead at {loop.time():.2f}"
            await asyncio.sleep(0.05)

    watching = loop.create_task(watch())
    for blow in script:
        await asyncio.sleep(blow.after)
        await befall(candidates[blow.whom], blow)
        assert not watching.done(), watching.exception()
    for candidate in candidates:
        candidate.client.weather = Weather()
    await asyncio.sleep(LONGEST_GAP)
    assert any(candidate.leadership.fresh for candidate in candidates), "nobody leads in the end"
    watching.cancel()
    lives = [candidate.task for candidate in candidates if candidate.task is not None]
    for candidate in candidates:
        candidate.kill()
    await asyncio.gather(watching, *lives, return_exceptions=True)
    return candidates


def reigns(candidates: list[Candidate]) -> list[tuple[float, float, bool, int]]:
    return sorted((*reign, candidate.number) for candidate in candidates for reign in candidate.led)


def test_never_do_two_lead_and_nothing_lands_that_the_one_before_has_sent() -> None:
    logging.disable(logging.CRITICAL)

    @settings(max_examples=200)
    @given(
        script=st.lists(blows, max_size=8),
        seed=st.integers(0, 2**32),
        failing=st.sampled_from([0.0, 0.05, 0.3]),
    )
    def play(script: list[Blow], seed: int, failing: float) -> None:
        loop = VirtualLoop()
        try:
            candidates = loop.run_until_complete(contest(script, seed, failing))
        finally:
            loop.close()
        order = reigns(candidates)
        note("\n".join(f"{who}: {a:.2f} to {b:.2f}, given up {g}" for a, b, g, who in order))
        for before, after in pairwise(order):
            if before[3] != after[3] and not before[2]:
                assert after[0] - before[1] >= REQUEST_TIMEOUT

    try:
        play()
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("end", "within"),
    [("stop", TIMES.period + 0.2), ("kill", TIMES.lease + 2 * TIMES.period + 0.2)],
)
def test_the_next_leads_soon(end: str, within: float) -> None:
    async def play() -> float:
        loop = asyncio.get_running_loop()
        noise = random.Random(1)
        api = Api(loop, noise)
        first, second = (Candidate(api, number, noise, 0.0) for number in range(2))
        first.start()
        await asyncio.sleep(5)
        second.start()
        await asyncio.sleep(5)
        assert first.leadership.fresh
        assert second.leadership.holder == first.leadership.identity
        ended = loop.time()
        if end == "stop":
            await first.stop()
        else:
            first.kill()
        assert second.task is not None
        while not second.leadership.fresh:
            await asyncio.wait({second.task}, timeout=0.01)
        took = loop.time() - ended
        second.kill()
        return took

    loop = VirtualLoop()
    try:
        assert loop.run_until_complete(play()) <= within
    finally:
        loop.close()
