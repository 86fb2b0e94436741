"""The queues that an installation declares in a file, such as the chart's ``queues:``.

Helm cannot install objects of a kind that comes with the same release, so the operator applies
them. What else a queue has is left alone, and a queue that is declared no more stays.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

import yaml

from supercheck_operator.kube import QUEUES, AnsweredError, Kube, KubeError
from supercheck_operator.resources import API_VERSION, Raw

logger = logging.getLogger(__name__)

_MANAGER: Final = "supercheck-operator-declared"
_LOOK_EVERY: Final = 10.0
"""Seconds between two looks at the file, which a kubelet updates within a minute or two."""


class DeclarationError(Exception):
    """The file does not declare queues; its text is one sentence."""


class DeclaredQueues:
    def __init__(self, kube: Kube, file: Path) -> None:
        self._kube = kube
        self._file = file
        self._applied = b""

    async def apply(self) -> None:
        """Make the cluster's queues what the file says, if it has changed.

        Raises DeclarationError, or KubeError where the API server cannot be asked.
        """
        try:
            content = self._file.read_bytes()
        except OSError as error:
            raise DeclarationError(
                f"--queues {self._file} cannot be read: {error.strerror}."
            ) from error
        if content == self._applied:
            return
        for queue in self._parsed(content):
            name = queue["metadata"]["name"]
            try:
                await self._kube.apply(QUEUES, queue, manager=_MANAGER)
            except AnsweredError as error:
                if error.status not in (400, 422):
                    raise
                raise DeclarationError(
                    f'--queues {self._file} declares queue "{name}", which is refused: {error}'
                ) from error
            logger.info("queue %s is as declared", name)
        self._applied = content

    async def run(self) -> None:
        """For ever: whenever the file changes."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            try:
                await self.apply()
            except (DeclarationError, KubeError) as error:
                logger.warning("%s", error)

    def _parsed(self, content: bytes) -> list[Raw]:
        try:
            found = [each for each in yaml.safe_load_all(content) if each is not None]
        except yaml.YAMLError as error:
            told = " ".join(str(error).split())
            raise DeclarationError(f"--queues {self._file} is not YAML: {told}.") from error
        for each in found:
            if not isinstance(each, dict) or (each.get("apiVersion"), each.get("kind")) != (
                API_VERSION,
                "ExecutionQueue",
            ):
                raise DeclarationError(
                    f"--queues {self._file} has something that is no ExecutionQueue of"
                    f" {API_VERSION}."
                )
            if not isinstance(each.get("metadata"), dict) or not each["metadata"].get("name"):
                raise DeclarationError(f"--queues {self._file} has a queue without a name.")
        return found
