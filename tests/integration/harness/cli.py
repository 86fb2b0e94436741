"""The command line as its users have it: a program with arguments, two outputs, an exit code."""

import asyncio
import itertools
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.api import Api, Raw

PROGRAM = Path(sys.executable).with_name("kubectl-supercheck")
RBAC = "/apis/rbac.authorization.k8s.io/v1"


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


class Running:
    """A command under way; everything it says is kept."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._said: dict[str, list[str]] = {"out": [], "err": []}
        self._news = asyncio.Condition()
        assert process.stdout is not None
        assert process.stderr is not None
        self._readers = [
            asyncio.create_task(self._read("out", process.stdout)),
            asyncio.create_task(self._read("err", process.stderr)),
        ]

    async def _read(self, name: str, stream: asyncio.StreamReader) -> None:
        async for line in stream:
            async with self._news:
                self._said[name].append(line.decode())
                self._news.notify_all()

    async def until_says(self, words: str, *, within: float = 30) -> None:
        async with self._news:
            try:
                await asyncio.wait_for(self._news.wait_for(lambda: words in self._all()), within)
            except TimeoutError:
                raise AssertionError(f"it did not say {words!r}, but:\n{self._all()}") from None

    async def lines(self) -> AsyncIterator[str]:
        """What it prints, line by line, for as long as it is read."""
        for number in itertools.count():
            async with self._news:
                while len(self._said["out"]) <= number:
                    await self._news.wait()
            yield self._said["out"][number]

    def _all(self) -> str:
        return "".join([*self._said["out"], *self._said["err"]])

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def end(self, *, within: float = 60) -> Done:
        try:
            await asyncio.wait_for(asyncio.gather(*self._readers), within)
            code = await asyncio.wait_for(self._process.wait(), within)
        except TimeoutError:
            raise AssertionError(f"it does not end, and said:\n{self._all()}") from None
        return Done(code, "".join(self._said["out"]), "".join(self._said["err"]))


class Cli:
    """``kubectl supercheck`` in a namespace of the cluster that ``kubeconfig`` leads to."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.environment = os.environ | {"KUBECONFIG": str(kubeconfig), "NO_COLOR": "1"}
        self._namespace = namespace

    async def __call__(self, *arguments: str | Path, stdin: str = "", within: float = 60) -> Done:
        async with self.started(*arguments, stdin=stdin) as running:
            return await running.end(within=within)

    @asynccontextmanager
    async def started(self, *arguments: str | Path, stdin: str = "") -> AsyncIterator[Running]:
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            *("-n", self._namespace),
            *map(str, arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment,
        )
        assert process.stdin is not None
        process.stdin.write(stdin.encode())
        process.stdin.close()
        try:
            yield Running(process)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


def manifest(*bodies: Raw) -> str:
    return yaml.safe_dump_all(bodies)


async def member(api: Api, namespace: str, kubeconfig: Path, into: Path) -> Path:
    """A kubeconfig of somebody who may work in one namespace, and see queues, but no more."""
    in_namespace = f"{RBAC}/namespaces/{namespace}"
    await api.create(
        f"/api/v1/namespaces/{namespace}/serviceaccounts",
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "member"}},
    )
    rules = [
        {
            "apiGroups": ["supercheck.io"],
            "resources": ["testexecutions"],
            "verbs": ["get", "list", "watch", "create", "patch"],
        },
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list", "watch"]},
    ]
    queues = {
        "apiGroups": ["supercheck.io"],
        "resources": ["executionqueues"],
        "verbs": ["get", "list", "watch"],
    }
    subject = {"kind": "ServiceAccount", "name": "member", "namespace": namespace}
    for path, kind, name, some in (
        (in_namespace, "Role", "member", rules),
        (RBAC, "ClusterRole", f"member-{namespace}", [queues]),
    ):
        plural = f"{kind.lower()}s"
        meta = {"metadata": {"name": name}, "apiVersion": "rbac.authorization.k8s.io/v1"}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
        await api.create(f"{path}/{plural}", meta | {"kind": kind, "rules": some})
        await api.create(
            f"{path}/{kind.lower()}bindings",
            meta | {"kind": f"{kind}Binding", "roleRef": reference, "subjects": [subject]},
        )
    answer = await api.create(
        f"/api/v1/namespaces/{namespace}/serviceaccounts/member/token",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
    )
    return with_user(kubeconfig, {"token": answer["status"]["token"]}, into)


def with_user(kubeconfig: Path, user: Raw, into: Path, *, namespace: str = "") -> Path:
    """``kubeconfig`` for somebody else, and perhaps in ``namespace``, written to ``into``."""
    content = yaml.safe_load(kubeconfig.read_text())
    content["users"][0]["user"] = user
    if namespace:
        content["contexts"][0]["context"]["namespace"] = namespace
    into.write_text(yaml.safe_dump(content))
    return into
