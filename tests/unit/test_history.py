"""The samples that the small chart is drawn from."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from tests.unit import builders
from tests.unit.builders import NOW, when

from supercheck_operator.ledger.contract import Holder, State
from supercheck_operator.ledger.memory import MemoryLedger
from supercheck_operator.queueing.queue import Queues
from supercheck_operator.reporting.figures import Figures, UnknownQueueError
from supercheck_operator.reporting.history import History
from supercheck_operator.reporting.metrics import Metrics
from supercheck_operator.settings import Settings


class Recorded:
    """A history with what it is made of; a sample is taken five seconds after the one before."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger()
        self.queues = Queues()
        self.queues.observe(builders.queue(runningCapacity=1))
        self.metrics = Metrics()
        self.passed = timedelta()
        self.history = History(
            figures=Figures(
                ledger=self.ledger,
                queues=self.queues,
                settings=Settings(),
                metrics=self.metrics,
            ),
            queues=self.queues,
            metrics=self.metrics,
            now=lambda: NOW + self.passed,
        )

    async def hold(self, *uids: str) -> None:
        holders = {uid: Holder(uid, "default", "team-a", State.WAITING) for uid in uids}
        await self.ledger.reconcile(holders)

    async def sample(self) -> None:
        await self.history.sample()
        self.passed += timedelta(seconds=5)


async def test_a_sample_has_the_figures_of_its_moment() -> None:
    recorded = Recorded()
    await recorded.hold("a", "b", "c")
    await recorded.sample()
    await recorded.hold("a")
    await recorded.sample()
    shown = [(s.at, s.running, s.queued) for s in recorded.history.of("default")]
    assert shown == [(when(0), 1, 2), (when(5), 1, 0)]


async def test_waits_are_those_of_what_started_since_the_sample_before() -> None:
    recorded = Recorded()
    await recorded.hold()
    waits = recorded.metrics.queue_wait.labels("default")
    waits.observe(10)
    await recorded.sample()
    waits.observe(2)
    waits.observe(4)
    await recorded.sample()
    await recorded.sample()
    assert [s.wait_seconds for s in recorded.history.of("default")] == [10, 3, None]


async def test_while_figures_are_not_known_there_is_no_sample() -> None:
    recorded = Recorded()
    await recorded.sample()
    assert recorded.history.of("default") == []


async def test_a_queue_that_is_gone_has_no_history_and_a_new_one_begins_its_own() -> None:
    recorded = Recorded()
    await recorded.hold()
    await recorded.sample()
    gone = builders.queue(runningCapacity=1, version=2)
    recorded.queues.observe(gone, deleted=True)
    with pytest.raises(UnknownQueueError, match="does not exist"):
        recorded.history.of("default")
    await recorded.sample()
    recorded.queues.observe(builders.queue(runningCapacity=1, uid="q-2", version=3))
    assert recorded.history.of("default") == []


async def test_it_samples_by_itself() -> None:
    recorded = Recorded()
    await recorded.hold("a")
    going_on = asyncio.create_task(recorded.history.run())
    await asyncio.sleep(0)  # a sample of a ledger in memory waits for nothing
    assert len(recorded.history.of("default")) == 1
    assert not going_on.done()
    going_on.cancel()
