from __future__ import annotations

import pytest
from prometheus_client import generate_latest
from tests.unit import builders

from supercheck_operator.ledger.capacity import Stats
from supercheck_operator.ledger.contract import Holder, LedgerUnavailableError, State
from supercheck_operator.ledger.memory import MemoryLedger
from supercheck_operator.queueing.queue import Queues
from supercheck_operator.reporting.figures import Figures, UnknownQueueError
from supercheck_operator.reporting.metrics import Metrics
from supercheck_operator.settings import Settings


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger()


@pytest.fixture
def queues() -> Queues:
    queues = Queues()
    queues.observe(builders.queue(runningCapacity=1))
    return queues


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def figures(ledger: MemoryLedger, queues: Queues, metrics: Metrics) -> Figures:
    return Figures(ledger=ledger, queues=queues, settings=Settings(), metrics=metrics)


def found(*uids: str) -> dict[str, Holder]:
    return {uid: Holder(uid, "default", "team-a", State.WAITING) for uid in uids}


async def test_figures_are_counted_as_admission_counts(
    ledger: MemoryLedger, figures: Figures
) -> None:
    await ledger.reconcile(found("a", "b", "c"))
    assert await figures.of("default") == Stats(1, 1, 2, 50)


async def test_an_unknown_queue_has_no_figures(ledger: MemoryLedger, figures: Figures) -> None:
    await ledger.reconcile({})
    with pytest.raises(UnknownQueueError, match=r'^Queue "nightly" does not exist\.$'):
        await figures.of("nightly")


async def test_figures_that_are_not_known_are_not_shown(
    ledger: MemoryLedger, figures: Figures, metrics: Metrics
) -> None:
    await ledger.reconcile(found("a"))
    await figures.refresh_metrics()
    assert 'executions_running{queue="default"} 1.0' in generate_latest(metrics.registry).decode()

    closed = Figures(
        ledger=MemoryLedger(), queues=figures._queues, settings=Settings(), metrics=metrics
    )
    with pytest.raises(LedgerUnavailableError):
        await closed.of("default")
    await closed.refresh_metrics()
    text = generate_latest(metrics.registry).decode()
    assert "supercheck_ledger_up 0.0" in text
    assert 'executions_running{queue="default"}' not in text


async def test_the_gauges_of_every_queue_are_those_of_its_figures(
    ledger: MemoryLedger, figures: Figures, queues: Queues, metrics: Metrics
) -> None:
    queues.observe(builders.queue("slow", queuedCapacity=0))
    await ledger.reconcile(found("a", "b"))
    await figures.refresh_metrics()
    text = generate_latest(metrics.registry).decode()
    for line in (
        'supercheck_executions_running{queue="default"} 1.0',
        'supercheck_executions_queued{queue="default"} 1.0',
        'supercheck_running_capacity{queue="default"} 1.0',
        'supercheck_queued_capacity{queue="default"} 50.0',
        'supercheck_executions_running{queue="slow"} 0.0',
        'supercheck_queued_capacity{queue="slow"} 0.0',
        "supercheck_ledger_up 1.0",
    ):
        assert line in text


async def test_a_deleted_queue_leaves_the_metrics(
    ledger: MemoryLedger, figures: Figures, queues: Queues, metrics: Metrics
) -> None:
    await ledger.reconcile({})
    await figures.refresh_metrics()
    queues.observe(builders.queue(version=2), deleted=True)
    await figures.refresh_metrics()
    assert 'queue="default"' not in generate_latest(metrics.registry).decode()


def test_every_metric_of_the_contract_exists(metrics: Metrics) -> None:
    names = {metric.name for metric in metrics.registry.collect()}
    assert {name.removeprefix("supercheck_") for name in names} == {
        "executions_running",
        "executions_queued",
        "running_capacity",
        "queued_capacity",
        "leader",
        "ledger_up",
        "admissions",
        "executions_finished",
        "kube_writes",
        "ledger_corrections",
        "ledger_errors",
        "admission_duration_seconds",
        "queue_wait_seconds",
        "handoff_seconds",
        "execution_duration_seconds",
        "build_info",
    }
