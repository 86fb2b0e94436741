"""What etcd has of it: bytes of one object, and of the whole database."""

from __future__ import annotations

import base64

import aiohttp

from benchmarks.lib.control_plane import ControlPlane
from harness.api import Api, Raw
from kindless import record


async def value_bytes(where: ControlPlane, resource: str, namespace: str, name: str) -> int:
    """Of the newest value of one object; ``resource`` as in the key, such as ``jobs``.

    https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/
    """
    key = f"/registry/{resource}/{namespace}/{name}".encode()
    port = record.existing(where.name).ports["etcd"]
    question = {"key": base64.b64encode(key).decode()}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://127.0.0.1:{port}/v3/kv/range", json=question) as response,
    ):
        answer: Raw = await response.json()
    [found] = answer["kvs"]
    return len(base64.b64decode(found["value"]))


async def database_mib(api: Api) -> float:
    """The size of etcd's file, which never shrinks by itself."""
    for line in (await api.text("/metrics")).splitlines():
        if line.startswith("apiserver_storage_size_bytes{"):
            return float(line.rpartition(" ")[2]) / 2**20
    raise AssertionError("the API server tells no storage size")
