"""The ledgers that are held to the contract. A new one is one more entry in BACKENDS."""

from __future__ import annotations

import atexit
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from typing import Final
from uuid import uuid4

from harness.redis_server import HOST, RedisServer
from supercheck_operator.ledger.address import Address, Kind
from supercheck_operator.ledger.contract import Ledger
from supercheck_operator.ledger.memory import MemoryLedger
from supercheck_operator.ledger.redis_ledger import RedisLedger

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


@cache
def _server() -> RedisServer:
    """One for the whole session: each ledger has a prefix of its own."""
    server = RedisServer().start()
    atexit.register(server.__exit__)
    return server


@asynccontextmanager
async def redis(monotonic: Callable[[], float]) -> AsyncIterator[Ledger]:
    address = Address(Kind.SINGLE, ((HOST, _server().port),))
    ledger = RedisLedger(address, prefix=uuid4().hex, now=monotonic)
    yield ledger
    await ledger.close()


BACKENDS: Final[dict[str, Backend]] = {"memory": memory, "redis": redis}
