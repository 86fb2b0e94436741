"""What the proxy does to what is on its way while it stalls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from tests.chaos.proxy import HOST, Proxy


@asynccontextmanager
async def _stalled() -> AsyncIterator[tuple[Proxy, asyncio.StreamWriter, asyncio.Queue[bytes]]]:
    """A proxy that stalls, who speaks over it, and what each connection brought to its end."""
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.put_nowait(await reader.read())
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(listen, HOST, 0)
    port: int = server.sockets[0].getsockname()[1]
    async with server, Proxy(lambda: [port], Random(1)) as proxy:
        proxy.stall(new=True)
        _, writer = await asyncio.open_connection(HOST, proxy.port)
        writer.write(b"create a Job")
        await writer.drain()
        yield proxy, writer, heard
        writer.close()
        await writer.wait_closed()
    await asyncio.sleep(0.1)  # what was closed is told so


async def test_what_was_kept_back_comes_when_it_flows_again() -> None:
    async with _stalled() as (proxy, writer, heard):
        await asyncio.sleep(0.2)  # it is at the proxy, and stays there
        proxy.flow()
        await asyncio.sleep(0.2)
        writer.write(b" for me")
        writer.write_eof()
        assert await heard.get() == b"create a Job for me"


async def test_what_was_kept_back_is_lost_with_its_sender() -> None:
    async with _stalled() as (proxy, writer, heard):
        await asyncio.sleep(0.2)
        writer.close()
        await asyncio.sleep(0.2)
        proxy.flow()
        assert await heard.get() == b""
