"""Submitting, and trying again while there is no room."""

from __future__ import annotations

import asyncio
import random
import secrets
from typing import Final

from supercheck_operator.cli import answers, durations, retry
from supercheck_operator.cli.exits import Problem
from supercheck_operator.cli.manifests import named
from supercheck_operator.cli.mirror import Tell
from supercheck_operator.kube import (
    EXECUTIONS,
    AlreadyExistsError,
    Kube,
    KubeError,
    UnreachableError,
)
from supercheck_operator.resources import Raw

_MANAGER: Final = "kubectl-supercheck"
_FOUND_TAKEN: Final = 5
"""How many names made from one generateName may be taken by others."""


class Submitter:
    """``retry_for``: for how many seconds from now on everything refused is tried again."""

    def __init__(self, kube: Kube, *, retry_for: float, tell: Tell) -> None:
        self._kube = kube
        self._tell = tell
        self._until = asyncio.get_running_loop().time() + retry_for
        # Tells the objects of this run from those of any other, also after an answer got lost.
        self._manager = f"{_MANAGER}-{secrets.token_hex(4)}"

    async def submit(self, body: Raw) -> Raw:
        """The stored object. Raises Problem if it is refused to the end."""
        whole, generated = named(body)
        about = f"{whole['metadata']['name']}"
        tries, taken, unanswered = 0, 0, False
        while True:
            tries += 1
            try:
                return await self._kube.create(EXECUTIONS, whole, manager=self._manager)
            except AlreadyExistsError as error:
                if unanswered and (ours := await self._ours(whole)):
                    return ours
                taken += 1
                if not generated or taken > _FOUND_TAKEN:
                    raise answers.problem(error, about) from error
                whole, _ = named(body)
            except KubeError as error:
                unanswered = unanswered or isinstance(error, UnreachableError)
                await self._rest(error, about, tries)

    async def _rest(self, error: KubeError, about: str, tries: int) -> None:
        told: Problem = answers.problem(error, about)
        if not answers.may_pass(error):
            raise told from error
        left = self._until - asyncio.get_running_loop().time()
        pause = retry.pause(
            tries,
            asked=getattr(error, "retry_after", None),
            left=left,
            draw=random.random(),  # noqa: S311 - it spreads load
        )
        if pause is None:
            raise told from error
        self._tell(f"{told} Trying again in {durations.show(max(1, pause))}.")
        await asyncio.sleep(pause)

    async def _ours(self, whole: Raw) -> Raw | None:
        """What a create that got no answer has stored after all."""
        metadata = whole["metadata"]
        try:
            found = await self._kube.get(EXECUTIONS, metadata["name"], metadata["namespace"])
        except KubeError:
            return None
        managers = {each.get("manager") for each in found["metadata"].get("managedFields", [])}
        return found if self._manager in managers else None
