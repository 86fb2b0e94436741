"""Everything about queues changed while work flows through them."""

import asyncio
import json
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace

import pytest_asyncio

from harness.api import Api, Raw, Space, execution
from harness.chronicle import Chronicle, Moment
from harness.process import Operator
from harness.steps import FINAL, QUEUES, change_queue, make_queue, until_stats
from harness.waiting import eventually

SETTINGS = {"SWEEP_SECONDS": "2"}
CHANGES = 50
HELD = ("Hold", "HoldAndDrain")
GONE = -1


@pytest_asyncio.fixture(loop_scope="session")
async def operator(lasting_operator: Operator) -> Operator:
    return lasting_operator


@dataclass(frozen=True)
class Span:
    """A limit, by resourceVersions: since when it may have decided, until when it surely has."""

    limit: int
    since: int
    until: int | None = None
    claimed: frozenset[str] = frozenset()
    """Executions that had their slot by then; their Jobs may come later."""

    def decided(self, start: Moment) -> bool:
        if start.version < self.since:
            return False
        before = self.until is None or start.version <= self.until
        return before or start.execution.name in self.claimed


class InForce:
    """The limits of one queue, as the test has set them and the operator has taken them over."""

    def __init__(self, api: Api, operator: Operator, queue: str) -> None:
        self._api = api
        self._operator = operator
        self._queue = queue
        self._spans: list[Span] = []

    async def begins(self, limit: int) -> None:
        """It is about to be set."""
        self._spans.append(Span(limit, await self._version()))

    async def acknowledged(self) -> None:
        """The operator works by the newest: what was before decides about nothing more."""
        version = await self._version()
        _, answer = await self._operator.get(f"/api/executions?queue={self._queue}")
        claimed = frozenset(each["name"] for each in json.loads(answer)["running"])
        self._spans = [
            span if span.until is not None else replace(span, until=version, claimed=claimed)
            for span in self._spans[:-1]
        ] + self._spans[-1:]

    def most(self, start: Moment) -> int:
        """The highest that may have decided about ``start``."""
        return max(span.limit for span in self._spans if span.decided(start))

    async def _version(self) -> int:
        listed = await self._api.get(f"{QUEUES}?limit=1")
        return int(listed["metadata"]["resourceVersion"])


async def _acknowledged(operator: Operator, queue: str, limit: int) -> None:
    """Until the operator counts by it; of a queue that is gone, until it says so."""

    async def known() -> bool:
        status, _ = await operator.get(f"/api/queue-stats?queue={queue}")
        if limit == GONE:
            return status == 404
        return status == 200 and (await operator.stats(queue))[1] == limit

    await eventually(known, f"{queue} is known to allow {limit}")


@dataclass
class Load:
    """Submits to ``queue`` until it is told to stop; what was admitted."""

    space: Space
    queue: str
    random: random.Random
    admitted: list[str] = field(default_factory=list)
    refused: Counter[int] = field(default_factory=Counter)

    async def run(self) -> None:
        for number in range(10_000):
            name = f"{self.queue}-{number:04d}"
            body = execution(name, queue=self.queue, runs_for=f"{self.random.randint(50, 900)}ms")
            status, answer = await self.space.try_submit(body)
            if status == 201:
                self.admitted.append(name)
            else:
                assert status in (403, 429), answer
                self.refused[status] += 1
            await asyncio.sleep(self.random.uniform(0.02, 0.15))


async def _submitting(*loads: Load) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(load.run()) for load in loads]


async def _stopped(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _nothing_is_lost(operator: Operator, load: Load, allowed: set[str]) -> Counter[str]:
    """All that was admitted comes to an end, and the counts say that nothing is left."""

    async def all_over() -> bool:
        phases = await load.space.phases()
        return all(phases.get(name) in FINAL for name in load.admitted)

    await eventually(all_over, f"all of {load.queue} is over", within=120)
    found = await load.space.phases()
    phases = Counter(found[name] for name in load.admitted)
    assert set(phases) <= allowed, phases
    await until_stats(operator, load.queue, (0, 6, 0, 50))
    return phases


def _never_over(chronicle: Chronicle, limits: dict[str, InForce]) -> Counter[str]:
    """Every start, held against what was in force around it; how many there were."""
    starts: Counter[str] = Counter()
    for moment in chronicle.moments():
        queue = moment.execution.queue
        if moment.starts and queue in limits:
            starts[queue] += 1
            most = limits[queue].most(moment)
            assert moment.count(queue) <= most, (queue, moment.count(queue), most)
    return starts


async def _told_alike(operator: Operator, space: Space, queue: str) -> None:
    """The status, the metrics and the API say the same once a second has passed without news."""
    running, running_capacity, queued, queued_capacity = await operator.stats(queue)

    async def written() -> bool:
        status = (await space.api.get(f"{QUEUES}/{queue}")).get("status", {})
        return (
            status.get("running"), status.get("runningCapacity"),
            status.get("queued"), status.get("queuedCapacity"),
        ) == (running, running_capacity, queued, queued_capacity)  # fmt: skip

    await eventually(written, f"the status of {queue} is true", within=2)
    for metric, value in (
        ("executions_running", running), ("running_capacity", running_capacity),
        ("executions_queued", queued), ("queued_capacity", queued_capacity),
    ):  # fmt: skip
        assert await operator.metric(f'supercheck_{metric}{{queue="{queue}"}}') == value


async def test_limits_changed_at_random_under_load_hold_for_every_start(
    api: Api, operator: Operator, space: Space
) -> None:
    chance = random.Random(7)
    names = [await make_queue(space, f"live-{n}", runningCapacity=3) for n in "ab"]
    limits = {name: InForce(api, operator, name) for name in names}
    for each in limits.values():
        await each.begins(3)
    loads = [Load(space, name, random.Random(name)) for name in names]
    async with Chronicle(api) as chronicle:
        tasks = await _submitting(*loads)
        for _ in range(CHANGES):
            name, limit = chance.choice(names), chance.randint(0, 8)
            await limits[name].begins(limit)
            await change_queue(
                space, name, runningCapacity=limit,
                ordering=chance.choice(["FIFO", "FairShare"]),
                ageingSeconds=chance.choice([None, 1, 60]),
            )  # fmt: skip
            await _acknowledged(operator, name, limit)
            await limits[name].acknowledged()
            await asyncio.sleep(chance.uniform(0, 1.5))
        await _stopped(tasks)
        for name in names:
            await limits[name].begins(6)
            await change_queue(space, name, runningCapacity=6)
        for load in loads:
            assert await _nothing_is_lost(operator, load, {"Passed"})
        await chronicle.caught_up()
    starts = _never_over(chronicle, limits)
    assert starts == {load.queue: len(load.admitted) for load in loads}
    assert sum(starts.values()) > 100
    for name in names:
        await _told_alike(operator, space, name)
        await api.delete(f"{QUEUES}/{name}")


async def test_stop_policies_flipped_and_queues_deleted_under_load(
    api: Api, operator: Operator, space: Space
) -> None:
    """While it holds, or is gone, nothing starts; at the end nothing is lost."""
    chance = random.Random(11)
    name = await make_queue(space, "flipped", runningCapacity=6)
    limits = InForce(api, operator, name)
    await limits.begins(6)
    load = Load(space, name, random.Random(name))
    policies: Counter[str] = Counter()
    async with Chronicle(api) as chronicle:
        tasks = await _submitting(load)
        for _ in range(CHANGES):
            await asyncio.sleep(chance.uniform(0.1, 1.5))
            policy = chance.choice(["None", "None", *HELD, "Closed", "deleted"])
            policies[policy] += 1
            await limits.begins(0 if policy in (*HELD, "deleted") else 6)
            await _flip(operator, space, name, policy)
            await limits.acknowledged()
        await _stopped(tasks)
        await limits.begins(6)
        await _flip(operator, space, name, "None")
        ends = await _nothing_is_lost(operator, load, {"Passed", "Cancelled"})
        await chronicle.caught_up()
    assert min(policies.values()) >= 4, policies
    assert _never_over(chronicle, {name: limits})[name] >= ends["Passed"] > 30
    cancelled = [
        (await space.status(each))["reason"]
        for each, phase in (await space.phases()).items()
        if phase == "Cancelled"
    ]
    assert set(cancelled) == {"QueueDrained"}
    assert load.refused[403], "closed and deleted queues refuse"
    await _told_alike(operator, space, name)
    await api.delete(f"{QUEUES}/{name}")


async def _flip(operator: Operator, space: Space, name: str, policy: str) -> None:
    """Another stop policy, or no queue; until the operator works by it."""
    status, _ = await space.api.call("GET", f"{QUEUES}/{name}")
    if policy == "deleted":
        await space.api.delete(f"{QUEUES}/{name}")
        await _acknowledged(operator, name, GONE)
        return
    if status == 404:
        await make_queue(space, name, runningCapacity=6, stopPolicy=policy)
    else:
        await change_queue(space, name, stopPolicy=policy)

    async def observed() -> bool:
        found: Raw = await space.api.get(f"{QUEUES}/{name}")
        told = found.get("status", {}).get("observedGeneration")
        return bool(told == found["metadata"]["generation"])

    await eventually(observed, f"{policy} is in force in {name}")


async def test_a_hold_survives_a_restart_and_so_does_the_order(
    operator: Operator, space: Space
) -> None:
    name = await make_queue(
        space, "held-over", runningCapacity=1, ageingSeconds=3600, stopPolicy="Hold"
    )
    for i, priority in enumerate((0, 2, 1, 2)):
        await space.submit(execution(f"e-{i}", queue=name, priority=priority))

    async def line() -> list[str]:
        status = (await space.api.get(f"{QUEUES}/{name}")).get("status", {})
        return [each["name"] for each in status.get("upcoming", [])]

    async def all_told() -> bool:
        return await line() == ["e-1", "e-3", "e-2", "e-0"]

    await eventually(all_told, "the line is told")
    operator.kill()
    await operator.start()
    await space.submit(execution("later", queue=name, priority=2))

    async def told_again() -> bool:
        return await line() == ["e-1", "e-3", "later", "e-2", "e-0"]

    await eventually(told_again, "the line is told again, with the one that came since")
    assert set((await space.phases()).values()) == {"Queued"}
    async with Chronicle(space.api) as chronicle:
        await change_queue(space, name, stopPolicy="None")
        await eventually(lambda: _all_passed(space), "all have passed")
        await chronicle.caught_up()
    started = [moment.execution.name for moment in chronicle.moments() if moment.starts]
    assert started == ["e-1", "e-3", "later", "e-2", "e-0"]
    await space.api.delete(f"{QUEUES}/{name}")


async def _all_passed(space: Space) -> bool:
    return set((await space.phases()).values()) == {"Passed"}


async def test_waiting_counts_as_priority_where_the_queue_says_so(
    operator: Operator, space: Space
) -> None:
    """Live, too: of the same line, another one is next."""
    assert operator.running
    name = await make_queue(space, "ageing", runningCapacity=1, stopPolicy="Hold")
    first = await space.submit(execution("old", queue=name))
    created = first["metadata"]["creationTimestamp"]

    async def a_second_later() -> bool:
        probe = execution("urgent", queue=name, priority=1)
        _, answer = await space.try_submit(probe, dry_run=True)
        return bool(answer["metadata"]["creationTimestamp"] > created)

    await eventually(a_second_later, "a second has passed")
    await space.submit(execution("urgent", queue=name, priority=1))

    async def next_is(expected: str) -> bool:
        status = (await space.api.get(f"{QUEUES}/{name}")).get("status", {})
        told = [each["name"] for each in status.get("upcoming", [])]
        return len(told) == 2 and told[0] == expected

    await eventually(lambda: next_is("urgent"), "priority comes first")
    await change_queue(space, name, ageingSeconds=1)
    await eventually(lambda: next_is("old"), "a second of waiting is worth one priority")
    await change_queue(space, name, ageingSeconds=None)
    await eventually(lambda: next_is("urgent"), "and no more")
    await change_queue(space, name, stopPolicy="None")
    await eventually(lambda: _all_passed(space), "both have passed")
    await space.api.delete(f"{QUEUES}/{name}")
