"""What real containers do becomes the verdict of their execution."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from e2e.conftest import Namespace, Raw


def test_a_suite_that_passes_is_passed(namespace: Namespace, image: str) -> None:
    name = namespace.submit(
        "checkout", {"name": "suite", "image": image, "args": ["test_checkout.py"]}
    )

    status = namespace.finished(name)
    namespace.wait("condition=Succeeded", f"testexecution/{name}")

    assert status["phase"] == "Passed"
    assert "reason" not in status
    assert status["observedGeneration"] == 1
    assert status["attempts"] == 1
    assert _conditions(status) == {
        "Finished": "True",
        "Succeeded": "True",
        "Ready": "True",
        "Reconciling": "False",
        "Stalled": "False",
    }
    assert {kind: n for kind, n in status["summary"].items() if n} == {"total": 1, "passed": 1}
    [result] = status["tests"]
    assert (result["name"], result["phase"], result["exitCode"]) == ("suite", "Passed", 0)
    [pod] = namespace.pods_of(name)
    assert result["pod"] == pod["metadata"]["name"]
    created = namespace.get("testexecution", name)["metadata"]["creationTimestamp"]
    assert created <= status["startedAt"] <= status["completedAt"]
    assert (result["startedAt"], result["completedAt"]) == (
        status["startedAt"],
        status["completedAt"],
    )


def test_a_suite_that_fails_is_failed_and_tells_its_last_lines(
    namespace: Namespace, image: str
) -> None:
    name = namespace.submit("broken", {"name": "suite", "image": image, "args": ["test_broken.py"]})

    status = namespace.finished(name)

    assert (status["phase"], status["reason"]) == ("Failed", "TestFailed")
    assert "expected 90, got 95" in status["message"]
    assert "1 failed in" in status["message"].splitlines()[-1]
    [result] = status["tests"]
    assert result["exitCode"] == 1
    assert result["message"] == status["message"]
    conditions = _conditions(status)
    assert (conditions["Finished"], conditions["Succeeded"]) == ("True", "False")
    assert (conditions["Ready"], conditions["Stalled"]) == ("False", "True")


def test_several_tests_run_at_most_so_many_at_once_and_tell_their_results_in_order(
    namespace: Namespace, image: str
) -> None:
    slow: Raw = {"name": "slow", "image": image, "command": ["sleep", "600"], "timeoutSeconds": 3}
    broken: Raw = {"name": "broken", "image": image, "args": ["test_broken.py"]}
    checkout: Raw = {"name": "checkout", "image": image, "args": ["test_checkout.py"]}

    with namespace.pods() as pods:
        name = namespace.submit("shop", slow, broken, checkout, maxConcurrentTests=2)
        pods.until_ended(3)
    status = namespace.finished(name)

    assert pods.peak == 2
    assert status["phase"] == "Failed"
    assert [(t["name"], t["phase"], t.get("reason")) for t in status["tests"]] == [
        ("slow", "Failed", "TestTimeout"),
        ("broken", "Failed", "TestFailed"),
        ("checkout", "Passed", None),
    ]
    assert status["summary"]["passed"] == 1
    assert status["summary"]["failed"] == 2
    assert "1 of 3 tests passed" in status["message"]
    namespace.wait("delete", f"pod/{status['tests'][0]['pod']}")


def test_an_execution_that_takes_too_long_is_an_error_and_its_pod_goes(
    namespace: Namespace, image: str
) -> None:
    name = namespace.submit(
        "endless",
        {"name": "sleeper", "image": image, "command": ["sleep", "600"]},
        timeoutSeconds=2,
    )

    status = namespace.finished(name)

    assert (status["phase"], status["reason"]) == ("Error", "ExecutionTimeout")
    took = datetime.fromisoformat(status["completedAt"]) - datetime.fromisoformat(
        status["startedAt"]
    )
    assert 2 <= took.total_seconds() < 30
    namespace.wait("delete", f"pod/{status['tests'][0]['pod']}")


def test_an_image_that_cannot_be_pulled_is_an_error_and_takes_none_of_the_time_to_run(
    namespace: Namespace,
) -> None:
    missing = "localhost/supercheck-e2e/missing:1"
    name = namespace.submit(
        "missing",
        {"name": "suite", "image": missing, "timeoutSeconds": 1},
        timeoutSeconds=1,
        startTimeoutSeconds=8,
    )

    status = namespace.finished(name)

    assert (status["phase"], status["reason"]) == ("Error", "ImagePullFailed")
    assert "Not started within 8 s" in status["message"]
    assert missing in status["message"]
    assert "startedAt" not in status
    assert "exitCode" not in status["tests"][0]
    namespace.wait("delete", f"pod/{status['tests'][0]['pod']}")


def test_a_pod_that_fits_no_node_is_an_error(namespace: Namespace, image: str) -> None:
    name = namespace.submit(
        "nowhere",
        {"name": "suite", "image": image},
        template={"spec": {"nodeSelector": {"e2e": "nowhere"}}},
        startTimeoutSeconds=4,
    )

    status = namespace.finished(name)

    assert (status["phase"], status["reason"]) == ("Error", "Unschedulable")
    assert "0/1 nodes are available" in status["message"]
    assert "startedAt" not in status
    namespace.wait("delete", f"pod/{status['tests'][0]['pod']}")


def test_a_container_that_outgrows_its_memory_is_an_error(namespace: Namespace, image: str) -> None:
    name = namespace.submit(
        "greedy",
        {
            "name": "suite",
            "image": image,
            "command": ["python3", "-c", "b'x' * (1 << 30)"],
            "resources": {"limits": {"memory": "64Mi"}},
        },
    )

    status = namespace.finished(name)

    assert (status["phase"], status["reason"]) == ("Error", "OOMKilled")
    assert status["tests"][0]["exitCode"] == 137


def test_a_pod_deleted_by_hand_is_an_error_and_no_cancellation(
    namespace: Namespace, image: str
) -> None:
    sleeper: Raw = {"name": "sleeper", "image": image, "command": ["sleep", "600"]}
    name = namespace.submit("victim", sleeper)
    pod = namespace.running(name)["metadata"]["name"]

    namespace.kubectl("delete", "pod", pod, f"--namespace={namespace.name}")
    status = namespace.finished(name)

    assert (status["phase"], status["reason"]) == ("Error", "PodDeleted")
    assert pod in status["message"]


def test_a_command_that_is_not_there_is_an_error_with_the_words_of_the_runtime(
    namespace: Namespace, image: str
) -> None:
    name = namespace.submit(
        "typo", {"name": "suite", "image": image, "command": ["no-such-program"]}
    )

    status = namespace.finished(name)

    assert (status["phase"], status["reason"]) == ("Error", "InvalidTemplate")
    assert "no-such-program" in status["message"]
    assert "executable file not found" in status["message"]
    created = namespace.get("testexecution", name)["metadata"]["creationTimestamp"]
    assert status.get("startedAt", created) >= created


def _conditions(status: Raw) -> dict[str, str]:
    return {condition["type"]: condition["status"] for condition in status["conditions"]}
