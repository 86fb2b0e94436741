"""What the tests of an execution print: of every pod, of every attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from supercheck_operator.cli.cluster import Cluster
from supercheck_operator.cli.exits import Exit, Problem
from supercheck_operator.cli.mirror import Mirror, Tell, Trouble, silent
from supercheck_operator.cli.together import together
from supercheck_operator.execution.naming import attempt_of
from supercheck_operator.execution.observed import CONTAINER
from supercheck_operator.kube import (
    EXECUTIONS,
    PODS,
    InvalidError,
    KubeError,
    NotFoundError,
)
from supercheck_operator.resources import LABEL_EXECUTION_UID, LABEL_TEST, Phase, Raw, TestExecution

_JOB: Final = "batch.kubernetes.io/job-name"
_STARTED: Final = ("running", "terminated")


@dataclass(frozen=True)
class Wish:
    """Which logs; ``tests`` and ``attempt`` limit them, if they are given."""

    tests: tuple[str, ...] = ()
    attempt: int | None = None
    tail: int | None = None
    timestamps: bool = False


@dataclass(frozen=True)
class Source:
    """A pod of ours."""

    test: str
    attempt: int
    pod: str
    started: bool
    """Its test's container has something to say, or had."""
    waits_for: str
    """Why it has not started."""

    @property
    def label(self) -> str:
        return self.test if self.attempt == 1 else f"{self.test} #{self.attempt}"


class Printer:
    """Whole lines, each with where it comes from where there are several."""

    def __init__(self, *, several: bool) -> None:
        self._several = several

    def __call__(self, source: Source, line: bytes) -> None:
        prefix = f"[{source.label}] " if self._several else ""
        print(prefix + line.decode(errors="replace"), flush=True)  # noqa: T201 - it is the output


def sources(execution: TestExecution, pods: Iterable[Raw], wish: Wish) -> list[Source]:
    """The pods that ``wish`` is about: by attempt, then in the order of the tests. Pure."""
    order = [test.name for test in execution.spec.tests]
    found = [_source(execution, pod) for pod in pods]
    wanted = [
        each
        for each in found
        if each.test in order
        and (not wish.tests or each.test in wish.tests)
        and wish.attempt in (None, each.attempt)
    ]
    return sorted(wanted, key=lambda each: (each.attempt, order.index(each.test), each.pod))


def _source(execution: TestExecution, pod: Raw) -> Source:
    meta, labels = execution.metadata, pod["metadata"].get("labels", {})
    test = labels.get(LABEL_TEST, "")
    state = _state(pod)
    waiting = (state.get("waiting") or {}).get("reason")
    return Source(
        test=test,
        attempt=attempt_of(labels.get(_JOB, ""), meta.name, meta.uid, test),
        pod=pod["metadata"]["name"],
        started=any(kind in state for kind in _STARTED),
        waits_for=waiting or pod.get("status", {}).get("phase", "Pending"),
    )


def _state(pod: Raw) -> Raw:
    """Of the test's own container; empty before the kubelet has seen it."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    state: Raw = next((each["state"] for each in statuses if each["name"] == CONTAINER), {})
    return state


async def show(cluster: Cluster, name: str, wish: Wish, tell: Tell) -> None:
    """Everything that is there. Raises Problem if that is nothing, and KubeError."""
    execution = await _execution(cluster, name, wish)
    pods, _ = await cluster.kube.list(
        PODS, namespace=cluster.namespace, labels=f"{LABEL_EXECUTION_UID}={execution.metadata.uid}"
    )
    found = sources(execution, pods, wish)
    if not found:
        raise Problem(_nothing(execution), Exit.NOT_FOUND)
    printer = Printer(several=len(found) > 1)
    for source in found:
        if not source.started:
            tell(f"{source.label} has not started: {source.waits_for}.")
            continue
        try:
            async for line in cluster.kube.logs(cluster.namespace, source.pod, _query(wish)):
                printer(source, line)
        except (NotFoundError, InvalidError) as error:
            tell(f"{source.label}: {error}.")


async def _execution(cluster: Cluster, name: str, wish: Wish) -> TestExecution:
    raw = await cluster.kube.get(EXECUTIONS, name, cluster.namespace)
    execution = TestExecution.model_validate(raw)
    names = [test.name for test in execution.spec.tests]
    if unknown := [test for test in wish.tests if test not in names]:
        raise Problem(
            f"{name} has no test {', '.join(unknown)}; it has {', '.join(names)}.", Exit.NOT_FOUND
        )
    return execution


def _nothing(execution: TestExecution) -> str:
    name = execution.metadata.name
    if execution.status.phase is Phase.QUEUED:
        return f"{name} waits, and has no logs yet: logs -f waits with it."
    return f"{name} has no pods with such logs: none was started, or they are no longer kept."


def _query(wish: Wish, **more: str) -> dict[str, str]:
    query = {"container": CONTAINER} | more
    if wish.tail is not None:
        query["tailLines"] = str(wish.tail)
    if wish.timestamps:
        query["timestamps"] = "true"
    return query


async def follow(cluster: Cluster, name: str, wish: Wish, tell: Tell) -> None:
    """Everything there is and will be, until the execution is over. Raises Problem, KubeError."""
    execution = await _execution(cluster, name, wish)
    await _Follower(cluster, execution, wish, tell).run()


class _Follower:
    def __init__(self, cluster: Cluster, execution: TestExecution, wish: Wish, tell: Tell) -> None:
        self._cluster = cluster
        self._execution = execution
        self._namespace = execution.metadata.namespace
        self._wish = wish
        self._tell = tell
        retried = execution.spec.retry is not None and execution.spec.retry.limit > 0
        one = len(wish.tests or execution.spec.tests) == 1 and not retried
        self._print = Printer(several=not one)
        self._streams: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        async with together() as tasks:
            pods = tasks.create_task(self._pods(tasks))
            await self._until_over()
            # Pods that ended with it may be news still to come: ask once, and be sure.
            pods.cancel()
            await self._start_all(tasks)

    async def _until_over(self) -> None:
        meta = self._execution.metadata
        mirror = Mirror(
            self._cluster.kube,
            EXECUTIONS,
            tell=silent,
            namespace=meta.namespace,
            fields=f"metadata.name={meta.name}",
            patient=True,
        )
        async for _ in mirror.changes():
            found = mirror.objects.get(meta.uid)
            if found is None:
                self._tell(f"{meta.name} was deleted.")
                return
            if Phase(found["status"]["phase"]).final:
                return

    async def _pods(self, tasks: asyncio.TaskGroup) -> None:
        mirror = Mirror(
            self._cluster.kube,
            PODS,
            tell=self._tell,
            namespace=self._execution.metadata.namespace,
            labels=f"{LABEL_EXECUTION_UID}={self._execution.metadata.uid}",
            patient=True,
        )
        async for _ in mirror.changes():
            self._start(tasks, mirror.objects.values())

    async def _start_all(self, tasks: asyncio.TaskGroup) -> None:
        meta = self._execution.metadata
        pods, _ = await self._cluster.kube.list(
            PODS, namespace=meta.namespace, labels=f"{LABEL_EXECUTION_UID}={meta.uid}"
        )
        self._start(tasks, pods)

    def _start(self, tasks: asyncio.TaskGroup, pods: Iterable[Raw]) -> None:
        for source in sources(self._execution, pods, self._wish):
            if source.started and source.pod not in self._streams:
                self._streams[source.pod] = tasks.create_task(self._stream(source))

    async def _stream(self, source: Source) -> None:
        """To the end of the container, over every interruption, each line once."""
        trouble = Trouble(silent)
        last = ""
        while True:
            # The API server rounds sinceTime down to the second: what is known is left away.
            known = last
            more = {"follow": "true", "timestamps": "true"}
            wish = Wish() if known else self._wish
            query = _query(wish, **more, **({"sinceTime": known} if known else {}))
            try:
                async for line in self._cluster.kube.logs(self._namespace, source.pod, query):
                    trouble.over()
                    moment, _, said = line.partition(b" ")
                    last = max(last, moment.decode())
                    if moment.decode() > known:
                        self._print(source, line if self._wish.timestamps else said)
                if await self._ended(source):
                    return
            except (NotFoundError, InvalidError):
                return  # the pod is gone
            except KubeError as error:
                await trouble.pause(error)

    async def _ended(self, source: Source) -> bool:
        """An API server that shuts down ends its answers as if all was said."""
        pod = await self._cluster.kube.get(PODS, source.pod, self._namespace)
        return _state(pod).keys() == {"terminated"}
