"""What happened to the objects of a cluster, read from its etcd: in order, whole, with no lag to
mind.

A watch of the API server loses what happened while that was away, and each kind has a stream of its
own. Here is one stream of everything, in the order of the resourceVersions. The API server must
store JSON (``kindless create cluster --json-storage``).
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

Raw = dict[str, Any]

_EVERYTHING: Final = base64.b64encode(b"\0").decode()
_PREFIXES: Final = {
    "/registry/supercheck.io/testexecutions/": "testexecutions",
    "/registry/supercheck.io/executionqueues/": "executionqueues",
    "/registry/jobs/": "jobs",
    "/registry/pods/": "pods",
    "/registry/leases/": "leases",
}
_MARK: Final = "/mark"


@dataclass(frozen=True, slots=True)
class Change:
    """One object before and after one write; None where it did not, or does not, exist."""

    revision: int
    at: float
    """Monotonic time when it was read here."""
    kind: str
    before: Raw | None
    after: Raw | None

    @property
    def raw(self) -> Raw:
        """What it is now, or was last."""
        found = self.before if self.after is None else self.after
        assert found is not None
        return found


class Etcd:
    """The changes of an etcd that serves JSON over HTTP on ``port``."""

    def __init__(self, port: int) -> None:
        self._session = aiohttp.ClientSession(f"http://127.0.0.1:{port}")
        self._objects: dict[str, Raw] = {}
        self._next = 1
        self._marks: dict[str, asyncio.Event] = {}

    async def close(self) -> None:
        await self._session.close()

    async def changes(self) -> AsyncIterator[Change]:
        """Every change since the beginning, for ever."""
        while True:
            try:
                async for answer in self._watch():
                    assert not answer.get("canceled"), answer
                    for event in answer.get("events", ()):
                        change = self._read(event)
                        if change is not None:
                            yield change
            except (aiohttp.ClientError, OSError):
                await asyncio.sleep(0.1)

    async def mark(self) -> None:
        """Until all that happened before now has been given out by ``changes``."""
        name = f"{_MARK}/{len(self._marks)}"
        passed = self._marks[name] = asyncio.Event()
        body = {"key": base64.b64encode(name.encode()).decode(), "value": ""}
        async with self._session.post("/v3/kv/put", json=body) as answer:
            assert answer.status == 200, await answer.text()
        await asyncio.wait_for(passed.wait(), 60)

    async def _watch(self) -> AsyncIterator[Raw]:
        wanted = {
            "key": _EVERYTHING,
            "range_end": _EVERYTHING,
            "start_revision": str(self._next),
        }
        timeout = aiohttp.ClientTimeout(total=None)
        body = {"create_request": wanted}
        async with self._session.post("/v3/watch", json=body, timeout=timeout) as response:
            rest = b""
            async for piece in response.content.iter_any():
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    yield json.loads(line)["result"]

    def _read(self, event: Raw) -> Change | None:
        stored = event["kv"]
        key, revision = base64.b64decode(stored["key"]).decode(), int(stored["mod_revision"])
        self._next = revision + 1
        if key in self._marks:
            self._marks[key].set()
        kind = next((kind for prefix, kind in _PREFIXES.items() if key.startswith(prefix)), None)
        if kind is None:
            return None
        before = self._objects.pop(key, None)
        after = None
        if event.get("type") != "DELETE":
            after = self._objects[key] = json.loads(base64.b64decode(stored["value"]))
        return Change(revision, time.monotonic(), kind, before, after)
