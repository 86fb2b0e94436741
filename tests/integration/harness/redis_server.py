"""Real Redis servers on free ports, to be stopped, killed, filled and lost."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Self

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from harness.process import free_port
from kindless import packages

HOST = "127.0.0.1"


@cache
def program() -> Path:
    """The path of ``redis-server``, which is installed if it is missing.

    Debian's redis-tools has the program, under the name of another of its uses, and leaves out the
    service that redis-server would start on the machine.
    """
    if found := shutil.which("redis-server"):
        return Path(found)
    packages.ensure(["redis-tools"], "the tests of the Redis ledger")
    link = Path(tempfile.mkdtemp(prefix="redis-server-")) / "redis-server"
    link.symlink_to(str(shutil.which("redis-check-rdb")))
    return link


class RedisServer:
    """One server with a folder of its own. It ends with the tests, also when they are killed."""

    def __init__(self, *options: str, tls: Sequence[str] = (), **client: Any) -> None:
        self.port = free_port()
        self._options = options
        self._tls = tls
        self._client = client
        self._folder = tempfile.TemporaryDirectory(prefix="redis-")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}"

    @property
    def folder(self) -> Path:
        return Path(self._folder.name)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self._folder.cleanup()

    def start(self) -> Self:
        """Until it answers. It saves nothing: started again, it is empty."""
        ports = ["--port", "0", "--tls-port"] if self._tls else ["--port"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "setpriv", "--pdeathsig", "KILL", program(), *self._configuration(),
                    *ports, str(self.port), *self._tls, "--bind", HOST, "--dir", self.folder,
                    "--save", "", "--enable-debug-command", "yes", *self._options,
                ],
                stdout=log, stderr=log,
            )  # fmt: skip
        patience = Retry(ConstantBackoff(0.02), 500)
        with self.client(retry=patience, retry_on_error=[redis.RedisError]) as client:
            client.ping()
        return self

    def _configuration(self) -> Sequence[str]:
        return ()

    def client(self, **options: Any) -> redis.Redis:
        return redis.Redis(
            host=HOST, port=self.port, decode_responses=True, **{**self._client, **options}
        )

    def command(self, *words: str | int) -> Any:
        with self.client() as client:
            return client.execute_command(*words)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """Also if it is stopped."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """It keeps its connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


class ClusterNode(RedisServer):
    """It is given its slots by who has several of them."""

    def __init__(self) -> None:
        self.bus = free_port()
        bus = ("--cluster-port", str(self.bus), "--cluster-node-timeout", "500")
        super().__init__("--cluster-enabled", "yes", *bus)


class SentinelServer(RedisServer):
    """Watches one primary and makes another when that is gone for half a second."""

    def __init__(self, service: str, primary: RedisServer) -> None:
        super().__init__()
        self.service = service
        self._primary = primary

    def _configuration(self) -> Sequence[str]:
        file = self.folder / "sentinel.conf"
        if not file.exists():
            file.write_text(
                f"sentinel monitor {self.service} {HOST} {self._primary.port} 1\n"
                f"sentinel down-after-milliseconds {self.service} 500\n"
                f"sentinel failover-timeout {self.service} 3000\n"
            )
        return (str(file), "--sentinel")
