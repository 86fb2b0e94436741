"""The operator as a product: its image, installed by its chart, in a cluster that enforces
*restricted*, from the first `helm install` to the end of its namespace."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import pytest
from e2e.chart.release import (
    DEFINITIONS,
    MARK,
    NAMESPACE,
    RELEASE,
    Helm,
    installed,
    its_namespace,
    operators,
    sleeping,
    with_a_new_field,
)
from e2e.conftest import WAIT_SECONDS, Kubectl, Namespace

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.conftest import Raw

EVERYWHERE: Final = (
    *("deployments", "replicasets", "pods", "services", "endpointslices", "configmaps"),
    *("secrets", "serviceaccounts", "roles", "rolebindings", "clusterroles"),
    *("clusterrolebindings", "validatingwebhookconfigurations", "poddisruptionbudgets"),
)
"""Kinds of which an uninstalled release leaves nothing."""


@pytest.fixture(scope="module")
def helm(
    kubectl: Kubectl,
    operator_image: str,  # noqa: ARG001 - which must be on the node
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[Helm, None, None]:
    """One replica that counts in memory, as the chart is by default."""
    folder = tmp_path_factory.mktemp("helm")
    with (
        its_namespace(kubectl),
        installed(kubectl, folder, "--set=queues.narrow.runningCapacity=1") as made,
    ):
        yield made


def is_refused(call: Callable[[], object]) -> str:
    with pytest.raises(AssertionError) as refused:
        call()
    return str(refused.value)


def test_its_own_test_passes(helm: Helm) -> None:
    assert "Phase:          Succeeded" in helm("test", RELEASE, "--logs")


def test_it_runs_as_restricted_with_nothing_to_write_to(helm: Helm) -> None:
    kubectl = helm.kubectl
    [pod] = operators(kubectl)
    [container] = pod["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    look = "import os; print(os.getuid(), os.statvfs('/').f_flag & os.ST_RDONLY)"
    inside = kubectl(
        *("exec", f"--namespace={NAMESPACE}", pod["metadata"]["name"], "--"),
        *("python3", "-c", look),
    )
    assert inside.split() == ["65532", "1"]
    log = kubectl("logs", f"--namespace={NAMESPACE}", pod["metadata"]["name"])
    assert " ready: " in log
    assert "Traceback" not in log


def test_an_execution_runs_in_a_pod(team: Namespace, image: str) -> None:
    status = team.finished(team.submit("first", sleeping(image, 0)))
    assert status["phase"] == "Passed", status


def test_queues_of_the_values_are_there(helm: Helm) -> None:
    assert helm.kubectl.get("executionqueue", "narrow")["spec"]["runningCapacity"] == 1


def test_a_full_queue_refuses(team: Namespace, kubectl: Kubectl, image: str) -> None:
    kubectl("patch", "executionqueue/narrow", "--type=merge", '-p={"spec":{"queuedCapacity":0}}')
    team.submit("holds", sleeping(image, 600), queue="narrow")
    told = is_refused(lambda: team.submit("refused", sleeping(image, 0), queue="narrow"))
    assert "Queue capacity limit reached (0/0 queued jobs)" in told
    team.cancel("holds")
    team.finished("holds")
    kubectl("patch", "executionqueue/narrow", "--type=merge", '-p={"spec":{"queuedCapacity":null}}')


def test_users_may_what_their_roles_say(team: Namespace, kubectl: Kubectl) -> None:
    for role in ("view", "edit"):
        kubectl(
            *("create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}"),
            f"--namespace={team.name}",
        )

    def may(user: str, verb: str, *resource: str) -> bool:
        asked = ["auth", "can-i", verb, *resource, f"--as={user}", f"--namespace={team.name}"]
        done = subprocess.run(
            [str(kubectl.program), f"--kubeconfig={kubectl.kubeconfig}", *asked],
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.stdout.strip() in ("yes", "no"), done.stderr
        return done.stdout.strip() == "yes"

    executions = "testexecutions.supercheck.io"
    assert may("view", "get", executions)
    assert not may("view", "create", executions)
    assert may("edit", "create", executions)
    assert not may("edit", "patch", executions, "--subresource=status")


def test_an_outage_stands_in_the_way_of_nothing_but_new_executions(
    team: Namespace, kubectl: Kubectl, image: str
) -> None:
    team.submit("before", sleeping(image, 600))
    team.wait("jsonpath={.status.phase}=Running", "testexecution/before")
    _scale(kubectl, 0)
    try:
        told = is_refused(lambda: team.submit("meanwhile", sleeping(image, 0)))
        assert "failed calling webhook" in told
        container: Raw = {"name": "c", "image": image, "command": ["true"]}
        context = {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        container["securityContext"] = {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        pod = {"restartPolicy": "Never", "securityContext": context, "containers": [container]}
        metadata = {"name": "of-others", "namespace": team.name}
        for version, kind, spec in (
            ("v1", "Pod", pod),
            ("batch/v1", "Job", {"template": {"spec": pod}}),
            ("v1", "ConfigMap", None),
        ):
            manifest = {"apiVersion": version, "kind": kind, "metadata": metadata}
            team.create(manifest | ({"spec": spec} if spec else {}))
        queue = {"name": f"outage-{team.name}"}
        team.create(
            {
                "apiVersion": "supercheck.io/v1alpha1",
                "kind": "ExecutionQueue",
                "metadata": queue,
                "spec": {},
            }
        )
        kubectl("delete", "executionqueue", queue["name"])
        team.change("before", cancel=True)
        kubectl("delete", "testexecution", "before", f"--namespace={team.name}")
    finally:
        _scale(kubectl, 1)
    assert team.finished(team.submit("after", sleeping(image, 0)))["phase"] == "Passed"


def _scale(kubectl: Kubectl, replicas: int) -> None:
    where = (f"--namespace={NAMESPACE}", f"deployment/{RELEASE}")
    kubectl("scale", f"--replicas={replicas}", *where)
    if replicas:
        kubectl("rollout", "status", *where, f"--timeout={WAIT_SECONDS}s")
    else:
        kubectl(
            *("wait", "--for=delete", "pod", f"--selector={MARK}", f"--namespace={NAMESPACE}"),
            f"--timeout={WAIT_SECONDS}s",
        )


def test_an_upgrade_adds_a_field_and_loses_nothing(
    helm: Helm, team: Namespace, kubectl: Kubectl, image: str, tmp_path: Path
) -> None:
    """One replica without Redis: it is replaced, and in between submissions are refused, never
    lost. How long that takes is printed."""
    bundle = _bundle(kubectl)
    chart = with_a_new_field(tmp_path)
    stored = [team.submit(f"before-{i}", sleeping(image, 3), queue="narrow") for i in range(4)]
    admitted, refusals = [time.monotonic()], []
    with ThreadPoolExecutor() as pool:
        upgrading = pool.submit(helm.upgrade, chart, "--set=runningCapacity=4")
        while not upgrading.done():
            name = f"during-{time.monotonic_ns()}"
            try:
                stored.append(team.submit(name, sleeping(image, 0)))
                admitted.append(time.monotonic())
            except AssertionError as error:
                refusals.append(str(error))
        upgrading.result()
    admitted.append(time.monotonic())
    expected = ("failed calling webhook", "Unable to verify", "queued jobs")
    assert all(any(known in told for known in expected) for told in refusals), refusals
    gap = max(later - earlier for earlier, later in pairwise(admitted))
    told = f"{len(admitted) - 2} admitted, {len(refusals)} refused, none for {gap:.1f} s"
    print(f"during the upgrade: {told}")
    assert kubectl.get("executionqueue", "default")["status"]["runningCapacity"] == 4
    phases = {name: team.finished(name)["phase"] for name in stored}
    assert set(phases.values()) == {"Passed"}, phases
    team.submit("with-field", sleeping(image, 0), novelty="yes")
    assert team.get("testexecution", "with-field")["spec"]["novelty"] == "yes"
    assert _bundle(kubectl) == bundle, "an upgrade leaves the trust in the certificate alone"
    helm("rollback", RELEASE, "--wait", f"--timeout={WAIT_SECONDS}s")
    assert team.finished(team.submit("rolled-back", sleeping(image, 0)))["phase"] == "Passed"
    assert "unknown field" in is_refused(
        lambda: team.submit("too-late", sleeping(image, 0), novelty="yes")
    )


def _bundle(kubectl: Kubectl) -> str:
    [webhook] = kubectl.get("validatingwebhookconfiguration", RELEASE)["webhooks"]
    return str(webhook["clientConfig"]["caBundle"])


def test_an_uninstallation_keeps_the_users_objects_and_nothing_else(
    helm: Helm, team: Namespace, kubectl: Kubectl, image: str
) -> None:
    team.finished(team.submit("kept", sleeping(image, 0)))
    helm("uninstall", RELEASE, "--wait", f"--timeout={WAIT_SECONDS}s")
    # Helm waits for what it installed; a pod is still given the time to end.
    kubectl(
        *("wait", "--for=delete", "pod", f"--selector={MARK}", f"--namespace={NAMESPACE}"),
        f"--timeout={WAIT_SECONDS}s",
    )
    left = kubectl(
        *("get", ",".join(EVERYWHERE), "--all-namespaces", f"--selector={MARK}"),
        "--output=name",
    )
    assert left == ""
    assert team.status("kept")["phase"] == "Passed"
    for name in DEFINITIONS:
        kubectl("get", "customresourcedefinition", name)
    kubectl("delete", "namespace", NAMESPACE, f"--timeout={WAIT_SECONDS}s")
    kubectl("create", "namespace", NAMESPACE)
    helm.install()
    assert team.status("kept")["phase"] == "Passed", "who comes back finds everything"
    assert team.finished(team.submit("again", sleeping(image, 0)))["phase"] == "Passed"
