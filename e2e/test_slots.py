"""Slots are counted by the pods that the API server shows, not by what the operator says."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from e2e.conftest import Namespace, Raw


def test_never_more_run_than_slots_and_they_start_in_the_order_of_creation(
    namespace: Namespace, image: str
) -> None:
    names = [f"run-{number:02}" for number in range(12)]

    with namespace.pods() as pods:
        for number, name in enumerate(names):
            command = ["sleep", f"{2 + number % 5 / 4}"]
            namespace.submit(name, {"name": "only", "image": image, "command": command})
        pods.until_ended(len(names))
    phases = [namespace.finished(name)["phase"] for name in names]

    assert phases == ["Passed"] * len(names)
    assert pods.peak == 5
    started = sorted(
        (job["metadata"]["creationTimestamp"], job["metadata"]["labels"]["supercheck.io/execution"])
        for job in namespace.get("jobs")["items"]
    )
    assert [name for _, name in started] == names


def test_deleting_an_execution_removes_its_job_and_pod_and_frees_its_slot(
    namespace: Namespace, image: str, narrow_queue: str
) -> None:
    sleeper: Raw = {"name": "sleeper", "image": image, "command": ["sleep", "600"]}
    first = namespace.submit("first", sleeper, queue=narrow_queue)
    pod = namespace.running(first)["metadata"]["name"]
    [job] = namespace.jobs_of(first)
    second = namespace.submit("second", sleeper | {"command": ["true"]}, queue=narrow_queue)

    with namespace.pods() as pods:
        namespace.kubectl("delete", "testexecution", first, f"--namespace={namespace.name}")
        pods.until_ended(2)

    namespace.wait("delete", f"job/{job['metadata']['name']}")
    namespace.wait("delete", f"pod/{pod}")
    assert pods.peak == 1
    assert namespace.finished(second)["phase"] == "Passed"
