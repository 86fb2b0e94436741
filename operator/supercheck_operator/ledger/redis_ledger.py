"""The ledger that replicas share. Every call is one call of ``ledger.lua``, which Redis runs alone.

Whatever makes Redis forget closes it until the next ``reconcile``: the hash of the ledger is gone,
or was made on another server, or the controller has not asked for too long.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Any, Final, TypeVar, cast
from uuid import uuid4

from redis.exceptions import NoScriptError, ReadOnlyError

from supercheck_operator.ledger.address import Address
from supercheck_operator.ledger.buffered import Update
from supercheck_operator.ledger.capacity import Limits, Occupancy, stats
from supercheck_operator.ledger.contract import (
    CREATE_TIMEOUT,
    Answer,
    Holder,
    LedgerClosedError,
    LedgerUnavailableError,
    Reservation,
)
from supercheck_operator.ledger.redis_client import (
    CONNECTIONS,
    Client,
    close,
    connect,
    reconnect,
    why,
)

TIMEOUT: Final = 2.0
"""Seconds for everything that one call needs: a connection, retries, the answer."""
_REBUILT: Final = 8.0
"""The same for a rebuild: of 100,000, Redis has about a second to do."""
KEPT: Final = 60.0
"""Seconds for which it stays open without a sign of its controller: longer than a failover takes,
shorter than it takes to forget that one of two primaries goes on by itself."""
_AT_ONCE: Final = 1000
"""Updates in one call; it keeps Redis from other work for some milliseconds."""

T = TypeVar("T")

_SCRIPT: Final = files(__package__).joinpath("ledger.lua").read_text()
_SHA: Final = sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class _Way:
    """How something is asked for, and within how many seconds it is answered."""

    client: Client
    within: float


class RedisLedger:
    """``now``, if given, dates reservations (seconds).

    ``on_error`` is called when Redis has not answered, or with an error.
    """

    def __init__(
        self,
        address: Address,
        *,
        prefix: str = "supercheck",
        kept: float = KEPT,
        on_error: Callable[[], object] = lambda: None,
        now: Callable[[], float] | None = None,
    ) -> None:
        self._usual = _Way(connect(address), TIMEOUT)
        self._patient = _Way(connect(address, answered=_REBUILT), _REBUILT)
        self._name = str(address)
        self._key = f"{prefix}:ledger:v1"
        self._kept = _ms(kept)
        self._on_error = on_error
        self._now = now
        self._turns = asyncio.Semaphore(CONNECTIONS)
        self._ahead: float | None = None
        """How far the server's clock is ahead of ours, if it has ever answered."""
        self._writer = uuid4().hex
        self._mark = ""

    async def close(self) -> None:
        await close(self._usual.client)
        await close(self._patient.client)

    async def reserve(self, wanted: Reservation, limits: Limits, *, dry_run: bool) -> Answer:
        word, whole, part = await self._ask(
            "reserve",
            wanted.uid,
            wanted.queue,
            wanted.namespace,
            wanted.holder().state.value,
            wanted.name,
            "dry" if dry_run else "",
            _said(limits),
        )
        share = limits.of_namespace()
        if word == "namespace" and share is not None:
            figures = stats(_occupancy(part), share)
            return Answer(admitted=False, stats=figures, namespace=wanted.namespace)
        return Answer(admitted=word == "admitted", stats=stats(_occupancy(whole), limits))

    async def occupancy(self, queue: str, share: int | None = None) -> Occupancy:
        _, counts = await self._ask("occupancy", queue, "" if share is None else share)
        return _occupancy(counts)

    async def hold(self, holder: Holder) -> None:
        await self._tell([(holder.uid, holder)])

    async def release(self, uid: str, queue: str) -> None:  # noqa: ARG002 - part of the contract
        await self._tell([(uid, None)])

    async def _tell(self, updates: Iterable[Update]) -> None:
        with suppress(LedgerClosedError):  # the next reconcile will tell
            await self.update(updates)

    async def update(self, updates: Iterable[Update]) -> None:
        """Holds and releases, in order."""
        flat = [said for uid, holder in updates for said in (uid, _entry(holder))]
        for start in range(0, len(flat), 2 * _AT_ONCE):
            await self._ask("update", self._writer, *flat[start : start + 2 * _AT_ONCE])

    async def keep(self) -> None:
        """A sign of the controller, without which it closes. Raises as every call does."""
        await self._ask("keep", self._writer, self._kept)

    async def begin(self) -> None:
        await reconnect(self._patient.client)  # or it might wait long for somebody who is gone
        self._mark = uuid4().hex
        await self._ask("begin", self._writer, self._mark)

    async def reconcile(self, found: Mapping[str, Holder]) -> Counter[str]:
        flat = [said for uid, holder in found.items() for said in (uid, _entry(holder))]
        _, was_open, *counts = await self._ask(
            "reconcile",
            self._writer,
            self._mark,
            self._kept,
            _ms(CREATE_TIMEOUT),
            *flat,
            way=self._patient,
        )
        if not was_open:
            return Counter()  # a first filling corrects nothing
        kinds = ("holder", "reservation", "missing", "count")
        return +Counter(dict(zip(kinds, counts, strict=True)))

    # One call ------------------------------------------------------------------------------------

    async def _ask(self, what: str, *arguments: str | int, way: _Way | None = None) -> list[Any]:
        """The answer after its time: a word and what belongs to it.

        Everything asked may be asked again: a UID gets one place, and a call that comes late, when
        we have given it up, does nothing.
        """
        way = way or self._usual
        given_up = time.monotonic() + way.within
        try:
            answer = await _within(way.within, self._answer(way.client, given_up, what, arguments))
        except Exception as error:
            # Not only RedisError and OSError: redis-py may stumble, with an AttributeError, while
            # the nodes of a cluster change. Whatever it is, nothing is known.
            self._on_error()
            if isinstance(error, ReadOnlyError):  # it was the primary
                await reconnect(way.client)
            raise LedgerUnavailableError(f"{self._name} {why(error)}") from error
        match answer[0]:
            case "closed":
                raise LedgerClosedError(f"the ledger in {self._name} has not been rebuilt yet")
            case "superseded":
                raise LedgerUnavailableError(f"another process keeps the ledger in {self._name}")
            case "late":
                raise LedgerUnavailableError(f"{self._name} answers too late")
        return answer

    async def _answer(
        self, client: Client, given_up: float, what: str, arguments: tuple[str | int, ...]
    ) -> list[Any]:
        async with self._turns:
            answer = await self._run(client, given_up, what, arguments)
            if answer[0] != "late":
                return answer
            # We knew nothing of its clock, or something wrong; now we do.
            return await self._run(client, given_up, what, arguments)

    async def _run(
        self, client: Client, given_up: float, what: str, arguments: tuple[str | int, ...]
    ) -> list[Any]:
        # The first time there is no telling what its clock shows: the answer tells.
        until = 0 if self._ahead is None else _ms(given_up + self._ahead)
        now = "" if self._now is None else _ms(self._now())
        sent = (1, self._key, what, until, now, *arguments)
        redis = cast("Any", client)  # annotated for both kinds of client at once
        clock: int
        answer: list[Any]
        try:
            clock, *answer = await redis.evalsha(_SHA, *sent)
        except NoScriptError:
            clock, *answer = await redis.eval(_SCRIPT, *sent)
        self._ahead = clock / 1000 - time.monotonic()
        return answer


async def _within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, or TimeoutError.

    It does not wait for the cancellation as ``asyncio.timeout`` does: that may get lost on its way
    through redis-py, in a ``wait_for`` of Python 3.11.
    """
    task = asyncio.create_task(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen by somebody
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        task.cancel()


def _entry(holder: Holder | None) -> str:
    return f"{holder.state.value}/{holder.queue}/{holder.namespace}" if holder else ""


def _said(limits: Limits) -> str:
    own = ("" if x is None else x for x in (limits.namespace_running, limits.namespace_queued))
    return " ".join(map(str, (limits.running, limits.queued, *own, int(limits.held))))


def _occupancy(counts: list[int]) -> Occupancy:
    return Occupancy(*counts)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
