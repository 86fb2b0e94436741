"""An event loop without waiting: when nothing is left to do, its clock jumps to the next timer."""

from __future__ import annotations

import asyncio
import sys
from types import ModuleType
from typing import Any, Final

import pytest

_SPINS: Final = 20_000
"""So many rounds at one moment are no work but a loop that turns for ever."""


class NothingWillHappenError(RuntimeError):
    """Time cannot go on."""


class VirtualLoop(asyncio.BaseEventLoop):
    """It has no sockets, threads or signals; all that happens in it is timers and callbacks."""

    def __init__(self) -> None:
        super().__init__()
        self._moment = 0.0
        self._spins = 0
        self._selector = self

    def time(self) -> float:
        return self._moment

    def select(self, timeout: float | None) -> list[Any]:
        """What the base class asks its selector for: wait, and tell what has come meanwhile."""
        if timeout is None:
            raise NothingWillHappenError("nothing will ever happen again")
        if timeout > 0:
            self._moment += timeout
            self._spins = 0
        else:
            self._spins += 1
            if self._spins > _SPINS:
                self._spins = 0
                raise NothingWillHappenError("something turns for ever without time passing")
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nothing comes from another thread."""


class _VirtualTime(ModuleType):
    """Stands for the module ``time`` in code that runs in a VirtualLoop."""

    @staticmethod
    def monotonic() -> float:
        return asyncio.get_running_loop().time()


def virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``time.monotonic()`` in all of the operator be the time of the running loop."""
    for name, module in list(sys.modules.items()):
        if name.startswith("supercheck_operator.") and hasattr(module, "time"):
            monkeypatch.setattr(module, "time", _VirtualTime("time"))
