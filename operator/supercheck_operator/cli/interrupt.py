"""Ctrl-C, and the SIGTERM by which pipelines end their steps."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from supercheck_operator.cli.exits import Exit

T = TypeVar("T")

_EXITS: Final = {signal.SIGINT: Exit.INTERRUPTED, signal.SIGTERM: Exit.TERMINATED}


class InterruptedByUser(Exception):  # noqa: N818 - it is no error
    def __init__(self, exit_code: Exit) -> None:
        super().__init__()
        self.exit_code = exit_code


async def unless_interrupted(work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``. Raises InterruptedByUser."""
    loop = asyncio.get_running_loop()
    came: list[Exit] = []
    working = asyncio.ensure_future(work)

    def interrupt(number: signal.Signals) -> None:
        came.append(_EXITS[number])
        working.cancel()

    for number in _EXITS:
        loop.add_signal_handler(number, interrupt, number)
    try:
        return await working
    except asyncio.CancelledError:
        if came:
            raise InterruptedByUser(came[0]) from None
        raise
    finally:
        for number in _EXITS:
            loop.remove_signal_handler(number)
