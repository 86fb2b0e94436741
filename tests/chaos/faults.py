"""What is made to fail, and when: each fault begins, lasts, and is over."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

from harness.redis_server import RedisServer
from kindless import components

if TYPE_CHECKING:
    from tests.chaos.stage import Stage


@dataclass(frozen=True, slots=True)
class Fault:
    """One that is planned: ``at`` and ``lasts`` in seconds, ``whom`` a number that chooses."""

    kind: str
    at: float
    lasts: float
    whom: int


@dataclass(frozen=True, slots=True)
class Injected:
    """One that was: monotonic times."""

    kind: str
    began: float
    ended: float


Injection = Callable[["Stage", int], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Kind:
    """``lane``: those of one lane never overlap."""

    lane: str
    shortest: float
    longest: float
    inject: Injection


# Replicas ----------------------------------------------------------------------------------------


@asynccontextmanager
async def _killed(stage: Stage, whom: int) -> AsyncIterator[None]:
    replica = stage.leader_or_any(whom)
    await replica.kill()
    yield
    replica.start()


@asynccontextmanager
async def _stopped(stage: Stage, whom: int) -> AsyncIterator[None]:
    replica = stage.leader_or_any(whom)
    await replica.stop()
    yield
    replica.start()


@asynccontextmanager
async def _frozen(stage: Stage, whom: int) -> AsyncIterator[None]:
    replica = stage.leader_or_any(whom)
    replica.freeze()
    yield
    replica.thaw()


# The ways of one replica, and of the API server to the webhooks -----------------------------------


@asynccontextmanager
async def _api_connections_dropped(stage: Stage, whom: int) -> AsyncIterator[None]:
    stage.leader_or_any(whom).way.drop()
    yield


@asynccontextmanager
async def _api_connections_stalled(stage: Stage, whom: int) -> AsyncIterator[None]:
    """Those there are, watches above all; new ones work."""
    way = stage.leader_or_any(whom).way
    way.stall(new=False)
    yield
    way.flow()


@asynccontextmanager
async def _cut_off(stage: Stage, whom: int) -> AsyncIterator[None]:
    way = stage.leader_or_any(whom).way
    way.stall(new=True)
    yield
    way.flow()
    way.drop()


@asynccontextmanager
async def _webhook_dropped(stage: Stage, whom: int) -> AsyncIterator[None]:
    stage.webhooks.refuses = True
    stage.webhooks.drop()
    yield
    stage.webhooks.refuses = False


@asynccontextmanager
async def _webhook_stalled(stage: Stage, whom: int) -> AsyncIterator[None]:
    stage.webhooks.stall(new=bool(whom % 2))
    yield
    stage.webhooks.flow()


# The control plane -------------------------------------------------------------------------------


@asynccontextmanager
async def _api_server_killed(stage: Stage, whom: int) -> AsyncIterator[None]:
    await asyncio.to_thread(components.kill, stage.cluster.name, "kube-apiserver")
    yield
    await asyncio.to_thread(components.start, stage.cluster.name, "kube-apiserver")


@asynccontextmanager
async def _etcd_frozen(stage: Stage, whom: int) -> AsyncIterator[None]:
    pid = components.pid(stage.cluster.name, "etcd")
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


# Redis -------------------------------------------------------------------------------------------


def _redis(stage: Stage) -> RedisServer:
    assert stage.redis is not None
    return stage.redis


@asynccontextmanager
async def _redis_flushed(stage: Stage, whom: int) -> AsyncIterator[None]:
    await asyncio.to_thread(_redis(stage).command, "FLUSHALL")
    yield


@asynccontextmanager
async def _redis_killed(stage: Stage, whom: int) -> AsyncIterator[None]:
    _redis(stage).kill()
    yield
    await asyncio.to_thread(_redis(stage).start)


@asynccontextmanager
async def _redis_paused(stage: Stage, whom: int) -> AsyncIterator[None]:
    """By its own word; it ends by itself, too."""
    await asyncio.to_thread(_redis(stage).command, "CLIENT", "PAUSE", 4000)
    yield
    await asyncio.to_thread(_redis(stage).command, "CLIENT", "UNPAUSE")


@asynccontextmanager
async def _redis_frozen(stage: Stage, whom: int) -> AsyncIterator[None]:
    _redis(stage).stop()
    yield
    _redis(stage).go_on()


KINDS: Final = {
    "replica killed": Kind("replicas", 0.5, 6, _killed),
    "replica terminated": Kind("replicas", 0.5, 4, _stopped),
    "replica frozen": Kind("replicas", 0.5, 25, _frozen),
    "API connections dropped": Kind("ways", 0, 1, _api_connections_dropped),
    "API connections stalled": Kind("ways", 3, 20, _api_connections_stalled),
    "cut off from the API server": Kind("ways", 1, 25, _cut_off),
    "webhook connections dropped": Kind("webhook", 0, 4, _webhook_dropped),
    "webhook connections stalled": Kind("webhook", 1, 6, _webhook_stalled),
    "API server killed": Kind("control plane", 0.5, 6, _api_server_killed),
    "etcd frozen": Kind("control plane", 0.5, 6, _etcd_frozen),
    "Redis flushed": Kind("redis", 0, 0.1, _redis_flushed),
    "Redis killed": Kind("redis", 0.1, 5, _redis_killed),
    "Redis paused": Kind("redis", 0.5, 4, _redis_paused),
    "Redis frozen": Kind("redis", 0.5, 6, _redis_frozen),
}
_GAPS: Final = {"replicas": (15, 45), "redis": (10, 40)}
_GAP: Final = (20, 60)
"""Seconds of peace in a lane between two faults; in a short run, less."""
_LONG: Final = 180.0


def plan(random: Random, seconds: float, kinds: Collection[str]) -> list[Fault]:
    """Faults of ``kinds`` that begin within ``seconds``, by the time; each lane has its own."""
    found: list[Fault] = []
    pace = max(0.25, min(1.0, seconds / _LONG))
    for lane in sorted({KINDS[name].lane for name in kinds}):
        names = sorted(name for name in kinds if KINDS[name].lane == lane)
        at = random.uniform(1, 10)
        while at < seconds:
            name = random.choice(names)
            lasts = random.uniform(KINDS[name].shortest, KINDS[name].longest)
            found.append(Fault(name, at, lasts, random.randrange(1000)))
            at += lasts + random.uniform(*_GAPS.get(lane, _GAP)) * pace
    return sorted(found, key=lambda fault: fault.at)


async def inject(
    stage: Stage, faults: Sequence[Fault], done: list[Injected], *, began: float
) -> None:
    """All of ``faults``, at their times after ``began`` (monotonic), each told to ``done``."""
    lanes = {KINDS[fault.kind].lane for fault in faults}

    async def play(lane: str) -> None:
        for fault in faults:
            if KINDS[fault.kind].lane != lane:
                continue
            await asyncio.sleep(max(0.0, began + fault.at - time.monotonic()))
            at = time.monotonic()
            async with KINDS[fault.kind].inject(stage, fault.whom):
                await asyncio.sleep(fault.lasts)  # the fault itself
            done.append(Injected(fault.kind, at, time.monotonic()))

    async with asyncio.TaskGroup() as playing:
        for lane in sorted(lanes):
            playing.create_task(play(lane))
