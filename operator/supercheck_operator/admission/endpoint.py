"""The HTTPS endpoint that the API server calls."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from supercheck_operator.admission.admitter import Admitter
from supercheck_operator.admission.door import answering
from supercheck_operator.admission.judge import ALLOWED
from supercheck_operator.admission.review import MalformedReviewError, parse

PATH: Final = "/validate"
BODY_LIMIT: Final = 4 * 1024 * 1024
"""Bytes: the API server takes objects of up to 3 MiB, and wraps them."""
_SMALL: Final = 256 * 1024
_LARGE_AT_ONCE: Final = 8
"""Who sends more than that waits for its turn, so that the memory of the process is enough."""


def application(admitter: Admitter) -> web.Application:
    """Answers reviews; anything else is a 4xx that admits nothing."""
    large = asyncio.Semaphore(_LARGE_AT_ONCE)

    async def validate(request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(text="Send an AdmissionReview as JSON.")
        if "Content-Encoding" in request.headers:
            raise web.HTTPUnsupportedMediaType(text="Send it as it is, not compressed.")
        if request.content_length is not None and request.content_length <= _SMALL:
            return await review_of(request)
        async with large:
            return await review_of(request)

    async def review_of(request: web.Request) -> web.Response:
        try:
            body = await request.read()
        except (ConnectionError, web.RequestPayloadError) as error:
            # It has gone, was too slow, or does not keep to HTTP: nothing of ours is wrong.
            raise web.HTTPBadRequest(text="The body has not arrived.") from error
        with answering():
            return await judged(body)

    async def judged(body: bytes) -> web.Response:
        try:
            review = parse(body)
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
