"""Child processes that end when the demo ends, however it ends."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Final

_PR_SET_PDEATHSIG: Final = 1
_PATIENCE: Final = 60.0
"""Seconds a child gets to take down what it has made."""


class DemoError(Exception):
    """The demo cannot go on; its text is one sentence for a person."""


def _die_with_parent() -> None:
    """In the child, before it becomes its program: be told to end when the demo is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


async def start(
    command: Sequence[str], *, env: Mapping[str, str], out: int | IO[bytes] | None = None
) -> Process:
    """Start ``command`` in a session of its own, so that the terminal's Ctrl-C is the demo's."""
    return await asyncio.create_subprocess_exec(
        *command,
        env=dict(env),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=out,
        stderr=None if out is PIPE else out,
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )


async def stop(process: Process) -> None:
    """Ask ``process`` and what it runs to end, as a terminal would; wait until it has."""
    if process.returncode is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        async with asyncio.timeout(_PATIENCE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def run(command: Sequence[str], *, env: Mapping[str, str], log: Path | None = None) -> None:
    """Run ``command`` to its end, its output on ours or in ``log``.

    Raises DemoError unless it succeeds.
    """
    with log.open("wb") if log else nullcontext() as out:
        process = await start(command, env=env, out=out)
        try:
            code = await process.wait()
        finally:
            await stop(process)
    if code:
        why = f": {last_words(log)}" if log else "; it says why above."
        raise DemoError(f"`{_short(command)}` failed with exit code {code}{why}")


async def ask(command: Sequence[str], *, env: Mapping[str, str]) -> str:
    """What ``command`` prints. Raises DemoError unless it succeeds."""
    process = await start(command, env=env, out=PIPE)
    try:
        answer, _ = await process.communicate()
    finally:
        await stop(process)
    if process.returncode:
        raise DemoError(f"`{_short(command)}` failed with exit code {process.returncode}.")
    return answer.decode().strip()


def _short(command: Sequence[str]) -> str:
    return " ".join([Path(command[0]).name, *command[1:3]])


def last_words(log: Path) -> str:
    """How ``log`` ends, and where it is."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return f"{lines[-1] if lines else 'it said nothing'} (all of it: {log})"
