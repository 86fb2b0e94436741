"""Why a test does not start, where only Events tell: no pod was accepted, no volume found.

API servers have no index of Events: to find those of one object, they read all of its namespace. So
one LIST answers all who ask at a time, and takes no more than a tenth of the time: where Events are
many and the API server is slow, everything starts late, and everybody asks.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Coroutine
from typing import Any, Final

from supercheck_operator.execution.observed import Identity
from supercheck_operator.kube import EVENTS, Kube, KubeError
from supercheck_operator.resources import Raw

logger = logging.getLogger(__name__)

_CREATING: Final = "Error creating: "
_REST: Final = 10
_LEAST_REST: Final = 1.0
"""After a LIST, the next waits for so many times what that one took, and for so many seconds."""

_Warnings = dict[str, Raw]
"""The newest of each object, by its UID."""


class Explainer:
    """``spawn`` starts a task whose failure ends the process."""

    def __init__(self, kube: Kube, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self._kube = kube
        self._spawn = spawn
        self._coming: dict[str, asyncio.Future[_Warnings | None]] = {}
        """By namespace, the answer of the LIST that has not begun yet."""
        self._rests_until: defaultdict[str, float] = defaultdict(float)
        """By namespace, in the time of the event loop."""

    async def why(self, about: Identity) -> str | None:
        """The newest Warning about that Job or pod, "" without one; None if nobody could tell."""
        namespace = about.namespace
        if namespace not in self._coming:
            self._coming[namespace] = asyncio.get_running_loop().create_future()
            self._spawn(self._answer(namespace))
        warnings = await asyncio.shield(self._coming[namespace])
        if warnings is None:
            return None
        return _told(warnings[about.uid]) if about.uid in warnings else ""

    async def _answer(self, namespace: str) -> None:
        await asyncio.sleep(self._rests_until[namespace] - asyncio.get_running_loop().time())
        answer = self._coming.pop(namespace)  # who asks from now on may mean a later Event
        answer.set_result(await self._warnings(namespace))

    async def _warnings(self, namespace: str) -> _Warnings | None:
        loop = asyncio.get_running_loop()
        began, newest = loop.time(), _Warnings()
        try:
            async for page in self._kube.pages(EVENTS, namespace=namespace, fields="type=Warning"):
                for event in page.items:
                    uid = event["involvedObject"].get("uid", "")
                    newest[uid] = max(event, newest.get(uid, event), key=_last_seen)
        except KubeError as error:
            logger.debug("no events of %s: %s", namespace, error)
            return None
        finally:
            now = loop.time()
            self._rests_until[namespace] = now + max(_LEAST_REST, _REST * (now - began))
        return newest


def _told(warning: Raw) -> str:
    message = str(warning.get("message", ""))
    # The Job controller's words before those of the API server.
    if message.startswith(_CREATING):
        return message.removeprefix(_CREATING)
    return f"{warning.get('reason', '')}: {message}"


def _last_seen(event: Raw) -> tuple[str, int]:
    series = event.get("series") or {}
    seen = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return str(seen or ""), int(event["metadata"]["resourceVersion"])
