"""When another certificate is made, when it is served, when the old one is let go. Pure.

A new authority is trusted before its leaf is served, and an old one for as long as it is valid, so
that no API server ever meets a certificate that it does not trust, whichever of both it has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509

from supercheck_operator.admission.certificates import Certificates

_NOTICED_WITHIN: Final = timedelta(minutes=1)
"""How long API servers may take to notice that the configuration has changed; a second is usual."""
_PARTS: Final = 20
"""Of a life too short for that, one part of so many."""


@dataclass(frozen=True, slots=True)
class Held:
    """What is kept: the certificate that is served, and what is trusted beside it."""

    current: Certificates
    previous: bytes = b""
    """PEM of the authority before, still trusted; empty if there is none."""
    upcoming: Certificates | None = None
    """To be served when its authority is trusted everywhere."""

    @property
    def bundle(self) -> bytes:
        """PEM of every authority to trust, the oldest first."""
        upcoming = self.upcoming.authority if self.upcoming else b""
        return self.previous + self.current.authority + upcoming


Issue = Callable[[], Certificates]


def noticed_within(lifetime: timedelta) -> timedelta:
    """How long a bundle is in place before it counts as trusted everywhere."""
    return min(_NOTICED_WITHIN, lifetime / _PARTS)


def advance(
    held: Held | None,
    *,
    names: Sequence[str],
    now: datetime,
    trusted: bool,
    issue: Issue,
) -> Held:
    """What to hold from ``now`` on; ``held`` itself if nothing is due.

    ``trusted`` tells whether the bundle of ``held`` has been in place long enough. Where nothing
    usable is held, a new certificate is served at once: there is nothing to lose.
    """
    if held is None:
        return Held(issue())
    if not set(names) <= held.current.names:
        return Held(issue(), previous=held.current.authority)
    over = now >= held.current.expires
    if held.upcoming is not None:
        if not trusted and not over:
            return held
        return Held(held.upcoming, previous=held.current.authority)
    if over:
        return Held(issue(), previous=held.current.authority)
    if now >= held.current.renewed:
        return Held(held.current, upcoming=issue())
    if held.previous and now >= _expires(held.previous):
        return replace(held, previous=b"")
    return held


def _expires(authority: bytes) -> datetime:
    return x509.load_pem_x509_certificate(authority).not_valid_after_utc
