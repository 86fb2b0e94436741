"""The operator as its users run it: a process with flags, an environment, and an exit code."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

from harness.waiting import eventually

PROGRAM = Path(sys.executable).with_name("supercheck-operator")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Operator:
    """``run --local`` against ``kubeconfig``; started, killed and started again on the same ports.

    Without ``local`` it runs as the chart runs it: CRDs and webhook configuration must be there.
    """

    def __init__(
        self,
        kubeconfig: Path,
        log: Path,
        *,
        local: bool = True,
        flags: Sequence[str] = (),
        **environment: str,
    ) -> None:
        self.http_port = free_port()
        self.webhook_port = free_port()
        self._kubeconfig = kubeconfig
        self._log = log
        self._flags = [*(["--local"] if local else []), *flags]
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    async def start(self) -> None:
        self.launch()
        await self.until_ready()

    async def until_ready(self) -> None:
        await eventually(self._ready, f"the operator is ready; its log:\n{self.log}")

    def launch(self) -> None:
        """Start it without waiting for anything."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    PROGRAM, "run", *self._flags,
                    "--kubeconfig", self._kubeconfig,
                    "--http-port", str(self.http_port),
                    "--webhook-port", str(self.webhook_port),
                ],
                stderr=log, stdout=log,
                env=os.environ | self._environment,
            )  # fmt: skip

    async def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the operator has ended:\n{self.log}"
        try:
            return (await self.get("/readyz"))[0] == 200
        except aiohttp.ClientError:
            return False

    def kill(self) -> None:
        """As a crash does: no goodbye."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """As the kubelet does; the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Once it is: the exit code."""
        assert self._process is not None
        return self._process.wait(timeout=20)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Of the last run; None while it runs."""
        return self._process.poll() if self._process is not None else None

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as response:
            return response.status, await response.text()

    async def stats(self, queue: str = "default") -> tuple[int, int, int, int]:
        """running, running capacity, queued, queued capacity."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.url}/api/queue-stats?queue={queue}") as response,
        ):
            body: dict[str, Any] = await response.json()
            assert response.status == 200, body
        return (
            body["running"], body["runningCapacity"], body["queued"], body["queuedCapacity"]
        )  # fmt: skip

    async def metric(self, line: str) -> float:
        """The value of the sample that begins with ``line``; 0 if there is none."""
        _, text = await self.get("/metrics")
        for sample in text.splitlines():
            if sample.startswith(line):
                return float(sample.rsplit(" ", 1)[1])
        return 0.0


async def run_to_its_end(*arguments: str, **environment: str) -> tuple[int, str]:
    """Exit code and stderr of a start that is expected to fail."""
    process = await asyncio.create_subprocess_exec(
        PROGRAM, *arguments,
        stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
        env=os.environ | environment,
    )  # fmt: skip
    try:
        _, errors = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode is not None
    return process.returncode, errors.decode()
