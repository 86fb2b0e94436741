"""Several processes that keep one certificate."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from prometheus_client import CollectorRegistry

from supercheck_operator.admission.keeper import OwnCertificates
from supercheck_operator.admission.rotation import Held
from supercheck_operator.kube import ConflictError


class Shared:
    """What several processes read and write, each as who wrote last or not at all."""

    def __init__(self) -> None:
        self.held: Held | None = None
        self.writes = 0


class Store:
    """One process's view of it, as that of the API server is."""

    def __init__(self, shared: Shared, everybody_has_read: asyncio.Barrier | None) -> None:
        self._shared = shared
        self._first = everybody_has_read
        self._seen = 0

    async def read(self) -> Held | None:
        held, self._seen = self._shared.held, self._shared.writes
        if (barrier := self._first) is not None:
            self._first = None
            await barrier.wait()
        return held

    async def write(self, held: Held) -> None:
        if self._seen != self._shared.writes:
            raise ConflictError(409, "Conflict", "somebody else wrote")
        self._shared.held = held
        self._shared.writes = self._seen = self._shared.writes + 1


async def test_those_that_begin_at_once_serve_one_certificate() -> None:
    shared, bundles = Shared(), list[bytes]()

    async def trust(bundle: bytes) -> bool:
        bundles.append(bundle)
        return True

    barrier = asyncio.Barrier(3)
    keepers = [
        OwnCertificates(
            store=Store(shared, barrier),
            trust=trust,
            names=["localhost"],
            lifetime=timedelta(days=90),
            registry=CollectorRegistry(),
        )
        for _ in range(3)
    ]
    await asyncio.gather(*(keeper.begin() for keeper in keepers))
    assert shared.writes == 1
    assert len(bundles) == 3
    assert len(set(bundles)) == 1
