"""Kueue: all Jobs are there from the beginning, suspended, and it resumes one for each free slot.

A slot is a pod of the quota of one ClusterQueue, which is on hold until all wait. BestEffortFIFO
tries what found no quota again a second after some has become free (``requeueBatchPeriod`` in
``pkg/cache/queue/inadmissible_workloads.go`` of Kueue 0.18.4).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from benchmarks.contenders import Case, Turn, clear, create, job, until_all
from benchmarks.lib.control_plane import ControlPlane
from benchmarks.lib.kueue import manager
from harness.api import Raw, Space

VERSION: Final = "kueue.x-k8s.io/v1beta2"
GROUP: Final = f"/apis/{VERSION}"
LABEL: Final = "kueue.x-k8s.io/queue-name"


class Kueue:
    """As a contender, with a queueing strategy: ``StrictFIFO`` or ``BestEffortFIFO``."""

    def __init__(self, strategy: str) -> None:
        self._strategy = strategy

    @asynccontextmanager
    async def __call__(self, plane: ControlPlane, space: Space, case: Case) -> AsyncIterator[Turn]:
        api, name = space.api, space.name
        workloads = f"{GROUP}/namespaces/{name}/workloads"
        queue = f"{GROUP}/clusterqueues/{name}"
        itself = f"{GROUP}/clusterqueues?fieldSelector=metadata.name={name}"

        def all_wait(queue: Raw) -> bool:
            return bool(queue.get("status", {}).get("pendingWorkloads") == case.executions)

        async def submit() -> None:
            bodies = (
                # Its webhook would suspend them, too.
                job(f"kueue-{number}", case, {LABEL: name}, suspend=True)
                for number in range(case.executions)
            )
            await create(api, space.jobs, bodies)
            await until_all(api, itself, all_wait, within=case.within)

        async with manager(plane) as pid:
            for path, body in _objects(name, self._strategy, case.capacity):
                await api.create(path, body)
            yield Turn(
                pid,
                submit,
                partial(api.patch, queue, {"spec": {"stopPolicy": "None"}}),
                partial(until_all, api, workloads, _finished),
            )
            await clear(space, workloads)


def _objects(name: str, strategy: str, capacity: int) -> list[tuple[str, Raw]]:
    """What makes a queue of ``capacity`` slots, by the path to create each at."""

    def made(kind: str, spec: dict[str, Any]) -> Raw:
        return {"apiVersion": VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}

    quota = {"name": "pods", "nominalQuota": capacity}
    flavors = [{"name": name, "resources": [quota]}]
    cluster_queue = {
        "queueingStrategy": strategy,
        "namespaceSelector": {},
        "resourceGroups": [{"coveredResources": ["pods"], "flavors": flavors}],
        "stopPolicy": "Hold",
    }
    return [
        (f"{GROUP}/resourceflavors", made("ResourceFlavor", {})),
        (f"{GROUP}/clusterqueues", made("ClusterQueue", cluster_queue)),
        (f"{GROUP}/namespaces/{name}/localqueues", made("LocalQueue", {"clusterQueue": name})),
    ]


def _finished(workload: Raw) -> bool:
    conditions = workload.get("status", {}).get("conditions", [])
    return any((each["type"], each["status"]) == ("Finished", "True") for each in conditions)
