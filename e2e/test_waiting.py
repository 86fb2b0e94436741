"""What waits for an execution, by kubectl, kstatus or Helm, is told its verdict, and only then."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest
from e2e.conftest import WAIT_SECONDS

from kindless import binaries

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.conftest import Namespace, Raw

Kstatus = Callable[["Raw"], str]

ENDINGS: Final = ("Passed", "Failed", "Error", "Cancelled")
MISSING: Final = "localhost/supercheck-e2e/missing:1"
_EXECUTIONS: Final = "/apis/supercheck.io/v1alpha1/namespaces/{}/testexecutions"


@dataclass(frozen=True)
class Helm:
    """Releases of a chart with one TestExecution, named ``RELEASE-REVISION``."""

    folder: Path
    namespace: Namespace

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """It ends by itself, at its own timeout at the latest."""
        places = {f"HELM_{what}_HOME": str(self.folder / what) for what in ("CACHE", "CONFIG")}
        return subprocess.run(
            [
                *(str(binaries.path("helm")), *arguments),
                f"--namespace={self.namespace.name}",
                f"--kubeconfig={self.namespace.kubectl.kubeconfig}",
            ],
            env=os.environ | places,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )

    def chart(self, spec: Raw) -> Path:
        """A new chart, of which every revision is a run of its own."""
        chart = self.folder / "chart"
        (chart / "templates").mkdir(parents=True)
        about = {"apiVersion": "v2", "name": "suite", "version": "1.0.0"}
        (chart / "Chart.yaml").write_text(json.dumps(about))
        execution = {
            "apiVersion": "supercheck.io/v1alpha1",
            "kind": "TestExecution",
            "metadata": {"name": "{{ .Release.Name }}-{{ .Release.Revision }}"},
            "spec": spec,
        }
        (chart / "templates" / "execution.yaml").write_text(json.dumps(execution))
        return chart


@pytest.fixture
def helm(namespace: Namespace, tmp_path: Path) -> Helm:
    return Helm(tmp_path, namespace)


@pytest.fixture(scope="session")
def kstatus() -> Kstatus:
    """What kstatus makes of an object in one of its states: ``InProgress``, ``Current``, …"""
    program = binaries.path("kstatus")

    def status_of(state: Raw) -> str:
        told = subprocess.run(
            [program], input=json.dumps(state), capture_output=True, text=True, check=True
        )
        return told.stdout.partition("\t")[0]

    return status_of


@pytest.mark.parametrize("ending", ENDINGS)
def test_kubectl_wait_ends_with_the_verdict_it_waits_for(
    namespace: Namespace, image: str, ending: str
) -> None:
    name = namespace.submit("run", **_ends(ending, image))
    succeeded, failed = "condition=Succeeded", "condition=Succeeded=False"
    verdict, other = (succeeded, failed) if ending == "Passed" else (failed, succeeded)

    def phase_after(what: str) -> str:
        namespace.wait(what, f"testexecution/{name}")
        phase: str = namespace.status(name)["phase"]
        return phase

    with ThreadPoolExecutor() as pool:
        phases = pool.map(phase_after, ("condition=Finished", verdict))
        _bring_about(ending, namespace, name)

    assert set(phases) == {ending}
    assert not _is_so(other, namespace, name)


@pytest.mark.parametrize("ending", ENDINGS)
def test_kstatus_is_in_progress_in_every_state_before_the_end_and_tells_the_verdict_in_every_other(
    namespace: Namespace, image: str, kstatus: Kstatus, ending: str
) -> None:
    before = namespace.kubectl.raw(_EXECUTIONS.format(namespace.name))
    name = namespace.submit("run", **_ends(ending, image))
    _bring_about(ending, namespace, name)
    namespace.finished(name)

    history = _history(namespace, name, before["metadata"]["resourceVersion"])

    assert history[0]["status"] == {"phase": "Queued", "observedGeneration": -1}
    assert history[-1]["status"]["phase"] == ending
    assert history[-1]["status"]["attempts"] == (2 if ending == "Failed" else 1)
    verdict = "Current" if ending == "Passed" else "Failed"
    assert [(_told(state), kstatus(state)) for state in history] == [
        (_told(state), verdict if state["status"]["phase"] == ending else "InProgress")
        for state in history
    ]


def test_what_waits_is_suspended_starts_or_runs_is_in_progress_and_kubectl_waits_for_it(
    namespace: Namespace, image: str, kstatus: Kstatus, narrow_queue: str
) -> None:
    sleeper: Raw = {"name": "sleeper", "image": image, "command": ["sleep", "600"]}
    runs = namespace.submit("runs", sleeper, queue=narrow_queue)
    namespace.wait("jsonpath={.status.reason}=Running", f"testexecution/{runs}")
    waits = namespace.submit("waits", sleeper, queue=narrow_queue)
    suspended = namespace.submit("suspended", sleeper, suspend=True)
    starts = namespace.submit("starts", sleeper | {"image": MISSING})
    namespace.wait("jsonpath={.status.reason}=Starting", f"testexecution/{starts}")
    namespace.change(waits, priority=7)

    seen = {name: namespace.get("testexecution", name) for name in (runs, waits, suspended, starts)}

    assert {name: _told(state) for name, state in seen.items()} == {
        runs: ("Running", "Running"),
        waits: ("Queued", None),
        suspended: ("Queued", None),
        starts: ("Running", "Starting"),
    }
    assert {kstatus(state) for state in seen.values()} == {"InProgress"}
    for what in ("condition=Finished", "condition=Succeeded", "condition=Succeeded=False"):
        assert not any(_is_so(what, namespace, name) for name in seen)


@pytest.mark.parametrize("ending", ENDINGS)
def test_helm_install_ends_with_the_verdict_and_fails_as_soon_as_it_is_none_that_passed(
    namespace: Namespace, image: str, helm: Helm, ending: str
) -> None:
    chart = helm.chart(_ends(ending, image))

    with ThreadPoolExecutor() as pool:
        install = pool.submit(helm, "install", "suite", str(chart), "--wait", "--timeout=60s")
        _bring_about(ending, namespace, "suite-1")
    installed = install.result()

    status = namespace.status("suite-1")
    assert status["phase"] == ending
    assert installed.returncode == (0 if ending == "Passed" else 1), installed.stderr
    if ending != "Passed":
        assert "suite-1 not ready. status: Failed" in installed.stderr
        assert status["message"].splitlines()[0] in installed.stderr
    assert "deadline exceeded" not in installed.stderr
    [release] = json.loads(helm("list", "--output=json").stdout)
    assert release["status"] == ("deployed" if ending == "Passed" else "failed")


def test_each_helm_upgrade_is_a_run_of_its_own(
    namespace: Namespace, image: str, helm: Helm
) -> None:
    chart = str(helm.chart(_ends("Passed", image)))

    for number in (1, 2):
        upgraded = helm("upgrade", "--install", "suite", chart, "--wait", "--timeout=60s")
        assert upgraded.returncode == 0, upgraded.stderr
        assert namespace.status(f"suite-{number}")["phase"] == "Passed"


@pytest.mark.parametrize(
    ("ending", "change"), [("Passed", {"cancel": True}), ("Failed", {"priority": 7})]
)
def test_a_change_after_the_end_is_observed_and_leaves_the_verdict(
    namespace: Namespace, image: str, kstatus: Kstatus, ending: str, change: Raw
) -> None:
    name = namespace.submit("run", **_ends(ending, image))
    before = namespace.finished(name)

    namespace.change(name, **change)
    namespace.wait("jsonpath={.status.observedGeneration}=2", f"testexecution/{name}")

    after = namespace.get("testexecution", name)
    assert kstatus(after) == ("Current" if ending == "Passed" else "Failed")
    assert _is_so("condition=Finished", namespace, name)
    assert _is_so(f"condition=Succeeded={ending == 'Passed'}", namespace, name)
    assert after["status"]["phase"] == ending
    assert after["status"]["completedAt"] == before["completedAt"]


def _ends(ending: str, image: str) -> Raw:
    """The spec of an execution that comes to this end; one that fails fails twice."""
    command = {"Passed": ["true"], "Failed": ["false"]}.get(ending, ["sleep", "600"])
    test = {
        "name": "only",
        "image": MISSING if ending == "Error" else image,
        "command": command,
    }
    grace = {"spec": {"terminationGracePeriodSeconds": 1}}
    return {
        "tests": [test],
        "template": grace,
        "startTimeoutSeconds": 4,
        "retry": {"limit": 1, "on": ["Failure"], "backoffSeconds": 1},
    }


def _bring_about(ending: str, namespace: Namespace, name: str) -> None:
    """All but a cancellation comes by itself."""
    if ending == "Cancelled":
        execution = f"testexecution/{name}"
        namespace.wait("create", execution)
        namespace.wait("jsonpath={.status.reason}=Running", execution)
        namespace.cancel(name)


def _is_so(what: str, namespace: Namespace, name: str) -> bool:
    """Whether ``kubectl wait`` has nothing to wait for."""
    told = namespace.kubectl.run(
        *("wait", f"--namespace={namespace.name}", f"--for={what}", f"testexecution/{name}"),
        "--timeout=0",
    )
    assert told.returncode == 0 or "condition not met" in told.stderr, told.stderr
    return told.returncode == 0


def _history(namespace: Namespace, name: str, since: str) -> list[Raw]:
    """Every state an execution was in, from its creation to now."""
    now = namespace.get("testexecution", name)["metadata"]["resourceVersion"]
    states: list[Raw] = []
    with namespace.kubectl.watch(_EXECUTIONS.format(namespace.name), since) as events:
        for event in events:
            states.append(event["object"])
            if states[-1]["metadata"]["resourceVersion"] == now:
                return states
    raise AssertionError(f"the watch ended before the present state of {name}")


def _told(state: Raw) -> tuple[str, str | None]:
    return state["status"]["phase"], state["status"].get("reason")
