"""The decisions behind ``kubectl supercheck``: how long, how bad, how often, how it is told."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.builders import NOW, execution, when

from supercheck_operator.cli import durations, exits, junit, retry
from supercheck_operator.cli.answers import for_capacity, may_pass, problem
from supercheck_operator.cli.exits import Exit
from supercheck_operator.kube import AnsweredError, ConfigError, KubeError, UnreachableError
from supercheck_operator.resources import Phase

FULL = (
    'admission webhook "admission.supercheck.io" denied the request: Queue capacity limit reached'
    " (50/50 queued jobs). Please try again later when running capacity (5/5) is available."
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("2d", 172800), ("1h5", 3605)],
)
def test_a_duration_is_read(text: str, seconds: int) -> None:
    assert durations.parse(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-5m", "5x", "1.5h", "1m1h", "ten"])
def test_what_is_no_duration_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="write it as 90s, 10m or 1h30m"):
        durations.parse(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (0.4, "0s"), (59.6, "1m"), (61, "1m1s"), (3600, "1h"), (3661, "1h1m"),
        (90000, "1d1h"), (86460, "1d"), (-3, "0s"),
    ],
)  # fmt: skip
def test_a_duration_is_shown_in_two_units_at_most(seconds: float, text: str) -> None:
    assert durations.show(seconds) == text


@given(st.integers(0, 10**8))
def test_what_is_shown_can_be_read_and_is_not_far_off(seconds: int) -> None:
    told = durations.parse(durations.show(seconds))
    assert told <= seconds < told * 1.1 + 1


def test_the_outcomes_of_the_contract() -> None:
    codes = {phase: exits.of_phase(phase) for phase in Phase if phase.final}
    assert codes == {"Passed": 0, "Failed": 1, "Error": 2, "Cancelled": 3}
    assert int(Exit.REFUSED) == 4


def test_no_other_exit_code_collides_with_an_outcome() -> None:
    assert all(code >= 64 for code in Exit if code not in range(5))
    assert all(code.meaning for code in Exit)


def test_the_worst_of_several() -> None:
    ascending = [
        Exit.PASSED, Exit.CANCELLED, Exit.FAILED, Exit.ERROR, Exit.REFUSED, Exit.UNAVAILABLE
    ]  # fmt: skip
    for place, code in enumerate(ascending):
        assert exits.worst(reversed(ascending[: place + 1])) == code
    assert exits.worst([]) == Exit.PASSED


# Each answer of an API server, and what it is to a pipeline.
ANSWERS: list[tuple[KubeError | ConfigError, Exit, bool]] = [
    (AnsweredError(429, "TooManyRequests", FULL), Exit.REFUSED, True),
    (AnsweredError(429, "TooManyRequests", "too many requests"), Exit.UNAVAILABLE, True),
    (AnsweredError(503, "ServiceUnavailable", "Unable to verify"), Exit.UNAVAILABLE, True),
    (AnsweredError(500, "InternalError", "failed calling webhook"), Exit.UNAVAILABLE, True),
    (AnsweredError(401, "Unauthorized", "Unauthorized"), Exit.NOT_ALLOWED, False),
    (AnsweredError(403, "Forbidden", "the queue is closed"), Exit.NOT_ALLOWED, False),
    (AnsweredError(404, "NotFound", "not found"), Exit.NOT_FOUND, False),
    (AnsweredError(409, "AlreadyExists", "already exists"), Exit.INVALID, False),
    (AnsweredError(422, "Invalid", "spec.tests"), Exit.INVALID, False),
    (AnsweredError(400, "BadRequest", "no JSON"), Exit.INVALID, False),
    (UnreachableError("refused"), Exit.UNAVAILABLE, True),
    (ConfigError("The kubeconfig x does not exist."), Exit.CONFIG, False),
]


@pytest.mark.parametrize(("error", "code", "again"), ANSWERS)
def test_an_answer_becomes_an_exit_code_and_says_whether_to_try_again(
    error: KubeError | ConfigError, code: Exit, again: bool
) -> None:
    assert problem(error).exit_code == code
    if isinstance(error, KubeError):
        assert may_pass(error) is again
        assert for_capacity(error) is (code is Exit.REFUSED)


def test_a_refusal_is_told_in_the_words_of_the_contract_only() -> None:
    told = str(problem(AnsweredError(429, "TooManyRequests", FULL), "e2e"))
    assert told.startswith("e2e: Queue capacity limit reached (50/50 queued jobs).")


def test_tries_come_less_often_and_never_stop_before_the_time_is_over() -> None:
    pauses = [retry.pause(n, asked=None, left=1000, draw=0) for n in range(1, 9)]
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]


def test_many_pipelines_do_not_come_back_at_once() -> None:
    assert retry.pause(3, asked=None, left=1000, draw=1) == 2
    assert retry.pause(1, asked=10, left=1000, draw=1) == 15


def test_the_last_try_is_at_the_end_of_the_time() -> None:
    assert retry.pause(6, asked=None, left=7, draw=0) == 7
    assert retry.pause(6, asked=None, left=0, draw=0) is None


def test_who_is_asked_to_wait_longer_than_there_is_time_gives_up() -> None:
    assert retry.pause(1, asked=10, left=9, draw=0) is None


@given(st.integers(1, 10**6), st.floats(0, 1000), st.floats(0.1, 10**6), st.floats(0, 1))
def test_what_is_asked_for_is_never_undercut(
    tries: int, asked: float, left: float, draw: float
) -> None:
    pause = retry.pause(tries, asked=asked, left=left, draw=draw)
    assert pause is None if asked > left else (pause is not None and asked <= pause <= left)


def _case(document: str, name: str) -> ET.Element:
    return next(
        case for case in ET.fromstring(document).iter("testcase") if case.get("name") == name
    )


def test_each_phase_of_a_test_has_its_element_in_junit() -> None:
    tests = [
        {"name": "good", "phase": "Passed", "startedAt": when(-9), "completedAt": when(-5)},
        {
            "name": "bad",
            "phase": "Failed",
            "reason": "TestFailed",
            "message": "no cart\n<at> line 3",
        },
        {"name": "lost", "phase": "Error", "reason": "NodeLost", "message": "gone"},
        {"name": "left", "phase": "Cancelled", "reason": "FailFast"},
    ]
    status = {"phase": "Error", "reason": "NodeLost", "tests": tests, "startedAt": when(-9)}
    document = junit.xml([execution("good", "bad", "lost", "left", "idle", status=status)], NOW)

    assert _case(document, "good").get("time") == "4.0"
    assert list(_case(document, "good")) == []
    [failure] = _case(document, "bad")
    assert (failure.tag, failure.get("type")) == ("failure", "TestFailed")
    assert (failure.get("message"), failure.text) == ("no cart", "no cart\n<at> line 3")
    assert [child.tag for child in _case(document, "lost")] == ["error"]
    assert [child.tag for child in _case(document, "left")] == ["skipped"]
    # It never began, and what became of its execution is the reason.
    [error] = _case(document, "idle")
    assert (error.tag, error.get("type")) == ("error", "NodeLost")
    suite = ET.fromstring(document)[0]
    counts = [suite.get(key) for key in ("tests", "failures", "errors", "skipped")]
    assert counts == ["5", "1", "2", "1"]
    assert (suite.get("name"), suite.get("timestamp")) == ("run", when(-9).removesuffix("Z"))


def test_an_execution_that_came_to_nothing_is_an_error_in_junit() -> None:
    status = {"phase": "Error", "reason": "QueueTimeout", "message": "It waited for 60 s."}
    document = junit.xml([execution("a", status=status)], NOW)
    [error] = _case(document, "a")
    assert (error.tag, error.text) == ("error", "It waited for 60 s.")


def test_what_is_not_over_is_skipped_in_junit() -> None:
    [skipped] = _case(junit.xml([execution("a")], NOW), "a")
    assert (skipped.tag, skipped.get("message")) == ("skipped", "Queued")


@given(st.text())
def test_junit_is_xml_whatever_a_test_says(message: str) -> None:
    test = {"name": "a", "phase": "Failed", "reason": "TestFailed", "message": message}
    document = junit.xml([execution("a", status={"phase": "Failed", "tests": [test]})], NOW)
    assert _case(document, "a").find("failure") is not None
