"""Whatever is wrong with a submission is said at once, in words that name it; no place is lost."""

from collections.abc import AsyncIterator
from copy import deepcopy
from typing import Any

import pytest
import pytest_asyncio

from harness.api import GROUP, Raw, Space, execution
from harness.process import Operator
from harness.steps import (
    QUEUES,
    change_queue,
    jobs_of,
    make_queue,
    named,
    until,
    until_known,
    until_stats,
)

pytestmark = pytest.mark.usefixtures("operator")

HUGE = 10**12
DEEP: dict[str, Any] = {"name": "t", "image": "example/e2e:1"}


@pytest_asyncio.fixture(loop_scope="session")
async def operator(lasting_operator: Operator) -> AsyncIterator[Operator]:
    """Whatever was refused, no place is taken when a test ends."""
    await until_stats(lasting_operator, "default", (0, 5, 0, 50))
    yield lasting_operator
    assert await lasting_operator.stats() == (0, 5, 0, 50)


def with_test(**changes: Any) -> Raw:
    return {"tests": [DEEP | changes]}


# By name: what the spec says, and what the refusal must name.
REFUSED: dict[str, tuple[Raw, str]] = {
    "no tests": ({"tests": []}, "spec.tests"),
    "tests missing": ({"tests": None}, "spec.tests"),
    "tests are no list": ({"tests": "login"}, "spec.tests"),
    "a test is null": ({"tests": [None]}, "spec.tests"),
    "101 tests": ({"tests": named(*(f"t{i}" for i in range(101)))}, "spec.tests"),
    "a name twice": ({"tests": named("a", "b", "a")}, "spec.tests[2]"),
    "no image": ({"tests": [{"name": "t"}]}, "spec.tests[0].image"),
    "an empty image": (with_test(image=""), "spec.tests[0].image"),
    "an image with spaces": (with_test(image="example/e2e :1"), "spec.tests[0].image"),
    "an image of 1025 characters": (with_test(image="i" * 1025), "spec.tests[0].image"),
    "no name": ({"tests": [{"image": "example/e2e:1"}]}, "spec.tests[0].name"),
    "an empty name": (with_test(name=""), "spec.tests[0].name"),
    "a name with capitals": (with_test(name="Login"), "spec.tests[0].name"),
    "a name with a dot": (with_test(name="a.b"), "spec.tests[0].name"),
    "a name with a dash at its end": (with_test(name="a-"), "spec.tests[0].name"),
    "a name of 64 characters": (with_test(name="n" * 64), "spec.tests[0].name"),
    "a command that is text": (with_test(command="sh"), "spec.tests[0].command"),
    "arguments that are numbers": (with_test(args=[1]), "spec.tests[0].args[0]"),
    "an environment that is a map": (with_test(env={"A": "1"}), "spec.tests[0].env"),
    "a variable without a name": (with_test(env=[{"value": "1"}]), "spec.tests[0].env[0].name"),
    "a variable that is a number": (
        with_test(env=[{"name": "A", "value": 1}]), "spec.tests[0].env[0].value",
    ),
    "a script of 300 KiB": (with_test(script="x" * 300 * 1024), "spec.tests[0].script"),
    "a script that is no text": (with_test(script=["x"]), "spec.tests[0].script"),
    "a quantity that is none": (
        with_test(resources={"limits": {"memory": "2 gigs"}}), "spec.tests[0].resources.limits",
    ),
    "a quantity that is a list": (
        with_test(resources={"requests": {"cpu": [1]}}), "spec.tests[0].resources.requests",
    ),
    "a test that may take longer than its execution": (
        {"timeoutSeconds": 60} | with_test(timeoutSeconds=61),
        "a test's timeoutSeconds cannot be longer than the execution's",
    ),
    "a queue that is no name": ({"queue": "no such queue"}, "spec.queue"),
    "an empty queue": ({"queue": ""}, "spec.queue"),
    "failFast that is text": ({"failFast": "yes"}, "spec.failFast"),
    "cancel that is a number": ({"cancel": 1}, "spec.cancel"),
    "retry on a word unknown": ({"retry": {"on": ["Timeout"]}}, "spec.retry.on[0]"),
    "template that is text": ({"template": "pod"}, "spec.template"),
    "template.spec that is a list": ({"template": {"spec": []}}, "spec.template.spec"),
    "containers that are a map": (
        {"template": {"spec": {"containers": {"name": "test"}}}}, "spec.template.spec.containers",
    ),
    "containers that are words": (
        {"template": {"spec": {"containers": ["test"]}}}, "spec.template.spec.containers[0]",
    ),
    "tolerations that are a map": (
        {"template": {"spec": {"tolerations": {}}}}, "spec.template.spec.tolerations",
    ),
    "a nodeSelector of numbers": (
        {"template": {"spec": {"nodeSelector": {"zone": 1}}}},
        "spec.template.spec.nodeSelector.zone",
    ),
    "a quantity in the template that is none": (
        {
            "template": {
                "spec": {"containers": [{"name": "test", "resources": {"limits": {"cpu": "much"}}}]}
            }
        },
        "spec.template.spec.containers[0].resources.limits",
    ),
    "labels in the template that are a list": (
        {"template": {"metadata": {"labels": ["a"]}}}, "spec.template.metadata.labels",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
async def test_refused_with_the_name_of_what_is_wrong(space: Space, case: str) -> None:
    spec, named = REFUSED[case]
    body = execution("bad")
    body["spec"] |= deepcopy(spec)
    status, answer = await space.try_submit(body)
    assert status == 422, answer
    assert named in answer["message"]
    assert not await space.phases()


# Every number of a TestExecution's spec, with values that it cannot have.
NUMBERS: dict[str, list[Any]] = {
    "priority": [2**31, -(2**31) - 1, HUGE, 1.5, "1"],
    "maxConcurrentTests": [-1, 0, 101, HUGE, 1.5, "1"],
    "timeoutSeconds": [-1, 0, HUGE, 1.5, "1", "5m"],
    "startTimeoutSeconds": [-1, 0, HUGE, 1.5, "1"],
    "queueTimeoutSeconds": [-1, 0, HUGE, 1.5, "1"],
    "ttlSecondsAfterFinished": [-1, HUGE, 1.5, "1"],
    "retry.limit": [-1, 11, HUGE, 1.5, "1"],
    "retry.backoffSeconds": [-1, 301, HUGE, 1.5, "1"],
    "tests[0].timeoutSeconds": [-1, 0, HUGE, 1.5, "1"],
}


@pytest.mark.parametrize("field", NUMBERS)
async def test_a_number_that_cannot_be_is_refused(space: Space, field: str) -> None:
    for value in NUMBERS[field]:
        body = execution("bad")
        place = body["spec"]
        *parents, last = field.replace("tests[0]", "tests").split(".")
        for parent in parents:
            place = place["tests"][0] if parent == "tests" else place.setdefault(parent, {})
        place[last] = value
        status, answer = await space.try_submit(body)
        assert status == 422, (value, answer)
        assert f"spec.{field}" in answer["message"], (value, answer)


@pytest.mark.parametrize(
    "field",
    [
        "runningCapacity",
        "queuedCapacity",
        "perNamespace.runningCapacity",
        "perNamespace.queuedCapacity",
        "history.passed",
        "history.failed",
    ],
)
async def test_a_capacity_that_cannot_be_is_refused(space: Space, field: str) -> None:
    for value in (-1, 100_001, HUGE, 1.5, "five"):
        spec: Raw = {}
        *parents, last = field.split(".")
        place = spec
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
        body = {
            "apiVersion": "supercheck.io/v1alpha1",
            "kind": "ExecutionQueue",
            "metadata": {"name": "bad"},
            "spec": spec,
        }
        status, answer = await space.api.call("POST", QUEUES, body)
        assert status == 422, (value, answer)
        assert f"spec.{field}" in answer["message"], (value, answer)


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({"ordering": "LIFO"}, "spec.ordering"),
        ({"stopPolicy": "Drain"}, "spec.stopPolicy"),
        (
            {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}},
            "spec.namespaceSelector.matchExpressions[0].operator",
        ),
        ({"namespaceSelector": {"matchLabels": ["a"]}}, "spec.namespaceSelector.matchLabels"),
    ],
)  # fmt: skip
async def test_a_queue_that_means_nothing_is_refused(space: Space, spec: Raw, named: str) -> None:
    body = {
        "apiVersion": "supercheck.io/v1alpha1",
        "kind": "ExecutionQueue",
        "metadata": {"name": "bad"},
        "spec": spec,
    }
    status, answer = await space.api.call("POST", QUEUES, body)
    assert status == 422, answer
    assert named in answer["message"]


async def test_a_name_that_fits_no_label_is_refused(space: Space) -> None:
    for name in ("n" * 64, "n" * 100, "n" * 253, f"{'n' * 31}.{'n' * 32}"):
        status, answer = await space.try_submit(execution(name))
        assert status == 422, answer
        assert "metadata.name: at most 63 characters" in answer["message"]
    await space.submit(execution("n" * 63))
    await until(space, "n" * 63, "Passed")
    await space.submit(execution("with.dots.in-it"))
    await until(space, "with.dots.in-it", "Passed")


async def test_without_a_spec_it_is_refused(space: Space) -> None:
    nothing: list[Any] = [None, {}, [], "spec"]
    for spec in nothing:
        body = execution("bad") | {"spec": spec}
        status, answer = await space.try_submit(body)
        assert status == 422, answer
        assert "spec" in answer["message"]


async def test_an_unknown_queue_is_refused_with_those_that_exist(space: Space) -> None:
    other = await make_queue(space, "nightly")
    status, answer = await space.try_submit(execution("lost", queue="nightli"))
    assert status == 403
    assert answer["reason"] == "Forbidden"
    assert answer["message"] == (
        'admission webhook "admission.supercheck.io" denied the request: '
        'Queue "nightli" does not exist. Existing queues: default, nightly.'
    )
    await space.api.delete(f"{QUEUES}/{other}")


@pytest.mark.parametrize(
    ("template", "field"),
    [
        ({"spec": {"nodeSelektor": {}}}, "spec.template.spec.nodeSelektor"),
        ({"specs": {}}, "spec.template.specs"),
        (
            {"spec": {"containers": [{"name": "test", "imagePolicy": "Always"}]}},
            "spec.template.spec.containers[0].imagePolicy",
        ),
    ],
)
async def test_an_unknown_field_of_the_template_is_refused_where_fields_are_checked(
    space: Space, template: Raw, field: str
) -> None:
    """As kubectl asks for by itself."""
    status, answer = await space.api.call(
        "POST", f"{space.executions}?fieldValidation=Strict", execution("typo", template=template)
    )
    assert status == 400
    assert f'unknown field "{field}"' in answer["message"]
    assert not await space.phases()


@pytest.mark.parametrize(
    ("pod", "told"),
    [
        (
            {
                "containers": [
                    {
                        "name": "test",
                        "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}},
                    }
                ]
            },
            "must be less than or equal to cpu limit",
        ),
        (
            {"containers": [{"name": "test", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]},
            'volumeMounts[0].name: Not found: "v"',
        ),
        ({"containers": [{"name": "No_Name", "image": "i"}]}, "containers[1].name"),
        ({"priority": 2**40}, "priority"),
    ],
    ids=["requests above limits", "an unknown volume", "a sidecar's bad name", "a priority"],
)
async def test_a_template_that_only_its_job_can_refuse_is_an_error_that_says_so(
    operator: Operator, space: Space, pod: Raw, told: str
) -> None:
    queue = await make_queue(space, f"one-{space.name}", runningCapacity=1)
    await space.submit(execution("busy", queue=queue, pod={"nodeSelector": {"no": "node"}}))
    await space.submit(execution("bad", queue=queue, pod=pod))
    await space.submit(execution("behind", queue=queue))
    assert await operator.stats(queue) == (1, 1, 2, 50)
    await space.remove("busy")
    status = await until(space, "bad", "Error", within=90)
    assert status["reason"] == "InvalidTemplate"
    assert told in status["message"]
    assert status["tests"][0]["reason"] == "InvalidTemplate"
    assert not await jobs_of(space, "bad")
    await until(space, "behind", "Passed")
    await until_stats(operator, queue, (0, 1, 0, 50))
    await space.api.delete(f"{QUEUES}/{queue}")


async def test_null_is_the_same_as_nothing_said(operator: Operator, space: Space) -> None:
    """The contract writes null where a limit is absent."""
    nulls = dict.fromkeys(
        ("template", "maxConcurrentTests", "timeoutSeconds", "queueTimeoutSeconds", "retry")
    )
    per_test = dict.fromkeys(
        ("command", "args", "env", "envFrom", "resources", "script", "timeoutSeconds")
    )
    body = execution("nulls")
    body["spec"] |= nulls | {"ttlSecondsAfterFinished": None} | with_test(**per_test)
    await space.submit(body)
    await until(space, "nulls", "Passed")
    limit = execution("limits")
    limit["spec"] |= {"timeoutSeconds": 60} | with_test(timeoutSeconds=None)
    await space.submit(limit)
    other = execution("other")
    other["spec"] |= {"timeoutSeconds": None} | with_test(timeoutSeconds=60)
    await space.submit(other)
    await until(space, "limits", "Passed")
    await until(space, "other", "Passed")
    queue = await make_queue(
        space, "nulls", runningCapacity=None, queuedCapacity=None, perNamespace=None,
        namespaceSelector=None, history={"passed": None, "failed": None},
    )  # fmt: skip
    await until_known(operator, queue)
    assert await operator.stats(queue) == (0, 5, 0, 50)
    await space.api.delete(f"{QUEUES}/{queue}")


FULL: Raw = {
    "queue": "default",
    "priority": 1,
    "tests": [
        {
            "name": "t",
            "image": "example/e2e:1",
            "command": ["sh"],
            "args": ["-c", "true"],
            "env": [{"name": "A", "value": "1"}],
            "envFrom": [{"configMapRef": {"name": "c"}}],
            "resources": {"limits": {"cpu": "1"}},
            "script": "true",
            "timeoutSeconds": 50,
        }
    ],
    "template": {"spec": {"nodeSelector": {"a": "b"}}},
    "maxConcurrentTests": 3,
    "failFast": True,
    "timeoutSeconds": 60,
    "startTimeoutSeconds": 70,
    "queueTimeoutSeconds": 80,
    "retry": {"limit": 0, "on": ["Failure"], "backoffSeconds": 9},
    "suspend": True,
    "ttlSecondsAfterFinished": 90,
}
CHANGED: Raw = {
    "queue": "other",
    "tests": named("t"),
    "template": {"spec": {"nodeSelector": {"a": "c"}}},
    "maxConcurrentTests": 4,
    "failFast": False,
    "timeoutSeconds": 61,
    "startTimeoutSeconds": 71,
    "queueTimeoutSeconds": 81,
    "retry": {"limit": 1},
    "ttlSecondsAfterFinished": 91,
}


@pytest.mark.parametrize("field", CHANGED)
async def test_a_field_cannot_be_changed_removed_or_added(
    operator: Operator, space: Space, field: str
) -> None:
    body = execution("full")
    body["spec"] = deepcopy(FULL)
    await space.submit(body)
    whole = await space.get("full")
    attempts: list[Any] = [CHANGED[field]]
    if field != "tests":
        attempts.append(None)
    # What is there by default comes back by default: "default" is no change.
    for value in [each for each in attempts if (field, each) != ("queue", None)]:
        status, answer = await space.change("full", {field: value})
        assert status == 422, (value, answer)
        assert f"{field} cannot be changed after creation" in answer["message"], (value, answer)
    if field not in ("queue", "tests", "failFast", "startTimeoutSeconds"):  # these always are there
        await space.submit(execution("bare", suspend=True))
        status, answer = await space.change("bare", {field: FULL[field]})
        assert status == 422, answer
        assert f"{field} cannot be changed after creation" in answer["message"]
        await space.remove("bare")
    assert (await space.get("full"))["spec"] == whole["spec"]
    await space.remove("full")
    await until_stats(operator, "default", (0, 5, 0, 50))


@pytest.mark.parametrize("field", [f for f in FULL["tests"][0] if f != "name"])
async def test_a_field_of_a_test_cannot_be_changed(
    operator: Operator, space: Space, field: str
) -> None:
    body = execution("full")
    body["spec"] = deepcopy(FULL)
    await space.submit(body)
    [test] = deepcopy(FULL["tests"])
    test.pop(field)
    if field == "image":
        test["image"] = "example/other:1"
    status, answer = await space.change("full", {"tests": [test]})
    assert status == 422, answer
    assert "tests cannot be changed after creation" in answer["message"]
    status, answer = await space.change("full", {"tests": [*FULL["tests"], DEEP | {"name": "u"}]})
    assert status == 422, answer
    await space.remove("full")
    await until_stats(operator, "default", (0, 5, 0, 50))


async def test_cancel_suspend_and_priority_can_be_changed(space: Space) -> None:
    await space.submit(execution("e", suspend=True))
    for spec in ({"priority": 9}, {"priority": -9}, {"suspend": False}):
        assert (await space.change("e", spec))[0] == 200
    await until(space, "e", "Passed", within=90)
    assert (await space.change("e", {"suspend": True}))[0] == 200
    await space.submit(execution("unwanted", suspend=True))
    assert (await space.change("unwanted", {"cancel": True}))[0] == 200
    await until(space, "unwanted", "Cancelled")


@pytest.mark.parametrize("taken_back", [False, None])
async def test_a_cancellation_cannot_be_taken_back(space: Space, taken_back: bool | None) -> None:
    await space.submit(execution("e", suspend=True))
    assert (await space.change("e", {"cancel": True}))[0] == 200
    status, answer = await space.change("e", {"cancel": taken_back})
    assert status == 422
    assert "cancel is once and for all" in answer["message"]
    await until(space, "e", "Cancelled")


async def test_a_final_phase_cannot_be_written_over_by_anybody(space: Space) -> None:
    await space.submit(execution("e"))
    await until(space, "e", "Passed")
    path = f"{space.executions}/e/status"
    for phase in ("Queued", "Running", "Failed", "Error", "Cancelled"):
        status, answer = await space.api.patch(path, {"status": {"phase": phase}})
        assert status == 422, answer
        assert "a final phase never changes" in answer["message"]
    assert (await space.api.patch(path, {"status": {"phase": "Lost"}}))[0] == 422
    for nothing in ({"phase": None}, None):
        status, answer = await space.api.patch(path, {"status": nothing})
        assert (await space.status("e"))["phase"] == "Passed", (nothing, status, answer)
    # Through the main resource a status is not even looked at.
    assert (await space.api.patch(f"{space.executions}/e", {"status": {"phase": "Queued"}}))[
        0
    ] == 200
    assert (await space.status("e"))["phase"] == "Passed"


async def test_a_queue_keeps_its_name_and_takes_any_other_change(
    operator: Operator, space: Space
) -> None:
    queue = await make_queue(space, "changing", runningCapacity=1)
    await change_queue(
        space, queue, runningCapacity=2, queuedCapacity=3, ordering="FairShare",
        perNamespace={"queuedCapacity": 2}, history={"passed": 1},
    )  # fmt: skip
    await until_stats(operator, queue, (0, 2, 0, 3))
    await change_queue(space, queue, runningCapacity=None)
    await until_stats(operator, queue, (0, 5, 0, 3))
    await space.api.delete(f"{QUEUES}/{queue}")
    for name in ("has.dots", "n" * 64):
        body = {
            "apiVersion": "supercheck.io/v1alpha1",
            "kind": "ExecutionQueue",
            "metadata": {"name": name},
        }
        status, answer = await space.api.call("POST", f"{GROUP}/executionqueues", body)
        assert status == 422
        assert "a DNS label of at most 63 characters" in answer["message"]
