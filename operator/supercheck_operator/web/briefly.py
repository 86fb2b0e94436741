"""Answers that are asked for once and believed for a little while."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Briefly(Generic[K, V]):
    """Whoever asks while an answer is on its way gets the same. An error is never kept."""

    def __init__(
        self, seconds: float, *, limit: int, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._limit = limit
        self._monotonic = monotonic
        self._answers: OrderedDict[K, tuple[float, asyncio.Task[V]]] = OrderedDict()

    def knows(self, key: K) -> bool:
        known = self._answers.get(key)
        return known is not None and known[0] > self._monotonic() and not _failed(known[1])

    async def get(self, key: K, ask: Callable[[], Coroutine[Any, Any, V]]) -> V:
        if not self.knows(key):
            task = asyncio.create_task(ask())
            task.add_done_callback(_failed)  # an error that nobody waits for any more is no news
            self._answers[key] = (self._monotonic() + self._seconds, task)
            self._answers.move_to_end(key)
            if len(self._answers) > self._limit:
                self._answers.popitem(last=False)
        return await asyncio.shield(self._answers[key][1])


def _failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
