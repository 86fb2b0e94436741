"""The witness: follows etcd, beside everything that is made to fail, and judges each write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.chaos.etcd import Etcd
from tests.chaos.rules import Judge


class Observer:
    """While its ``with`` lasts. ``lease``: NAMESPACE/NAME of the Lease by which one leads."""

    def __init__(self, etcd_port: int, lease: str) -> None:
        self.judge = Judge()
        self.holder = ""
        """Who leads, as the Lease says."""
        self.leaders: list[tuple[float, str]] = []
        """Who led from when (monotonic)."""
        self._etcd = Etcd(etcd_port)
        self._lease = lease
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self._etcd.close()

    async def caught_up(self) -> None:
        """Until everything that has happened so far has been judged."""
        await self._etcd.mark()
        assert not self._task.done(), self._task.exception()

    async def until(self, holds: Callable[[], bool], what: str, *, within: float) -> None:
        """Fails with ``what`` unless ``holds`` after some change in that many seconds."""
        try:
            async with asyncio.timeout(within):
                while not holds():
                    self._news.clear()
                    assert not self._task.done(), self._task.exception()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"not within {within} s: {what}") from None

    async def _follow(self) -> None:
        async for change in self._etcd.changes():
            if change.kind == "leases":
                metadata = change.raw["metadata"]
                if f"{metadata['namespace']}/{metadata['name']}" == self._lease:
                    holder = (change.after or {}).get("spec", {}).get("holderIdentity") or ""
                    if holder != self.holder:
                        self.leaders.append((change.at, holder or "nobody"))
                    self.holder = holder
            else:
                self.judge.see(change)
            self._news.set()
