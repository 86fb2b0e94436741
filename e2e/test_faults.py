"""Twenty executions of ten tests each, in which everything that can go wrong does, at random."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from e2e.conftest import Namespace, Operator, Raw

SEED: Final = 4
TESTS: Final = 10
LIMIT_SECONDS: Final = 230
OVER: Final = ("Succeeded", "Failed")
MISSING: Final = "localhost/supercheck-e2e/missing:1"

Ending = tuple[str, str | None]
Strike = Callable[["Namespace", "Raw"], None]


# What is done to a pod as soon as it runs --------------------------------------------------------


def _delete_pod(namespace: Namespace, pod: Raw) -> None:
    _delete(namespace, "pod", pod["metadata"]["name"])


def _delete_job(namespace: Namespace, pod: Raw) -> None:
    _delete(namespace, "job", pod["metadata"]["labels"]["batch.kubernetes.io/job-name"])


def _delete(namespace: Namespace, resource: str, name: str) -> None:
    namespace.kubectl(
        *("delete", resource, name, f"--namespace={namespace.name}"),
        *("--wait=false", "--ignore-not-found"),
    )


def _cancel(namespace: Namespace, pod: Raw) -> None:
    namespace.cancel(_place(pod)[0])


def _delete_pod_and_let_the_next_pass(namespace: Namespace, pod: Raw) -> None:
    made = namespace.kubectl.run(
        *("create", "configmap", _place(pod)[1], f"--namespace={namespace.name}"),
        "--from-literal=program=true",
    )
    if made.returncode == 0:  # or it is the next one
        _delete_pod(namespace, pod)


def _place(pod: Raw) -> tuple[str, str]:
    """The names of its execution and its test."""
    labels: dict[str, str] = pod["metadata"]["labels"]
    return labels["supercheck.io/execution"], labels["supercheck.io/test"]


# What may happen to a test -----------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """What a test says, how it may end (in two ways if it is a race), what is done to its pod."""

    says: Raw
    endings: tuple[Ending, ...]
    strike: Strike | None = None


PASSED: Final[Ending] = ("Passed", None)
FAILED: Final[Ending] = ("Failed", "TestFailed")
CANCELLED: Final[Ending] = ("Cancelled", "CancelledByUser")
POD_DELETED: Final[Ending] = ("Error", "PodDeleted")
JOB_DELETED: Final[Ending] = ("Error", "JobDeleted")
_SLEEPS: Final[Raw] = {"command": ["sleep", "600"]}
_NAPS: Final[Raw] = {"command": ["sleep", "1"]}
_GROWS: Final[Raw] = {
    "command": ["python3", "-c", "b'x' * (1 << 30)"],
    "resources": {"limits": {"memory": "64Mi"}},
}
_NO_PROGRAM: Final[Raw] = {"command": ["no-such-program"]}

FAULTS: Final = {
    "none": Fault({"command": ["true"]}, (PASSED,)),
    "fails": Fault({"command": ["sh", "-c", "echo no login; exit 1"]}, (FAILED,)),
    # The news of the kill may be lost: https://github.com/containerd/containerd/issues/12260
    "grows": Fault(_GROWS, (("Error", "OOMKilled"), FAILED)),
    "lasts": Fault(_SLEEPS | {"timeoutSeconds": 2}, (("Failed", "TestTimeout"),)),
    "loses-pod": Fault(_SLEEPS, (POD_DELETED,), _delete_pod),
    "loses-job": Fault(_SLEEPS, (JOB_DELETED,), _delete_job),
    "loses-pod-at-its-end": Fault(_NAPS, (PASSED, POD_DELETED), _delete_pod),
    "loses-job-at-its-end": Fault(_NAPS, (PASSED, JOB_DELETED), _delete_job),
}
UNSTARTED: Final = {
    "no-program": Fault(_NO_PROGRAM, (("Error", "InvalidTemplate"),)),
    "no-image": Fault({"image": MISSING}, (("Error", "ImagePullFailed"),)),
}
LUCKY: Final = "lucky"
"""Sleeps unless there is a ConfigMap with the name of the test: there is, the second time."""
CANCELS: Final = Fault(_SLEEPS, (CANCELLED,), _cancel)
RAW: Final = Fault({"command": ["true"]}, (FAILED,))
"""What was to initialize it fails."""


def _lucky(test: str) -> Fault:
    program = {"name": test, "key": "program", "optional": True}
    says: Raw = {
        "command": ["sh", "-c", "${PROGRAM:-sleep 600}"],
        "env": [{"name": "PROGRAM", "valueFrom": {"configMapKeyRef": program}}],
    }
    return Fault(says, (PASSED,), _delete_pod_and_let_the_next_pass)


# What may happen to an execution -----------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """An execution, and what is to happen to its tests, by their names."""

    name: str
    faults: dict[str, Fault]
    spec: Raw
    anyway: Ending | None = None
    """How a test may end whatever happens to it."""

    def submit(self, namespace: Namespace, image: str) -> None:
        tests = [{"name": name, "image": image} | f.says for name, f in self.faults.items()]
        namespace.submit(self.name, *tests, **self.spec)

    def check(self, status: Raw) -> None:
        """Every test came to an end that it may have, and tells why; so does the whole."""
        results: list[Raw] = status["tests"]
        assert [result["name"] for result in results] == list(self.faults)
        for result in results:
            ending = (result["phase"], result.get("reason"))
            assert ending in (*self.faults[result["name"]].endings, self.anyway), result
            assert result["attempts"] in self._attempts(result), result
        deciding = ("Cancelled",) if self.anyway == CANCELLED else ("Error", "Failed")
        ends = {result["phase"] for result in results}
        assert status["phase"] == next((phase for phase in deciding if phase in ends), "Passed")
        for told in (status, *results):
            explained = bool(told.get("reason")) and bool(told.get("message"))
            assert explained is (told["phase"] != "Passed"), told

    def _attempts(self, result: Raw) -> tuple[int, ...]:
        if "retry" not in self.spec:
            return (0, 1) if result["phase"] == "Cancelled" else (1,)
        if result["phase"] != "Passed" or LUCKY in result["name"]:
            return (2,)
        return (1, 2) if len(self.faults[result["name"]].endings) > 1 else (1,)


def _plans(image: str, dice: random.Random) -> list[Plan]:
    """Twenty, shuffled: twelve plain, four with retries, two cancelled, two never initialized."""
    retry = {"limit": 1, "on": ["Error", "Failure"], "backoffSeconds": 1}
    broken = {"name": "prepare", "image": image, "command": ["sh", "-c", "echo no data; exit 2"]}

    def faults(execution: str, *among: str) -> dict[str, Fault]:
        drawn = (f"{execution}-{n}-{what}" for n, what in enumerate(dice.choices(among, k=TESTS)))
        return {test: _fault(test) for test in drawn}

    def cancelled(name: str) -> Plan:
        drawn = faults(name, *FAULTS)
        drawn[dice.choice(list(drawn))] = CANCELS
        return Plan(name, drawn, _spec(), CANCELLED)

    plans = [
        *(Plan(n, faults(n, *FAULTS, *UNSTARTED), _spec()) for n in _names("plain", 12)),
        *(Plan(n, faults(n, *FAULTS, LUCKY), _spec(retry=retry)) for n in _names("retried", 4)),
        *(cancelled(n) for n in _names("cancelled", 2)),
        *(Plan(n, faults(n, "raw"), _spec(initContainers=[broken])) for n in _names("raw", 2)),
    ]
    dice.shuffle(plans)
    return plans


def _names(kind: str, count: int) -> list[str]:
    return [f"{kind}-{number}" for number in range(count)]


def _fault(test: str) -> Fault:
    what = test.split("-", 3)[3]
    return _lucky(test) if what == LUCKY else (FAULTS | UNSTARTED | {"raw": RAW})[what]


def _spec(retry: Raw | None = None, **pod: object) -> Raw:
    pod["terminationGracePeriodSeconds"] = 1
    template = {"spec": pod}
    common: Raw = {"startTimeoutSeconds": 20, "maxConcurrentTests": 3, "template": template}
    return common if retry is None else common | {"retry": retry}


# The run -----------------------------------------------------------------------------------------


def test_every_end_is_final_and_explained_and_leaves_no_pod_and_no_slot_taken(
    namespace: Namespace, operator: Operator, image: str
) -> None:
    plans = _plans(image, random.Random(SEED))
    faults = {test: fault for plan in plans for test, fault in plan.faults.items()}
    began = time.monotonic()

    for plan in plans:
        plan.submit(namespace, image)
    with ThreadPoolExecutor() as pool:
        over = pool.submit(
            namespace.kubectl,
            *("wait", "testexecutions", "--all", f"--namespace={namespace.name}"),
            *("--for=condition=Finished", f"--timeout={LIMIT_SECONDS}s"),
        )
        struck = _strike(namespace, faults, over)
    print(f"seed {SEED}: {struck} pods struck, all over after {time.monotonic() - began:.0f} s")

    found = namespace.get("testexecutions")["items"]
    statuses: dict[str, Raw] = {item["metadata"]["name"]: item["status"] for item in found}
    for plan in plans:
        plan.check(statuses[plan.name])
    namespace.wait("jsonpath={.status.usage.running}=0/5", "executionqueue/default")
    told = (operator.stats("default"), namespace.get("executionqueue", "default")["status"])
    assert [(said["running"], said["queued"]) for said in told] == [(0, 0), (0, 0)]
    assert [p for p in namespace.get("pods")["items"] if p["status"]["phase"] not in OVER] == []


def _strike(namespace: Namespace, faults: dict[str, Fault], over: Future[str]) -> int:
    """Until all is ``over``, do to every pod that runs what is to be done to it; to how many."""
    struck: set[str] = set()
    while not wait([over], timeout=0.3).done:
        for pod in namespace.get("pods", "--field-selector=status.phase=Running")["items"]:
            strike, uid = faults[_place(pod)[1]].strike, pod["metadata"]["uid"]
            if strike is not None and uid not in struck:
                struck.add(uid)
                strike(namespace, pod)
    over.result()
    return len(struck)
