"""Creating what a test needs, exactly once, whatever happens on the way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

from supercheck_operator.execution import manifest
from supercheck_operator.execution.naming import job_name_of
from supercheck_operator.execution.verdict import Delay, Verdict, refusal_reason
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
_SERVER_ERROR: Final = 500


@dataclass(frozen=True, slots=True)
class Launched:
    """The Job as the API server has it: just created, or found from an earlier life."""

    job: Raw


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The execution was over before the Job was known to exist.

    ``sure``: it does not, and will not. Else a request had no answer, and may yet be carried out.
    """

    sure: bool


Outcome = Launched | Verdict | Abandoned


class _Patience:
    """With refusals that may pass: so many seconds from the first one."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began: float | None = None

    def is_over(self) -> bool:
        now = asyncio.get_running_loop().time()
        if self._began is None:
            self._began = now
        return now - self._began >= self._seconds


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
        attempt: int,
        *,
        wanted: Callable[[], bool],
        hindered: Callable[[Delay], None],
        give_up_after: float,
        turn: Callable[[], AbstractAsyncContextManager[object]],
    ) -> Outcome:
        """Create the Job of ``attempt`` at ``test``, however often the API server has to be asked.

        Every request begins in its ``turn``, which keeps Jobs in the order of their claims; what is
        hindered does not hold up the others. ``wanted`` is asked before every request; ``hindered``
        is told why one did not succeed. A refusal that may pass (a quota, a policy, a failing
        webhook) is asked again for ``give_up_after`` seconds; an API server that does not answer,
        for ever: that is not the run's fault.
        """
        patience = _Patience(give_up_after)
        delay = _FIRST_DELAY
        unsure = False
        while True:
            if not wanted():
                return Abandoned(sure=not unsure)
            try:
                async with turn():
                    if wanted():  # waiting for the turn takes time
                        return Launched(await self._create(execution, test, attempt))
                continue
            except AlreadyExistsError:
                return await self._found(execution, test, attempt)
            except manifest.InvalidTemplateError as error:
                return Verdict(Reason.INVALID_TEMPLATE, str(error))
            except UnreachableError as error:
                unsure = True
                hindered(Delay(Reason.INTERNAL, f"The API server does not answer: {error}"))
            except AnsweredError as error:
                reason = _reason(error)
                if reason is Reason.INVALID_TEMPLATE:
                    return Verdict(reason, str(error))
                unsure = unsure or error.status >= _SERVER_ERROR
                if not error.busy and patience.is_over():
                    found = await self._found(execution, test, attempt) if unsure else None
                    return found if isinstance(found, Launched) else Verdict(reason, str(error))
                hindered(Delay(reason, f"{reason}: {error}"))
            await self._sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311 - not a secret
            delay = min(_LAST_DELAY, delay * 2)

    async def _create(self, execution: TestExecution, test: Test, attempt: int) -> Raw:
        body = manifest.job(execution, test, attempt)
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

    async def _found(self, execution: TestExecution, test: Test, attempt: int) -> Outcome:
        """The Job that holds this attempt's name, if it is ours."""
        name = job_name_of(execution, test.name, attempt)
        while True:
            try:
                job = await self._kube.get(JOBS, name, execution.metadata.namespace)
            except NotFoundError:
                return Abandoned(sure=False)  # it has come and gone
            except KubeError:
                await self._sleep(_FIRST_DELAY)
                continue
            owner = (job["metadata"].get("labels") or {}).get(LABEL_EXECUTION_UID)
            if owner == execution.metadata.uid:
                return Launched(job)
            return Verdict(Reason.INTERNAL, f"Job {name} exists and is not of this execution.")


def _reason(error: AnsweredError) -> Reason:
    if isinstance(error, InvalidError) and "denied" not in str(error):
        return Reason.INVALID_TEMPLATE  # not the answer of somebody's policy
    if error.status >= _SERVER_ERROR and "webhook" not in str(error):
        return Reason.INTERNAL
    return refusal_reason(str(error))
