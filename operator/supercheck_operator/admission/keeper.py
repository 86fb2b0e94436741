"""Keeping the webhook's certificate: where it is stored, who must trust it, what is served."""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Gauge

from supercheck_operator.admission.certificates import Certificates, issue, server_context
from supercheck_operator.admission.rotation import Held, advance, noticed_within
from supercheck_operator.clock import utc_now
from supercheck_operator.kube import SECRETS, ConflictError, Kube, KubeError
from supercheck_operator.resources import Raw

logger = logging.getLogger(__name__)

_LOOK_EVERY: Final = 10.0
"""Seconds between two looks at what others may have changed."""


class CertificateError(Exception):
    """There is no certificate to serve with; its text is one sentence."""


class Keeper(Protocol):
    """Sees to it that ``context`` has a certificate that API servers trust."""

    context: ssl.SSLContext

    async def begin(self) -> None:
        """Until there is one. Raises CertificateError or KubeError."""

    async def run(self) -> None:
        """For ever: renew it in time, put back what others changed."""


class Store(Protocol):
    """Where certificates outlive the process that made them. Raises KubeError."""

    async def read(self) -> Held | None: ...

    async def write(self, held: Held) -> None:
        """Raises ConflictError if somebody else wrote since the last ``read``."""


class MemoryStore:
    """They need not outlive the process."""

    def __init__(self) -> None:
        self._held: Held | None = None

    async def read(self) -> Held | None:
        return self._held

    async def write(self, held: Held) -> None:
        self._held = held


class SecretStore:
    """In one Secret, which the installation owns and which is there, empty at first."""

    def __init__(self, kube: Kube, *, namespace: str, name: str) -> None:
        self._kube = kube
        self._namespace = namespace
        self._name = name
        self._version = ""

    async def read(self) -> Held | None:
        secret = await self._kube.get(SECRETS, self._name, self._namespace)
        self._version = secret["metadata"]["resourceVersion"]
        try:
            data = {key: base64.b64decode(text) for key, text in (secret.get("data") or {}).items()}
            return _held(data)
        except ValueError:
            logger.warning("Secret %s holds no certificates: new ones are made", self._name)
            return None

    async def write(self, held: Held) -> None:
        body: Raw = {
            "metadata": {"resourceVersion": self._version},
            "data": {
                key: base64.b64encode(pem).decode() if pem else None
                for key, pem in _data(held).items()
            },
        }
        written = await self._kube.patch(SECRETS, self._name, body, namespace=self._namespace)
        self._version = written["metadata"]["resourceVersion"]


def _data(held: Held) -> dict[str, bytes]:
    """The keys of the Secret; an empty one is absent."""
    current, upcoming = held.current, held.upcoming
    return {
        "ca.crt": current.authority,
        "tls.crt": current.certificate,
        "tls.key": current.key,
        "previous-ca.crt": held.previous,
        "next-ca.crt": upcoming.authority if upcoming else b"",
        "next-tls.crt": upcoming.certificate if upcoming else b"",
        "next-tls.key": upcoming.key if upcoming else b"",
    }


def _held(data: Mapping[str, bytes]) -> Held | None:
    """Raises ValueError if what is there cannot be served."""
    current, upcoming = _pair(data, ""), _pair(data, "next-")
    return Held(current, data.get("previous-ca.crt", b""), upcoming) if current else None


def _pair(data: Mapping[str, bytes], prefix: str) -> Certificates | None:
    parts = [data.get(f"{prefix}{key}", b"") for key in ("ca.crt", "tls.crt", "tls.key")]
    if not any(parts):
        return None
    pair = Certificates(*parts)
    try:
        pair.load_into(server_context())
    except OSError as error:  # which ssl.SSLError is, too
        raise ValueError(str(error)) from error
    return pair


class _Served:
    """The context of the running server, and the metric that says how long it will do."""

    def __init__(self, registry: CollectorRegistry, context: ssl.SSLContext | None) -> None:
        self.context = context or server_context()
        self._now: Certificates | None = None
        self._expires = Gauge(
            "supercheck_webhook_certificate_expires_seconds",
            "When the certificate that the webhook serves expires, in seconds since 1970.",
            registry=registry,
        )

    def serve(self, certificates: Certificates) -> None:
        """Raises OSError or ValueError if it cannot be; then the one before is served on."""
        if certificates == self._now:
            return
        expires = certificates.expires
        certificates.load_into(server_context())  # a pair that is none must not touch the running
        certificates.load_into(self.context)
        self._expires.set(expires.timestamp())
        logger.info("serving a certificate valid until %s", expires.isoformat())
        self._now = certificates


class OwnCertificates:
    """Made here, kept in a store, trusted by ``trust``, replaced at two thirds of their life."""

    def __init__(
        self,
        *,
        store: Store,
        trust: Callable[[bytes], Awaitable[bool]],
        names: Sequence[str],
        lifetime: timedelta,
        registry: CollectorRegistry,
        context: ssl.SSLContext | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """``trust`` puts a bundle in place, and tells whether it was in place already.

        ``context`` is the server's, which gets the certificate; None: one that answers anybody.
        """
        self._store = store
        self._trust = trust
        self._names = names
        self._lifetime = lifetime
        self._now = now
        self._served = _Served(registry, context)
        self._in_place: tuple[bytes, datetime] | None = None
        self.context = self._served.context

    async def begin(self) -> None:
        while True:
            try:
                return await self._look()
            except ConflictError:
                logger.info("another process makes the certificate")

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._pause)
            try:
                await self._look()
            except ConflictError:
                continue  # another process is ahead of us: look again
            except KubeError as error:
                logger.warning("the webhook's certificate cannot be looked after: %s", error)

    @property
    def _pause(self) -> float:
        return min(_LOOK_EVERY, noticed_within(self._lifetime).total_seconds())

    async def _look(self) -> None:
        """Store, then trust, then serve: a process that dies in between goes on from there."""
        held = await self._store.read()
        while True:
            if held is not None:
                await self._see_to_trust(held.bundle)
                self._served.serve(held.current)
            wanted = advance(
                held,
                names=self._names,
                now=self._now(),
                trusted=held is not None and self._trusted(held.bundle),
                issue=lambda: issue(self._names, self._now(), self._lifetime),
            )
            if wanted is held:
                return
            await self._store.write(wanted)
            held = wanted

    def _trusted(self, bundle: bytes) -> bool:
        if self._in_place is None or self._in_place[0] != bundle:
            return False
        return self._now() - self._in_place[1] >= noticed_within(self._lifetime)

    async def _see_to_trust(self, bundle: bytes) -> None:
        was_there = await self._trust(bundle)
        if not was_there or self._in_place is None or self._in_place[0] != bundle:
            self._in_place = bundle, self._now()


class MountedCertificates:
    """Somebody else's, such as cert-manager's, in a folder that they keep up to date."""

    def __init__(
        self, folder: Path, registry: CollectorRegistry, context: ssl.SSLContext | None = None
    ) -> None:
        self._folder = folder
        self._served = _Served(registry, context)
        self.context = self._served.context

    async def begin(self) -> None:
        try:
            self._look()
        except (OSError, ValueError) as error:
            raise CertificateError(
                f"--webhook-certificates {self._folder} has no certificate to serve with:"
                f" {str(error).rstrip('.')}."
            ) from error

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            try:
                self._look()
            except (OSError, ValueError) as error:  # being replaced, perhaps: look again
                logger.warning("the certificate in %s cannot be served: %s", self._folder, error)

    def _look(self) -> None:
        certificate, key = (self._folder / name for name in ("tls.crt", "tls.key"))
        self._served.serve(Certificates(b"", certificate.read_bytes(), key.read_bytes()))
