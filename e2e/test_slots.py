"""Slots are counted by the pods that the API server shows, not by what the operator says."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from e2e.conftest import Namespace, Operator, Raw


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


def test_a_cancelled_execution_keeps_its_slot_until_its_pod_is_gone(
    namespace: Namespace, operator: Operator, image: str, narrow_queue: str
) -> None:
    sleeper: Raw = {"name": "sleeper", "image": image, "command": ["sleep", "600"]}
    first = namespace.submit(
        "first",
        sleeper,
        queue=narrow_queue,
        template={"spec": {"terminationGracePeriodSeconds": 10}},
    )
    namespace.running(first)
    second = namespace.submit("second", sleeper | {"command": ["true"]}, queue=narrow_queue)

    with namespace.pods() as pods:
        namespace.cancel(first)
        cancelled = namespace.finished(first)
        # Its container does not heed SIGTERM, so the pod lives on for a while.
        waiting = namespace.status(second)["phase"]
        occupied = operator.stats(narrow_queue)
        pods.until_ended(2)

    assert (cancelled["phase"], cancelled["reason"]) == ("Cancelled", "CancelledByUser")
    assert cancelled["tests"][0]["phase"] == "Cancelled"
    assert waiting == "Queued"
    assert (occupied["running"], occupied["queued"]) == (1, 1)
    assert pods.peak == 1
    assert namespace.finished(second)["phase"] == "Passed"


def test_deleting_an_execution_removes_its_job_and_pod_and_frees_its_slot(
    namespace: Namespace, image: str, narrow_queue: str
) -> None:
    sleeper: Raw = {"name": "sleeper", "image": image, "command": ["sleep", "600"]}
    first = namespace.submit("first", sleeper, queue=narrow_queue)
    pod = namespace.running(first)["metadata"]["name"]
    [job] = namespace.get("jobs", f"--selector=supercheck.io/execution={first}")["items"]
    second = namespace.submit("second", sleeper | {"command": ["true"]}, queue=narrow_queue)

    with namespace.pods() as pods:
        namespace.kubectl("delete", "testexecution", first, f"--namespace={namespace.name}")
        pods.until_ended(2)

    namespace.wait("delete", f"job/{job['metadata']['name']}")
    namespace.wait("delete", f"pod/{pod}")
    assert pods.peak == 1
    assert namespace.finished(second)["phase"] == "Passed"


def test_a_native_sidecar_that_never_ends_holds_neither_verdict_nor_slot(
    namespace: Namespace, image: str, narrow_queue: str
) -> None:
    sidecar = _sidecar(image) | {"restartPolicy": "Always"}
    _passes_beside(namespace, image, narrow_queue, {"initContainers": [sidecar]})


def test_a_plain_sidecar_that_never_ends_holds_neither_verdict_nor_slot(
    namespace: Namespace, image: str, narrow_queue: str
) -> None:
    _passes_beside(namespace, image, narrow_queue, {"containers": [_sidecar(image)]})


def _sidecar(image: str) -> Raw:
    return {"name": "sidecar", "image": image, "command": ["sleep", "600"]}


def _passes_beside(namespace: Namespace, image: str, queue: str, sidecar: Raw) -> None:
    """One with a sidecar passes, and then so does the one that waited for its slot."""
    test: Raw = {"name": "suite", "image": image, "args": ["test_checkout.py"]}
    template = {"spec": {"terminationGracePeriodSeconds": 1, **sidecar}}
    with namespace.pods() as pods:
        first = namespace.submit("first", test, queue=queue, template=template)
        second = namespace.submit("second", test, queue=queue)
        pods.until_ended(2)

    status = namespace.finished(first)
    assert status["phase"] == "Passed"
    assert status["tests"][0]["exitCode"] == 0
    assert namespace.finished(second)["phase"] == "Passed"
    assert pods.peak == 1
