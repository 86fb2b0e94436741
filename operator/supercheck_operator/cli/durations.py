"""Lengths of time as people write and read them. Pure."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

_WRITTEN: Final = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")
_UNITS: Final = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def parse(text: str) -> int:
    """Seconds of ``10m``, ``1h30m``, ``90s`` or ``90``. Raises ValueError."""
    found = _WRITTEN.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        raise ValueError(f"{text!r} is no duration: write it as 90s, 10m or 1h30m")
    return sum(
        int(number or 0) * unit for number, (_, unit) in zip(found.groups(), _UNITS, strict=True)
    )


def show(seconds: float) -> str:
    """Two units at most, as kubectl has it: ``45s``, ``3m20s``, ``2h5m``, ``3d4h``."""
    left = max(0, round(seconds))
    parts: list[str] = []
    for letter, unit in _UNITS:
        count, left = divmod(left, unit)
        if count or (parts and len(parts) < 2):
            parts.append(f"{count}{letter}" if count else "")
        if len(parts) == 2:
            break
    return "".join(parts) or "0s"


def moment(text: str | None) -> datetime | None:
    """A time as the API server writes it."""
    return datetime.fromisoformat(text) if text else None


def between(start: str | None, end: str | None, now: datetime) -> float | None:
    """Seconds from ``start`` to ``end``, or to now; None if it has not begun."""
    began, ended = moment(start), moment(end)
    return None if began is None else max(0.0, ((ended or now) - began).total_seconds())
