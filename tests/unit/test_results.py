"""What has lately ended, by queue, the latest first."""

from __future__ import annotations

from typing import Any

from tests.unit.builders import Raw, raw_execution, when

from supercheck_operator.reporting.results import Results, shown


def ended(uid: str, at: float = 0, **rest: Any) -> Raw:
    status = {
        "phase": "Failed",
        "reason": "TestFailed",
        "message": "exit code 1",
        "startedAt": when(at - 4),
        "completedAt": when(at),
        "attempts": 1,
        "summary": {"total": 1, "failed": 1},
        "tests": [{"name": "login", "phase": "Failed", "exitCode": 1}],
    }
    return raw_execution(uid=uid, name=uid, status=status, **rest)


def test_the_latest_comes_first_and_tells_why_it_ended() -> None:
    results = Results()
    results.observe(ended("early", -60, queue="q"))
    results.observe(ended("late", queue="q"))
    [late, early] = results.of("q")
    assert (late.name, early.name) == ("late", "early")
    assert (late.phase, late.reason, late.message) == ("Failed", "TestFailed", "exit code 1")
    assert late.summary.failed == 1
    assert late.tests == ()


def test_within_one_second_the_last_write_is_the_later() -> None:
    results = Results()
    results.observe(ended("second", version=9, queue="q"))
    results.observe(ended("first", version=8, queue="q"))
    assert [each.name for each in results.of("q")] == ["second", "first"]


def test_what_has_not_ended_is_no_result() -> None:
    results = Results()
    results.observe(raw_execution(queue="q"))
    assert results.of("q") == []
    assert results.namespaces() == set()


def test_a_namespace_keeps_its_latest_twenty_whatever_others_do() -> None:
    results = Results()
    results.observe(ended("quiet", -9999, queue="q", namespace="quiet"))
    for i in range(50):
        results.observe(ended(f"busy-{i:02}", i, queue="q", namespace="busy"))
    results.observe(ended("ancient", -500, queue="q", namespace="busy"))
    found = results.of("q")
    assert [each.name for each in found[:2]] == ["busy-49", "busy-48"]
    assert len(found) == 21
    assert found[-1].name == "quiet"


def test_what_is_deleted_is_forgotten() -> None:
    results = Results()
    results.observe(ended("a", queue="q"))
    results.observe(ended("b", queue="q", version=7))
    results.observe(ended("a", queue="q"), deleted=True)
    assert [each.name for each in results.of("q")] == ["b"]
    results.missing({"b"}, 9)
    assert results.of("q") != []
    results.missing(set(), 6)
    assert results.of("q") != [], "the list is older than what is known"
    results.missing(set(), 9)
    assert results.of("q") == []


def test_their_mean_duration_is_known() -> None:
    results = Results()
    assert results.mean_seconds("q") is None
    results.observe(ended("a", queue="q"))
    assert results.mean_seconds("q") == 4


def test_a_stored_execution_is_shown_with_its_tests_when_asked_for() -> None:
    one = shown(ended("a"), tests=True)
    assert [test.exit_code for test in one.tests] == [1]
    assert one.queue == "default"
    assert shown(raw_execution("x", "y")).summary.total == 2


def test_what_was_never_known_is_forgotten_without_a_word() -> None:
    results = Results()
    results.observe(ended("kept", queue="q"))
    results.observe(ended("unknown", queue="q"), deleted=True)
    assert [each.name for each in results.of("q")] == ["kept"]


def test_each_queue_has_its_own_results() -> None:
    results = Results()
    results.observe(ended("one", queue="q"))
    results.observe(ended("other", queue="other"))
    assert [each.name for each in results.of("q")] == ["one"]
    assert results.mean_seconds("q") == 4
