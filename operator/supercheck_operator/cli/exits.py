"""What the command ends with. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from supercheck_operator.resources import Phase


class Exit(IntEnum):
    """Up to 4, the contract's outcomes of executions; from 64 on, as in BSD's sysexits.h; from 124
    on, as timeout(1) and shells have it. Argument parsers like to say 2, which is taken.
    """

    PASSED = 0
    FAILED = 1
    ERROR = 2
    CANCELLED = 3
    REFUSED = 4
    USAGE = 64
    INVALID = 65
    NOT_FOUND = 66
    UNAVAILABLE = 69
    NOT_ALLOWED = 77
    CONFIG = 78
    TIMED_OUT = 124
    INTERRUPTED = 130
    TERMINATED = 143

    @property
    def meaning(self) -> str:
        return _MEANINGS[self]


_MEANINGS: Final = {
    Exit.PASSED: "done; when it waited: every execution has passed",
    Exit.FAILED: "an execution is Failed: a verdict about the software under test",
    Exit.ERROR: "an execution is Error, or was deleted before it was over",
    Exit.CANCELLED: "an execution is Cancelled",
    Exit.REFUSED: "refused for capacity: nothing was stored",
    Exit.USAGE: "the command line is wrong",
    Exit.INVALID: "a file or an object is wrong, or its name is taken",
    Exit.NOT_FOUND: "a file or an object does not exist",
    Exit.UNAVAILABLE: "the API server or the operator does not answer",
    Exit.NOT_ALLOWED: "not allowed: no rights, or the queue is closed, unknown, or not for you",
    Exit.CONFIG: "the kubeconfig cannot be used",
    Exit.TIMED_OUT: "`--timeout` or `--wait-timeout` is over; the execution goes on",
    Exit.INTERRUPTED: "interrupted by Ctrl-C",
    Exit.TERMINATED: "ended by SIGTERM",
}

_OUTCOMES: Final = {
    Phase.PASSED: Exit.PASSED,
    Phase.FAILED: Exit.FAILED,
    Phase.ERROR: Exit.ERROR,
    Phase.CANCELLED: Exit.CANCELLED,
}
_SEVERITY: Final = (Exit.PASSED, Exit.CANCELLED, Exit.FAILED, Exit.ERROR, Exit.REFUSED)


class Problem(Exception):  # noqa: N818 - what people read is no class name
    """It cannot go on; its text is one sentence for a person."""

    def __init__(self, message: str, exit_code: Exit) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def no_execution(name: str, namespace: str) -> Problem:
    return Problem(f"There is no TestExecution {name} in namespace {namespace}.", Exit.NOT_FOUND)


def of_phase(phase: Phase) -> Exit:
    """What waiting for an execution that ended as ``phase`` ends with."""
    return _OUTCOMES[phase]


def worst(codes: Iterable[Exit]) -> Exit:
    """The one that tells most about several: what could not be done at all is worst."""

    def severity(code: Exit) -> int:
        return _SEVERITY.index(code) if code in _SEVERITY else len(_SEVERITY)

    return max(codes, key=severity, default=Exit.PASSED)
