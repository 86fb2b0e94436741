from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from supercheck_operator.queueing.line import Entry, Line
from supercheck_operator.resources import Ordering


def entry(
    uid: str,
    *,
    namespace: str = "a",
    priority: int = 0,
    created: str = "2026-03-01T12:00:00Z",
    version: int = 1,
) -> Entry:
    return Entry(uid, namespace, uid, priority, created, version)


def line_of(*entries: Entry) -> Line:
    line = Line()
    for each in entries:
        line.put(each)
    return line


def uids(line: Line, ordering: Ordering = Ordering.FIFO) -> list[str]:
    return [each.uid for each in line.order({}, ordering)]


def test_nobody_is_next_in_an_empty_line() -> None:
    assert Line().next({}) is None
    assert uids(Line()) == []


def test_priority_comes_first_then_age() -> None:
    line = line_of(
        entry("young", created="2026-03-01T12:00:02Z"),
        entry("old", created="2026-03-01T12:00:01Z"),
        entry("urgent", created="2026-03-01T12:00:03Z", priority=1),
        entry("unimportant", created="2026-03-01T11:00:00Z", priority=-1),
    )
    assert uids(line) == ["urgent", "old", "young", "unimportant"]


def test_in_the_same_second_the_number_of_the_resource_version_decides() -> None:
    assert uids(line_of(entry("ten", version=10), entry("nine", version=9))) == ["nine", "ten"]


def test_a_changed_priority_moves_it_and_an_unchanged_entry_stays_once() -> None:
    first, second = entry("first", version=1), entry("second", version=2)
    line = line_of(first, second, first)
    line.put(replace(second, priority=5))
    assert uids(line) == ["second", "first"]
    assert len(line) == 2


def test_what_was_never_in_it_can_be_discarded() -> None:
    line = line_of(entry("here"))
    line.discard("elsewhere")
    line.discard("here")
    assert "here" not in line
    assert len(line) == 0


def test_a_namespace_at_its_capacity_blocks_nobody_behind_it() -> None:
    line = line_of(entry("a1", namespace="a", version=1), entry("b1", namespace="b", version=2))
    follower = line.next({"a": 2}, Ordering.FIFO, 2)
    assert follower is not None
    assert follower.uid == "b1"
    assert line.next({"a": 2, "b": 2}, Ordering.FIFO, 2) is None


def test_fair_share_takes_the_namespace_with_the_fewest_running() -> None:
    line = line_of(
        entry("a1", namespace="a", version=1),
        entry("a2", namespace="a", version=2),
        entry("a3", namespace="a", version=3),
        entry("b1", namespace="b", version=4),
    )
    assert uids(line, Ordering.FAIR_SHARE) == ["a1", "b1", "a2", "a3"]


def test_priority_comes_before_a_fair_share() -> None:
    line = line_of(entry("a1", namespace="a", priority=1), entry("b1", namespace="b"))
    head = line.next({"a": 9}, Ordering.FAIR_SHARE)
    assert head is not None
    assert head.uid == "a1"


entries = st.builds(
    Entry,
    uid=st.sampled_from([f"u{n}" for n in range(12)]),
    namespace=st.just(""),
    name=st.just("run"),
    priority=st.integers(-1, 1),
    created=st.sampled_from(["2026-03-01T12:00:00Z", "2026-03-01T12:00:01Z"]),
    version=st.sampled_from([8, 9, 10, 11, 99, 100]),
)
runnings = st.dictionaries(st.sampled_from("abc"), st.integers(0, 3))


class LineMachine(RuleBasedStateMachine):
    """The line against a list that is sorted again for every question."""

    def __init__(self) -> None:
        super().__init__()
        self.line = Line()
        self.model: dict[str, Entry] = {}

    @rule(new=entries)
    def put(self, new: Entry) -> None:
        new = replace(new, namespace="abc"[int(new.uid[1:]) % 3])
        self.line.put(new)
        self.model[new.uid] = new

    @rule(uid=st.sampled_from([f"u{n}" for n in range(12)]))
    def discard(self, uid: str) -> None:
        self.line.discard(uid)
        self.model.pop(uid, None)

    def first(
        self, waiting: dict[str, Entry], running: Counter[str], ordering: Ordering, cap: int | None
    ) -> Entry | None:
        allowed = [e for e in waiting.values() if cap is None or running[e.namespace] < cap]
        allowed.sort(key=lambda e: (e.created, e.version, e.uid))
        if ordering is Ordering.FAIR_SHARE:
            allowed.sort(key=lambda e: running[e.namespace])
        allowed.sort(key=lambda e: -e.priority)
        return allowed[0] if allowed else None

    @rule(running=runnings, ordering=st.sampled_from(Ordering), cap=st.none() | st.integers(0, 3))
    def next(self, running: dict[str, int], ordering: Ordering, cap: int | None) -> None:
        expected = self.first(self.model, Counter(running), ordering, cap)
        assert self.line.next(running, ordering, cap) == expected

    @rule(running=runnings, ordering=st.sampled_from(Ordering))
    def order_is_that_of_repeated_next(self, running: dict[str, int], ordering: Ordering) -> None:
        waiting, counts, expected = dict(self.model), Counter(running), []
        while head := self.first(waiting, counts, ordering, None):
            expected.append(head)
            counts[head.namespace] += 1
            del waiting[head.uid]
        assert list(self.line.order(running, ordering)) == expected

        drained, counts, repeated = Line(), Counter(running), []
        for each in self.model.values():
            drained.put(each)
        while head := drained.next(counts, ordering):
            repeated.append(head)
            counts[head.namespace] += 1
            drained.discard(head.uid)
        assert repeated == expected

    @invariant()
    def it_knows_who_is_in_it(self) -> None:
        assert len(self.line) == len(self.model)
        assert all(uid in self.line for uid in self.model)


TestLine = LineMachine.TestCase
