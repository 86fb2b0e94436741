"""The demo's cluster: by kind where a Docker engine answers, else by kindless."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from e2e.demo import processes

NAME: Final = "supercheck-demo"
IMAGE: Final = "localhost/supercheck-demo/pytest:1"
_KINDLESS: Final = str(Path(sys.executable).parent / "kindless")
_BASE: Final = "localhost/python:slim"
"""Debian's Python, which kindless makes where no image can be pulled by Docker."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """``kind`` is the path of the command that made it."""

    kind: str
    kubeconfig: Path
    existed: bool

    @property
    def docker(self) -> bool:
        return Path(self.kind).name != "kindless"


async def find(kubeconfig: Path) -> Cluster:
    """Which command to use here, and whether the cluster is there already."""
    kind = await processes.ask([_KINDLESS, "which"], env=os.environ)
    names = await processes.ask([kind, "get", "clusters"], env=os.environ)
    return Cluster(kind, kubeconfig, NAME in names.splitlines())


async def bring_up(cluster: Cluster, *, keep: bool) -> None:
    """Create it unless it is there; unless it is to be kept, it dies with this process."""
    if not cluster.existed:
        owner = {} if keep else {"KINDLESS_OWNER_PID": str(os.getpid())}
        command = [cluster.kind, "create", "cluster", "--name", NAME]
        await processes.run(
            [*command, "--kubeconfig", str(cluster.kubeconfig)], env=os.environ | owner
        )
    command = [cluster.kind, "get", "kubeconfig", "--name", NAME]
    cluster.kubeconfig.touch(mode=0o600)
    cluster.kubeconfig.write_text(await processes.ask(command, env=os.environ) + "\n")


async def load_image(cluster: Cluster, context: Path, log: Path) -> None:
    """Build the image that the examples run, telling ``log`` about it; give it to the node."""
    base = [] if cluster.docker else ["--build-arg", f"BASE={_BASE}"]
    build = [_KINDLESS, "build", "image", "--tag", IMAGE, *base, str(context)]
    await processes.run(build, env=os.environ, log=log)
    load = [cluster.kind, "load", "docker-image", IMAGE, "--name", NAME]
    await processes.run(load, env=os.environ)


async def delete(cluster: Cluster) -> None:
    command = [cluster.kind, "delete", "cluster", "--name", NAME]
    await processes.run([*command, "--kubeconfig", str(cluster.kubeconfig)], env=os.environ)
    cluster.kubeconfig.unlink(missing_ok=True)


async def kubectl() -> str:
    """A kubectl to type: the one on PATH, or the one that came with kindless."""
    if shutil.which("kubectl"):
        return "kubectl"
    return await processes.ask([_KINDLESS, "get", "kubectl"], env=os.environ)
