"""One address for several replicas, as a Service is: each new connection goes to the next of the
ports that are given, and stays there. A helper in a process of its own."""

from __future__ import annotations

import asyncio
import sys
from itertools import cycle
from typing import Final, cast

from benchmarks.lib.helper import serve
from harness.api import Raw

HOST: Final = "127.0.0.1"


class _End(asyncio.Protocol):
    """What arrives here leaves at ``other``. Reviews are small, so nothing is ever held back."""

    def __init__(self, other: _End | None = None) -> None:
        self.other = other

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        assert self.other is not None
        self.other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's
        if self.other is not None:
            self.other.transport.close()


class _Front(_End):
    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.pause_reading()
        self._joining = asyncio.create_task(self._join())

    async def _join(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, self.other = await loop.create_connection(lambda: _End(self), HOST, self._port)
        except OSError:
            self.transport.close()
            return
        if self.transport.is_closing():  # gone meanwhile
            self.other.transport.close()
        else:
            self.transport.resume_reading()


async def main() -> None:
    ports = cycle(map(int, sys.argv[1:]))
    server = await asyncio.get_running_loop().create_server(lambda: _Front(next(ports)), HOST, 0)
    port = server.sockets[0].getsockname()[1]

    async def where() -> Raw:
        return {"port": port}

    await serve(where=where)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
