"""What a user may see of executions, queues and Jobs, asked for or watched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from supercheck_operator.cli.cluster import Cluster
from supercheck_operator.cli.mirror import Mirror, Tell, silent
from supercheck_operator.cli.standing import Standing, View, attempts_of, standings
from supercheck_operator.cli.together import together
from supercheck_operator.clock import utc_now
from supercheck_operator.kube import (
    EXECUTIONS,
    JOBS,
    QUEUES,
    AnsweredError,
    Kube,
    KubeError,
    Resource,
)
from supercheck_operator.resources import (
    LABEL_EXECUTION_UID,
    ExecutionQueue,
    Phase,
    Raw,
    TestExecution,
)

_COALESCE: Final = 0.1


async def look(cluster: Cluster, queues: Iterable[str] | None = None) -> View:
    """Everything that may be seen; of ``queues`` only those, all if None. Raises KubeError."""
    executions, complete = await _widest(cluster, EXECUTIONS)
    with_jobs = any(each["status"].get("phase") == Phase.QUEUED for each in executions)
    jobs: list[Raw] = []
    if with_jobs:
        with suppress(AnsweredError):  # who may not see Jobs sees executions start a little later
            jobs, _ = await _widest(cluster, JOBS, LABEL_EXECUTION_UID)
    return _view(await _queues(cluster.kube, queues), executions, jobs, complete=complete)


async def standings_of(cluster: Cluster, raws: Iterable[Raw]) -> dict[str, Standing]:
    """By UID, of those of ``raws`` that wait; empty where nothing about it can be seen."""
    waiting = [
        TestExecution.model_validate(each)
        for each in raws
        if each["status"].get("phase") == Phase.QUEUED
    ]
    if not waiting:
        return {}
    try:
        view = await look(cluster, {each.spec.queue for each in waiting})
    except KubeError:
        return {}
    return standings(view, utc_now())


async def _queues(kube: Kube, names: Iterable[str] | None) -> list[Raw]:
    if names is None:
        return (await kube.list(QUEUES))[0]
    found = []
    for name in names:
        with suppress(AnsweredError):
            found.append(await kube.get(QUEUES, name))
    return found


async def _widest(cluster: Cluster, resource: Resource, labels: str = "") -> tuple[list[Raw], bool]:
    """What there is in every namespace, and True; or, without that right, in ours."""
    try:
        return (await cluster.kube.list(resource, labels=labels))[0], True
    except AnsweredError as error:
        if error.status != 403:
            raise
        found, _ = await cluster.kube.list(resource, labels=labels, namespace=cluster.namespace)
        return found, False


def _view(
    queues: Iterable[Raw], executions: Iterable[Raw], jobs: Iterable[Raw], *, complete: bool
) -> View:
    models = map(ExecutionQueue.model_validate, queues)
    return View(
        queues={queue.metadata.name: queue for queue in models},
        executions=[TestExecution.model_validate(each) for each in executions],
        started=attempts_of(jobs),
        complete=complete,
    )


async def show_changes(cluster: Cluster, show: Callable[[View], None], tell: Tell) -> None:
    """``show`` what may be seen, whenever it changes; for ever.

    Ten times a second at most, but for the figures of queues, which change once a second at most.
    """
    _, complete = await _widest(cluster, EXECUTIONS)
    scope = "" if complete else cluster.namespace
    mirrors = [
        Mirror(cluster.kube, QUEUES, tell=tell),
        Mirror(cluster.kube, EXECUTIONS, tell=silent, namespace=scope),
        Mirror(cluster.kube, JOBS, tell=silent, namespace=scope, labels=LABEL_EXECUTION_UID),
    ]
    queues, _, jobs = mirrors
    changed, figures = asyncio.Event(), asyncio.Event()
    listed: set[Mirror] = set()

    async def follow(mirror: Mirror) -> None:
        try:
            async for _ in mirror.changes():
                listed.add(mirror)
                changed.set()
                if mirror is queues:
                    figures.set()
        except AnsweredError:
            if mirror is not jobs:
                raise
            listed.add(mirror)  # who may not see Jobs sees executions start a little later
            changed.set()

    async def draw() -> None:
        while True:
            await changed.wait()
            changed.clear()
            figures.clear()
            if len(listed) == len(mirrors):
                raws = [mirror.objects.values() for mirror in mirrors]
                show(_view(*raws, complete=complete))
            with suppress(TimeoutError):
                async with asyncio.timeout(_COALESCE):
                    await figures.wait()

    async with together() as tasks:
        for mirror in mirrors:
            tasks.create_task(follow(mirror))
        tasks.create_task(draw())
