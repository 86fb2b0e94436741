"""Every row of "Causes" in docs/life.md that one real node can bring about, by its name.

Each is told by phase, reason and message; the next one gets its slot when it is free, not before.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pytest
from e2e.slot import Slot

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.conftest import Namespace, Operator, Raw

MISSING: Final = "localhost/supercheck-e2e/missing:1"
GRACE: Final = 3
"""Seconds that a deleted pod lives on here: its ``sleep`` does not heed SIGTERM."""
UNTOUCHED: Final = {"phase": "Queued", "observedGeneration": -1}
"""The status of what waits: nobody has written it."""


@pytest.fixture
def slot(namespace: Namespace, operator: Operator, image: str, narrow_queue: str) -> Slot:
    return Slot(namespace, operator, image, narrow_queue)


@pytest.fixture
def sleeper(image: str) -> Raw:
    """A test that ends only when it is killed."""
    return {"name": "sleeper", "image": image, "command": ["sleep", "600"]}


@pytest.fixture
def quick(image: str) -> Raw:
    return {"name": "quick", "image": image, "command": ["true"]}


# Queued ------------------------------------------------------------------------------------------


def test_it_waits_in_the_line(namespace: Namespace, slot: Slot, sleeper: Raw) -> None:
    slot.take(sleeper)
    namespace.running("first")

    assert namespace.status("second") == UNTOUCHED
    assert slot.is_taken()
    namespace.cancel("first")
    slot.check_passed_on()


def test_it_is_suspended(namespace: Namespace, slot: Slot, quick: Raw) -> None:
    name = slot.take(quick, suspend=True)

    slot.check_passed_on()
    assert namespace.status(name) == UNTOUCHED
    assert namespace.jobs_of(name) == []
    namespace.change(name, suspend=False)
    assert namespace.finished(name)["phase"] == "Passed"


def test_it_rests_before_another_attempt(
    namespace: Namespace, slot: Slot, image: str, quick: Raw
) -> None:
    beside: Raw = {"name": "beside", "image": image, "command": ["sleep", "600"]}
    name = slot.take(
        quick | {"command": ["sh", "-c", "echo no login; exit 4"]},
        template=_template(containers=[beside]),
        retry={"limit": 1, "on": ["Failure"], "backoffSeconds": 300},
    )

    namespace.wait("jsonpath={.status.reason}=Retrying", f"testexecution/{name}")
    status = namespace.status(name)
    assert status["phase"] == "Queued"
    assert re.fullmatch(
        r"Attempt 1 of 2 ended with TestFailed; the next can begin at [-\dT:]+Z\. no login",
        status["message"],
    )
    assert (status["tests"][0]["reason"], status["tests"][0]["exitCode"]) == ("Retrying", 4)
    slot.check_passed_on()
    assert namespace.status(name) == status


# Running -----------------------------------------------------------------------------------------


def test_no_pod_has_started_yet(namespace: Namespace, slot: Slot) -> None:
    name = slot.take({"name": "suite", "image": MISSING})

    namespace.wait("jsonpath={.status.reason}=Starting", f"testexecution/{name}")
    status = namespace.status(name)
    assert status["phase"] == "Running"
    assert re.match("ErrImagePull: |ImagePullBackOff: ", status["message"])
    assert MISSING in status["message"]
    assert "startedAt" not in status
    assert slot.is_taken()
    namespace.cancel(name)
    slot.check_passed_on()


def test_a_container_has_started(namespace: Namespace, slot: Slot, sleeper: Raw) -> None:
    name = slot.take(sleeper)

    namespace.wait("jsonpath={.status.reason}=Running", f"testexecution/{name}")
    status = namespace.status(name)
    assert status["phase"] == "Running"
    assert "message" not in status
    assert "startedAt" in status
    assert status["summary"]["running"] == 1
    assert _conditions(status) == {
        "Finished": "False",
        "Succeeded": "Unknown",
        "Ready": "False",
        "Reconciling": "True",
        "Stalled": "False",
    }
    assert slot.is_taken()
    namespace.cancel(name)
    slot.check_passed_on()


# Passed, Failed ----------------------------------------------------------------------------------


def test_every_test_exits_with_0(namespace: Namespace, slot: Slot, image: str, quick: Raw) -> None:
    suite: Raw = {"name": "suite", "image": image, "args": ["test_checkout.py"]}
    name = slot.take(suite, quick)

    status = namespace.finished(name)

    assert status["phase"] == "Passed"
    assert not {"reason", "message"} & status.keys()
    assert status["observedGeneration"] == 1
    assert status["attempts"] == 1
    assert _conditions(status) == {
        "Finished": "True",
        "Succeeded": "True",
        "Ready": "True",
        "Reconciling": "False",
        "Stalled": "False",
    }
    assert {kind: n for kind, n in status["summary"].items() if n} == {"total": 2, "passed": 2}
    results = {result["name"]: result for result in status["tests"]}
    assert {(r["phase"], r["exitCode"]) for r in results.values()} == {("Passed", 0)}
    pods = {
        pod["metadata"]["labels"]["supercheck.io/test"]: pod["metadata"]["name"]
        for pod in namespace.pods_of(name)
    }
    assert {test: result["pod"] for test, result in results.items()} == pods
    created = namespace.get("testexecution", name)["metadata"]["creationTimestamp"]
    assert created <= status["startedAt"] <= status["completedAt"]
    assert status["startedAt"] == min(result["startedAt"] for result in status["tests"])
    assert status["completedAt"] == max(result["completedAt"] for result in status["tests"])
    slot.check_passed_on()


def test_a_test_exits_with_another_code(namespace: Namespace, slot: Slot, image: str) -> None:
    name = slot.take({"name": "suite", "image": image, "args": ["test_broken.py"]})

    status = namespace.finished(name)

    assert _ending(status) == ("Failed", "TestFailed")
    assert "expected 90, got 95" in status["message"]
    assert "1 failed in" in status["message"].splitlines()[-1]
    [result] = status["tests"]
    assert result["exitCode"] == 1
    assert result["message"] == status["message"]
    conditions = _conditions(status)
    assert (conditions["Finished"], conditions["Succeeded"]) == ("True", "False")
    assert (conditions["Ready"], conditions["Stalled"]) == ("False", "True")
    slot.check_passed_on()


def test_an_init_container_fails(namespace: Namespace, slot: Slot, image: str, quick: Raw) -> None:
    command = ["sh", "-c", "echo no database; exit 3"]
    prepare: Raw = {"name": "prepare", "image": image, "command": command}
    name = slot.take(quick, template=_template(initContainers=[prepare]))

    status = namespace.finished(name)

    assert _ending(status) == ("Failed", "TestFailed")
    assert status["message"] == "Init container prepare failed. no database"
    assert status["tests"][0]["exitCode"] == 3
    slot.check_passed_on()


def test_a_test_runs_longer_than_its_own_limit(
    namespace: Namespace, slot: Slot, sleeper: Raw
) -> None:
    name = slot.take(sleeper | {"timeoutSeconds": 2}, template=_template())

    status = namespace.finished(name)

    assert _ending(status) == ("Failed", "TestTimeout")
    assert status["message"] == "The test did not end within its 2 s."
    slot.check_passed_on()


def test_a_test_fails_fast(namespace: Namespace, slot: Slot, sleeper: Raw, image: str) -> None:
    status = _fails_fast(namespace, slot, sleeper, image)

    assert _ending(status) == ("Failed", "TestFailed")
    assert status["message"] == "0 of 3 tests passed; broken: no login"
    slot.check_passed_on()


def test_another_test_fails_fast(
    namespace: Namespace, slot: Slot, sleeper: Raw, image: str
) -> None:
    status = _fails_fast(namespace, slot, sleeper, image)

    others = [test for test in status["tests"] if test["name"] != "broken"]
    assert {_ending(test) for test in others} == {("Cancelled", "FailFast")}
    assert {test["message"] for test in others} == {"Another test did not pass (failFast)."}
    assert len(namespace.jobs_of("first")) <= 2
    slot.check_passed_on()


def _fails_fast(namespace: Namespace, slot: Slot, sleeper: Raw, image: str) -> Raw:
    """The status of an execution in which one test fails, another runs and a third waits."""
    command = ["sh", "-c", "sleep 2; echo no login; exit 1"]
    broken: Raw = {"name": "broken", "image": image, "command": command}
    name = slot.take(
        sleeper,
        broken,
        sleeper | {"name": "third"},
        failFast=True,
        maxConcurrentTests=2,
        template=_template(),
    )
    return namespace.finished(name)


# Error: limits -----------------------------------------------------------------------------------


def test_the_execution_runs_longer_than_its_limit(
    namespace: Namespace, slot: Slot, sleeper: Raw
) -> None:
    name = slot.take(sleeper, sleeper | {"name": "other"}, timeoutSeconds=2, template=_template())

    status = namespace.finished(name)

    assert _ending(status) == ("Error", "ExecutionTimeout")
    assert "The execution did not end within its 2 s." in status["message"]
    assert {_ending(test) for test in status["tests"]} == {("Error", "ExecutionTimeout")}
    slot.check_passed_on()


def test_it_waits_longer_than_its_queue_timeout(
    namespace: Namespace, slot: Slot, sleeper: Raw, quick: Raw
) -> None:
    slot.take(sleeper)
    late = namespace.submit("late", quick, queue=slot.queue, queueTimeoutSeconds=2)

    status = namespace.finished(late)

    assert _ending(status) == ("Error", "QueueTimeout")
    assert status["message"] == "Still waiting after its 2 s in the queue."
    assert "startedAt" not in status
    assert namespace.jobs_of(late) == []
    assert slot.is_taken()
    namespace.cancel("first")
    slot.check_passed_on()


# Error: no start ---------------------------------------------------------------------------------


def test_an_image_cannot_be_pulled(namespace: Namespace, slot: Slot) -> None:
    name = slot.take(
        {"name": "suite", "image": MISSING, "timeoutSeconds": 1},
        timeoutSeconds=1,  # of which pulling takes nothing
        startTimeoutSeconds=8,
    )

    status = namespace.finished(name)

    assert _ending(status) == ("Error", "ImagePullFailed")
    assert "Not started within 8 s" in status["message"]
    assert MISSING in status["message"]
    assert "startedAt" not in status
    assert "exitCode" not in status["tests"][0]
    slot.check_passed_on()


def test_no_node_fits(namespace: Namespace, slot: Slot, quick: Raw) -> None:
    name = slot.take(quick, template=_template(nodeSelector={"e2e": "no"}), startTimeoutSeconds=4)

    status = namespace.finished(name)

    assert _ending(status) == ("Error", "Unschedulable")
    assert "0/1 nodes are available" in status["message"]
    assert "startedAt" not in status
    slot.check_passed_on()


def test_a_quota_refuses_the_pod(namespace: Namespace, slot: Slot, quick: Raw) -> None:
    namespace.create(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "no-pods", "namespace": namespace.name},
            "spec": {"hard": {"pods": "0"}},
        }
    )
    name = slot.take(quick, startTimeoutSeconds=6)

    status = namespace.finished(name)
    namespace.kubectl("delete", "resourcequota", "no-pods", f"--namespace={namespace.name}")

    assert _ending(status) == ("Error", "QuotaExceeded")
    assert "exceeded quota: no-pods, requested: pods=1" in status["message"]
    slot.check_passed_on()


def test_the_pod_security_level_refuses_the_pod(
    namespace: Namespace, slot: Slot, quick: Raw
) -> None:
    message = _refused(namespace, slot, quick, hostNetwork=True)

    assert 'violates PodSecurity "restricted' in message
    assert "hostNetwork=true" in message


def test_the_service_account_is_missing(namespace: Namespace, slot: Slot, quick: Raw) -> None:
    message = _refused(namespace, slot, quick, serviceAccountName="nobody")

    assert 'serviceaccount "nobody" not found' in message


def test_the_runtime_class_is_missing(namespace: Namespace, slot: Slot, quick: Raw) -> None:
    message = _refused(namespace, slot, quick, runtimeClassName="nowhere")

    assert 'RuntimeClass "nowhere" not found' in message


def _refused(namespace: Namespace, slot: Slot, test: Raw, **pod: object) -> str:
    """The message about a pod that the API server never took."""
    name = slot.take(test, template=_template(**pod), startTimeoutSeconds=6)

    status = namespace.finished(name)

    assert _ending(status) == ("Error", "PodRejected")
    assert "Not started within 6 s" in status["message"]
    assert namespace.pods_of(name) == []
    slot.check_passed_on()
    message: str = status["message"]
    return message


def test_the_kubelet_refuses_the_pod(namespace: Namespace, slot: Slot, quick: Raw) -> None:
    [node] = namespace.kubectl.get("nodes")["items"]
    # Bound by its template, so that the scheduler has no say.
    name = slot.take(
        quick, template=_template(nodeName=node["metadata"]["name"], nodeSelector={"e2e": "no"})
    )

    status = namespace.finished(name)

    assert _ending(status) == ("Error", "PodRejected")
    assert "NodeAffinity" in status["message"]
    assert "Pod was rejected" in status["message"]
    slot.check_passed_on()


def test_the_config_map_of_the_script_is_deleted_before_the_start(
    namespace: Namespace, slot: Slot, quick: Raw
) -> None:
    gate = {"name": "e2e/config-map-deleted"}
    name = slot.take(
        quick | {"command": ["/supercheck/script"], "script": "#!/bin/sh\n"},
        template=_template(schedulingGates=[gate]),
        startTimeoutSeconds=12,
    )
    pod = _pod_of(namespace, name)

    namespace.kubectl("delete", "configmaps", f"--namespace={namespace.name}", "--all")
    ungated = [{"op": "remove", "path": "/spec/schedulingGates"}]
    namespace.patch("pod", pod, ungated)
    status = namespace.finished(name)

    assert _ending(status) == ("Error", "StartTimeout")
    assert 'MountVolume.SetUp failed for volume "supercheck-script"' in status["message"]
    slot.check_passed_on()


def test_a_secret_it_names_is_missing(namespace: Namespace, slot: Slot, quick: Raw) -> None:
    token = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "shop", "key": "token"}}}
    name = slot.take(quick | {"env": [token]}, startTimeoutSeconds=6)

    status = namespace.finished(name)

    assert _ending(status) == ("Error", "StartTimeout")
    assert 'CreateContainerConfigError: secret "shop" not found' in status["message"]
    slot.check_passed_on()


def test_the_program_to_run_is_missing(namespace: Namespace, slot: Slot, quick: Raw) -> None:
    name = slot.take(quick | {"command": ["no-such-program"]})

    status = namespace.finished(name)

    assert _ending(status) == ("Error", "InvalidTemplate")
    assert "no-such-program" in status["message"]
    assert "executable file not found" in status["message"]
    created = namespace.get("testexecution", name)["metadata"]["creationTimestamp"]
    assert status.get("startedAt", created) >= created
    slot.check_passed_on()


# Error: an end that is no verdict ----------------------------------------------------------------


def test_a_container_uses_more_memory_than_its_limit(
    namespace: Namespace, slot: Slot, quick: Raw
) -> None:
    # Its end waits for the news of the kill: https://github.com/containerd/containerd/issues/12260
    grows = "python3 -c 'b\"x\" * (1 << 30)'; code=$?; sleep 2; exit $code"
    limited = {"command": ["sh", "-c", grows], "resources": {"limits": {"memory": "64Mi"}}}
    name = slot.take(quick | limited)

    status = namespace.finished(name)

    assert _ending(status) == ("Error", "OOMKilled")
    assert status["message"] == "The container used more memory than its limit."
    assert status["tests"][0]["exitCode"] == 137
    slot.check_passed_on()


def _evicted_by_its_api(namespace: Namespace, slot: Slot, sleeper: Raw) -> None:
    name = slot.take(sleeper, template=_template())
    pod = namespace.running(name)["metadata"]["name"]
    namespace.kubectl(
        *("create", "--filename=-"),
        f"--raw=/api/v1/namespaces/{namespace.name}/pods/{pod}/eviction",
        stdin={
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace.name},
        },
    )


def _evicted_by_the_kubelet(_: Namespace, slot: Slot, sleeper: Raw) -> None:
    slot.take(
        sleeper | {"command": ["sh", "-c", "head --bytes=8M /dev/zero > /scratch/file; sleep 600"]},
        template=_template(
            volumes=[{"name": "scratch", "emptyDir": {"sizeLimit": "1Mi"}}],
            containers=[
                {"name": "test", "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]}
            ],
        ),
    )


def _evicted_by_the_scheduler(namespace: Namespace, slot: Slot, sleeper: Raw) -> None:
    [node] = namespace.kubectl.get("nodes")["items"]
    most = f"{int(node['status']['allocatable']['cpu']) * 600}m"  # of which two do not fit
    large = sleeper | {"resources": {"requests": {"cpu": most}}}
    name = slot.take(large, template=_template())
    namespace.running(name)
    namespace.create(
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": namespace.name},
            "value": 1000,
        }
    )
    namespace.submit("urgent", large, template=_template(priorityClassName=namespace.name))


@pytest.mark.parametrize(
    ("evict", "told"),
    [
        (_evicted_by_its_api, "Eviction API: evicting"),
        (_evicted_by_the_kubelet, 'Usage of EmptyDir volume "scratch" exceeds the limit "1Mi"'),
        (_evicted_by_the_scheduler, "preempting to accommodate a higher priority pod"),
    ],
    ids=["by its API", "by the kubelet", "by the scheduler"],
)
def test_a_pod_is_evicted(
    namespace: Namespace,
    slot: Slot,
    sleeper: Raw,
    evict: Callable[[Namespace, Slot, Raw], None],
    told: str,
) -> None:
    evict(namespace, slot, sleeper)

    status = namespace.finished("first")

    assert _ending(status) == ("Error", "Evicted")
    assert told in status["message"]
    slot.check_passed_on()


def test_a_pod_is_deleted_by_hand(namespace: Namespace, slot: Slot, sleeper: Raw) -> None:
    name = slot.take(sleeper, template=_template())
    pod = namespace.running(name)["metadata"]["name"]

    namespace.kubectl("delete", "pod", pod, f"--namespace={namespace.name}", "--wait=false")
    status = namespace.finished(name)

    assert _ending(status) == ("Error", "PodDeleted")
    assert status["message"] == f"Pod {pod} was deleted before it ended."
    slot.check_passed_on()


def test_a_job_is_deleted_by_hand(namespace: Namespace, slot: Slot, sleeper: Raw) -> None:
    name = slot.take(sleeper, template=_template())
    namespace.running(name)
    [job] = namespace.jobs_of(name)

    namespace.kubectl("delete", "job", job["metadata"]["name"], f"--namespace={namespace.name}")
    status = namespace.finished(name)

    assert _ending(status) == ("Error", "JobDeleted")
    assert status["message"] == "The Job was deleted before its test ended."
    slot.check_passed_on()


# Cancelled ---------------------------------------------------------------------------------------


def test_a_running_execution_is_cancelled(namespace: Namespace, slot: Slot, sleeper: Raw) -> None:
    name = slot.take(sleeper, template=_template())
    namespace.running(name)

    namespace.cancel(name)
    status = namespace.finished(name)

    assert _ending(status) == ("Cancelled", "CancelledByUser")
    assert status["message"] == "Cancelled by its user."
    assert [test["phase"] for test in status["tests"]] == ["Cancelled"]
    assert slot.is_taken()
    slot.check_passed_on()


def test_a_waiting_execution_is_cancelled(
    namespace: Namespace, slot: Slot, sleeper: Raw, quick: Raw
) -> None:
    slot.take(sleeper)
    waits = namespace.submit("waits", quick, queue=slot.queue)

    namespace.cancel(waits)
    status = namespace.finished(waits)

    assert _ending(status) == ("Cancelled", "CancelledByUser")
    assert status["message"] == "Cancelled by its user."
    assert [test["phase"] for test in status["tests"]] == ["Cancelled"]
    assert namespace.jobs_of(waits) == []
    assert slot.is_taken()
    namespace.cancel("first")
    slot.check_passed_on()


def test_it_is_deleted_while_a_finalizer_keeps_it(
    namespace: Namespace, slot: Slot, sleeper: Raw
) -> None:
    name = slot.take(sleeper, template=_template())
    namespace.running(name)
    namespace.patch(
        "testexecution",
        name,
        [{"op": "add", "path": "/metadata/finalizers", "value": ["e2e/keep"]}],
    )

    namespace.kubectl(
        "delete", "testexecution", name, f"--namespace={namespace.name}", "--wait=false"
    )
    status = namespace.finished(name)

    assert _ending(status) == ("Cancelled", "CancelledByUser")
    assert status["message"] == "Deleted by its user."
    slot.check_passed_on()
    namespace.patch("testexecution", name, [{"op": "remove", "path": "/metadata/finalizers"}])


def test_the_queue_is_drained(namespace: Namespace, slot: Slot, sleeper: Raw) -> None:
    name = slot.take_alone(sleeper, template=_template(terminationGracePeriodSeconds=2 * GRACE))
    namespace.running(name)

    _stop_policy(namespace, slot, "HoldAndDrain")
    status = namespace.finished(name)
    _stop_policy(namespace, slot, "None")
    slot.want()

    assert _ending(status) == ("Cancelled", "QueueDrained")
    assert status["message"] == f"Queue {slot.queue} was drained."
    assert slot.is_taken()
    slot.check_passed_on()


def _stop_policy(namespace: Namespace, slot: Slot, policy: str) -> None:
    change = [{"op": "add", "path": "/spec/stopPolicy", "value": policy}]
    namespace.patch("executionqueue", slot.queue, change)


# Sidecars ----------------------------------------------------------------------------------------


def test_a_sidecar_never_ends(namespace: Namespace, slot: Slot, image: str) -> None:
    _passes_beside(namespace, slot, image, containers=[_sidecar(image)])


def test_a_native_sidecar_never_ends(namespace: Namespace, slot: Slot, image: str) -> None:
    sidecar = _sidecar(image) | {"restartPolicy": "Always"}
    _passes_beside(namespace, slot, image, initContainers=[sidecar])


def _sidecar(image: str) -> Raw:
    return {"name": "sidecar", "image": image, "command": ["sleep", "600"]}


def _passes_beside(namespace: Namespace, slot: Slot, image: str, **sidecar: object) -> None:
    suite: Raw = {"name": "suite", "image": image, "args": ["test_checkout.py"]}
    name = slot.take(suite, template=_template(**sidecar))

    status = namespace.finished(name)

    assert status["phase"] == "Passed"
    assert not {"reason", "message"} & status.keys()
    assert status["tests"][0]["exitCode"] == 0
    slot.check_passed_on()


# What they have in common ------------------------------------------------------------------------


def _template(**pod: object) -> Raw:
    return {"spec": {"terminationGracePeriodSeconds": GRACE} | pod}


def _ending(status: Raw) -> tuple[str, str]:
    return status["phase"], status["reason"]


def _conditions(status: Raw) -> dict[str, str]:
    return {condition["type"]: condition["status"] for condition in status["conditions"]}


def _pod_of(namespace: Namespace, name: str) -> str:
    """The name of its one pod, as soon as there is one."""
    with namespace.pods() as pods:
        found: str = pods.until(lambda _: True)["metadata"]["name"]
    assert [pod["metadata"]["name"] for pod in namespace.pods_of(name)] == [found]
    return found
