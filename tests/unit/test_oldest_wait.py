from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry
from tests.unit.builders import NOW, raw_execution

from supercheck_operator.controller.oldest_wait import OldestWait
from supercheck_operator.controller.world import Kind, World
from supercheck_operator.queueing.queue import Queues
from supercheck_operator.resources import ExecutionQueue


def queue(name: str) -> ExecutionQueue:
    metadata = {"name": name, "uid": name, "resourceVersion": "1"}
    return ExecutionQueue.model_validate({"metadata": metadata, "spec": {}})


def waits(*executions: dict[str, Any], now: datetime = NOW) -> dict[str, float]:
    """Seconds by queue, as a scrape has them."""
    world, queues = World(), Queues()
    for name in ("default", "empty"):
        queues.observe(queue(name))
    for execution in executions:
        world.observe(Kind.EXECUTION, execution)
    registry = CollectorRegistry()
    registry.register(OldestWait(world, queues, lambda: now))
    [metric] = registry.collect()
    return {sample.labels["queue"]: sample.value for sample in metric.samples}


def test_a_queue_in_which_nothing_waits_tells_zero() -> None:
    assert waits() == {"default": 0, "empty": 0}


def test_the_first_of_those_that_wait_tells() -> None:
    assert (
        waits(
            raw_execution(uid="a", created=-30),
            raw_execution(uid="b", created=-90),
            raw_execution(uid="c", created=-60),
        )["default"]
        == 90
    )


def test_it_grows_while_nothing_happens() -> None:
    assert (
        waits(raw_execution(uid="a", created=-30), now=NOW + timedelta(hours=1))["default"] == 3630
    )


def test_what_is_suspended_or_over_does_not_wait() -> None:
    over = {"phase": "Passed", "observedGeneration": 1}
    suspended = raw_execution(uid="b", created=-60, suspend=True)
    assert waits(raw_execution(uid="a", created=-90, status=over), suspended)["default"] == 0
