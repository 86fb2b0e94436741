"""A cluster of its own for each test, and where the seed comes from."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.chaos.stage import Cluster, etcd_port

_KINDLESS = Path(sys.executable).with_name("kindless")
_REPORTS: list[str] = []


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    name = f"supercheck-chaos-{uuid.uuid4().hex[:8]}"
    kubeconfig = tmp_path / "kubeconfig"
    subprocess.run(
        [
            _KINDLESS, "create", "cluster", "--name", name, "--kubeconfig", kubeconfig,
            "--no-node", "--fake-nodes", "1", "--json-storage", "--owner-pid", str(os.getpid()),
        ],
        check=True,
    )  # fmt: skip
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "kindless"
    yield Cluster(name, kubeconfig, etcd_port(cache / "clusters" / name))
    subprocess.run(
        [_KINDLESS, "delete", "cluster", "--name", name, "--kubeconfig", kubeconfig], check=True
    )


@pytest.fixture
def seed() -> str:
    return os.environ.get("CHAOS_SEED") or "1"


@pytest.fixture
def reports() -> list[str]:
    """What is to be shown when all is over, also if all went well."""
    return _REPORTS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for text in _REPORTS:
        terminalreporter.section("chaos", sep="-")
        terminalreporter.write_line(text)
