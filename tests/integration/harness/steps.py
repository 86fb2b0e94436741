"""What many tests do: wait for a phase, find a Job or a pod, make a queue of their own."""

from collections.abc import Callable

from harness.api import GROUP, Raw, Space, execution
from harness.process import Operator
from harness.waiting import eventually

QUEUES = f"{GROUP}/executionqueues"
FINAL = ("Passed", "Failed", "Error", "Cancelled")
NOWHERE = {"nodeSelector": {"no": "such-node"}}
"""Where no pod is ever scheduled: it exists, occupies its slot, and nothing happens to it."""
NOBODY = {"serviceAccountName": "nobody"}
"""Of whom the Job controller can make no pod."""
SILENT: Raw = {"nodeName": "silent"}
"""On a node that does nothing: a pod of it that is deleted stays until ``let_go``. (One without a
node would not do: the pod garbage collector fails those, up to 20 s after their deletion.)"""


def named(*names: str) -> list[Raw]:
    """The ``tests`` of an execution with these names."""
    return [{"name": name, "image": "example/e2e:1"} for name in names]


async def make_queue(space: Space, name: str, **spec: object) -> str:
    """A queue of the test's own; its name."""
    body: Raw = {
        "apiVersion": "supercheck.io/v1alpha1",
        "kind": "ExecutionQueue",
        "metadata": {"name": name},
        "spec": spec,
    }
    await space.api.create(QUEUES, body)
    return name


async def change_queue(space: Space, name: str, **spec: object) -> None:
    status, answer = await space.api.patch(f"{QUEUES}/{name}", {"spec": spec})
    assert status == 200, answer


async def until(space: Space, name: str, phase: str, *, within: float = 30) -> Raw:
    """The status of an execution once it is in ``phase``; another final one fails at once."""

    async def there() -> Raw | None:
        status = await space.status(name)
        ended_otherwise = status["phase"] in FINAL and status["phase"] != phase
        assert not ended_otherwise, status
        return status if status["phase"] == phase else None

    return await eventually(there, f"{name} is {phase}", within=within)


async def until_status(
    space: Space, name: str, holds: Callable[[Raw], bool], what: str, *, within: float = 30
) -> Raw:
    """The status of an execution once ``holds`` says so."""

    async def there() -> Raw | None:
        status = await space.status(name)
        return status if holds(status) else None

    return await eventually(there, what, within=within)


async def until_known(operator: Operator, queue: str) -> None:
    """``operator`` has seen the queue, which somebody has just made."""

    async def known() -> bool:
        return (await operator.get(f"/api/queue-stats?queue={queue}"))[0] == 200

    await eventually(known, f"queue {queue} is known")


async def until_stats(
    operator: Operator, queue: str, expected: tuple[int, int, int, int], *, within: float = 30
) -> None:
    seen: list[tuple[int, int, int, int]] = []

    async def there() -> bool:
        seen.append(await operator.stats(queue))
        return seen[-1] == expected

    try:
        await eventually(there, f"{queue} is {expected}", within=within)
    except AssertionError as error:
        raise AssertionError(f"{error}; it is {seen[-1]}") from error


async def until_upcoming(space: Space, queue: str, names: list[str]) -> list[Raw]:
    """What the status of a queue says of those who wait, once they are these, in this order."""
    seen: list[list[str]] = []

    async def told() -> list[Raw] | None:
        status = (await space.api.get(f"{QUEUES}/{queue}")).get("status", {})
        upcoming: list[Raw] = status.get("upcoming", [])
        seen.append([each["name"] for each in upcoming])
        return upcoming if seen[-1] == names else None

    try:
        return await eventually(told, f"{names} are upcoming in {queue}")
    except AssertionError as error:
        raise AssertionError(f"{error}; they are {seen[-1]}") from error


async def submit_in_a_later_second(space: Space, than: Raw, **spec: object) -> str:
    """The name of an execution whose creationTimestamp is later."""
    tried = 0

    async def later() -> str | None:
        nonlocal tried
        tried += 1
        name = f"late-{tried}-{len(await space.phases())}"
        made = await space.submit(execution(name, **spec))  # type: ignore[arg-type]
        if made["metadata"]["creationTimestamp"] > than["metadata"]["creationTimestamp"]:
            return name
        await space.remove(name)
        return None

    return await eventually(later, "a second has passed")


async def jobs_of(space: Space, name: str) -> list[Raw]:
    return await space.api.items(f"{space.jobs}?labelSelector=supercheck.io/execution={name}")


async def pods_of(space: Space, name: str) -> list[Raw]:
    return await space.api.items(f"{space.pods}?labelSelector=supercheck.io/execution={name}")


async def job_of(space: Space, name: str, *, within: float = 30) -> Raw:
    async def some() -> list[Raw]:
        return await jobs_of(space, name)

    [job] = await eventually(some, f"{name} has a Job", within=within)
    return job


async def pod_of(space: Space, name: str, *, within: float = 30) -> Raw:
    async def some() -> list[Raw]:
        return await pods_of(space, name)

    [pod] = await eventually(some, f"{name} has a pod", within=within)
    return pod


async def running(space: Space, name: str, test: str = "t") -> str:
    """The path of the one pod of a test that runs."""

    async def found() -> str | None:
        runs = [
            pod
            for pod in await pods_of(space, name)
            if pod["status"].get("phase") == "Running"
            and pod["metadata"]["labels"]["supercheck.io/test"] == test
        ]
        return path_of(space, runs[0]) if runs else None

    return await eventually(found, f"{test} of {name} runs")


async def end(space: Space, name: str, test: str = "t", *, exit_code: int = 0) -> None:
    """Let a test end that would run for ever, as soon as it runs."""
    notes = {"stage.kindless/runs-for": None, "stage.kindless/exit-code": str(exit_code)}
    pod = await running(space, name, test)
    status, answer = await space.api.patch(pod, {"metadata": {"annotations": notes}})
    assert status == 200, answer

    async def ended() -> bool:
        status, answer = await space.api.call("GET", pod)
        return status == 404 or answer["status"]["phase"] != "Running"

    await eventually(ended, f"{test} of {name} has ended")


async def silent_pod_of(space: Space, name: str, *, within: float = 30) -> str:
    """The path of the pod, on a silent node, of an execution made with SILENT."""
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": SILENT["nodeName"]}}
    status, answer = await space.api.call("POST", "/api/v1/nodes", node)
    assert status in (201, 409), answer
    pod = await pod_of(space, name, within=within)
    assert pod["spec"]["nodeName"] == SILENT["nodeName"]
    return path_of(space, pod)


async def being_deleted(space: Space, pod: str) -> None:
    async def marked() -> bool:
        return "deletionTimestamp" in (await space.api.get(pod))["metadata"]

    await eventually(marked, f"{pod} is being deleted")


async def let_go(space: Space, pod: str) -> None:
    """Its node is through with it."""
    await space.api.delete(f"{pod}?gracePeriodSeconds=0")


def path_of(space: Space, pod: Raw) -> str:
    return f"{space.pods}/{pod['metadata']['name']}"


def job_path(space: Space, job: Raw) -> str:
    return f"{space.jobs}/{job['metadata']['name']}"


async def deleted(space: Space, path: str, *, within: float = 30) -> None:
    async def gone() -> bool:
        return (await space.api.call("GET", path))[0] == 404

    await eventually(gone, f"{path} is gone", within=within)


def late_pod(job: Raw) -> Raw:
    """As the Job controller makes it, but for the service account; on a node that does nothing."""
    template, metadata = job["spec"]["template"], job["metadata"]
    spec = {key: said for key, said in template["spec"].items() if "ervice" not in key}
    owner = {
        "apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"],
        "controller": True, "blockOwnerDeletion": True,
    }  # fmt: skip
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{metadata['name']}-late",
            "labels": template["metadata"]["labels"],
            "ownerReferences": [owner],
        },
        "spec": spec | SILENT,
    }
