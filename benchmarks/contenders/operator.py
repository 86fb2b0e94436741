"""This operator, one process, with its webhook and its status; its queue on hold until all wait."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from benchmarks.contenders import Case, Turn, clear, create, until_all
from benchmarks.lib.control_plane import ControlPlane
from harness.api import Raw, Space, execution
from harness.process import Operator
from harness.steps import FINAL, change_queue
from harness.waiting import eventually

QUEUE = "default"


@asynccontextmanager
async def operator(plane: ControlPlane, space: Space, case: Case) -> AsyncIterator[Turn]:
    process = Operator(
        plane.kubeconfig,
        plane.folder / "operator.log",
        RUNNING_CAPACITY=str(case.capacity),
        QUEUED_CAPACITY="100000",
    )
    try:
        await process.start()
        await change_queue(space, QUEUE, stopPolicy="Hold")

        async def all_wait() -> bool:
            return (await process.stats())[:3] == (0, case.capacity, case.executions)

        async def submit() -> None:
            names = (f"ours-{number}" for number in range(case.executions))
            bodies = (execution(name, runs_for=case.runs_for) for name in names)
            await create(space.api, space.executions, bodies)
            await eventually(all_wait, f"{case.executions} wait for {case.capacity} slots")

        yield Turn(
            process.pid,
            submit,
            partial(change_queue, space, QUEUE, stopPolicy="None"),
            partial(until_all, space.api, space.executions, _final),
        )
        await clear(space, space.executions)
    finally:
        if process.running:
            process.stop()


def _final(body: Raw) -> bool:
    return body.get("status", {}).get("phase") in FINAL
