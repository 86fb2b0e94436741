"""How long to wait before a refused submission is tried again. Pure."""

from __future__ import annotations

from typing import Final

_FIRST: Final = 1.0
_LONGEST: Final = 30.0
_SPREAD: Final = 0.5


def pause(tries: int, *, asked: float | None, left: float, draw: float) -> float | None:
    """Seconds before the next try after ``tries`` in vain; None to give up.

    Doubles from 1 s to 30 s. ``draw``, from 0 to 1, spreads what many pipelines do at once: up to
    half of it is left away, or added to what the answer ``asked`` for, which is never undercut.
    The last try is made when the ``left`` seconds are over.
    """
    if left <= 0 or (asked is not None and asked > left):
        return None
    usual = min(_LONGEST, _FIRST * 2 ** min(tries - 1, 10))
    wanted = usual * (1 - _SPREAD * draw) if asked is None else asked * (1 + _SPREAD * draw)
    return min(wanted, left)
