"""Executions, Jobs and pods as they change, straight from the stream to who looks at them.

Not by Kopf, which watches the queues: docs/adr/0016-watches.md.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from supercheck_operator.controller.world import Kind
from supercheck_operator.kube import (
    EXECUTIONS,
    JOBS,
    PODS,
    AnsweredError,
    ExpiredError,
    ForbiddenError,
    Kube,
    KubeError,
)
from supercheck_operator.resources import LABEL_EXECUTION_UID, Raw

logger = logging.getLogger(__name__)

SOURCES: Final = {Kind.EXECUTION: EXECUTIONS, Kind.JOB: JOBS, Kind.POD: PODS}
SELECTORS: Final = {
    Kind.EXECUTION: "",
    Kind.JOB: LABEL_EXECUTION_UID,
    Kind.POD: LABEL_EXECUTION_UID,
}
_FIRST_PAUSE: Final = 0.1
_LAST_PAUSE: Final = 5.0
"""Seconds before a stream that has ended, or was refused, is asked for again."""


async def follow(
    kube: Kube,
    kind: Kind,
    *,
    namespace: str,
    since: Callable[[], int],
    again: Callable[[], Awaitable[None]],
    seen: Callable[[Raw, bool], None],
    interrupted: Callable[[], None],
) -> None:
    """Tell ``seen`` of every change, and whether it is a deletion, for ever.

    ``since`` is the version up to which everything was listed. When the API server no longer knows
    what came after the last that it told, ``again`` lists everything once more. ``interrupted`` is
    told that others may have missed answers, too: once for each failure, and at its end.
    """
    version = str(since())
    pause = _FIRST_PAUSE
    whole = False
    while True:
        try:
            async with kube.watch(
                SOURCES[kind], version=version, namespace=namespace, labels=SELECTORS[kind]
            ) as events:
                if not whole:
                    interrupted()
                whole = True
                async for event in events:
                    pause = _FIRST_PAUSE
                    found = event["object"]
                    version = found["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        seen(found, event["type"] == "DELETED")
        except ExpiredError as error:
            logger.info("everything is listed again, no %s are told: %s", kind.value, error)
            whole = False
            interrupted()
            await again()
            version = str(since())
        except ForbiddenError as error:  # an answer as good as any: nothing is lost by it
            logger.warning("no %s are told: %s", kind.value, error)
        except KubeError as error:
            refused = isinstance(error, AnsweredError) and not error.busy
            level = logging.WARNING if refused else logging.DEBUG
            logger.log(level, "no %s are told: %s", kind.value, error)
            whole = False
            interrupted()
        await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - it spreads load
        pause = min(_LAST_PAUSE, 2 * pause)
