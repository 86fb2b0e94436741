"""What holds for every request: whose page may send it, how often, and how errors are told."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from yarl import URL

from supercheck_operator.kube import KubeError
from supercheck_operator.ledger.contract import UNVERIFIABLE, LedgerUnavailableError
from supercheck_operator.reporting.figures import UnknownQueueError
from supercheck_operator.web.access import (
    DeniedError,
    UnauthenticatedError,
    UndecidedError,
    fingerprint,
)
from supercheck_operator.web.executions import UnknownExecutionError
from supercheck_operator.web.rates import Rates, TooManyError
from supercheck_operator.web.streams import TooManyFollowersError
from supercheck_operator.web.submit import Refused, said

COOKIE: Final = "supercheck_token"
_REQUESTS: Final = (20.0, 200.0)
"""A second, and in a burst, for each caller in a cluster."""
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_PUBLIC: Final = frozenset({"/healthz", "/readyz", "/metrics"})
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Under no-referrer, a browser says of our own forms that they come from "null".
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class CrossSiteError(Exception):
    """Another site's page sent this."""


class WrongHostError(Exception):
    """Asked under a name that is not this machine's own."""


def guard(*, local: bool) -> Middleware:
    rates = Rates(*_REQUESTS)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if local:
                _own_host(request)
            elif request.path not in _PUBLIC:
                rates.take(fingerprint(token(request)) or address(request))
            if request.method not in ("GET", "HEAD"):
                _same_site(request)
            return await handler(request)
        except web.HTTPException as error:
            if not request.path.startswith("/api/") or error.status < 400:
                raise
            allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
            return failure(error.status, error.reason.capitalize(), _sentence(error), allow)
        except _TOLD as error:
            return _told(error)

    return middleware


async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """For ``on_response_prepare``: also what was answered before any handler."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")


def token(request: web.Request) -> str:
    """The caller's: of the header; of the login cookie where there is no header."""
    authorization = request.headers.get("Authorization")
    if authorization is None:
        return request.cookies.get(COOKIE, "")
    scheme, _, said_token = authorization.partition(" ")
    return said_token.strip() if scheme.lower() == "bearer" else ""


def address(request: web.Request) -> str:
    return request.remote or ""


def failure(
    status: int, error: str, message: str, headers: dict[str, str] | None = None
) -> web.Response:
    return web.json_response(said(error, message), status=status, headers=headers)


def _own_host(request: web.Request) -> None:
    """A name that leads to 127.0.0.1 by somebody's DNS is theirs, and so are its pages."""
    if _url(f"http://{request.host}").host not in _LOOPBACK:
        raise WrongHostError("With --local, ask 127.0.0.1 or localhost.")


def _same_site(request: web.Request) -> None:
    """Only our own page, or a program, may change something; a page always says where it is from.

    https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html
    """
    origin = request.headers.get("Origin")
    site = request.headers.get("Sec-Fetch-Site", "same-origin" if origin else "none")
    by_cookie = "Authorization" not in request.headers and COOKIE in request.cookies
    foreign = origin is not None and _url(origin).authority != request.host
    if foreign or site not in ("same-origin", "none") or (by_cookie and site == "none"):
        raise CrossSiteError("Another site's page may not do this.")


def _url(text: str) -> URL:
    try:
        return URL(text)
    except ValueError:
        return URL()


def _sentence(error: web.HTTPException) -> str:
    match error.status:
        case 404:
            return "Nothing is served here; see /api/openapi.json."
        case 405:
            return f"Use {error.headers.get('Allow', 'another method')}."
        case 413:
            return "The body is larger than the 3 MiB that the API server takes."
    return f"{error.reason}."


_TOLD: Final = (
    UnauthenticatedError,
    DeniedError,
    CrossSiteError,
    UnknownExecutionError,
    UnknownQueueError,
    WrongHostError,
    Refused,
    TooManyError,
    TooManyFollowersError,
    LedgerUnavailableError,
    KubeError,
)


def _told(error: Exception) -> web.Response:
    """Every error of ours as JSON, with the status that says whose it is."""
    match error:
        case UnauthenticatedError():
            return failure(401, "Unauthorized", str(error), {"WWW-Authenticate": "Bearer"})
        case DeniedError() | CrossSiteError():
            return failure(403, "Forbidden", str(error))
        case UnknownQueueError() | UnknownExecutionError():
            return failure(404, "Not found", str(error))
        case WrongHostError():
            return failure(421, "Misdirected request", str(error))
        case Refused():
            return failure(error.status, HTTPStatus(error.status).phrase.capitalize(), str(error))
        case TooManyError():
            after = {"Retry-After": str(math.ceil(error.retry_after))}
            return failure(429, "Too many requests", str(error), after)
        case TooManyFollowersError() | UndecidedError():
            return failure(503, "Service unavailable", str(error))
    # Never zeros: figures that are not known are not shown.
    figures = isinstance(error, LedgerUnavailableError)
    told = UNVERIFIABLE if figures else "The API server could not tell; try again."
    return failure(503, "Service unavailable", told)
