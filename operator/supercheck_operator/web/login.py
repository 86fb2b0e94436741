"""A login for browsers, which cannot send a token with an event stream: a cookie that holds it.

The cookie is the token itself, so a login survives a restart, holds on every replica, and ends when
the token does. No script can read it, and no other site's page can have it sent.
"""

from __future__ import annotations

import html
from typing import Final

from aiohttp import web

from supercheck_operator.web import pages
from supercheck_operator.web.access import Access, UnauthenticatedError, UndecidedError
from supercheck_operator.web.guard import COOKIE, address

_LIMIT: Final = 3800
"""Characters; browsers keep cookies of up to 4096 bytes."""
_MESSAGE: Final = "<!--message-->"


def form(message: str = "", status: int = 401) -> web.Response:
    """The login page, saying why it is shown again."""
    text = pages.read("login.html").replace(_MESSAGE, html.escape(message))
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return web.Response(text=text, content_type="text/html", status=status, headers=headers)


def routes(access: Access) -> list[web.RouteDef]:
    async def show(_: web.Request) -> web.Response:
        return form(status=200)

    async def login(request: web.Request) -> web.Response:
        said = (await request.post()).get("token", "")
        token = "".join(said.split()) if isinstance(said, str) else ""
        if len(token) > _LIMIT:
            return form("This token is too long for a cookie: use one of a service account.", 413)
        try:
            await access.identify(token, address(request))
        except UnauthenticatedError as error:
            return form(str(error) if token else "Paste a token first.")
        except UndecidedError as error:
            return form(str(error), 503)
        response = web.Response(status=303, headers={"Location": "/"})
        response.set_cookie(
            COOKIE, token, path="/", httponly=True, samesite="Strict", secure=_secure(request)
        )
        return response

    async def logout(_: web.Request) -> web.Response:
        response = web.Response(status=303, headers={"Location": "/login"})
        response.del_cookie(COOKIE, path="/")
        return response

    return [
        web.get("/login", show),
        web.post("/login", login),
        web.post("/logout", logout),
    ]


def _secure(request: web.Request) -> bool:
    """Whether the browser came by TLS, which usually ends before this server."""
    return request.secure or request.headers.get("X-Forwarded-Proto", "") == "https"
