"""Debian's Prometheus: on PATH, or unpacked into the cache, which needs no root."""

import asyncio
import base64
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from harness.api import Raw
from harness.chart import CHART
from harness.process import Operator, free_port
from harness.waiting import eventually

_PACKAGE = "prometheus"


@cache
def tool(name: str) -> str:
    """The path of ``prometheus`` or ``promtool``."""
    return shutil.which(name) or str(_unpacked() / "usr" / "bin" / name)


def _unpacked() -> Path:
    cache_home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    folder = cache_home / "supercheck-operator" / _PACKAGE
    if not folder.is_dir():
        unfinished = folder.with_name(f".{_PACKAGE}-{os.getpid()}")
        unfinished.mkdir(parents=True)
        # -o: root would hand the download to a user who may not write here.
        _run(unfinished, "apt-get", "-o", "APT::Sandbox::User=root", "download", _PACKAGE)
        [package] = unfinished.glob("*.deb")
        _run(unfinished, "dpkg-deb", "--extract", package.name, ".")
        package.unlink()
        try:
            unfinished.rename(folder)
        except OSError:  # another test run was first
            shutil.rmtree(unfinished)
    return folder


def _run(folder: Path, *command: str) -> None:
    done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


class Prometheus:
    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session

    async def ask(self, path: str, **query: str) -> Any:
        async with self._session.get(f"{self._url}/api/v1/{path}", params=query) as response:
            body = await response.json()
            assert body["status"] == "success", body
            return body["data"]

    async def values(self, query: str) -> list[float]:
        """One for each series, without those that are no number."""
        data = await self.ask("query", query=query)
        found = [float(each["value"][1]) for each in data["result"]]
        return [value for value in found if value == value]

    async def ready(self) -> bool:
        try:
            async with self._session.get(f"{self._url}/-/ready") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False


def scraping(folder: Path, operator: Operator, kubeconfig: Path) -> Raw:
    """A configuration for the operator and, as any cluster's Prometheus has it, the API server."""
    config = yaml.safe_load(kubeconfig.read_text())
    server, user = config["clusters"][0]["cluster"]["server"], config["users"][0]["user"]
    for name in ("certificate", "key"):
        (folder / name).write_bytes(base64.b64decode(user[f"client-{name}-data"]))
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(CHART / "files" / "alerts.yaml")],
        "scrape_configs": [
            {
                "job_name": "supercheck-operator",
                "static_configs": [{"targets": [operator.url.removeprefix("http://")]}],
            },
            {
                "job_name": "apiserver",
                "scheme": "https",
                "tls_config": {
                    "insecure_skip_verify": True,
                    "cert_file": str(folder / "certificate"),
                    "key_file": str(folder / "key"),
                },
                "static_configs": [{"targets": [server.removeprefix("https://")]}],
            },
        ],
    }


@asynccontextmanager
async def running(folder: Path, configuration: Raw) -> AsyncIterator[Prometheus]:
    """One that keeps what it has in ``folder``, as long as the block lasts."""
    port = free_port()
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration))
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            tool("prometheus"), f"--config.file={file}",
            f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}",
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        async with aiohttp.ClientSession() as session:
            made = Prometheus(f"http://127.0.0.1:{port}", session)
            await eventually(made.ready, "Prometheus is ready")
            yield made
    finally:
        process.terminate()
        await process.wait()
