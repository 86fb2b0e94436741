"""Submitting an execution for a caller: with their own token, and the API server's own answer."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from supercheck_operator.kube import EXECUTIONS, AnsweredError, Kube, KubeError, UnreachableError
from supercheck_operator.resources import API_VERSION, Raw

BODY_LIMIT: Final = 3 * 1024 * 1024
"""Bytes: as much as the API server takes."""
CAPACITY: Final = "Queue capacity limit reached"
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_WEBHOOK: Final = re.compile(r'^admission webhook "[^"]*" denied the request: ')
_PASSED_ON: Final = frozenset({400, 401, 403, 404, 409, 413, 415, 422, 429, 503})


@dataclass(frozen=True)
class Answer:
    status: int
    body: Raw
    retry_after: float | None = None


class Refused(Exception):  # noqa: N818 - it is an answer
    """The body cannot be submitted."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def parse(body: bytes) -> Raw:
    """A TestExecution with its namespace; what else it must be is the API server's to say.

    Raises Refused.
    """
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "The body is not JSON.") from error
    if not isinstance(parsed, dict):
        raise Refused(422, "Send a TestExecution: a JSON object.")
    metadata = parsed.get("metadata")
    namespace = metadata.get("namespace") if isinstance(metadata, dict) else None
    if not isinstance(namespace, str) or not _LABEL.fullmatch(namespace):
        raise Refused(422, "metadata.namespace must be the name of the namespace to create it in.")
    parsed.setdefault("apiVersion", API_VERSION)
    parsed.setdefault("kind", "TestExecution")
    return parsed


async def submit(kube: Kube, token: str, execution: Raw) -> Answer:
    """The API server's answer to creating ``execution`` with ``token``."""
    try:
        return Answer(201, await kube.create_for(token, EXECUTIONS, execution))
    except KubeError as error:
        return refusal(error)


def refusal(error: KubeError) -> Answer:
    """What a caller is told: the API server's status and words, without what a webhook puts before.

    Where it failed itself, that is no fault of this server: 502.
    """
    if isinstance(error, UnreachableError) or not isinstance(error, AnsweredError):
        return Answer(503, said("Service unavailable", "The API server does not answer."))
    message = _WEBHOOK.sub("", str(error))
    if error.status == 429 and CAPACITY in message:
        return Answer(429, said(CAPACITY, message), error.retry_after)
    status = error.status if error.status in _PASSED_ON else 502
    phrase = HTTPStatus(status).phrase.capitalize()
    return Answer(status, said(phrase, message), error.retry_after)


def said(error: str, message: str) -> Raw:
    return {"error": error, "message": message}
