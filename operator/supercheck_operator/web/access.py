"""Who may see what: in a cluster, the API server says who a caller is and what they may do."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from supercheck_operator.kube import ACCESS_REVIEWS, TOKEN_REVIEWS, Kube, KubeError, Resource
from supercheck_operator.resources import GROUP, Raw
from supercheck_operator.web.briefly import Briefly, Lately
from supercheck_operator.web.rates import Rates

_BELIEVED: Final = 10.0
"""Seconds until a token, or a right, is asked about again."""
_NO_GUESS: Final = 600.0
"""Seconds for which a token that was valid is no guess; it is asked about all the same."""
_REMEMBERED: Final = 4096
_AT_ONCE: Final = 8
_NEW_TOKENS: Final = (20.0, 100.0)
"""Each address may show so many unknown tokens a second, and in a burst: somebody guesses."""

logger = logging.getLogger(__name__)


class UnauthenticatedError(Exception):
    """The caller did not say who they are, or the API server does not know them."""


class DeniedError(Exception):
    """The caller is known and may not."""


class UndecidedError(KubeError):
    """The API server did not say who somebody is, or what they may; its text is one sentence."""


@dataclass(frozen=True)
class Caller:
    name: str
    token: str = ""
    """To act with; empty where everybody is oneself."""
    user: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """As the SubjectAccessReview wants it."""


@dataclass(frozen=True)
class Right:
    """``verb`` on our ``resource``; without a namespace in all of them, without a name to all."""

    verb: str
    resource: str
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        of = f' "{self.name}"' if self.name else ""
        return f"{self.verb} {self.resource}{of}" + (
            f' in namespace "{self.namespace}"' if self.namespace else ""
        )


class Access(Protocol):
    """Every call may raise an UndecidedError: nobody can tell."""

    @property
    def open(self) -> bool:
        """Nobody is asked who they are."""

    async def identify(self, token: str, address: str) -> Caller:
        """Raises UnauthenticatedError, or TooManyError for an ``address`` that seems to guess."""

    async def may(self, caller: Caller, right: Right) -> bool: ...


class LocalAccess:
    """On the loopback interface of one's own machine everybody is oneself."""

    open = True

    async def identify(self, token: str, address: str) -> Caller:
        return Caller("you")

    async def may(self, caller: Caller, right: Right) -> bool:
        return True


class ClusterAccess:
    """TokenReview for who, SubjectAccessReview for what; answers are believed for 10 s."""

    open = False

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._callers: Briefly[str, Caller | None] = Briefly(_BELIEVED, limit=_REMEMBERED)
        self._rights: Briefly[tuple[str, Right], bool] = Briefly(_BELIEVED, limit=_REMEMBERED)
        self._valid: Lately[str] = Lately(_NO_GUESS, limit=_REMEMBERED)
        self._new_tokens = Rates(*_NEW_TOKENS)
        self._trouble: dict[str, str] = {}
        """By kind of review, why the last one failed."""
        self._at_once = asyncio.Semaphore(_AT_ONCE)

    async def identify(self, token: str, address: str) -> Caller:
        if not token:
            raise UnauthenticatedError("Send a bearer token of the cluster.")
        key = fingerprint(token)
        doubted = not self._callers.knows(key) and key not in self._valid
        if doubted:  # before the answer: many may ask at once
            self._new_tokens.take(address)
        try:
            caller = await self._callers.get(key, lambda: self._who(token))
        except UndecidedError:
            if doubted:
                self._new_tokens.give_back(address)
            raise
        if caller is None:
            self._valid.forget(key)
            raise UnauthenticatedError("The cluster does not know this token.")
        self._valid.note(key)
        if doubted:
            self._new_tokens.give_back(address)
        return caller

    async def may(self, caller: Caller, right: Right) -> bool:
        key = (fingerprint(caller.token), right)
        return await self._rights.get(key, lambda: self._allowed(caller, right))

    async def _who(self, token: str) -> Caller | None:
        status = await self._review(TOKEN_REVIEWS, "TokenReview", {"token": token})
        if not status.get("authenticated"):
            return None
        user = status["user"]
        spec = {
            "user": user.get("username", ""),
            "groups": user.get("groups") or [],
            "uid": user.get("uid", ""),
            "extra": user.get("extra") or {},
        }
        return Caller(spec["user"], token, spec)

    async def _allowed(self, caller: Caller, right: Right) -> bool:
        attributes = {
            "group": GROUP,
            "resource": right.resource,
            "verb": right.verb,
            "namespace": right.namespace,
            "name": right.name,
        }
        spec = {**caller.user, "resourceAttributes": attributes}
        async with self._at_once:
            status = await self._review(ACCESS_REVIEWS, "SubjectAccessReview", spec)
        return bool(status.get("allowed"))

    async def _review(self, resource: Resource, kind: str, spec: Raw) -> Raw:
        version = f"{resource.group}/{resource.version}"
        body = {"apiVersion": version, "kind": kind, "spec": spec}
        try:
            answer = await self._kube.ask(resource, body)
        except KubeError as error:
            if (why := str(error)) != self._trouble.get(kind):
                logger.warning("a %s was not answered: %s", kind, why)
            self._trouble[kind] = why
            raise UndecidedError(
                "The API server could not say who you are or what you may do; try again, the"
                " operator's log has the cause."
            ) from error
        self._trouble.pop(kind, None)
        status: Raw = answer["status"]
        return status


def fingerprint(token: str) -> str:
    """What stands for a token in memory."""
    return hashlib.sha256(token.encode()).hexdigest() if token else ""


async def demand(access: Access, caller: Caller, right: Right) -> None:
    """Raises DeniedError."""
    if not await access.may(caller, right):
        raise DeniedError(f"{caller.name} may not {right}.")


@dataclass(frozen=True)
class Sight:
    """What a caller may see: of these queues the figures, of these namespaces the executions."""

    queues: frozenset[str]
    everywhere: bool
    namespaces: frozenset[str] = frozenset()

    def shows(self, namespace: str) -> bool:
        return self.everywhere or namespace in self.namespaces


async def sight(
    access: Access, caller: Caller, *, queues: Iterable[str], namespaces: Iterable[str]
) -> Sight:
    """What ``caller`` may see of these."""
    known = list(queues)
    seen = await asyncio.gather(
        access.may(caller, Right("list", "testexecutions")),
        *(access.may(caller, Right("get", "executionqueues", name=name)) for name in known),
    )
    visible = frozenset(name for name, may in zip(known, seen[1:], strict=True) if may)
    if seen[0]:
        return Sight(visible, everywhere=True)
    here = sorted(namespaces)
    rights = (Right("list", "testexecutions", namespace) for namespace in here)
    mays = await asyncio.gather(*(access.may(caller, right) for right in rights))
    return Sight(
        visible,
        everywhere=False,
        namespaces=frozenset(name for name, may in zip(here, mays, strict=True) if may),
    )
