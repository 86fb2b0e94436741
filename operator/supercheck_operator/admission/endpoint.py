"""The HTTPS endpoint that the API server calls."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from supercheck_operator.admission.admitter import Admitter
from supercheck_operator.admission.judge import ALLOWED
from supercheck_operator.admission.review import MalformedReviewError, parse

PATH: Final = "/validate"
BODY_LIMIT: Final = 4 * 1024 * 1024
"""Bytes: the API server takes objects of up to 3 MiB, and wraps them."""


def application(admitter: Admitter) -> web.Application:
    """Answers reviews; anything else is a 4xx that admits nothing."""

    async def validate(request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(text="Send an AdmissionReview as JSON.")
        try:
            review = parse(await request.read())
        except MalformedReviewError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        if isinstance(review, str):
            # Not a creation: nothing else depends on capacity.
            return web.json_response(ALLOWED.envelope(review))
        answer = await admitter.judge(review)
        return web.json_response(answer.envelope(review.request))

    app = web.Application(client_max_size=BODY_LIMIT)
    app.router.add_post(PATH, validate)
    return app
