"""Answers that are asked for once and believed for a little while."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from math import inf
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


class Lately(Generic[K]):
    """What was noted in the last ``seconds``: no more than ``limit``, those noted last."""

    def __init__(
        self, seconds: float, *, limit: int, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._limit = limit
        self._monotonic = monotonic
        self._until: OrderedDict[K, float] = OrderedDict()

    def __contains__(self, key: K) -> bool:
        return self._until.get(key, -inf) > self._monotonic()

    def note(self, key: K) -> None:
        self._until[key] = self._monotonic() + self._seconds
        self._until.move_to_end(key)
        if len(self._until) > self._limit:
            self._until.popitem(last=False)

    def forget(self, key: K) -> None:
        self._until.pop(key, None)


def _failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
