"""A collection as it is, kept so by a watch over every interruption. Nothing is asked twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Final

from supercheck_operator.kube import AnsweredError, ExpiredError, Kube, KubeError, Resource
from supercheck_operator.resources import Raw

Tell = Callable[[str], None]
"""Says a sentence to whoever sits before the screen, or reads the log of a pipeline."""

_FIRST: Final = 0.1
_LONGEST: Final = 5.0
_REFUSED_FOR: Final = 60.0
"""Seconds for which a refusal may be that of an API server that has only just started."""


def silent(_: str) -> None:
    """A ``Tell``: one of several watches of the same API server speaks for all."""


class Trouble:
    """What is in the way of a watch that has begun: waited for, and said once."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._failures = 0
        self._refused_since: float | None = None
        self._told = False

    def over(self) -> None:
        if self._told:
            self._tell("The API server answers again.")
        self._failures, self._refused_since, self._told = 0, None, False

    async def pause(self, error: KubeError) -> None:
        """Until it makes sense to try again. Raises ``error`` if it does not."""
        self._failures += 1
        if isinstance(error, AnsweredError) and not error.busy:
            now = asyncio.get_running_loop().time()
            since = self._refused_since = self._refused_since or now
            if now - since > _REFUSED_FOR:
                raise error
        # A connection that ends is no trouble yet: the next one may be there at once.
        if self._failures > 1 and not self._told:
            self._tell(f"The API server does not answer ({error}): waiting for it to come back.")
            self._told = True
        longest = min(_LONGEST, _FIRST * 2 ** min(self._failures, 10))
        await asyncio.sleep(longest * random.uniform(0.5, 1))  # noqa: S311 - it spreads load


class Mirror:
    """``patient``: also the first answer is waited for, since it is known that there is one."""

    def __init__(
        self,
        kube: Kube,
        resource: Resource,
        *,
        tell: Tell,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        patient: bool = False,
    ) -> None:
        self._kube = kube
        self._resource = resource
        self._namespace = namespace
        self._labels = labels
        self._fields = fields
        self._patient = patient
        self._trouble = Trouble(tell)
        self.objects: dict[str, Raw] = {}
        """By UID."""

    async def changes(self) -> AsyncIterator[None]:
        """Once when everything is known, and then after each change, for ever.

        Raises a KubeError where there is nothing to wait for.
        """
        version = ""
        while True:
            try:
                if not version:
                    version = await self._list()
                    yield
                async with self._kube.watch(
                    self._resource,
                    version=version,
                    namespace=self._namespace,
                    labels=self._labels,
                    fields=self._fields,
                ) as events:
                    self._trouble.over()
                    async for event in events:
                        version = event["object"]["metadata"]["resourceVersion"]
                        if self._take(event):
                            yield
            except ExpiredError:
                version = ""
            except KubeError as error:
                if not self._patient:
                    raise
                await self._trouble.pause(error)

    async def _list(self) -> str:
        items, version = await self._kube.list(
            self._resource, namespace=self._namespace, labels=self._labels, fields=self._fields
        )
        self.objects = {item["metadata"]["uid"]: item for item in items}
        self._trouble.over()
        self._patient = True
        return str(version)

    def _take(self, event: Raw) -> bool:
        if event["type"] == "BOOKMARK":
            return False
        found: Raw = event["object"]
        if event["type"] == "DELETED":
            self.objects.pop(found["metadata"]["uid"], None)
        else:
            self.objects[found["metadata"]["uid"]] = found
        return True
