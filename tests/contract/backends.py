"""The ledgers that are held to the contract. A new one is one more entry in BACKENDS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from supercheck_operator.ledger.contract import Ledger
from supercheck_operator.ledger.memory import MemoryLedger

Backend = Callable[[Callable[[], float]], AbstractAsyncContextManager[Ledger]]
"""From a monotonic clock to an empty, closed ledger of its own."""


class Clock:
    """Monotonic seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def memory(monotonic: Callable[[], float]) -> AsyncIterator[Ledger]:
    yield MemoryLedger(monotonic)


BACKENDS: Final[dict[str, Backend]] = {"memory": memory}
