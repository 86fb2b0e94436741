"""The operator as a child process: `supercheck-operator run --local` on ports that are free."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from asyncio.subprocess import Process
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from e2e.demo import processes
from e2e.demo.processes import DemoError, last_words

PROGRAM: Final = str(Path(sys.executable).parent / "supercheck-operator")
_READY_WITHIN: Final = 60.0
_CAPACITY: Final = {"RUNNING_CAPACITY": "5", "QUEUED_CAPACITY": "50"}
_FOREIGN: Final = ("KUBECONFIG", "REDIS_URL", "REDIS_HOST", "RETRY_AFTER_SECONDS")
"""What this shell may say for another operator."""


@dataclass(frozen=True, slots=True)
class Operator:
    process: Process
    command: list[str]
    webhook_port: int
    url: str
    log: Path

    async def get(self, path: str) -> str:
        """The body of a page. Raises aiohttp.ClientError."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.url + path, raise_for_status=True) as response,
        ):
            return await response.text()

    async def ended(self) -> None:
        """Returns never: raises DemoError when the process has ended by itself."""
        code = await self.process.wait()
        raise DemoError(f"The operator ended with exit code {code}: {last_words(self.log)}")


async def start(kubeconfig: Path, log: Path) -> Operator:
    """Start it, and wait until it admits. Raises DemoError."""
    webhook, http = _free_ports()
    command = [
        *(PROGRAM, "run", "--local", "--kubeconfig", str(kubeconfig)),
        *("--webhook-port", str(webhook), "--http-port", str(http)),
    ]
    environment = {k: v for k, v in os.environ.items() if k not in _FOREIGN} | _CAPACITY
    with log.open("wb") as out:
        process = await processes.start(command, env=environment, out=out)
    operator = Operator(process, command, webhook, f"http://127.0.0.1:{http}", log)
    try:
        async with asyncio.timeout(_READY_WITHIN):
            await _ready(operator)
    except TimeoutError as error:
        await processes.stop(process)
        raise DemoError(
            f"The operator is not ready after {_READY_WITHIN:g} s: {last_words(log)}"
        ) from error
    except BaseException:
        await processes.stop(process)
        raise
    return operator


async def _ready(operator: Operator) -> None:
    while operator.process.returncode is None:
        try:
            await operator.get("/readyz")
        except aiohttp.ClientError:
            await asyncio.sleep(0.2)
        else:
            return
    await operator.ended()


def _free_ports() -> tuple[int, int]:
    """Two ports nobody listens on now; both are held until both are chosen, so they differ."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(2)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        first, second = (int(each.getsockname()[1]) for each in sockets)
    return first, second
