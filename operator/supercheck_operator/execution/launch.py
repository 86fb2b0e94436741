"""Creating what a test needs, exactly once, whatever happens on the way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

from supercheck_operator.execution import manifest
from supercheck_operator.execution.assess import Refusal
from supercheck_operator.kube import (
    CONFIG_MAPS,
    EXECUTIONS,
    JOBS,
    AlreadyExistsError,
    AnsweredError,
    InvalidError,
    Kube,
    KubeError,
    NotFoundError,
    UnreachableError,
)
from supercheck_operator.resources import LABEL_EXECUTION_UID, Raw, Reason, Test, TestExecution

_FIRST_DELAY: Final = 0.2
_LAST_DELAY: Final = 5.0


@dataclass(frozen=True, slots=True)
class Launched:
    """The Job as the API server has it: just created, or found from an earlier life."""

    job: Raw


class Abandoned:
    """The execution was over before the Job existed, and no Job exists."""


Outcome = Launched | Refusal | Abandoned


class Launcher:
    """Creates Jobs. ``sleep`` is a parameter so that tests need not wait."""

    def __init__(
        self,
        kube: Kube,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._kube = kube
        self._sleep = sleep

    async def launch(
        self,
        execution: TestExecution,
        test: Test,
        *,
        wanted: Callable[[], bool],
        hindered: Callable[[str], None],
        give_up_after: float,
        turn: AbstractAsyncContextManager[object],
    ) -> Outcome:
        """Create the Job of ``test``, however often the API server has to be asked.

        Every attempt is made within ``turn``: a fair lock keeps Jobs in the order of their claims,
        and one that is hindered does not hold up the others. ``wanted`` is asked before every
        attempt; ``hindered`` is told why one did not succeed. A refusal that may pass (a quota, a
        policy) is retried for ``give_up_after`` seconds; an API server that does not answer, for
        ever: that is not the run's fault.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        delay = _FIRST_DELAY
        unsure = False
        while True:
            if not wanted():
                return await self._found(execution, test) if unsure else Abandoned()
            try:
                async with turn:
                    if wanted():  # waiting for the turn takes time
                        return Launched(await self._create(execution, test))
                continue
            except AlreadyExistsError:
                return await self._found(execution, test)
            except (manifest.InvalidTemplateError, InvalidError) as error:
                return Refusal(Reason.INVALID_TEMPLATE, str(error))
            except UnreachableError as error:
                unsure = True
                hindered(f"The API server does not answer: {error}")
            except AnsweredError as error:
                if not error.passing and loop.time() - began >= give_up_after:
                    return Refusal(_reason(error), str(error))
                hindered(f"{_reason(error)}: {error}")
            await self._sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311 - not a secret
            delay = min(_LAST_DELAY, delay * 2)

    async def _create(self, execution: TestExecution, test: Test) -> Raw:
        body = manifest.job(execution, test)
        if test.script is not None:
            await self._put_script(execution, test)
        return await self._kube.create(JOBS, body)

    async def _put_script(self, execution: TestExecution, test: Test) -> None:
        """Scripts are not kept in memory while they wait: read it again, then store it."""
        metadata = execution.metadata
        whole = await self._kube.get(EXECUTIONS, metadata.name, metadata.namespace)
        if whole["metadata"]["uid"] != metadata.uid:
            raise NotFoundError(404, "NotFound", "the execution has been replaced by a namesake")
        script = next(t["script"] for t in whole["spec"]["tests"] if t["name"] == test.name)
        try:
            await self._kube.create(
                CONFIG_MAPS, manifest.script_config_map(execution, test.name, script)
            )
        except AlreadyExistsError:
            return

    async def _found(self, execution: TestExecution, test: Test) -> Outcome:
        """The Job that holds this test's name, if it is ours."""
        name = manifest.job_name_of(execution, test.name)
        while True:
            try:
                job = await self._kube.get(JOBS, name, execution.metadata.namespace)
            except NotFoundError:
                return Abandoned()
            except KubeError:
                await self._sleep(_FIRST_DELAY)
                continue
            owner = (job["metadata"].get("labels") or {}).get(LABEL_EXECUTION_UID)
            if owner == execution.metadata.uid:
                return Launched(job)
            return Refusal(Reason.INTERNAL, f"Job {name} exists and is not of this execution.")


def _reason(error: AnsweredError) -> Reason:
    return Reason.QUOTA_EXCEEDED if "exceeded quota" in str(error) else Reason.POD_REJECTED
