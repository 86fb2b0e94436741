"""What containers and others say, made fit for a status. Pure."""

from __future__ import annotations

from typing import Final

_LIMIT: Final = 2048
_LIMIT_OF_ALL: Final = 28 * 1024
"""What the messages of all tests may take together, as JSON. A status stays below 64 KiB: 100 tests
take up to 32 KiB without their messages, and the one that decides is told in every condition."""
_ESCAPED: Final = frozenset('"\\\n\t')


def clean(message: str, tests: int = 1) -> str:
    """The end of ``message`` (errors come last), printable, within the room of one of ``tests``."""
    printable = "".join(c for c in message if c.isprintable() or c in "\n\t").strip()
    room = min(_LIMIT, _LIMIT_OF_ALL // tests)
    if sum(map(_size, printable)) <= room:
        return printable
    room -= _size("…")
    kept = len(printable)
    while (room := room - _size(printable[kept - 1])) >= 0:
        kept -= 1
    return "…" + printable[kept:]


def _size(character: str) -> int:
    """Bytes that ``character`` takes in JSON."""
    return len(character.encode()) + (character in _ESCAPED)
