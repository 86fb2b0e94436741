"""Hands TCP connections on: `forward.py LISTEN_HOST PORT TARGET_HOST`, the port being the same.

It needs nothing but Python, so that it can run in any container that has one.
"""

import asyncio
import sys


async def serve(listen: str, port: int, target: str) -> asyncio.Server:
    """Listen on ``listen``; whoever connects talks to ``target``."""

    async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(target, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, back), _pump(there, writer))

    return await asyncio.start_server(hand_on, listen, port)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    except OSError:
        pass
    finally:
        sink.close()


async def _main(listen: str, port: int, target: str) -> None:
    server = await serve(listen, port, target)
    print("listening", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
