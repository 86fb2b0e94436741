"""Why a test does not start, where only Events tell: no pod was accepted, no volume found."""

from __future__ import annotations

import logging
from typing import Final

from supercheck_operator.execution.observed import Identity
from supercheck_operator.kube import EVENTS, Kube, KubeError
from supercheck_operator.resources import Raw

logger = logging.getLogger(__name__)

_CREATING: Final = "Error creating: "


class Explainer:
    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    async def why(self, about: Identity) -> str | None:
        """The newest Warning about that Job or pod, "" without one; None if nobody could tell."""
        try:
            events, _ = await self._kube.list(
                EVENTS,
                namespace=about.namespace,
                fields=f"involvedObject.uid={about.uid},type=Warning",
            )
        except KubeError as error:
            logger.debug("no events of %s: %s", about.name, error)
            return None
        newest = max(events, key=_last_seen, default=None)
        if newest is None:
            return ""
        message = str(newest.get("message", ""))
        # The Job controller's words before those of the API server.
        if message.startswith(_CREATING):
            return message.removeprefix(_CREATING)
        return f"{newest.get('reason', '')}: {message}"


def _last_seen(event: Raw) -> tuple[str, int]:
    series = event.get("series") or {}
    seen = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return str(seen or ""), int(event["metadata"]["resourceVersion"])
