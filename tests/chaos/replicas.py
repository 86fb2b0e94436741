"""Replicas of the operator, each with its own way to the API server, looked after as in a cluster:
what ends is started again, what is not ready gets no new connections."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, Final, Self

import aiohttp
import yaml
from tests.chaos.proxy import Proxy

from harness.process import Operator

_LOOKS_EVERY: Final = 0.25
_UNREADY_AFTER: Final = 3


class Replica:
    """``make`` makes its operator, given a kubeconfig that leads over ``way``."""

    def __init__(
        self, kubeconfig: Path, folder: Path, make: Callable[[Path], Operator], random: Random
    ) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        api_server = int(config["clusters"][0]["cluster"]["server"].rpartition(":")[2])
        self.way = Proxy(lambda: [api_server], random)
        self.ready = False
        self.ends: list[int | None] = []
        """How it has ended by itself: exit codes."""
        self._config = config
        self._file = folder / "kubeconfig"
        self._make = make
        self._down = False
        self._unready = 0

    async def __aenter__(self) -> Self:
        await self.way.__aenter__()
        self._config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{self.way.port}"
        self._file.write_text(yaml.safe_dump(self._config))
        self.operator = self._make(self._file)
        self.operator.launch()
        self._task = asyncio.create_task(self._look_after())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        if self.operator.running:
            self.operator.kill()
        await self.way.__aexit__()

    @property
    def pid(self) -> int:
        return self.operator.pid

    def leads(self, holder: str) -> bool:
        return holder.endswith(f"_{self.pid}")

    async def kill(self) -> None:
        """As a crash does; it stays down until ``start``."""
        self._down, self.ready = True, False
        await asyncio.to_thread(self.operator.kill)

    async def stop(self) -> int:
        """As the kubelet does; it stays down until ``start``."""
        self._down, self.ready = True, False
        return await asyncio.to_thread(self.operator.stop)

    def start(self) -> None:
        self.operator.launch()
        self._down = False

    def freeze(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)

    @property
    def crashes(self) -> int:
        """How often it has ended by an error; that it ends when it lost its Lease is right."""
        return self.operator.log.count("ended by an error")

    async def stats(self, queue: str, token: str) -> tuple[int, ...] | None:
        """running, running capacity, queued, queued capacity; None if it cannot tell."""
        headers = {"Authorization": f"Bearer {token}"}
        status, text = await self._get(f"/api/queue-stats?queue={queue}", headers)
        if status != 200:
            return None
        body: dict[str, Any] = json.loads(text)
        keys = ("running", "runningCapacity", "queued", "queuedCapacity")
        return tuple(body[key] for key in keys)

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(_LOOKS_EVERY)
            if not self.operator.running and not self._down:
                self.ends.append(self.operator.exit_code)
                self.operator.launch()
            status, _ = await self._get("/readyz", {})
            self._unready = 0 if status == 200 else self._unready + 1
            self.ready = status == 200 or (self.ready and self._unready < _UNREADY_AFTER)

    async def _get(self, path: str, headers: dict[str, str]) -> tuple[int, str]:
        timeout = aiohttp.ClientTimeout(total=2)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
                session.get(self.operator.url + path) as response,
            ):
                return response.status, await response.text()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0, ""


def ready_ports(replicas: Sequence[Replica]) -> list[int]:
    """Of the webhooks that a Service would lead to."""
    return [each.operator.webhook_port for each in replicas if each.ready]
