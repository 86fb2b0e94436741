from __future__ import annotations

import pytest
from tests.unit import builders

from supercheck_operator.queueing.line import Entry
from supercheck_operator.queueing.queue import Queue, Queues


def entry(uid: str, namespace: str = "a", version: int = 1) -> Entry:
    return Entry(uid, namespace, uid, 0, "2026-03-01T12:00:00Z", version)


@pytest.fixture
def queue() -> Queue:
    queue = Queue("default")
    queue.resource = builders.queue()
    return queue


def test_nobody_starts_in_a_queue_that_does_not_exist(queue: Queue) -> None:
    queue.put_waiting(entry("u1"))
    queue.resource = None
    assert queue.next(5) is None
    assert queue.spec is None
    assert not queue.drained
    assert [each.uid for each in queue.upcoming(10)] == ["u1"]


@pytest.mark.parametrize(("policy", "drains"), [("Hold", False), ("HoldAndDrain", True)])
def test_nobody_starts_in_a_held_queue(queue: Queue, policy: str, drains: bool) -> None:
    queue.put_waiting(entry("u1"))
    queue.resource = builders.queue(stopPolicy=policy)
    assert queue.next(5) is None
    assert queue.drained is drains


def test_a_closed_queue_finishes_what_it_has(queue: Queue) -> None:
    queue.put_waiting(entry("u1"))
    queue.resource = builders.queue(stopPolicy="Closed")
    assert queue.next(5) == entry("u1")


def test_nobody_starts_beyond_the_capacity(queue: Queue) -> None:
    queue.put_running("u1", "a")
    queue.put_waiting(entry("u2"))
    assert queue.next(1) is None
    assert queue.next(2) == entry("u2")
    queue.resource = builders.queue(perNamespace={"runningCapacity": 1})
    assert queue.next(2) is None


def test_one_execution_is_in_one_place_only(queue: Queue) -> None:
    queue.put_waiting(entry("u1"))
    assert (queue.waiting, queue.running, queue.runs("u1")) == (1, 0, False)
    queue.put_running("u1", "a")
    queue.put_running("u1", "a")
    assert (queue.waiting, queue.running, queue.runs("u1")) == (0, 1, True)
    queue.put_waiting(entry("u1"))
    assert (queue.waiting, queue.running) == (1, 0)
    queue.put_aside("u1")
    assert (queue.waiting, queue.running) == (0, 0)


def test_it_tells_who_waits_and_how_many_of_each_namespace(queue: Queue) -> None:
    queue.put_waiting(entry("u1"))
    queue.put_waiting(entry("u2"))
    queue.put_running("u3", "b")
    assert (queue.waits("u1"), queue.waits("u3"), queue.waits("u4")) == (True, False, False)
    assert queue.waiting_of() == {"a": 2}
    queue.put_running("u1", "a")
    assert queue.waiting_of() == {"a": 1}


def test_a_namespace_gets_its_share_back_when_one_of_its_runs_ends(queue: Queue) -> None:
    queue.put_running("u1", "a")
    queue.put_running("u2", "a")
    queue.put_waiting(entry("u3"))
    queue.resource = builders.queue(perNamespace={"runningCapacity": 2})
    assert queue.next(9) is None
    queue.put_aside("u1")
    assert queue.running_of("a") == 1
    assert queue.next(9) == entry("u3")
    queue.resource = builders.queue(perNamespace={"runningCapacity": 1})
    assert queue.next(9) is None
    queue.put_aside("u2")
    assert queue.next(9) == entry("u3")


def test_upcoming_tells_the_first_of_the_line_in_order(queue: Queue) -> None:
    for version in (3, 1, 2):
        queue.put_waiting(entry(f"u{version}", version=version))
    assert [each.uid for each in queue.upcoming(2)] == ["u1", "u2"]


def test_only_queues_that_exist_may_be_submitted_to() -> None:
    queues = Queues()
    queues.get("wanted-but-missing")
    queues.observe(builders.queue("b"))
    queues.observe(builders.queue("a"))
    assert queues.existing() == ["a", "b"]
    assert queues.spec("a") is not None
    assert queues.spec("wanted-but-missing") is None
    assert queues.spec("never-heard-of") is None


def test_old_news_of_a_queue_changes_nothing() -> None:
    queues = Queues()
    queues.observe(builders.queue(version=10, runningCapacity=2))
    queues.observe(builders.queue(version=9, runningCapacity=9))
    spec = queues.spec("default")
    assert spec is not None
    assert spec.running_capacity == 2


def test_a_deleted_queue_does_not_come_back_by_old_news() -> None:
    queues = Queues()
    queues.observe(builders.queue(version=10))
    queues.observe(builders.queue(version=11), deleted=True)
    queues.observe(builders.queue(version=10))
    assert queues.existing() == []
    queues.observe(builders.queue(uid="q-2", version=12))
    assert queues.existing() == ["default"]


def test_the_deletion_of_a_namesake_does_not_delete_its_successor() -> None:
    queues = Queues()
    queues.observe(builders.queue(uid="q-2", version=12))
    queues.observe(builders.queue(uid="q-1", version=11), deleted=True)
    assert queues.existing() == ["default"]
    queues.observe(builders.queue("other"), deleted=True)
    assert queues.existing() == ["default"]


def test_what_a_list_does_not_show_is_gone_unless_it_is_newer_than_the_list() -> None:
    queues = Queues()
    queues.observe(builders.queue("listed", version=5))
    queues.observe(builders.queue("gone", version=5))
    queues.observe(builders.queue("new", version=9))
    queues.get("never-existed")
    assert [queue.name for queue in queues.missing({"listed"}, 7)] == ["gone"]
    assert queues.existing() == ["listed", "new"]
    assert queues.missing({"listed"}, 7) == []
