"""REST and event streams under /api."""

from __future__ import annotations

from typing import Final

from aiohttp import web
from pydantic import BaseModel

from supercheck_operator.kube import EXECUTIONS, AnsweredError, Kube
from supercheck_operator.ledger.contract import LedgerUnavailableError
from supercheck_operator.reporting.figures import Figures
from supercheck_operator.reporting.history import History
from supercheck_operator.reporting.results import shown
from supercheck_operator.reporting.shown import Shown, ShownExecution
from supercheck_operator.resources import DEFAULT_QUEUE, Phase
from supercheck_operator.web import openapi
from supercheck_operator.web.access import Access, Caller, Right, Sight, demand, sight
from supercheck_operator.web.executions import UnknownExecutionError, executions, live, stats
from supercheck_operator.web.guard import address, token
from supercheck_operator.web.streams import Streams
from supercheck_operator.web.submit import Refused, parse, submit

_FIGURES_EVERY: Final = 0.05
"""Seconds: two of it, and the time to send, are less than the 100 ms of the contract."""
_PAGE_EVERY: Final = 0.25


class Api:
    """The handlers. ``submitter`` creates what callers submit: nobody's rights are lent to them."""

    def __init__(
        self,
        *,
        figures: Figures,
        shown: Shown,
        history: History,
        access: Access,
        kube: Kube,
        submitter: Kube,
    ) -> None:
        self._figures = figures
        self._shown = shown
        self._history = history
        self.access = access
        self._kube = kube
        self._submitter = submitter
        self._stats_streams: Streams[str] = Streams(self._stats_text, tick=_FIGURES_EVERY)
        self._live_streams: Streams[Sight] = Streams(
            self._live_text, tick=_PAGE_EVERY, mark=self._namespaces
        )

    def register(self, app: web.Application) -> None:
        app.router.add_routes(
            [
                web.get("/api/openapi.json", self.document),
                web.get("/api/me", self.me),
                web.get("/api/queue-stats", self.queue_stats),
                web.get("/api/queue-stats/sse", self.queue_stats_sse),
                web.get("/api/queue-stats/history", self.queue_history),
                web.get("/api/executions", self.executions),
                web.post("/api/executions", self.submit),
                web.get("/api/executions/{namespace}/{name}", self.execution),
                web.get("/api/live", self.live_sse),
            ]
        )
        for streams in (self._stats_streams, self._live_streams):
            app.cleanup_ctx.append(streams.running)
            app.on_shutdown.append(streams.close)
        app.on_cleanup.append(self._close)

    async def _close(self, _: web.Application) -> None:
        await self._submitter.close()

    async def caller(self, request: web.Request) -> Caller:
        """Raises UnauthenticatedError."""
        return await self.access.identify(token(request), address(request))

    async def document(self, request: web.Request) -> web.Response:
        await self.caller(request)
        return web.json_response(openapi.document(local=self.access.open))

    async def me(self, request: web.Request) -> web.Response:
        caller = await self.caller(request)
        return web.json_response({"name": caller.name, "login": not self.access.open})

    async def queue_stats(self, request: web.Request) -> web.Response:
        return _json(await stats(self._figures, await self._queue(request)))

    async def queue_stats_sse(self, request: web.Request) -> web.StreamResponse:
        return await self._stats_streams.follow(request, lambda: self._queue(request))

    async def queue_history(self, request: web.Request) -> web.Response:
        queue = await self._queue(request)
        samples = self._history.of(queue)
        return web.json_response({"samples": [_plain(sample) for sample in samples]})

    async def executions(self, request: web.Request) -> web.Response:
        caller = await self.caller(request)
        query = request.query
        try:
            phase = Phase(query["phase"]) if "phase" in query else None
        except ValueError as error:
            raise Refused(400, f"phase must be one of {', '.join(Phase)}.") from error
        if (namespace := query.get("namespace")) is not None:
            await demand(self.access, caller, Right("list", "testexecutions", namespace))
        seen = await self._sight(caller)
        found = executions(
            self._shown.source, seen, queue=query.get("queue"), phase=phase, namespace=namespace
        )
        return _json(found)

    async def submit(self, request: web.Request) -> web.Response:
        caller = await self.caller(request)
        if request.content_type != "application/json":
            raise Refused(415, "Send a TestExecution as application/json.")
        answer = await submit(self._submitter, caller.token, parse(await request.read()))
        headers = {}
        if answer.status == 201:
            metadata = answer.body["metadata"]
            path = f"/api/executions/{metadata['namespace']}/{metadata['name']}"
            headers["Location"] = path
        if answer.retry_after is not None:
            headers["Retry-After"] = f"{answer.retry_after:g}"
        return web.json_response(answer.body, status=answer.status, headers=headers)

    async def execution(self, request: web.Request) -> web.Response:
        caller = await self.caller(request)
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        await demand(self.access, caller, Right("get", "testexecutions", namespace, name))
        found = self._shown.source.find(namespace, name) or await self._stored(namespace, name)
        return _json(found)

    async def live_sse(self, request: web.Request) -> web.StreamResponse:
        async def seen() -> Sight:
            return await self._sight(await self.caller(request))

        return await self._live_streams.follow(request, seen)

    async def _queue(self, request: web.Request) -> str:
        """The queue that is asked for, if its figures may be seen."""
        queue = request.query.get("queue", DEFAULT_QUEUE)
        right = Right("get", "executionqueues", name=queue)
        await demand(self.access, await self.caller(request), right)
        return queue

    async def _sight(self, caller: Caller) -> Sight:
        source = self._shown.source
        return await sight(
            self.access, caller, queues=source.queues(), namespaces=source.namespaces()
        )

    async def _stored(self, namespace: str, name: str) -> ShownExecution:
        missing = UnknownExecutionError(f'No execution "{name}" exists in namespace "{namespace}".')
        if "." in (namespace, name) or ".." in (namespace, name):
            raise missing
        try:
            return shown(await self._kube.get(EXECUTIONS, name, namespace), tests=True)
        except AnsweredError as error:
            if error.status in (403, 404):  # the former where we do not watch: nothing of ours
                raise missing from error
            raise

    async def _stats_text(self, queue: str) -> str:
        return (await stats(self._figures, queue)).model_dump_json(by_alias=True)

    async def _live_text(self, seen: Sight) -> str:
        page = await live(self._shown.source, self._figures, seen)
        return page.model_dump_json(by_alias=True, exclude_none=True)

    def _namespaces(self) -> tuple[frozenset[str], tuple[str, ...]]:
        """What a sight is of: where it changes, everybody's may."""
        try:
            source = self._shown.source
        except LedgerUnavailableError:
            return frozenset(), ()
        return source.namespaces(), tuple(source.queues())


def _json(model: BaseModel) -> web.Response:
    text = model.model_dump_json(by_alias=True, exclude_none=True)
    return web.json_response(text=text)


def _plain(model: BaseModel) -> object:
    return model.model_dump(mode="json", by_alias=True)
