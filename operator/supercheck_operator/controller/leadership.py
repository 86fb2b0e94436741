"""Who launches: one process at a time, by a Lease.

Two clocks that nobody can set keep it exact. A follower takes over only when it has watched the
same renewal, by its own monotonic clock, for as long as the lease lasts. A leader takes itself for
one only while its last renewal, counted from before it was asked for, is younger than the deadline.
The deadline and a request's timeout together are shorter than the lease, so nothing that it sends
can land once another leads. The wall-clock times in a Lease are for people.

The client library has a leader election, which compares wall clocks, ends with an exception when
the API server does not answer, and releases nothing: docs/adr/0009-leadership.md.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from supercheck_operator.clock import utc_now
from supercheck_operator.kube import (
    LEASES,
    AlreadyExistsError,
    ConflictError,
    Kube,
    KubeError,
    NotFoundError,
    NotSentError,
)
from supercheck_operator.resources import Raw

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Times:
    """In seconds; ``deadline`` + a request's timeout must stay below ``lease``."""

    lease: float = 15.0
    deadline: float = 8.0
    period: float = 2.0


class LeadershipLostError(Exception):
    """This process may launch nothing any more; another may be doing so."""


class NotLeadingError(NotSentError):
    """A write that was not sent, since it might land after another leads."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A Lease as it was seen, and the monotonic time when this renewal of it was first seen."""

    holder: str
    version: str
    renewed: str
    duration: float
    since: float

    def expired(self, now: float) -> bool:
        return not self.holder or now - self.since >= self.duration


def see(raw: Raw, before: Seen | None, now: float) -> Seen:
    """``raw`` as it is seen at monotonic ``now``, after ``before``."""
    spec = raw.get("spec") or {}
    holder, renewed = spec.get("holderIdentity") or "", str(spec.get("renewTime") or "")
    same = before is not None and (before.holder, before.renewed) == (holder, renewed)
    return Seen(
        holder=holder,
        version=raw["metadata"]["resourceVersion"],
        renewed=renewed,
        duration=float(spec.get("leaseDurationSeconds") or 0),
        since=before.since if same and before is not None else now,
    )


class Leadership:
    """``identity`` names this process, and no other that may live at the same time."""

    def __init__(
        self,
        *,
        kube: Kube,
        namespace: str,
        name: str,
        identity: str,
        times: Times | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._name = name
        self.identity = identity
        self._times = times or Times()
        self._monotonic = monotonic
        self._now = now
        self._seen: Seen | None = None
        self._renewed_at: float | None = None

    @property
    def holder(self) -> str:
        """Who leads, as far as is known; "" for nobody."""
        return self._seen.holder if self._seen else ""

    @property
    def fresh(self) -> bool:
        """Whether what is sent now lands before anybody else can lead."""
        renewed = self._renewed_at
        return renewed is not None and self._monotonic() - renewed < self._times.deadline

    def check(self) -> None:
        """Raises NotLeadingError unless ``fresh``."""
        if not self.fresh:
            raise NotLeadingError("this process does not lead, or cannot be sure that it does")

    async def acquire(self) -> None:
        """Until this process leads; an API server that does not answer is waited for."""
        told = ""
        while True:
            try:
                if await self._try():
                    logger.info("leading as %s", self.identity)
                    return
            except KubeError as error:
                logger.warning("the Lease %s cannot be taken yet: %s", self._name, error)
            if self.holder not in (told, self.identity):
                told = self.holder
                logger.info("%s leads; waiting", told)
            await asyncio.sleep(self._times.period)

    async def keep(self) -> None:
        """Renew, for ever. Raises LeadershipLostError when that did not succeed in time."""
        while True:
            await asyncio.sleep(self._times.period)
            try:
                kept = await self._try()
            except KubeError as error:
                logger.warning("the Lease %s was not renewed: %s", self._name, error)
                kept = self.fresh
            if not kept or not self.fresh:
                raise LeadershipLostError(
                    f"the Lease {self._name} was lost to {self.holder or 'nobody'}"
                )

    async def release(self) -> None:
        """Let the next one lead at once: nothing more will be sent."""
        seen, led = self._seen, self._renewed_at is not None
        self._renewed_at = None
        if not led or seen is None or seen.holder != self.identity:
            return
        claim = {"holderIdentity": "", "leaseDurationSeconds": 1}
        with suppress(KubeError):
            try:
                await self._write(claim, seen.version)
            except ConflictError:  # the last renewal landed, and its answer was not awaited
                raw = await self._kube.get(LEASES, self._name, self._namespace)
                if (seen := see(raw, None, 0.0)).holder == self.identity:
                    await self._write(claim, seen.version)

    async def _try(self) -> bool:
        """Take the Lease or renew it; whether this process leads now."""
        if self._seen is None or self._seen.holder != self.identity:
            try:
                raw = await self._kube.get(LEASES, self._name, self._namespace)
            except NotFoundError:
                return await self._create()
            now = self._monotonic()
            self._seen = see(raw, self._seen, now)
            if self._seen.holder != self.identity and not self._seen.expired(now):
                return False
        asked_at = self._monotonic()
        try:
            raw = await self._write(self._claim(), self._seen.version)
        except NotFoundError:
            return await self._create()
        except ConflictError:
            # Somebody else was faster, or the answer to an earlier renewal was lost: what is
            # there tells, at the next try.
            self._seen = None
            return self.fresh
        self._seen = see(raw, None, asked_at)
        self._renewed_at = asked_at
        return True

    async def _create(self) -> bool:
        asked_at = self._monotonic()
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": self._claim(),
        }
        try:
            raw = await self._kube.create(LEASES, body)
        except AlreadyExistsError:
            return False
        self._seen = see(raw, None, asked_at)
        self._renewed_at = asked_at
        return True

    def _claim(self) -> Raw:
        now = self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        claim: Raw = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(self._times.lease),
            "renewTime": now,
        }
        if self._renewed_at is None:
            claim["acquireTime"] = now
        return claim

    async def _write(self, spec: Raw, version: str) -> Raw:
        return await self._kube.patch(
            LEASES,
            self._name,
            {"metadata": {"resourceVersion": version}, "spec": spec},
            namespace=self._namespace,
        )
