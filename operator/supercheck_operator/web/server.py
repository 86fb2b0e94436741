"""The HTTP surface: /healthz, /readyz and /metrics always; the page and /api where wanted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from supercheck_operator.reporting.figures import Figures
from supercheck_operator.reporting.metrics import Metrics
from supercheck_operator.web import login, pages
from supercheck_operator.web.access import UnauthenticatedError
from supercheck_operator.web.api import Api
from supercheck_operator.web.guard import add_headers, guard
from supercheck_operator.web.health import Health
from supercheck_operator.web.submit import BODY_LIMIT

SHUTDOWN_SECONDS = 5.0
"""What a request may still take once the process is asked to end."""


def application(
    *, figures: Figures, metrics: Metrics, health: Health, api: Api | None = None
) -> web.Application:
    """``api`` is None in a process without that component."""
    local = api is not None and api.access.open
    app = web.Application(middlewares=[guard(local=local)], client_max_size=BODY_LIMIT)
    app.on_response_prepare.append(add_headers)

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

    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics_page)
    if api is not None:
        api.register(app)
        app.router.add_get("/", _page(api))
        app.router.add_static("/page", pages.FOLDER)
        if not local:
            app.router.add_routes(login.routes(api.access))
    return app


def _page(api: Api) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def page(request: web.Request) -> web.Response:
        try:
            await api.caller(request)
        except UnauthenticatedError:
            return login.form()
        return web.Response(text=pages.read("index.html"), content_type="text/html")

    return page
