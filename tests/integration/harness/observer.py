"""An independent witness: its own watches, its own idea of what is live."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Self

from harness.api import Raw, Space
from harness.following import Following

Seen = Callable[[str, Raw], None]

EXECUTION = "supercheck.io/execution"
UID = "supercheck.io/execution-uid"


class Observer(Following):
    """Records every Job ever created and the most executions that had a live pod at once."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self._space = space
        self._live: dict[str, str] = {}
        self._seen: set[str] = set()
        self.most_live = 0
        self.jobs: Counter[str] = Counter()
        """Jobs created, by execution and test."""
        self.started: list[str] = []
        """Names of executions in the order of their first Job, as the API server has it."""
        self.live_at_once: defaultdict[str, int] = defaultdict(int)
        """The most live pods that each execution had."""

    async def __aenter__(self) -> Self:
        for path, seen in ((self._space.jobs, self._job), (self._space.pods, self._pod)):
            listed = await self._space.api.get(path)
            assert not listed["items"], "the observer comes before what it observes"
            version = listed["metadata"]["resourceVersion"]
            self._tasks.append(asyncio.create_task(self._follow(path, version, seen)))
        return self

    async def caught_up(self) -> None:
        """Until everything that has happened so far has been seen."""
        for task in self._tasks:
            assert not task.done(), task.exception()
        await asyncio.sleep(0.5)

    async def _follow(self, path: str, version: str, seen: Seen) -> None:
        def only(uids: set[str]) -> None:
            if seen == self._pod:
                self._live = {uid: owner for uid, owner in self._live.items() if uid in uids}

        async for event in self._space.api.watch(path, version, listed_again=only):
            seen(event["type"], event["object"])

    def _job(self, kind: str, job: Raw) -> None:
        if kind == "DELETED" or job["metadata"]["uid"] in self._seen:
            return
        self._seen.add(job["metadata"]["uid"])
        labels = job["metadata"]["labels"]
        self.jobs[f"{labels[EXECUTION]}/{labels['supercheck.io/test']}"] += 1
        if labels[EXECUTION] not in self.started:
            self.started.append(labels[EXECUTION])

    def _pod(self, kind: str, pod: Raw) -> None:
        uid, owner = pod["metadata"]["uid"], pod["metadata"]["labels"][UID]
        over = kind == "DELETED" or pod["status"].get("phase") in ("Succeeded", "Failed")
        if over:
            self._live.pop(uid, None)
        else:
            self._live[uid] = owner
        counts = Counter(self._live.values())
        self.most_live = max(self.most_live, len(counts))
        self.live_at_once[owner] = max(self.live_at_once[owner], counts[owner])
