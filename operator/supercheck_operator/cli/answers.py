"""What the API server answers, told to people and to pipelines."""

from __future__ import annotations

from typing import Final

from supercheck_operator.cli.exits import Exit, Problem
from supercheck_operator.kube import AnsweredError, ConfigError, KubeError, UnreachableError

_CAPACITY: Final = "Queue capacity limit reached"
_DENIED: Final = "denied the request: "
_PASSING: Final = frozenset({429, 500, 502, 503, 504})
"""No room, no operator behind the webhook, no API server: what another try may find otherwise."""


def may_pass(error: KubeError) -> bool:
    """Whether another try may be answered otherwise."""
    if isinstance(error, AnsweredError):
        return error.status in _PASSING
    return isinstance(error, UnreachableError)


def for_capacity(error: KubeError) -> bool:
    """Whether ``error`` is the queue's refusal, not one of the API server's own 429s."""
    return isinstance(error, AnsweredError) and error.status == 429 and _CAPACITY in str(error)


def problem(error: KubeError | ConfigError, about: str = "") -> Problem:
    """``error``, told to a person."""
    what = f"{about}: " if about else ""
    if isinstance(error, UnreachableError):
        return Problem(f"{what}The API server does not answer: {error}.", Exit.UNAVAILABLE)
    if not isinstance(error, AnsweredError):
        return Problem(f"{what}{error}", Exit.CONFIG)
    return Problem(what + sentence(error), _code(error))


def sentence(error: AnsweredError) -> str:
    """What the API server, or our webhook through it, has to say."""
    return str(error).rpartition(_DENIED)[2]


def _code(error: AnsweredError) -> Exit:
    if for_capacity(error):
        return Exit.REFUSED
    match error.status:
        case 401 | 403:
            return Exit.NOT_ALLOWED
        case 404:
            return Exit.NOT_FOUND
        case 400 | 409 | 413 | 422:
            return Exit.INVALID
        case _:
            return Exit.UNAVAILABLE
