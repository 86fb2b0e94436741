"""An API server in memory: what it stores, and how requests to it go, well or badly."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from functools import partial
from typing import Any, Final, TypeVar

from supercheck_operator.clock import Clock
from supercheck_operator.execution.observed import format_time
from supercheck_operator.kube import (
    AlreadyExistsError,
    AnsweredError,
    ConflictError,
    KubeError,
    NotFoundError,
    Page,
    Resource,
    UnreachableError,
)
from supercheck_operator.resources import Raw

T = TypeVar("T")
Key = tuple[str, str]
"""Namespace and name."""
Listing = tuple[list[Raw], int]
"""Objects and the resourceVersion at which they are all there is."""
Listener = Callable[[str, Raw | None, Raw | None], None]
"""Is told of every change: plural, the object before (None: created) and after (None: gone)."""

_PAGE: Final = 3
"""Objects in one part of a LIST."""
START: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class _Landing(Enum):
    """When a request takes effect."""

    NEVER = auto()
    AT_ONCE = auto()
    LATER = auto()
    """After its sender was told that it failed."""


@dataclass(frozen=True)
class Weather:
    """What goes wrong by itself, as shares of all requests and of all watch events."""

    failing: float = 0.0
    """Requests that fail: before or after they took effect, with or without an answer."""
    lost: float = 0.0
    """Watch events that never come."""
    twice: float = 0.0
    """Watch events that come twice."""
    late: float = 0.0
    """Watch events that come up to 20 s late."""


class Api:
    """Objects are never changed, only replaced: whoever was given one may keep it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, noise: random.Random) -> None:
        self.loop = loop
        self.noise = noise
        self.objects: defaultdict[str, dict[Key, Raw]] = defaultdict(dict)
        self.version = 1000
        self.listeners: list[Listener] = []
        self.admit_job: Callable[[Raw], None] = lambda _job: None
        """Raises what the API server answers to a Job it does not want."""
        self.job_asked: Callable[[Raw], None] = lambda _job: None
        """Is told that somebody is about to ask for a Job."""
        self.delete: Callable[[str, Raw], None] = self.remove
        """Deletion in the background, as far as it happens at once."""
        self.clock = START
        self.late = False
        """What happens right now was asked for by one who has been told that it failed."""
        self._uids = itertools.count(1)

    # What is stored ------------------------------------------------------------------------------

    def now(self) -> datetime:
        return self.clock + timedelta(seconds=self.loop.time())

    def get(self, plural: str, key: Key) -> Raw:
        found = self.objects[plural].get(key)
        if found is None:
            raise NotFoundError(404, "NotFound", f"{plural} {key[1]} not found")
        return found

    def of_uid(self, plural: str, uid: str) -> Raw | None:
        """The object of that UID, unless it is gone."""
        return next((o for o in self.objects[plural].values() if o["metadata"]["uid"] == uid), None)

    def new_uid(self, kind: str) -> str:
        return f"{kind}-{next(self._uids)}"

    def create(self, plural: str, body: Raw) -> Raw:
        metadata = {"name": f"nameless-{self.version}"} | body["metadata"]
        key = (metadata.get("namespace", ""), metadata["name"])
        if key in self.objects[plural]:
            raise AlreadyExistsError(409, "AlreadyExists", f"{plural} {key[1]} already exists")
        metadata = {
            "uid": metadata.get("uid") or self.new_uid(plural),
            "generation": 1,
            "creationTimestamp": format_time(self.now()),
        } | metadata
        return self._store(plural, key, body | {"metadata": metadata}, None)

    def replace(self, plural: str, before: Raw, metadata: Raw | None = None, **parts: Any) -> Raw:
        """Give ``before`` other ``parts`` and fields of its metadata (None takes one away)."""
        changed = before["metadata"] | (metadata or {})
        changed = {field: value for field, value in changed.items() if value is not None}
        return self._store(plural, _key(before), before | parts | {"metadata": changed}, before)

    def remove(self, plural: str, raw: Raw) -> None:
        del self.objects[plural][_key(raw)]
        self.version += 1
        metadata = raw["metadata"] | {"resourceVersion": str(self.version)}
        self._tell(plural, raw | {"metadata": metadata}, None)

    def _store(self, plural: str, key: Key, raw: Raw, before: Raw | None) -> Raw:
        self.version += 1
        raw["metadata"]["resourceVersion"] = str(self.version)
        self.objects[plural][key] = raw
        self._tell(plural, before, raw)
        return raw

    def _tell(self, plural: str, before: Raw | None, after: Raw | None) -> None:
        for listener in tuple(self.listeners):
            listener(plural, before, after)


class Client:
    """Stands for ``Kube`` in one life of the operator; what it has sent may outlive it."""

    def __init__(
        self,
        api: Api,
        on_landing: Callable[[str, str], None],
        noise: random.Random,
        now: Callable[[], datetime],
    ) -> None:
        self.weather = Weather()
        self.outage = False
        self.alive = True
        self.in_flight = 0
        self.requests = 0
        self._api = api
        self._loop = api.loop
        self._noise = noise
        self._on_landing = on_landing
        self.clock = Clock(now, api.loop.time)

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Raw:
        return await self._ask("get", resource, partial(self._get, resource, (namespace, name)))

    async def list(
        self, resource: Resource, *, namespace: str = "", labels: str = "", fields: str = ""
    ) -> Listing:
        if fields:  # only Events are asked for by fields, and nobody tells any about Jobs and pods
            return await self._ask("list", resource, lambda: ([], self._api.version))
        return await self._ask("list", resource, partial(self._list, resource, namespace, labels))

    async def pages(
        self, resource: Resource, *, namespace: str = "", labels: str = "", fields: str = ""
    ) -> AsyncIterator[Page]:
        """A few at a time, of what there was at the first."""
        selected = {"namespace": namespace, "labels": labels, "fields": fields}
        found, version = await self.list(resource, **selected)
        while True:
            yield Page(found[:_PAGE], version)
            found = found[_PAGE:]
            if not found:
                return
            await asyncio.sleep(self._latency())

    async def create(self, resource: Resource, body: Raw, **_: object) -> Raw:
        if resource.plural == "jobs" and self.alive:
            self._api.job_asked(body)
        return await self._ask("create", resource, partial(self._create, resource, body))

    async def patch(
        self,
        resource: Resource,
        name: str,
        body: Raw,
        *,
        namespace: str = "",
        subresource: str = "",
    ) -> Raw:
        effect = partial(self._patch, resource, (namespace, name), body, subresource)
        return await self._ask("patch", resource, effect)

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str,
        *,
        uid: str,
        version: int | None = None,
        **_: object,
    ) -> None:
        effect = partial(self._delete, resource, (namespace, name), uid, version)
        try:
            await self._ask("delete", resource, effect)
        except NotFoundError:
            return
        except ConflictError:
            if version is not None:
                raise

    # What a request does -------------------------------------------------------------------------

    def _get(self, resource: Resource, key: Key) -> Raw:
        return self._api.get(resource.plural, key)

    def _list(self, resource: Resource, namespace: str, labels: str) -> Listing:
        wanted = [part.partition("=")[::2] for part in labels.split(",") if part]
        found = [
            raw
            for raw in self._api.objects[resource.plural].values()
            if namespace in ("", raw["metadata"].get("namespace", ""))
            and all(_has(raw, label, value) for label, value in wanted)
        ]
        return found, self._api.version

    def _create(self, resource: Resource, body: Raw) -> Raw:
        if resource.plural == "jobs":
            self._api.admit_job(body)
        return self._api.create(resource.plural, body)

    def _patch(self, resource: Resource, key: Key, body: Raw, subresource: str) -> Raw:
        before = self._api.get(resource.plural, key)
        said = body.get("metadata", {})
        for field in ("uid", "resourceVersion"):
            if said.get(field) not in (None, before["metadata"][field]):
                raise ConflictError(409, "Conflict", f"{field} is {before['metadata'][field]}")
        part = subresource or "spec"
        merged = _merged(before.get(part, {}), body.get(part, {}))
        if merged == before.get(part, {}):
            return before
        return self._api.replace(resource.plural, before, **{part: merged})

    def _delete(self, resource: Resource, key: Key, uid: str, version: int | None) -> None:
        before = self._api.get(resource.plural, key)
        metadata = before["metadata"]
        if metadata["uid"] != uid or str(version or metadata["resourceVersion"]) != str(
            metadata["resourceVersion"]
        ):
            raise ConflictError(409, "Conflict", "the preconditions do not hold")
        self._api.delete(resource.plural, before)

    # How it goes ---------------------------------------------------------------------------------

    async def _ask(self, verb: str, resource: Resource, effect: Callable[[], T]) -> T:
        """Carry out ``effect`` after a while, and give its answer after another."""
        answer: asyncio.Future[T] = self._loop.create_future()
        if not self.alive:
            return await answer
        self.requests += 1
        fault, lands = self._fault(verb)
        there, back = self._latency(), self._latency() if self._noise.random() < 0.5 else 0.0
        sent_at, told = self.clock.now(), self._api.now()

        def landed() -> None:
            nonlocal told
            told = self._api.now()
            error: KubeError | None = None
            result: T | None = None
            self._api.late = lands is _Landing.LATER
            try:
                result = effect()
            except KubeError as refusal:
                error = refusal
            self._api.late = False
            self._on_landing(verb, resource.plural)
            if back:
                self._loop.call_later(back, answered, result, fault or error)
            else:
                answered(result, fault or error)

        def answered(result: Any, error: KubeError | None) -> None:
            if answer.done() or not self.alive:
                return
            self._hear(error, told, sent_at)
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(result)

        if lands is not _Landing.AT_ONCE:
            self._loop.call_later(there, answered, None, fault)
            there += 3 * self._noise.random()
        if lands is not _Landing.NEVER:
            self._loop.call_later(there, landed)
        self.in_flight += 1
        try:
            return await answer
        finally:
            self.in_flight -= 1

    def _hear(self, error: KubeError | None, told: datetime, sent_at: datetime) -> None:
        if not isinstance(error, UnreachableError):
            self.clock.heard(told.replace(microsecond=0), sent_at)

    def _fault(self, verb: str) -> tuple[KubeError | None, _Landing]:
        """What is answered instead of the truth, and whether the request is carried out."""
        if self.outage:
            return UnreachableError(f"{verb}: connection refused"), _Landing.NEVER
        if self._noise.random() >= self.weather.failing:
            return None, _Landing.AT_ONCE
        lands = self._noise.choice(tuple(_Landing))
        match self._noise.randrange(4):
            case 0:
                return AnsweredError(429, "TooManyRequests", "too many requests"), _Landing.NEVER
            case 1:
                return AnsweredError(504, "Timeout", "request did not complete in time"), lands
            case _:
                return UnreachableError(f"{verb}: no answer in time"), lands

    def _latency(self) -> float:
        chance = self._noise.random()
        return 0.002 + 0.05 * chance if chance < 0.95 else chance


def _key(raw: Raw) -> Key:
    metadata = raw["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _has(raw: Raw, label: str, value: str) -> bool:
    labels = raw["metadata"].get("labels") or {}
    return label in labels and value in ("", labels[label])


def _merged(before: Raw, patch: Raw) -> Raw:
    """RFC 7396."""
    merged = dict(before)
    for field, value in patch.items():
        if value is None:
            merged.pop(field, None)
        elif isinstance(value, dict) and isinstance(merged.get(field), dict):
            merged[field] = _merged(merged[field], value)
        else:
            merged[field] = value
    return merged
