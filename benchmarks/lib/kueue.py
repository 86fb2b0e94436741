"""Kueue's manager as a process beside a control plane, installed as its own manifests have it.

Built from its Go module, whose ``config/default`` is applied: its kinds, their conversion, its
webhooks. Two things stand in for what a node would do. A Service of the type ExternalName sends the
API server's calls of the webhooks to this machine, and the Secret with their certificate, which
Kueue makes itself, is written to files.

Its configuration is the one it ships (as many reconcilers of each kind), but for the benefit of
speed: no limit on its requests (``qps: -1``, which "will disable client-side ratelimiting",
``apis/config/v1beta2/configuration_types.go``; it ships 50), and nothing that the comparison does
not need: only the integration of Jobs, no webhook of other workloads, no leader election, no
visibility server, no metrics.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

from benchmarks.lib.control_plane import ControlPlane
from harness.api import Raw
from harness.process import free_port
from harness.waiting import eventually
from kindless import binaries

_HOME: Final = "/api/v1/namespaces/kueue-system"
_SECRET: Final = f"{_HOME}/secrets/kueue-webhook-server-cert"
_WEBHOOKS: Final = "/apis/admissionregistration.k8s.io/v1"
_PATHS: Final = {
    "Namespace": "/api/v1/namespaces",
    "Secret": f"{_HOME}/secrets",
    "Service": f"{_HOME}/services",
    "CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "MutatingWebhookConfiguration": f"{_WEBHOOKS}/mutatingwebhookconfigurations",
    "ValidatingWebhookConfiguration": f"{_WEBHOOKS}/validatingwebhookconfigurations",
}
_CARED_FOR: Final = {"batch", "kueue.x-k8s.io"}
"""API groups whose webhooks are registered."""


@asynccontextmanager
async def manager(plane: ControlPlane) -> AsyncIterator[int]:
    """While it runs: its pid. What it installs stays, but for its webhooks, since they would be
    called for the Jobs of others."""
    made = _Manager(plane)
    await made.install()
    made.launch()
    try:
        await made.until_ready()
        yield made.pid
    finally:
        made.end()
        await made.take_webhooks_away()


class _Manager:
    def __init__(self, plane: ControlPlane) -> None:
        self._kubeconfig = plane.kubeconfig
        self._api = plane.api
        self._folder = plane.folder / "kueue"
        self._health = free_port()
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def install(self) -> None:
        await asyncio.to_thread(binaries.build, ["kueue", "kubectl"])
        for manifest in await asyncio.to_thread(_manifests):
            await self._apply(manifest)

    def launch(self) -> None:
        self._folder.mkdir(exist_ok=True)
        configuration = self._folder / "configuration.json"
        configuration.write_text(json.dumps(self._configuration()))
        command: list[str | Path] = [
            binaries.path("kueue"), "--config", configuration, "--kubeconfig", self._kubeconfig
        ]  # fmt: skip
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    async def until_ready(self) -> None:
        await eventually(self._certified, "Kueue has a certificate")
        await eventually(self._ready, "Kueue is ready", within=120)

    def end(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(timeout=60)

    async def take_webhooks_away(self) -> None:
        for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
            for found in await self._api.items(_PATHS[kind]):
                if found["metadata"]["name"].startswith("kueue-"):
                    await self._api.delete(f"{_PATHS[kind]}/{found['metadata']['name']}")

    async def _apply(self, manifest: Raw) -> None:
        path = f"{_PATHS[manifest['kind']]}/{manifest['metadata']['name']}"
        status, answer = await self._api.call(
            "PATCH", f"{path}?fieldManager=benchmark&force=true", self._here(manifest),
            content_type="application/apply-patch+yaml",
        )  # fmt: skip
        assert status in (200, 201), answer

    def _here(self, manifest: Raw) -> Raw:
        """With this machine, and the port of this process, in the place of a Service's."""
        kind = manifest["kind"]
        if kind == "Service":
            spec = {"type": "ExternalName", "externalName": "localhost"}
            return {**manifest, "spec": spec}
        if kind == "CustomResourceDefinition":
            conversion = manifest["spec"].get("conversion", {})
            if "webhook" in conversion:
                conversion["webhook"]["clientConfig"]["service"]["port"] = self._port
        for webhook in manifest.get("webhooks", []):
            webhook["clientConfig"]["service"]["port"] = self._port
        return manifest

    def _configuration(self) -> Raw:
        shipped = _module() / "config/components/manager/controller_manager_config.yaml"
        configuration: Raw = yaml.safe_load(shipped.read_text())
        return configuration | {
            "health": {"healthProbeBindAddress": f"127.0.0.1:{self._health}"},
            "metrics": {"bindAddress": "0"},
            "webhook": {"host": "127.0.0.1", "port": self._port, "certDir": str(self._folder)},
            "leaderElection": {"leaderElect": False},
            "clientConnection": {"qps": -1},
            "integrations": {"frameworks": ["batch/job"]},
            "featureGates": {"VisibilityOnDemand": False},
        }

    async def _certified(self) -> bool:
        """Once the Secret is filled, its files are where Kueue looks for them."""
        data = (await self._api.get(_SECRET)).get("data", {})
        for name, content in data.items():
            (self._folder / name).write_bytes(base64.b64decode(content))
        return "tls.crt" in data

    async def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()[-5000:]
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{self._health}/readyz") as response,
            ):
                return response.status == 200
        except aiohttp.ClientError:
            return False


def _manifests() -> list[Raw]:
    """Of ``config/default``, what has no need of a node, in an order in which it can be applied."""
    kubectl = binaries.path("kubectl")
    text = subprocess.run(
        [kubectl, "kustomize", _module() / "config/default"],
        check=True, stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip
    documents: list[Raw] = [
        document for document in yaml.load_all(text, yaml.CSafeLoader) if document["kind"] in _PATHS
    ]
    for document in documents:
        if "webhooks" in document:
            document["webhooks"] = [
                webhook
                for webhook in document["webhooks"]
                if _CARED_FOR.issuperset(*(rule["apiGroups"] for rule in webhook["rules"]))
            ]
    return sorted(documents, key=lambda document: list(_PATHS).index(document["kind"]))


@cache
def _module() -> Path:
    """Where Go keeps the module's files."""
    module = binaries.BINARIES["kueue"].module
    found: dict[str, Any] = json.loads(
        subprocess.run(
            ["go", "mod", "download", "-json", module.main],
            cwd=module.folder, env=os.environ | binaries.GO_ENVIRONMENT,
            check=True, stdout=subprocess.PIPE, text=True,
        ).stdout
    )  # fmt: skip
    return Path(found["Dir"])
