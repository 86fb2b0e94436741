"""A control plane of its own for one benchmark: fake nodes, everything else real."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.api import Api, Raw, Space
from kindless import components

_KINDLESS = Path(sys.executable).with_name("kindless")


@dataclass(frozen=True)
class ControlPlane:
    """``folder`` is for logs and files, and goes with the cluster."""

    name: str
    api: Api
    kubeconfig: Path
    folder: Path

    def pid(self, component: str) -> int:
        """Of ``kube-apiserver``, ``etcd``, ``kube-controller-manager`` or another component."""
        found = components.pid(self.name, component)
        assert found is not None, component
        return found

    async def space(self, name: str) -> Space:
        """A new namespace."""
        body: Raw = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await self.api.create("/api/v1/namespaces", body)
        return Space(self.api, name)


@asynccontextmanager
async def control_plane(what: str, *, fake_nodes: int = 1) -> AsyncIterator[ControlPlane]:
    """While it runs; ``what`` is measured on it, for its name."""
    name = f"supercheck-bench-{what}-{os.getpid()}"
    with tempfile.TemporaryDirectory() as folder:
        kubeconfig = Path(folder, "kubeconfig")
        await asyncio.to_thread(
            _kindless, "create", name, "--kubeconfig", kubeconfig,
            "--no-node", "--fake-nodes", str(fake_nodes), "--owner-pid", str(os.getpid()),
        )  # fmt: skip
        api = Api(kubeconfig)
        try:
            yield ControlPlane(name, api, kubeconfig, Path(folder))
        finally:
            await api.close()
            await asyncio.to_thread(_kindless, "delete", name)


def _kindless(verb: str, name: str, *flags: str | Path) -> None:
    command = [_KINDLESS, verb, "cluster", "--name", name, *flags]
    subprocess.run(command, check=True, stdout=sys.stderr)
