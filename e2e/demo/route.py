"""The way from the API server to the webhook of an operator outside the cluster.

`--local` registers 127.0.0.1. A cluster of kindless runs on this machine, so that is the operator.
A node of kind's is a container with a 127.0.0.1 of its own: there a container in the node's network
hands connections on to the Docker network's gateway, which is this machine, and the demo listens
there.
"""

from __future__ import annotations

import os
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from e2e.demo import cluster, forward, processes
from e2e.demo.cluster import Cluster
from e2e.demo.processes import DemoError

_NODE: Final = f"{cluster.NAME}-control-plane"
_FORWARDER: Final = Path(forward.__file__).read_text()
_GATEWAY: Final = "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}"


@asynccontextmanager
async def to_webhook(where: Cluster, port: int) -> AsyncIterator[None]:
    """As long as it is open, 127.0.0.1:``port`` as the API server sees it is the operator's."""
    if not where.docker:
        yield
        return
    inspect = ["docker", "inspect", "--format", _GATEWAY, _NODE]
    gateway = await processes.ask(inspect, env=os.environ)
    try:
        server = await forward.serve(gateway, port, "127.0.0.1")
    except OSError as error:
        raise DemoError(f"Cannot listen on the Docker network's gateway {gateway}.") from error
    inside = await processes.start(
        [
            *("docker", "run", "--rm", "--init", "--network", f"container:{_NODE}"),
            *("--entrypoint", "python3", cluster.IMAGE, "-c", _FORWARDER),
            *("127.0.0.1", str(port), gateway),
        ],
        env=os.environ,
        out=PIPE,
    )
    try:
        assert inside.stdout is not None
        if not await inside.stdout.readline():
            raise DemoError("The container that leads to the webhook ended; it says why above.")
        yield
    finally:
        await processes.stop(inside)
        server.close()
