"""The process: settings in, wiring, an exit code out. Nothing is decided here."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import platform
import resource
import signal
import ssl
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from kubernetes.aio import client
from prometheus_client import disable_created_metrics

from supercheck_operator import __version__, crds, installation, log
from supercheck_operator.admission import endpoint
from supercheck_operator.admission.admitter import Admitter
from supercheck_operator.admission.door import IDLE_SECONDS, Door
from supercheck_operator.admission.keeper import Keeper
from supercheck_operator.controller.board import Board
from supercheck_operator.controller.controller import Controller
from supercheck_operator.controller.leadership import (
    Leadership,
    LeadershipLostError,
    NotLeadingError,
)
from supercheck_operator.controller.oldest_wait import OldestWait
from supercheck_operator.controller.reconcile import Reconciler
from supercheck_operator.controller.world import Kind
from supercheck_operator.declared_queues import DeclaredQueues
from supercheck_operator.installation import StartError
from supercheck_operator.kube import (
    REQUEST_TIMEOUT,
    WRITE_TIMEOUT,
    ConfigError,
    Kube,
    configuration,
    without_credentials,
)
from supercheck_operator.ledger.buffered import BufferedLedger
from supercheck_operator.ledger.memory import MemoryLedger
from supercheck_operator.ledger.redis_ledger import RedisLedger
from supercheck_operator.queueing.queue import Queues
from supercheck_operator.reporting.figures import Figures
from supercheck_operator.reporting.history import History
from supercheck_operator.reporting.metrics import Metrics
from supercheck_operator.reporting.shown import Shown
from supercheck_operator.settings import Settings, SettingsError, add_flags, load
from supercheck_operator.web import server
from supercheck_operator.web.access import ClusterAccess, LocalAccess
from supercheck_operator.web.api import Api
from supercheck_operator.web.health import Health

logger = logging.getLogger("supercheck_operator")

_USAGE: Final = 2


def main(argv: Sequence[str] | None = None) -> None:
    """The console script ``supercheck-operator``."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    sys.exit(_main(argv))


def _main(argv: Sequence[str] | None) -> int:
    arguments = _parser().parse_args(argv)
    if arguments.command == "crds":
        return _crds(arguments)
    try:
        settings = load(arguments, os.environ)
        _log(settings)
        _allow_connections()
        asyncio.run(Operator(settings).run())
    except (SettingsError, ConfigError, StartError) as error:
        print(f"supercheck-operator: {error}", file=sys.stderr)  # noqa: T201
        return _USAGE
    except ExceptionGroup as group:
        lost = group.subgroup(LeadershipLostError)
        told = f"ended: {lost.exceptions[0]}" if lost else "ended by an error"
        logger.critical("%s; it is safe to start again", told, exc_info=not lost)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="supercheck-operator", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the operator: admission, controller, api")
    add_flags(run)
    crd = commands.add_parser("crds", help="print, write or check the CustomResourceDefinitions")
    how = crd.add_mutually_exclusive_group(required=True)
    how.add_argument("--write", metavar="FOLDER", type=Path)
    how.add_argument("--check", metavar="FOLDER", type=Path)
    return parser


def _crds(arguments: argparse.Namespace) -> int:
    if arguments.write:
        crds.write(arguments.write)
        return 0
    if differing := crds.differing(arguments.check):
        names = ", ".join(differing)
        print(  # noqa: T201
            f"{arguments.check}: {names} differ from resources.py; run make fmt.", file=sys.stderr
        )
        return 1
    return 0


def _allow_connections() -> None:
    """As many as may be: by default it is often 1,024, for webhook and followers together."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _log(settings: Settings) -> None:
    log.begin(settings.log_level)
    for chatty in ("kopf.objects", "kopf.activities", "kopf._core", "kopf._cogs"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.server").addFilter(_is_ours)


def _is_ours(record: logging.LogRecord) -> bool:
    """What is not HTTP is its sender's mistake, who is told so: no error, and no traceback."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)


class Operator:
    """One process with the components its settings name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._health = Health()
        self._queues = Queues()
        self._redis = self._redis_ledger() if settings.ledger == "redis" else None
        self._ledger = BufferedLedger(self._redis) if self._redis else MemoryLedger()
        self._figures = Figures(
            ledger=self._ledger, queues=self._queues, settings=settings, metrics=self._metrics
        )
        self._shown = Shown()
        self._history = History(figures=self._figures, queues=self._queues, metrics=self._metrics)
        self._stop = asyncio.Event()
        self._clients: list[Kube] = []
        self._servers: list[web.AppRunner] = []
        self._leaving = False
        self._leadership: Leadership | None = None
        self._controller: Controller | None = None

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises ConfigError or StartError if it cannot begin."""
        self._catch_signals()
        where = await configuration(
            self._settings.kubeconfig, self._settings.context, in_cluster=self._in_cluster()
        )
        kube = self._client(where, self._count)
        self._leadership = self._candidate(where)
        try:
            await self._until_stopped(self._run(kube))
        finally:
            if self._leadership:
                await self._leadership.release()
            await self._stop_serving()
            if self._redis:
                await self._redis.close()
            for each in self._clients:
                await each.close()

    async def _drain(self) -> None:
        """Answer on until everybody has heard that others do.

        Whoever holds a connection is asked to open another one: closed by us without a word, it
        might be closed while a submission is on its way.
        """
        if self._settings.drain_seconds and not self._health.missing:
            self._leaving = True
            self._health.expect("its end")
            await asyncio.sleep(self._settings.drain_seconds)

    async def _stop_serving(self) -> None:
        """What is being answered is answered to its end."""
        while self._servers:
            await self._servers.pop().cleanup()

    async def _ask_for_another_connection(
        self, _: web.Request, response: web.StreamResponse
    ) -> None:
        if self._leaving:
            response.force_close()
            response.headers["Connection"] = "close"

    def _client(
        self,
        where: client.Configuration,
        on_write: Callable[[str, str], None] = lambda _verb, _resource: None,
        *,
        write_timeout: float = REQUEST_TIMEOUT,
        watches: int = 0,
    ) -> Kube:
        agent = f"supercheck-operator/{__version__}"
        kube = Kube(
            where,
            user_agent=agent,
            on_write=on_write,
            write_timeout=write_timeout,
            watches=watches,
        )
        self._clients.append(kube)
        return kube

    def _candidate(self, where: client.Configuration) -> Leadership | None:
        """In a cluster, where a Lease can be; beside it, who runs this leads, if it may."""
        namespace = self._settings.pod_namespace
        if not namespace or "controller" not in self._settings.components:
            return None
        return Leadership(
            kube=self._client(where, write_timeout=WRITE_TIMEOUT),
            namespace=namespace,
            name=self._settings.lease,
            identity=f"{self._settings.pod_name or platform.node()}_{os.getpid()}",
        )

    def _redis_ledger(self) -> RedisLedger:
        return RedisLedger(
            self._settings.redis_address(),
            prefix=self._settings.redis_prefix,
            on_error=self._metrics.ledger_errors.inc,
        )

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)

    def _in_cluster(self) -> bool:
        return not (
            self._settings.local or self._settings.kubeconfig or os.environ.get("KUBECONFIG")
        )

    async def _run(self, kube: Kube) -> None:
        self._health.expect("the caches")
        # HTTP, then the webhook, then the caches, then the first launch.
        await self._serve_http(kube)
        keeper: Keeper | None = None
        if "admission" in self._settings.components:
            keeper = installation.new_keeper(
                kube, self._settings, self._names(), self._metrics.registry
            )
            await self._serve_webhook(kube, keeper.context)
        file = self._settings.queues
        declared = DeclaredQueues(kube, file) if file else None
        await installation.prepare(kube, self._settings, keeper, declared)
        await self._work(kube, [each.run() for each in (keeper, declared) if each])

    async def _until_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Do ``work`` until a signal comes; it has no other good end."""
        working = asyncio.create_task(work)
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if working.done():
            working.result()
            return
        logger.info("stopping")
        if self._controller:
            await self._controller.step_down()
        await self._drain()
        await self._stop_serving()  # before Kopf ends, and every task with it that began after it
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working

    async def _work(self, kube: Kube, chores: Sequence[Coroutine[Any, Any, None]]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for chore in chores:
                tasks.create_task(chore)
            await self._control(kube, tasks)

    async def _control(self, kube: Kube, tasks: asyncio.TaskGroup) -> None:
        controller = self._controller = Controller(
            kube=self._acting(kube.configuration),
            ledger=self._ledger,
            queues=self._queues,
            figures=self._figures,
            settings=self._settings,
            metrics=self._metrics,
            tasks=tasks,
            leadership=self._leadership,
        )
        reconciler = controller.reconciler
        self._health.measure(reconciler.behind)
        self._metrics.registry.register(OldestWait(reconciler.world, self._queues, controller.now))
        await controller.see()
        board = Board(reconciler, self._settings, now=controller.now)
        self._shown.is_shown_by(board, controller.stale)
        if isinstance(self._ledger, BufferedLedger):
            self._ready(reconciler)  # to admit and to show; another one may be leading
        if "api" in self._settings.components:
            tasks.create_task(self._history.run())
        if "controller" in self._settings.components:
            controller.lead(partial(self._ready, reconciler))
        watching = asyncio.Event()
        tasks.create_task(self._take_signals_back(watching))
        await controller.watch(watching)
        self._stop.set()  # a signal that came before it could be taken back

    def _ready(self, reconciler: Reconciler) -> None:
        if self._health.done("the caches"):
            logger.info(
                "ready: %d executions known, webhook on :%d, http on :%d",
                len(reconciler.world),
                self._settings.webhook_port,
                self._settings.http_port,
            )

    def _acting(self, where: client.Configuration) -> Kube:
        """The controller's own client: nothing is sent unless this process is sure to lead."""
        leadership, controls = self._leadership, "controller" in self._settings.components

        def may_write(verb: str, resource: str) -> None:
            if not controls:
                raise NotLeadingError("this process has no controller")
            if leadership is not None:
                leadership.check()
            self._count(verb, resource)

        watches = len(Kind) * max(1, len(self._settings.watch_namespaces))
        return self._client(where, may_write, write_timeout=WRITE_TIMEOUT, watches=watches)

    def _count(self, verb: str, resource: str) -> None:
        self._metrics.kube_writes.labels(verb, resource).inc()

    async def _take_signals_back(self, watching: asyncio.Event) -> None:
        """Kopf takes the signals for itself, and on its way out waits 5 s for tasks not its own."""
        await watching.wait()
        self._catch_signals()

    def _names(self) -> list[str]:
        service, namespace = self._settings.webhook_service, self._settings.pod_namespace
        inside = [f"{service}.{namespace}.svc"] if namespace else []
        return ["127.0.0.1", "localhost", service, *inside]

    async def _serve_http(self, kube: Kube) -> None:
        api = self._api(kube) if "api" in self._settings.components else None
        app = server.application(
            figures=self._figures, metrics=self._metrics, health=self._health, api=api
        )
        runner = self._runner(app)
        await runner.setup()
        site = web.TCPSite(runner, self._host, self._settings.http_port)
        await self._listen(runner, site, "--http-port", self._settings.http_port)

    def _api(self, kube: Kube) -> Api:
        """With --local, callers act as who runs it; in a cluster, as themselves only."""
        local = self._settings.local
        return Api(
            figures=self._figures,
            shown=self._shown,
            history=self._history,
            access=LocalAccess() if local else ClusterAccess(kube),
            kube=kube,
            submitter=kube if local else self._client(without_credentials(kube.configuration)),
        )

    async def _serve_webhook(self, kube: Kube, tls: ssl.SSLContext) -> None:
        admitter = Admitter(
            kube=kube,
            ledger=self._ledger,
            queues=self._queues,
            settings=self._settings,
            metrics=self._metrics,
        )
        runner = self._runner(endpoint.application(admitter), keepalive_timeout=IDLE_SECONDS)
        await runner.setup()
        site = Door(runner, self._host, self._settings.webhook_port, tls)
        await self._listen(runner, site, "--webhook-port", self._settings.webhook_port)

    @property
    def _host(self) -> str | None:
        return "127.0.0.1" if self._settings.local else None

    def _runner(self, app: web.Application, **rest: Any) -> web.AppRunner:  # noqa: ANN401 - aiohttp's
        app.on_response_prepare.append(self._ask_for_another_connection)
        return web.AppRunner(app, access_log=None, shutdown_timeout=server.SHUTDOWN_SECONDS, **rest)

    async def _listen(
        self, runner: web.AppRunner, site: web.BaseSite, flag: str, port: int
    ) -> None:
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise StartError(
                f"{flag} {port} cannot be used: {os.strerror(error.errno or 0)};"
                " choose another port."
            ) from error
        self._servers.append(runner)


if __name__ == "__main__":
    main()
