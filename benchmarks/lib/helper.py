"""A process beside a benchmark, which shares no event loop with it: a line of JSON in, one out."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from harness.api import Raw

_ROOT: Final = Path(__file__).parents[2]
_LONGEST: Final = 2**26
"""Bytes of an answer."""


class Helper:
    def __init__(self, process: asyncio.subprocess.Process, module: str) -> None:
        self.pid = process.pid
        self._process = process
        self._module = module

    async def ask(self, what: str, **rest: object) -> Raw:
        """The answer to one question at a time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"what": what, **rest}).encode() + b"\n")
        await self._process.stdin.drain()
        line = await self._process.stdout.readline()
        assert line, f"{self._module} has ended"
        answer: Raw = json.loads(line)
        return answer


@asynccontextmanager
async def helper(module: str, *arguments: str) -> AsyncIterator[Helper]:
    """``python -m MODULE``, which calls ``serve``, and ends with its standard input."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LONGEST, cwd=_ROOT,
    )  # fmt: skip
    try:
        yield Helper(process, module)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def serve(**answers: Callable[..., Awaitable[Raw]]) -> None:
    """In the helper: answer questions by their name until there are no more."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        question: Raw = json.loads(line)
        print(json.dumps(await answers[question.pop("what")](**question)), flush=True)
