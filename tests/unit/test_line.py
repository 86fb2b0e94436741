from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.unit import builders

from supercheck_operator.queueing.line import FIFO, Entry, Line, Rules, rules
from supercheck_operator.resources import Ordering

FAIR = Rules(Ordering.FAIR_SHARE)
NOON = datetime.fromisoformat("2026-03-01T12:00:00Z")


def at(seconds: int) -> str:
    """So many seconds after noon, as the API server writes it."""
    return (NOON + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def entry(
    uid: str, *, namespace: str = "a", priority: int = 0, created: int = 0, version: int = 1
) -> Entry:
    return Entry(uid, namespace, uid, priority, at(created), version)


def line_of(*entries: Entry, rules: Rules = FIFO, **running: int) -> Line:
    line = Line(rules)
    for namespace, count in running.items():
        for _ in range(count):
            line.start(namespace)
    for each in entries:
        line.put(each)
    return line


def uids(line: Line) -> list[str]:
    return [each.uid for each in line.order()]


def start(line: Line) -> str:
    """Start who is next; its uid."""
    head = line.next()
    assert head is not None
    line.discard(head.uid)
    line.start(head.namespace)
    return head.uid


def test_nobody_is_next_in_an_empty_line() -> None:
    assert Line().next() is None
    assert uids(Line()) == []


def test_priority_comes_first_then_age() -> None:
    line = line_of(
        entry("young", created=2),
        entry("old", created=1),
        entry("urgent", created=3, priority=1),
        entry("unimportant", created=-3600, priority=-1),
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


# Shares ------------------------------------------------------------------------------------------


def test_a_namespace_at_its_share_blocks_nobody_behind_it() -> None:
    line = line_of(
        entry("a1", namespace="a", version=1),
        entry("b1", namespace="b", version=2),
        rules=Rules(share=2),
        a=2,
    )
    assert start(line) == "b1"
    line.start("b")
    line.put(entry("b2", namespace="b"))
    assert line.next() is None
    line.finish("a")
    assert start(line) == "a1"


def test_who_is_held_back_by_its_share_stands_behind_those_who_may_start() -> None:
    line = line_of(
        *(entry(f"a{i}", namespace="a", version=i) for i in range(4)),
        entry("b", namespace="b", version=9),
        entry("c", namespace="c", version=8),
        rules=Rules(share=2),
        c=2,
    )
    assert uids(line) == ["a0", "a1", "b", "a2", "a3", "c"]


def test_a_raised_share_counts_from_the_next_question_on() -> None:
    line = line_of(entry("a1"), rules=Rules(share=1), a=1)
    assert line.next() is None
    line.follow(Rules(share=2))
    assert line.next() == entry("a1")


# Fair share --------------------------------------------------------------------------------------


def test_fair_share_takes_the_namespace_with_the_fewest_running() -> None:
    line = line_of(
        entry("a1", namespace="a", version=1),
        entry("a2", namespace="a", version=2),
        entry("a3", namespace="a", version=3),
        entry("b1", namespace="b", version=4),
        rules=FAIR,
    )
    assert uids(line) == ["a1", "b1", "a2", "a3"]


def test_priority_comes_before_a_fair_share() -> None:
    line = line_of(
        entry("a1", namespace="a", priority=1), entry("b1", namespace="b"), rules=FAIR, a=9
    )
    assert start(line) == "a1"


def test_of_namespaces_that_run_equally_many_the_one_served_longest_ago_is_next() -> None:
    """By age alone, whoever submitted the most would go first whenever a single slot is free."""
    line = line_of(*(entry(f"a{i}", namespace="a", version=i) for i in range(3)), rules=FAIR)
    assert start(line) == "a0"
    line.put(entry("newcomer", namespace="b", created=60))
    line.finish("a")
    assert start(line) == "newcomer"
    line.finish("b")
    assert start(line) == "a1"


def test_who_runs_less_is_next_even_if_it_was_served_last() -> None:
    line = line_of(entry("a1", namespace="a"), entry("b1", namespace="b"), rules=FAIR, a=2, b=1)
    assert uids(line) == ["b1", "a1"]


def test_the_order_told_gives_everyone_its_turn() -> None:
    line = line_of(
        *(entry(f"{n}{i}", namespace=n, version=i) for n in "abc" for i in range(3)),
        rules=FAIR,
        c=1,
    )
    assert uids(line) == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]


def test_who_was_served_later_and_left_does_not_come_back_first() -> None:
    line = line_of(entry("a0", namespace="a"), entry("c1", namespace="c", version=2), rules=FAIR)
    for namespace in "aca":
        line.start(namespace)
        line.finish(namespace)
    line.discard("a0")
    line.start("b")
    line.put(entry("a1", namespace="a", version=1))
    assert uids(line) == ["c1", "a1"]


def test_turns_of_namespaces_that_have_left_are_not_kept() -> None:
    line = Line(FAIR)
    for n in range(1000):
        line.start(f"review-{n}")
        line.finish(f"review-{n}")
    assert len(line._turns) == 1


# Ageing ------------------------------------------------------------------------------------------


def test_waiting_counts_as_priority_where_the_queue_says_how_long() -> None:
    line = line_of(
        entry("old", created=0),
        entry("urgent", created=59, priority=1),
        entry("late", created=61, priority=1),
        entry("equal", created=60, priority=1),
        rules=Rules(ageing=60),
    )
    assert uids(line) == ["urgent", "old", "equal", "late"]
    line.follow(Rules())
    assert uids(line) == ["urgent", "equal", "late", "old"]


def test_with_a_fair_share_whole_periods_of_waiting_count() -> None:
    """Or no two would ever be of equal priority, and nobody's share would count."""
    line = line_of(
        entry("a0", namespace="a", created=0),
        entry("b1", namespace="b", created=59),
        entry("c1", namespace="c", created=60),
        rules=Rules(Ordering.FAIR_SHARE, ageing=60),
        a=2,
    )
    assert uids(line) == ["b1", "a0", "c1"]


def test_the_rules_are_those_of_the_queue() -> None:
    spec = builders.queue(
        ordering="FairShare", ageingSeconds=600, perNamespace={"runningCapacity": 3}
    ).spec
    assert rules(spec) == Rules(Ordering.FAIR_SHARE, 600, 3)
    assert rules(builders.queue().spec) == Rules()
    assert rules(builders.queue(perNamespace={"queuedCapacity": 3}).spec) == Rules()


# Against an obviously right one ------------------------------------------------------------------

UIDS = [f"u{n}" for n in range(12)]
NAMESPACES = "abc"
some_rules = st.builds(
    Rules,
    ordering=st.sampled_from(Ordering),
    ageing=st.none() | st.sampled_from([1, 7, 60]),
    share=st.none() | st.integers(0, 3),
)
entries = st.builds(
    Entry,
    uid=st.sampled_from(UIDS),
    namespace=st.just(""),
    name=st.just("run"),
    priority=st.sampled_from([0, 0, 0, -1, 1, 2]),
    created=st.builds(at, st.sampled_from([0, 1, 60, 61, 130])),
    version=st.sampled_from([8, 9, 10, 11, 99, 100]),
)


class Naive:
    """A list that is sorted again for every question, by the words of the documentation."""

    def __init__(self) -> None:
        self.rules = Rules()
        self.waiting: dict[str, Entry] = {}
        self.running: Counter[str] = Counter()
        self.starts: list[str] = []

    def copy(self) -> Naive:
        other = Naive()
        other.rules, other.waiting = self.rules, dict(self.waiting)
        other.running, other.starts = Counter(self.running), list(self.starts)
        return other

    def priority(self, entry: Entry, now: int) -> Fraction | int:
        """What it has grown to by ``now``."""
        if self.rules.ageing is None:
            return entry.priority
        created = int(datetime.fromisoformat(entry.created).timestamp())
        if self.rules.ordering is Ordering.FAIR_SHARE:
            return entry.priority + now // self.rules.ageing - created // self.rules.ageing
        return entry.priority + Fraction(now - created, self.rules.ageing)

    def last_start(self, namespace: str) -> int:
        turns = [number for number, started in enumerate(self.starts) if started == namespace]
        return turns[-1] if turns else -1

    def ahead(self, now: int, *, held_back: bool = False) -> list[Entry]:
        """Those who may start (or those who may not), the next one first."""
        share = math.inf if self.rules.share is None else self.rules.share
        found = [
            each
            for each in self.waiting.values()
            if (self.running[each.namespace] >= share) is held_back
        ]
        found.sort(key=lambda e: (e.created, e.version, e.uid))
        # In a namespace, exactly; among namespaces, as they are compared.
        if self.rules.ageing is not None:
            found.sort(key=lambda e: exactly(e, self.rules.ageing or 1))
        if self.rules.ordering is Ordering.FAIR_SHARE:
            found.sort(key=lambda e: self.last_start(e.namespace))
            found.sort(key=lambda e: self.running[e.namespace])
        found.sort(key=lambda e: -self.priority(e, now))
        return found

    def start(self, entry: Entry) -> None:
        del self.waiting[entry.uid]
        self.running[entry.namespace] += 1
        self.starts.append(entry.namespace)

    def order(self, now: int) -> list[Entry]:
        rest, found = self.copy(), []
        while ahead := rest.ahead(now) or rest.ahead(now, held_back=True):
            found.append(ahead[0])
            rest.start(ahead[0])
        return found


def exactly(entry: Entry, ageing: int) -> Fraction:
    created = int(datetime.fromisoformat(entry.created).timestamp())
    return Fraction(created, ageing) - entry.priority


class LineMachine(RuleBasedStateMachine):
    """The line against the naive one, while everything about it changes."""

    def __init__(self) -> None:
        super().__init__()
        self.line = Line()
        self.naive = Naive()
        self.now = int(NOON.timestamp())

    @rule(rules=some_rules)
    def follow(self, rules: Rules) -> None:
        self.line.follow(rules)
        self.naive.rules = rules

    @rule(news=st.lists(entries, min_size=1, max_size=8))
    def put(self, news: list[Entry]) -> None:
        for each in news:
            new = replace(each, namespace=NAMESPACES[int(each.uid[1:]) % 3])
            self.line.put(new)
            self.naive.waiting[new.uid] = new

    @precondition(lambda self: self.naive.waiting)
    @rule(data=st.data(), priority=st.integers(-2, 2))
    def change_priority(self, data: Any, priority: int) -> None:
        uid = data.draw(st.sampled_from(sorted(self.naive.waiting)))
        changed = replace(self.naive.waiting[uid], priority=priority)
        self.line.put(changed)
        self.naive.waiting[uid] = changed

    @rule(uid=st.sampled_from(UIDS))
    def discard(self, uid: str) -> None:
        self.line.discard(uid)
        self.naive.waiting.pop(uid, None)

    @rule()
    def start_next(self) -> None:
        head = self.line.next()
        if head is not None:
            self.line.discard(head.uid)
            self.line.start(head.namespace)
            self.naive.start(head)

    @rule(namespace=st.sampled_from(NAMESPACES))
    def adopt(self, namespace: str) -> None:
        """One is found running that was not started from this line."""
        self.line.start(namespace)
        self.naive.running[namespace] += 1
        self.naive.starts.append(namespace)

    @rule(namespace=st.sampled_from(NAMESPACES))
    def finish(self, namespace: str) -> None:
        if self.naive.running[namespace]:
            self.line.finish(namespace)
            self.naive.running[namespace] -= 1

    @rule(seconds=st.integers(0, 200))
    def time_passes(self, seconds: int) -> None:
        """It changes the priority of everyone, and the order of no two."""
        self.now += seconds

    @invariant()
    def the_same_is_next(self) -> None:
        assert self.line.next() == next(iter(self.naive.ahead(self.now)), None)

    @invariant()
    def the_same_order_is_told(self) -> None:
        assert list(self.line.order()) == self.naive.order(self.now)

    @invariant()
    def it_knows_who_is_in_it_and_who_runs(self) -> None:
        assert len(self.line) == len(self.naive.waiting)
        assert all((uid in self.line) is (uid in self.naive.waiting) for uid in UIDS)
        assert all(self.line.running(n) == self.naive.running[n] for n in NAMESPACES)


TestLine = LineMachine.TestCase


# Nobody starves ----------------------------------------------------------------------------------

steps = st.lists(st.sampled_from(["submit", "end"]), min_size=1, max_size=120)
teams = st.lists(st.sampled_from("abcde"), min_size=1, max_size=120)


@given(steps=steps, teams=teams, capacity=st.integers(1, 6), before=st.integers(0, 20))
def test_a_flood_delays_a_newcomer_by_at_most_one_start_of_every_other_namespace(
    steps: list[str], teams: list[str], capacity: int, before: int
) -> None:
    """Whatever others submit before and after, and in whichever order what runs ends."""
    line, running, number = Line(FAIR), list[str](), 0

    def submit() -> None:
        nonlocal number
        number += 1
        team = teams[number % len(teams)]
        line.put(entry(f"{team}{number}", namespace=team, version=number))

    def fill() -> list[str]:
        started = []
        while len(running) < capacity and (head := line.next()):
            start(line)
            running.append(head.namespace)
            started.append(head.namespace)
        return started

    for _ in range(before):
        submit()
    fill()
    line.put(entry("newcomer", namespace="newcomer", version=before + 1))
    ahead: Counter[str] = Counter()
    for step in steps:
        if step == "submit":
            submit()
        elif running:
            line.finish(running.pop(number % len(running)))
        started = fill()
        if "newcomer" in started:
            started = started[: started.index("newcomer")]
        ahead.update(started)
        assert all(count <= 1 for count in ahead.values()), ahead
        if "newcomer" not in line:
            return


@given(
    priorities=st.lists(st.integers(0, 5), max_size=200),
    ordering=st.sampled_from(Ordering),
    ageing=st.integers(1, 20),
    gap=st.integers(1, 5),
    same_team=st.booleans(),
)
def test_with_ageing_only_those_submitted_soon_after_it_overtake_it(
    priorities: list[int], ordering: Ordering, ageing: int, gap: int, same_team: bool
) -> None:
    """The bound that the documentation promises, under a flood of higher priorities."""
    line = Line(Rules(ordering, ageing))
    line.put(entry("low", namespace="a", created=0))
    periods = max(priorities, default=0) + (ordering is Ordering.FAIR_SHARE)
    for number, priority in enumerate(priorities, start=1):
        namespace = "a" if same_team else f"b{number}"
        created = number * gap
        line.put(entry(f"n{number}", namespace=namespace, priority=priority, created=created))
    overtaking = uids(line)[: uids(line).index("low")]
    assert all(int(uid[1:]) * gap < periods * ageing for uid in overtaking)


@given(st.permutations(range(30)), some_rules)
def test_the_order_is_the_same_in_whichever_order_they_are_seen(
    seen: list[int], rules: Rules
) -> None:
    """A restart sees them as the API server lists them: by name."""
    made = [
        entry(f"u{n}", namespace="abc"[n % 3], priority=n % 4, created=n * 7, version=n)
        for n in range(30)
    ]
    assert uids(line_of(*(made[n] for n in seen), rules=rules)) == uids(line_of(*made, rules=rules))


# What a decision costs ---------------------------------------------------------------------------


class Counted(str):
    """A uid that counts how often it is compared."""

    __slots__ = ()
    comparisons = 0

    def __lt__(self, other: str) -> bool:
        Counted.comparisons += 1
        return super().__lt__(other)

    def __gt__(self, other: str) -> bool:
        Counted.comparisons += 1
        return super().__gt__(other)

    def __eq__(self, other: object) -> bool:
        Counted.comparisons += 1
        return super().__eq__(other)

    __hash__ = str.__hash__


def cost_of_starts(line: Line, starts: int) -> float:
    """Comparisons that each of ``starts`` took, with the end that had made room for it."""
    Counted.comparisons = 0
    ended: list[str] = []
    for _ in range(starts):
        head = line.next()
        assert head is not None
        line.discard(head.uid)
        line.start(head.namespace)
        ended.append(head.namespace)
        if len(ended) > 5:
            line.finish(ended.pop(0))
    return Counted.comparisons / starts


def crowd(rules: Rules, count: int, namespaces: int, capped: int = 0) -> Line:
    """That many, alike but for their uid; before them ``capped`` that their share holds back."""
    line = Line(rules)
    for _ in range(rules.share or 0):
        line.start("capped")
    for number in range(capped):
        line.put(Entry(Counted(f"0{number:06}"), "capped", "run", 0, at(0), 1))
    for number in range(count):
        namespace = f"n{number % namespaces}"
        line.put(Entry(Counted(f"1{number:06}"), namespace, "run", 0, at(0), 1))
    return line


@pytest.mark.parametrize("ordering", Ordering)
@pytest.mark.parametrize("ageing", [None, 60])
@pytest.mark.parametrize(
    ("namespaces", "capped", "share"),
    [(1, 0, None), (10, 0, None), (2000, 0, None), (2000, 8000, 3), (10, 8000, 3)],
)
def test_a_start_costs_a_logarithm_of_comparisons(
    ordering: Ordering, ageing: int | None, namespaces: int, capped: int, share: int | None
) -> None:
    rules = Rules(ordering, ageing, share)
    small = cost_of_starts(crowd(rules, 400, min(namespaces, 200), capped // 20), 100)
    large = cost_of_starts(crowd(rules, 8000, namespaces, capped), 100)
    assert large < 8 * math.log2(8000 + capped)
    assert large < 2.5 * small, "twenty times as many cost four or five steps more of each search"
