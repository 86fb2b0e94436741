"""The HTTP surface: /healthz, /readyz, /metrics and /api/queue-stats."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from supercheck_operator.kube import KubeError
from supercheck_operator.ledger.capacity import Stats
from supercheck_operator.ledger.contract import UNVERIFIABLE, LedgerUnavailableError
from supercheck_operator.reporting.figures import Figures, UnknownQueueError
from supercheck_operator.reporting.metrics import Metrics
from supercheck_operator.resources import DEFAULT_QUEUE
from supercheck_operator.web.access import Access, DeniedError, UnauthenticatedError
from supercheck_operator.web.health import Health


def application(
    *, figures: Figures, metrics: Metrics, health: Health, access: Access, api: bool = True
) -> web.Application:
    """Health and metrics always; /api only in a process with that component."""
    app = web.Application(middlewares=[_errors])

    async def healthz(_: web.Request) -> web.Response:
        if (silent := health.stalled_for) is not None:
            return web.Response(status=503, text=f"no progress for {silent:.0f} s\n")
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        if missing := health.missing:
            return web.Response(status=503, text=f"waiting for {', '.join(missing)}\n")
        return web.Response(text="ok\n")

    async def metrics_page(_: web.Request) -> web.Response:
        await figures.refresh_metrics()
        body = generate_latest(metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def queue_stats(request: web.Request) -> web.Response:
        queue = request.query.get("queue", DEFAULT_QUEUE)
        authorization = request.headers.get("Authorization", "")
        await access.check(authorization, "get", "executionqueues", queue)
        return web.json_response(stats_body(await figures.of(queue)))

    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics_page)
    if api:
        app.router.add_get("/api/queue-stats", queue_stats)
    return app


def stats_body(figures: Stats) -> dict[str, int]:
    return {
        "running": figures.running,
        "runningCapacity": figures.running_capacity,
        "queued": figures.queued,
        "queuedCapacity": figures.queued_capacity,
    }


@web.middleware
async def _errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Every error of ours as JSON, with the status that says whose it is."""
    try:
        return await handler(request)
    except UnauthenticatedError as error:
        return _error(401, "Unauthorized", str(error), {"WWW-Authenticate": "Bearer"})
    except DeniedError as error:
        return _error(403, "Forbidden", str(error))
    except UnknownQueueError as error:
        return _error(404, "Not found", str(error))
    except (LedgerUnavailableError, KubeError):
        # Never zeros: figures that are not known are not shown.
        return _error(503, "Service unavailable", UNVERIFIABLE)


def _error(
    status: int, error: str, message: str, headers: dict[str, str] | None = None
) -> web.Response:
    return web.json_response({"error": error, "message": message}, status=status, headers=headers)
