"""Names of Jobs: the same for the same attempt at a test, different for every other. Pure."""

from __future__ import annotations

import hashlib
from typing import Final

from supercheck_operator.resources import MAX_RETRIES, TestExecution

_NAME_LIMIT: Final = 63
_DIGEST_LENGTH: Final = 10


def job_name(execution: str, uid: str, test: str, attempt: int = 1) -> str:
    """The digest of the execution's UID keeps apart what names alone cannot: ``a-b``/``c`` from
    ``a``/``b-c``, and an execution from its deleted namesake. A new name for each attempt never
    meets a predecessor that is still being deleted.
    """
    identity = f"{uid}/{test}/{attempt}"
    digest = hashlib.sha256(identity.encode()).hexdigest()[:_DIGEST_LENGTH]
    room = _NAME_LIMIT - _DIGEST_LENGTH - 1
    readable = f"{execution}-{test}".replace(".", "-")
    return f"{readable[:room].rstrip('-')}-{digest}"


def job_name_of(execution: TestExecution, test: str, attempt: int = 1) -> str:
    """The name of the Job of ``test``."""
    return job_name(execution.metadata.name, execution.metadata.uid, test, attempt)


def attempt_of(job: str, execution: str, uid: str, test: str) -> int:
    """Which attempt at ``test`` a Job of that name makes; 0 if it is none of ours."""
    attempts = range(1, MAX_RETRIES + 2)
    return next((n for n in attempts if job == job_name(execution, uid, test, n)), 0)
