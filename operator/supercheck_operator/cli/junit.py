"""Results as JUnit XML: a testsuite for each execution, a testcase for each test. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from supercheck_operator.cli import durations
from supercheck_operator.resources import Phase, TestExecution, TestStatus

_Verdict = Failure | Error | Skipped
_KINDS: Final[Mapping[Phase, type[Failure | Error]]] = {
    Phase.FAILED: Failure,
    Phase.ERROR: Error,
}


def xml(executions: Iterable[TestExecution], now: datetime) -> str:
    """A document with everything about ``executions``; what is not over is skipped in it."""
    document = JUnitXml("supercheck")
    for execution in executions:
        document.add_testsuite(_suite(execution, now))
    document.update_statistics()
    body: bytes = document.tostring()
    return f'<?xml version="1.0" encoding="utf-8"?>\n{body.decode()}\n'


def _suite(execution: TestExecution, now: datetime) -> TestSuite:
    meta, status = execution.metadata, execution.status
    suite = TestSuite(meta.name)
    suite.timestamp = (status.started_at or meta.creation_timestamp).removesuffix("Z")
    told = {
        "namespace": meta.namespace,
        "queue": execution.spec.queue,
        "phase": status.phase.value,
        "reason": status.reason,
        "attempts": str(status.attempts or 0),
    }
    for name, value in told.items():
        if value:
            suite.add_property(name, value)
    results = {each.name: each for each in status.tests or ()}
    for test in execution.spec.tests:
        result = results.get(test.name) or TestStatus(name=test.name)
        suite.add_testcase(_case(execution, result, now))
    return suite


def _case(execution: TestExecution, result: TestStatus, now: datetime) -> TestCase:
    meta = execution.metadata
    took = durations.between(result.started_at, result.completed_at, now)
    case = TestCase(result.name, f"{meta.namespace}.{meta.name}", took or 0.0)
    if result.phase is not Phase.PASSED:
        case.result = [_verdict(execution, result)]
    return case


def _verdict(execution: TestExecution, result: TestStatus) -> _Verdict:
    """What became of a test that has not passed; of its execution, if it came to nothing itself."""
    status = execution.status
    own = result.phase.final or not status.phase.final or status.phase is Phase.PASSED
    phase = result.phase if own else status.phase
    reason = (result.reason if own else status.reason) or phase.value
    message = _printable((result.message if own else status.message) or reason)
    headline = next(iter(message.splitlines()), reason)
    kind = _KINDS.get(phase, Skipped)
    verdict = kind(headline, reason)
    verdict.text = message
    return verdict


def _printable(text: str) -> str:
    """XML has no place for most control characters."""
    return "".join(letter for letter in text if letter.isprintable() or letter in "\n\t")
