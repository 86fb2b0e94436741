"""The chart as a release of Helm's, with whatever values, in a namespace that enforces
*restricted*."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from e2e.conftest import WAIT_SECONDS, Kubectl, Raw

from kindless import binaries

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "charts" / "supercheck-operator"
IMAGE: Final = "localhost/supercheck-operator:e2e"
RELEASE: Final = "supercheck-operator"
NAMESPACE: Final = "supercheck"
DEFINITIONS: Final = ("testexecutions.supercheck.io", "executionqueues.supercheck.io")
MARK: Final = f"app.kubernetes.io/instance={RELEASE}"
IMAGE_SETTINGS: Final = (
    *(f"--set=image.repository={IMAGE.rpartition(':')[0]}", "--set=image.tag=e2e"),
    "--set=image.pullPolicy=Never",
)


@dataclass(frozen=True)
class Helm:
    kubectl: Kubectl
    folder: Path
    settings: tuple[str, ...]

    def __call__(self, *arguments: str) -> str:
        """What it prints; it ends by itself, or by the test's failure."""
        home = {f"HELM_{what}_HOME": str(self.folder / what) for what in ("CACHE", "CONFIG")}
        done = subprocess.run(
            [
                *(str(binaries.path("helm")), *arguments),
                *(f"--namespace={NAMESPACE}", f"--kubeconfig={self.kubectl.kubeconfig}"),
            ],
            env=os.environ | home,
            capture_output=True,
            text=True,
            timeout=2 * WAIT_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def install(self) -> None:
        self._until_ready("install", CHART)

    def upgrade(self, chart: Path, *settings: str) -> None:
        self._until_ready("upgrade", chart, *settings)

    def _until_ready(self, verb: str, chart: Path, *settings: str) -> None:
        values = (*IMAGE_SETTINGS, *self.settings, *settings)
        self(verb, RELEASE, str(chart), *values, "--wait", f"--timeout={WAIT_SECONDS}s")


def create_namespace(kubectl: Kubectl, name: str) -> None:
    """One that enforces the *restricted* Pod Security level."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata: Raw = {"name": name, "labels": labels}
    kubectl(
        *("create", "--filename=-"),
        stdin={"apiVersion": "v1", "kind": "Namespace", "metadata": metadata},
    )


@contextmanager
def its_namespace(kubectl: Kubectl) -> Iterator[None]:
    """Where the chart goes."""
    there = kubectl("get", "validatingwebhookconfigurations", "--output=name")
    assert RELEASE not in there, "another operator is in the cluster: run e2e/chart first"
    create_namespace(kubectl, NAMESPACE)
    try:
        yield
    finally:
        kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")


@contextmanager
def installed(kubectl: Kubectl, folder: Path, *settings: str) -> Iterator[Helm]:
    """Helm with the chart installed, in ``its_namespace``; nothing of it is left at the end."""
    made = Helm(kubectl, folder, settings)
    try:
        made.install()
        yield made
    finally:
        sys.stdout.write(_log(kubectl))  # shown by pytest only when a test fails
        made("uninstall", RELEASE, "--ignore-not-found")
        kubectl("delete", "customresourcedefinitions", *DEFINITIONS, "--ignore-not-found")


def _log(kubectl: Kubectl) -> str:
    return kubectl(
        *("logs", f"--namespace={NAMESPACE}", f"--selector={MARK}"), "--tail=200", "--prefix"
    )


def operators(kubectl: Kubectl) -> list[Raw]:
    """The pods that run and are not on their way out."""
    found: list[Raw] = kubectl.get(
        *("pods", f"--namespace={NAMESPACE}", f"--selector={MARK}"),
        "--field-selector=status.phase=Running",
    )["items"]
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def sleeping(image: str, seconds: float) -> Raw:
    code = f"import time; time.sleep({seconds})"
    return {"name": "t", "image": image, "command": ["python3", "-c", code]}


def with_a_new_field(folder: Path) -> Path:
    """A chart whose TestExecutions have a field ``novelty``, which the operator does not know."""
    chart = folder / "chart"
    shutil.copytree(CHART, chart)
    file = chart / "files" / "crds" / "testexecutions.yaml"
    definition: Any = yaml.safe_load(file.read_text())
    [version] = definition["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["novelty"] = {"type": "string"}
    file.write_text(yaml.safe_dump(definition))
    return chart
