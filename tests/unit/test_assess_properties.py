"""Whatever is seen, in whatever order: what holds for every assessment."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.builders import NOW, at, execution, job, pod, terminated, when

from supercheck_operator.execution.assess import Assessment, assess
from supercheck_operator.execution.evidence import Defaults, Evidence, alive
from supercheck_operator.execution.observed import Job, Pod
from supercheck_operator.execution.verdict import Delay, Verdict
from supercheck_operator.reporting.status import due, execution_status, summarize
from supercheck_operator.resources import Phase, Reason, TestExecution, TestExecutionStatus

DEFAULTS = Defaults(timeout=timedelta(seconds=100), max_concurrent_tests=2)
NAMES = ("a", "b", "c", "d")

seconds = st.integers(-120, 0)
words = st.sampled_from(["", "because", "ключ " * 600, "\x1b[31m\x00\ud800", 'a"\\\n\t' * 900])

delays = st.none() | words.map(lambda cause: Delay(Reason.POD_REJECTED, cause))

states = st.one_of(
    st.none(),
    st.builds(
        lambda reason, message: {"waiting": {"reason": reason, "message": message}},
        st.sampled_from(["ContainerCreating", "ImagePullBackOff", "CreateContainerError"]),
        words,
    ),
    seconds.map(lambda since: {"running": {"startedAt": when(since)}}),
    st.builds(
        lambda code, until, reason, message: terminated(
            code, since=-130, until=until, reason=reason, message=message
        ),
        st.sampled_from([0, 1, 137]),
        seconds,
        st.sampled_from(
            ["Completed", "Error", "OOMKilled", "StartError", "ContainerStatusUnknown"]
        ),
        words,
    ),
)


@st.composite
def pods(draw: st.DrawFn, test: str) -> Pod:
    conditions = draw(
        st.sampled_from(
            [
                [],
                [{"type": "PodScheduled", "status": "False", "message": "no room"}],
                [{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}],
            ]
        )
    )
    seen = pod(
        test,
        created=draw(seconds),
        deletion=draw(st.none() | seconds),
        phase=draw(st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown"])),
        state=draw(states),
        containers=draw(st.sampled_from([[], [{"name": "proxy", "state": {"running": {}}}]])),
        conditions=conditions,
        reason=draw(st.sampled_from(["", "Evicted", "NodeAffinity"])),
        message=draw(words),
    )
    return replace(seen, gone=draw(st.booleans()))


@st.composite
def jobs(draw: st.DrawFn, test: str) -> Job:
    conditions = [None, {"type": "Complete"}, {"type": "Failed", "reason": "BackoffLimitExceeded"}]
    seen = job(test, created=draw(seconds), condition=draw(st.sampled_from(conditions)))
    return replace(seen, gone=draw(st.booleans()))


@st.composite
def evidences(draw: st.DrawFn, of: TestExecution | None = None) -> Evidence:
    """Anything that may be seen of an execution: also what no cluster would ever show."""
    if of is None:
        names = NAMES[: draw(st.integers(1, 4))]
        limit = draw(st.none() | st.integers(1, 120))
        of = execution(
            *({"name": name, "image": "i", "timeoutSeconds": limit} for name in names),
            created=draw(seconds),
            timeoutSeconds=draw(st.none() | st.integers(1, 200)),
            startTimeoutSeconds=draw(st.integers(1, 200)),
            queueTimeoutSeconds=draw(st.none() | st.integers(1, 200)),
            maxConcurrentTests=draw(st.none() | st.integers(1, 4)),
            failFast=draw(st.booleans()),
        )
    spec = of.spec.model_copy(
        update={
            "cancel": draw(st.sampled_from([False, False, True])),
            "suspend": draw(st.booleans()),
        }
    )
    tests = [test.name for test in spec.tests]
    some = st.sets(st.sampled_from(tests))
    refusal = Verdict(Reason.POD_REJECTED, draw(words))
    return Evidence(
        execution=of.model_copy(update={"spec": spec}),
        now=at(draw(st.integers(0, 60))),
        defaults=DEFAULTS,
        started=draw(st.booleans()),
        jobs={test: draw(jobs(test)) for test in draw(some)},
        pods={test: draw(pods(test)) for test in draw(some)},
        launching={test: draw(delays) for test in draw(some)},
        refused={test: refusal for test in draw(some) if draw(st.booleans())},
        confirmed=draw(st.none() | st.integers(0, 60).map(at)),
        drained=draw(st.sampled_from([False, False, True])),
    )


def stored(run: TestExecution, assessment: Assessment, now: datetime) -> TestExecution:
    """The execution with ``assessment`` written and read again."""
    written = json.loads(json.dumps(execution_status(run, assessment, now)))
    return run.model_copy(update={"status": TestExecutionStatus.model_validate(written)})


def finals(assessment: Assessment) -> dict[str, Any]:
    return {test.name: test for test in assessment.tests if test.phase.final}


@given(evidence=evidences())
def test_the_same_evidence_gives_the_same_verdict(evidence: Evidence) -> None:
    assert assess(evidence) == assess(evidence)


@given(evidence=evidences())
def test_nothing_is_launched_that_is_final_unstarted_known_or_too_much(evidence: Evidence) -> None:
    assessment = assess(evidence)
    if assessment.phase.final or not evidence.started:
        assert assessment.launch == ()
    occupied = {
        test.name
        for test in evidence.execution.spec.tests
        if test.name in evidence.launching
        or alive(evidence.jobs.get(test.name), evidence.pods.get(test.name))
    }
    assert occupied.isdisjoint(assessment.launch)
    assert len(set(assessment.launch)) == len(assessment.launch)
    if assessment.launch:
        limit = evidence.execution.spec.max_concurrent_tests or DEFAULTS.max_concurrent_tests
        assert len(occupied) + len(assessment.launch) <= limit
    assert evidence.jobs.keys().isdisjoint(assessment.launch)
    assert evidence.pods.keys().isdisjoint(assessment.launch)
    assert evidence.refused.keys().isdisjoint(assessment.launch)


@given(evidence=evidences())
def test_phase_results_and_counts_agree(evidence: Evidence) -> None:
    assessment = assess(evidence)
    tests = assessment.tests
    assert [test.name for test in tests] == [test.name for test in evidence.execution.spec.tests]
    summary = summarize(tests)
    counted = summary.passed + summary.failed + summary.error + summary.cancelled + summary.running
    assert counted + sum(test.phase is Phase.QUEUED for test in tests) == summary.total
    assert summary.total == len(tests)
    if assessment.phase.final:
        assert summary.running == 0
        assert all(test.phase.final and test.completed_at for test in tests)
        assert assessment.completed_at is not None
    else:
        assert assessment.completed_at is None
        assert not all(test.phase.final for test in tests)
    assert (assessment.phase is Phase.PASSED) is (summary.passed == summary.total)
    assert (assessment.phase is Phase.QUEUED) <= (not evidence.started)


@given(evidence=evidences())
def test_whatever_is_not_passed_says_why(evidence: Evidence) -> None:
    assessment = assess(evidence)
    told = [(assessment.phase, assessment.reason, assessment.message)]
    told += [(test.phase, test.reason, test.message) for test in assessment.tests]
    for phase, reason, message in told:
        if phase not in (Phase.PASSED, Phase.QUEUED):
            assert reason in set(Reason)
        if phase in (Phase.FAILED, Phase.ERROR, Phase.CANCELLED):
            assert message is not None


@given(evidence=evidences())
def test_time_alone_is_looked_at_again_in_the_future_only(evidence: Evidence) -> None:
    assessment = assess(evidence)
    if assessment.look_again is not None:
        assert assessment.look_again > evidence.now
        later = assess(replace(evidence, now=assessment.look_again))
        assert later != assessment


@given(evidence=evidences())
def test_until_then_time_changes_nothing(evidence: Evidence) -> None:
    assessment = assess(evidence)
    if assessment.phase.final or assessment.look_again is None:
        return
    just_before = assessment.look_again - timedelta(seconds=1)
    if just_before > evidence.now:
        earlier = assess(replace(evidence, now=just_before))
        assert earlier.phase is assessment.phase
        assert [t.phase for t in earlier.tests] == [t.phase for t in assessment.tests]


@given(data=st.data(), evidence=evidences())
def test_a_final_verdict_stands_whatever_is_seen_later(
    data: st.DataObject, evidence: Evidence
) -> None:
    first = assess(evidence)
    if not first.phase.final:
        first = assess(replace(evidence, drained=True, started=True))
    written = stored(evidence.execution, first, evidence.now)
    other = data.draw(evidences(of=written))
    again = assess(other)
    assert (again.phase, again.reason, again.message) == (first.phase, first.reason, first.message)
    assert [test.model_dump() for test in again.tests] == [t.model_dump() for t in first.tests]
    assert again.launch == ()
    assert due(written, again, now=other.now, written=None) is None
    assert execution_status(written, again, other.now) == execution_status(
        evidence.execution, first, evidence.now
    )


@given(data=st.data(), evidence=evidences())
def test_the_result_of_a_test_never_changes_once_it_is_stored(
    data: st.DataObject, evidence: Evidence
) -> None:
    evidence = replace(evidence, started=True)
    run = evidence.execution
    known: dict[str, Any] = {}
    for _ in range(3):
        assessment = assess(evidence)
        for name, result in known.items():
            assert finals(assessment)[name].model_dump() == result.model_dump()
        known = finals(assessment)
        run = stored(evidence.execution, assessment, evidence.now)
        evidence = replace(data.draw(evidences(of=run)), started=True)


@given(evidence=evidences())
def test_only_stored_results_stop_a_job(evidence: Evidence) -> None:
    # Stopped before its result is written, a Job looks, after a crash, as if deleted by hand.
    assert assess(evidence).stop == ()


KIB_4 = {
    "ascii": "x" * 4096,
    "three bytes each": "€" * 1365,
    "four bytes each": "𝄞" * 1024,
    "escaped": '"\\' * 2048,
    "not printable": "\x00\x1b\x7f" * 1365,
    "lines": "\n\t€" * 819 + "end",
}


def worst_case(kind: str, message: str) -> Evidence:
    """100 tests with long names, each with ``message``."""
    names = [f"{n:03}" + "n" * 60 for n in range(100)]
    run = execution(*names, name="e" * 63, maxConcurrentTests=100, startTimeoutSeconds=60)
    evidence = Evidence(execution=run, now=NOW, defaults=DEFAULTS, started=True)
    uid = ("p" * 63) + "-abcde"
    match kind:
        case "failed":
            state = terminated(255, reason="Error", message=message)
            pods = {name: pod(name, uid=uid, phase="Failed", state=state) for name in names}
            return replace(evidence, pods=pods)
        case "waiting" | "timed out":
            state = {"waiting": {"reason": "ImagePullBackOff", "message": message}}
            pods = {name: pod(name, uid=uid, state=state) for name in names}
            return replace(evidence, pods=pods, now=at(60) if kind == "timed out" else NOW)
        case "without pods":
            failed = {"type": "Failed", "reason": "BackoffLimitExceeded", "message": message}
            return replace(evidence, jobs={name: job(name, condition=failed) for name in names})
        case "launching":
            return replace(
                evidence, launching=dict.fromkeys(names, Delay(Reason.INTERNAL, message))
            )
        case _:
            refusal = Verdict(Reason.INVALID_TEMPLATE, message)
            return replace(evidence, refused=dict.fromkeys(names, refusal))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        *(("failed", message) for message in KIB_4),
        *((kind, "escaped") for kind in ("waiting", "timed out", "without pods")),
        *((kind, "escaped") for kind in ("launching", "refused")),
    ],
)
def test_a_status_stays_below_64_kib(kind: str, message: str) -> None:
    evidence = worst_case(kind, KIB_4[message])
    written = execution_status(evidence.execution, assess(evidence), evidence.now)
    assert len(written["tests"]) == 100
    assert len(json.dumps(written, ensure_ascii=False).encode()) < 64 * 1024


@given(message=st.text(), tests=st.integers(1, 100))
def test_any_message_is_cut_to_text_that_is_printable(message: str, tests: int) -> None:
    names = [f"t{n}" for n in range(tests)]
    refused = {"t0": Verdict(Reason.INTERNAL, message * 50)}
    evidence = Evidence(
        execution=execution(*names),
        now=NOW,
        defaults=DEFAULTS,
        started=True,
        refused=refused,
    )
    told = assess(evidence).tests[0].message
    assert told is not None
    assert all(c.isprintable() or c in "\n\t" for c in told)
    assert len(json.dumps(told, ensure_ascii=False).encode()) <= 2050
