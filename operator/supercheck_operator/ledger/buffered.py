"""The controller's side of a ledger that may be slow or away: telling it never waits for it.

What the controller knows is in its own process; the ledger is told behind its back, in order, of
each execution the latest state only. What could not be told, the next ``reconcile`` says, which is
asked for as soon as the ledger answers. One thing it cannot say, as no LIST shows it: that a young
reservation is over. So what is untold is remembered for as long as a reservation is young.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final, Protocol

from supercheck_operator.ledger.capacity import Limits, Occupancy
from supercheck_operator.ledger.contract import (
    CREATE_TIMEOUT,
    Answer,
    Holder,
    Ledger,
    LedgerClosedError,
    LedgerUnavailableError,
    Reservation,
)

logger = logging.getLogger(__name__)

SIGN: Final = 1.0
"""Seconds between two signs of the controller, which also find out whether the ledger is there."""
_PATIENCE: Final = 5.0
"""Seconds between two rebuilds that are asked for, if one after the other comes to nothing."""

Update = tuple[str, Holder | None]
"""A UID and what it is now; None when it is over."""

_News = dict[str, tuple[float, Holder | None]]
"""By UID what it is now, and the time when that was news; the oldest first."""


class SharedLedger(Ledger, Protocol):
    """A ledger that is somewhere else."""

    async def update(self, updates: Iterable[Update]) -> None:
        """Holds and releases, in order. Raises LedgerClosedError as every call does."""

    async def keep(self) -> None:
        """A sign of its controller, without which it closes."""


class BufferedLedger:
    """``ledger``, but ``hold`` and ``release`` return at once and nothing of a sweep fails."""

    def __init__(
        self, ledger: SharedLedger, sign: float = SIGN, young: float = CREATE_TIMEOUT
    ) -> None:
        self._ledger = ledger
        self._sign = sign
        self._young = young
        self._untold: _News = {}
        self._news = asyncio.Event()
        self._turn = asyncio.Lock()
        self._begun = False
        self._whole = False
        """It knows everything that it was told."""
        self._trouble = ""
        self._rebuild_due = 0.0

    async def reserve(self, wanted: Reservation, limits: Limits, *, dry_run: bool) -> Answer:
        return await self._ledger.reserve(wanted, limits, dry_run=dry_run)

    async def occupancy(self, queue: str, share: int | None = None) -> Occupancy:
        return await self._ledger.occupancy(queue, share)

    async def hold(self, holder: Holder) -> None:
        self._tell(holder.uid, holder)

    async def release(self, uid: str, queue: str) -> None:  # noqa: ARG002 - part of the contract
        self._tell(uid, None)

    def _tell(self, uid: str, holder: Holder | None) -> None:
        self._untold.pop(uid, None)  # the latest is also the last
        self._untold[uid] = (time.monotonic(), holder)
        self._news.set()

    async def begin(self) -> None:
        """As in the contract; without an answer, the next ``reconcile`` does nothing."""
        try:
            await self._ledger.begin()
        except LedgerUnavailableError as error:
            self._begun = False
            self._failed(error)
        else:
            self._begun = True

    async def reconcile(self, found: Mapping[str, Holder]) -> Counter[str]:
        if not self._begun:
            return Counter()
        untold = self._take()  # what is told from now on is newer than what was found
        async with self._turn:
            try:
                with suppress(LedgerClosedError):
                    await self._ledger.update(_updates(untold))
                corrections = await self._ledger.reconcile(found)
                if self._trouble:  # it may have been closed to what it was told before
                    over = [(uid, None) for uid in untold if uid not in found]
                    await self._ledger.update(over)
            except LedgerUnavailableError as error:
                self._failed(error, untold)
                return Counter()
        if self._trouble:
            logger.info("the ledger has been rebuilt and is open")
        self._whole, self._trouble, self._rebuild_due = True, "", 0.0
        return corrections

    async def run(self, rebuild: Callable[[], None]) -> None:
        """Tell the ledger, for ever. ``rebuild`` asks for a sweep."""
        sign_due = 0.0
        while True:
            await self._wait(sign_due)
            now = time.monotonic()
            untold: _News = {}
            try:
                async with self._turn:
                    if self._whole:
                        untold = self._take()
                        await self._ledger.update(_updates(untold))
                    if now >= sign_due:
                        sign_due = now + self._sign * random.uniform(0.75, 1)  # noqa: S311
                        await self._ledger.keep()
                needed = not self._whole
            except LedgerClosedError as error:
                self._failed(error, untold)
                needed = True
            except LedgerUnavailableError as error:
                self._failed(error, untold)
                needed = False  # of no use before it answers
            if not self._whole:
                self._forget_old()
            if needed and now >= self._rebuild_due:
                self._rebuild_due = now + _PATIENCE
                rebuild()

    async def _wait(self, until: float) -> None:
        """For news, or for the time of the next sign; in trouble, news can wait."""
        with suppress(TimeoutError):
            async with asyncio.timeout(until - time.monotonic()):
                if not self._whole:
                    await asyncio.Event().wait()
                await self._news.wait()

    def _take(self) -> _News:
        untold, self._untold = self._untold, {}
        self._news.clear()
        return untold

    def _failed(self, error: LedgerUnavailableError, untold: _News | None = None) -> None:
        self._whole = False
        self._untold = {
            **{uid: told for uid, told in (untold or {}).items() if uid not in self._untold},
            **self._untold,
        }
        if str(error) != self._trouble:
            logger.warning("%s; nothing is admitted until it is right again", error)
        self._trouble = str(error)

    def _forget_old(self) -> None:
        young = time.monotonic() - self._young
        self._untold = {uid: told for uid, told in self._untold.items() if told[0] >= young}


def _updates(untold: _News) -> list[Update]:
    return [(uid, holder) for uid, (_, holder) in untold.items()]
