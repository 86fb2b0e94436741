"""A TCP relay in the way of a connection: what is behind it can change, and it can fall silent."""

import asyncio
from typing import Self

HOST = "127.0.0.1"


class Relay:
    """Connections go where it leads when they are made, and stay there."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def leads_to(self, port: int) -> None:
        self._target = port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._relay, HOST, 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, beyond = await asyncio.open_connection(HOST, self._target)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, beyond}
        await asyncio.gather(_pass_on(reader, beyond), _pass_on(there, writer))
        self._writers -= {writer, beyond}


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
