"""``run`` and ``wait``: what a pipeline is made of."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from supercheck_operator.cli import answers, durations, output, tables
from supercheck_operator.cli.cluster import Cluster
from supercheck_operator.cli.exits import Exit, Problem, of_phase, worst
from supercheck_operator.cli.follow import Target, until_over
from supercheck_operator.cli.interrupt import InterruptedByUser, unless_interrupted
from supercheck_operator.cli.mirror import Tell
from supercheck_operator.cli.submit import Submitter
from supercheck_operator.clock import utc_now
from supercheck_operator.kube import EXECUTIONS, KubeError
from supercheck_operator.resources import Raw, TestExecution


@dataclass(frozen=True)
class Patience:
    """How it waits; seconds."""

    wait: bool = False
    limit: float | None = None
    retry_for: float = 0.0
    cancel_on_interrupt: bool = False


@dataclass
class _Submitted:
    stored: list[Raw] = field(default_factory=list)
    codes: list[Exit] = field(default_factory=list)
    """Of those that were not."""


async def run(
    cluster: Cluster, bodies: Sequence[Raw], patience: Patience, form: str | None
) -> Exit:
    """Submit ``bodies`` and, if so wished, wait for them."""
    submitted = _Submitted()
    targets: list[Target] = []
    try:
        await unless_interrupted(_submit(cluster, bodies, patience, submitted, form))
        targets = [_target(raw) for raw in submitted.stored]
        if not patience.wait:
            if form and submitted.stored:
                output.dump(submitted.stored, form, one=len(bodies) == 1)
            return worst(submitted.codes)
        codes = await _wait(cluster, targets, patience.limit, form, one=len(bodies) == 1)
        return worst([*submitted.codes, *codes])
    except InterruptedByUser as interrupted:
        left = targets or [_target(raw) for raw in submitted.stored]
        await _farewell(cluster, left, cancel=patience.cancel_on_interrupt)
        return interrupted.exit_code


async def wait(
    cluster: Cluster, names: Sequence[str], limit: float | None, form: str | None
) -> Exit:
    """Wait for executions that are there."""
    targets = [Target(cluster.namespace, name) for name in dict.fromkeys(names)]
    try:
        return worst(await _wait(cluster, targets, limit, form, one=len(targets) == 1))
    except InterruptedByUser as interrupted:
        await _farewell(cluster, targets, cancel=False)
        return interrupted.exit_code


async def _submit(
    cluster: Cluster,
    bodies: Sequence[Raw],
    patience: Patience,
    submitted: _Submitted,
    form: str | None,
) -> None:
    """One after the other: their order is the order of the line."""
    submitter = Submitter(cluster.kube, retry_for=patience.retry_for, tell=output.tell)
    for body in bodies:
        metadata = {"namespace": cluster.namespace, **body["metadata"]}
        try:
            stored = await submitter.submit({**body, "metadata": metadata})
        except Problem as problem:
            output.tell(str(problem))
            submitted.codes.append(problem.exit_code)
            continue
        submitted.stored.append(stored)
        created = f"testexecution.supercheck.io/{stored['metadata']['name']} created"
        (output.tell if form else output.say)(created)


def _target(raw: Raw) -> Target:
    metadata = raw["metadata"]
    return Target(metadata["namespace"], metadata["name"], metadata["uid"])


async def _wait(
    cluster: Cluster, targets: list[Target], limit: float | None, form: str | None, *, one: bool
) -> list[Exit]:
    try:
        # Those that are not over in time say so below.
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await unless_interrupted(until_over(cluster, targets, output.tell))
    except KubeError as error:
        raise answers.problem(error) from error
    codes = [_told(target, limit, tell=output.tell if form else output.say) for target in targets]
    if form:
        seen = [target.seen for target in targets if target.seen is not None]
        output.dump(seen, form, one=one)
    return codes


def _told(target: Target, limit: float | None, tell: Tell) -> Exit:
    """How ``target`` ended, said and as an exit code."""
    if target.lost:
        tell(f"{target.name}: deleted before it was over; its result is not known.")
        return Exit.ERROR
    if not target.over:
        tell(f"{target.name}: not over within {durations.show(limit or 0)}; it goes on.")
        return Exit.TIMED_OUT
    assert target.seen is not None
    execution = TestExecution.model_validate(target.seen)
    tell(tables.outcome(execution, utc_now()))
    return of_phase(execution.status.phase)


async def _farewell(cluster: Cluster, targets: list[Target], *, cancel: bool) -> None:
    """What becomes of ``targets`` when nobody waits for them any more."""
    going_on = [target for target in targets if not target.over]
    if not targets:
        output.tell("Interrupted; nothing was submitted.")
    if not going_on:
        return
    names = " ".join(target.name for target in going_on)
    if not cancel:
        output.tell(
            f"Interrupted; {names} will go on. Stop with: kubectl supercheck cancel {names}"
            f" -n {going_on[0].namespace}"
        )
        return
    for target in going_on:
        try:
            await cluster.kube.patch(
                EXECUTIONS, target.name, {"spec": {"cancel": True}}, namespace=target.namespace
            )
            output.tell(f"Interrupted; {target.name} is being cancelled.")
        except KubeError as error:
            output.tell(f"{target.name} could not be cancelled: {answers.problem(error)}")
