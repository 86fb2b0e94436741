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
    NotSentError,
    UnreachableError,
)
from supercheck_operator.resources import LABEL_EXECUTION_UID, Raw, Reason, Test, TestExecution

_FIRST_DELAY: Final = 0.2
_LAST_DELAY: Final = 5.0
_SERVER_ERROR: Final = 500
_GIVEN_UP: Final = 504


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


class _SilenceError(AnsweredError):
    """No answer to a creation, from an API server that answers others."""

    def __init__(self, error: KubeError) -> None:
        super().__init__(
            _GIVEN_UP,
            "Timeout",
            "The API server answers others, but not when it is asked for this Job, as where a"
            f" webhook for Jobs hangs: {error}",
        )

    @property
    def busy(self) -> bool:
        return False


class _Patience:
    """With what may pass: so many seconds from the first refusal, or of nothing but silence."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._refused_since: float | None = None
        self._silent_since: float | None = None

    def is_over(self, error: AnsweredError) -> bool:
        if error.busy:
            return False
        now = asyncio.get_running_loop().time()
        if isinstance(error, _SilenceError):
            began = self._silent_since = self._silent_since or now
        else:
            began = self._refused_since = self._refused_since or now
            self._silent_since = None
        return now - began >= self._seconds


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
        turn: Callable[[int], AbstractAsyncContextManager[object]],
    ) -> Outcome:
        """Create the Job of ``attempt`` at ``test``, however often the API server has to be asked.

        Every try is made in its ``turn``, which is told how many there were before: the first keep
        Jobs in the order of their claims, what is hindered does not hold up the others. ``wanted``
        is asked before every try; ``hindered`` is told why one did not succeed. What may pass (a
        quota, a policy, a webhook that fails or hangs) is tried again for ``give_up_after``
        seconds; an API server that answers nobody, for ever: that is not the run's fault.
        """
        patience = _Patience(give_up_after)
        delay = _FIRST_DELAY
        unsure = False
        tries = 0
        while True:
            try:
                async with turn(tries):
                    if not wanted():
                        return Abandoned(sure=not unsure)
                    return await self._create(execution, test, attempt)
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
                if patience.is_over(error):
                    found = await self._found(execution, test, attempt) if unsure else None
                    return found if isinstance(found, Launched) else Verdict(reason, str(error))
                hindered(Delay(reason, f"{reason}: {error}"))
            await self._sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311 - not a secret
            delay = min(_LAST_DELAY, delay * 2)
            tries += 1

    async def _create(
        self, execution: TestExecution, test: Test, attempt: int
    ) -> Launched | Verdict:
        body = manifest.job(execution, test, attempt)
        if test.script is not None:
            await self._put_script(execution, test)
        try:
            return Launched(await self._kube.create(JOBS, body))
        except KubeError as error:
            if not _is_silence(error):
                raise
            # Is it silent to everybody? Then this has no answer either.
            found = await self._look_up(execution, test, attempt)
            if found is None:
                raise _SilenceError(error) from error
            return found

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
        """What became of a Job that was there, or may have been."""
        while True:
            try:
                found = await self._look_up(execution, test, attempt)
            except KubeError:
                await self._sleep(_FIRST_DELAY)
            else:
                return found or Abandoned(sure=False)  # it has come and gone

    async def _look_up(
        self, execution: TestExecution, test: Test, attempt: int
    ) -> Launched | Verdict | None:
        """The Job that holds this attempt's name, if it is ours. Raises KubeError."""
        name = job_name_of(execution, test.name, attempt)
        try:
            job = await self._kube.get(JOBS, name, execution.metadata.namespace)
        except NotFoundError:
            return None
        owner = (job["metadata"].get("labels") or {}).get(LABEL_EXECUTION_UID)
        if owner == execution.metadata.uid:
            return Launched(job)
        return Verdict(Reason.INTERNAL, f"Job {name} exists and is not of this execution.")


def _is_silence(error: KubeError) -> bool:
    """It was sent, and given up: by us, or by the API server, which knows how long we wait."""
    if isinstance(error, AnsweredError):
        return error.status == _GIVEN_UP
    return not isinstance(error, NotSentError)


def _reason(error: AnsweredError) -> Reason:
    if isinstance(error, _SilenceError):
        return Reason.START_TIMEOUT
    if isinstance(error, InvalidError) and "denied" not in str(error):
        return Reason.INVALID_TEMPLATE  # not the answer of somebody's policy
    if error.status >= _SERVER_ERROR and "webhook" not in str(error):
        return Reason.INTERNAL
    return refusal_reason(str(error))
