"""The OpenAPI 3.1 document, made of the models that are served."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from supercheck_operator import __version__
from supercheck_operator.reporting.shown import Sample, ShownExecution
from supercheck_operator.resources import Model, Phase
from supercheck_operator.web.executions import Executions, Live, Stats
from supercheck_operator.web.submit import CAPACITY

_Json = dict[str, Any]
_LABEL: Final = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"


class Error(Model):
    """What went wrong, and one sentence for a person."""

    error: str
    message: str


class Me(Model):
    """Whom the cluster takes the caller for."""

    name: str
    login: bool


class Samples(Model):
    samples: list[Sample]


_SERVED: Final[tuple[type[BaseModel], ...]] = (
    Error, Executions, Live, Me, Samples, ShownExecution, Stats,
)  # fmt: skip
_QUEUE: Final[_Json] = {
    "name": "queue",
    "in": "query",
    "description": "Name of an ExecutionQueue; omitted = default.",
    "schema": {"type": "string"},
}
_NO_QUEUE: Final = {404: "No such queue."}
_COMMON: Final = {
    401: "The caller did not say who they are, or the cluster does not know them.",
    403: "The caller may not.",
    429: "Too many requests; Retry-After says for how many seconds.",
    503: "Nobody can tell: figures that are not known are never shown as zeros.",
}


@cache
def document(*, local: bool) -> _Json:
    """The whole of it; where it is ``local``, nobody is asked who they are."""
    _, schemas = models_json_schema(
        [(model, "serialization") for model in _SERVED],
        ref_template="#/components/schemas/{model}",
    )
    definitions: _Json = schemas["$defs"]
    # A map of names to strings; which fields a spec has is told by the CRD.
    definitions["TestExecution"] = {
        "type": "object",
        "description": "A TestExecution as of its CustomResourceDefinition (kubectl explain tx).",
        "required": ["metadata", "spec"],
        "properties": {
            "apiVersion": {"const": "supercheck.io/v1alpha1"},
            "kind": {"const": "TestExecution"},
            "metadata": {
                "type": "object",
                "required": ["namespace"],
                "properties": {
                    "namespace": {"type": "string", "pattern": _LABEL},
                    "name": {"type": "string"},
                    "generateName": {"type": "string"},
                },
            },
            "spec": {"type": "object", "required": ["tests"]},
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "supercheck-operator",
            "version": __version__,
            "description": "Queues and executions as the caller may see them. With --local nobody"
            " is asked who they are, and what is submitted is created as the user of the"
            " kubeconfig.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [] if local else [{"bearer": []}, {"cookie": []}],
        "paths": {
            "/api/queue-stats": {
                "get": _get("The four figures of a queue", "Stats", [_QUEUE], _NO_QUEUE)
            },
            "/api/queue-stats/sse": {
                "get": _stream(
                    "The same, first at once and then on every change, within 100 ms.",
                    "Stats", [_QUEUE], _NO_QUEUE,
                )
            },
            "/api/queue-stats/history": {
                "get": _get(
                    "The last 15 minutes of a queue, a sample every 5 s",
                    "Samples", [_QUEUE], _NO_QUEUE,
                )
            },
            "/api/executions": {"get": _list(), "post": _submit()},
            "/api/executions/{namespace}/{name}": {
                "get": _get(
                    "One execution with its tests",
                    "ShownExecution",
                    [_path("namespace"), _path("name")],
                    {404: "No such execution."},
                )
            },
            "/api/live": {
                "get": _stream("All of the live page, on every change.", "Live", [], {})
            },
            "/api/me": {"get": _get("Who the caller is", "Me", [], {})},
            "/api/openapi.json": {
                "get": _operation(
                    "This document", [], {200: _answer("It.", {"type": "object"})}, {}
                )
            },
        },
        "components": {
            "schemas": definitions,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "supercheck_token"},
            },
        },
    }  # fmt: skip


def _list() -> _Json:
    parameters = [
        _query("queue", "Only of this queue.", {"type": "string"}),
        _query("phase", "Only in this phase.", {"type": "string", "enum": list(Phase)}),
        _query("namespace", "Only of this namespace.", {"type": "string"}),
    ]
    return _get(
        "What runs, waits with its position and estimated start, and has lately ended",
        "Executions",
        parameters,
        {400: "The phase is none."},
    )


def _submit() -> _Json:
    created = _answer("It is stored.", _ref("TestExecution"))
    created["headers"] = {"Location": {"schema": {"type": "string"}}}
    refusals = {
        400: "It is not JSON, or has fields that the schema does not know.",
        404: "No such namespace.",
        409: "The name is taken.",
        413: "It is larger than 3 MiB.",
        415: "It is not application/json.",
        422: "The object is invalid; the message names the field.",
        429: f'"{CAPACITY}", with the figures that say so; or too many requests.',
        502: "The API server failed.",
    }
    operation = _operation(
        "Submit an execution with the caller's own token", [], {201: created}, refusals
    )
    content = {"application/json": {"schema": _ref("TestExecution")}}
    return operation | {"requestBody": {"required": True, "content": content}}


def _get(summary: str, model: str, parameters: list[_Json], errors: dict[int, str]) -> _Json:
    return _operation(summary, parameters, {200: _answer("So it is.", _ref(model))}, errors)


def _stream(summary: str, model: str, parameters: list[_Json], errors: dict[int, str]) -> _Json:
    told = (
        f"Unnamed events whose data is a {model} as JSON; `: heartbeat` every 15 s; an event"
        " named `unavailable` while nobody can tell."
    )
    events = {
        "description": told,
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
    return _operation(summary, parameters, {200: events}, errors)


def _operation(
    summary: str, parameters: list[_Json], answers: dict[int, _Json], errors: dict[int, str]
) -> _Json:
    told = {
        status: _answer(description, _ref("Error"))
        for status, description in sorted((_COMMON | errors).items())
    }
    responses = {str(status): answer for status, answer in (answers | told).items()}
    return {"summary": summary, "parameters": parameters, "responses": responses}


def _answer(description: str, schema: _Json) -> _Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _query(name: str, description: str, schema: _Json) -> _Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _path(name: str) -> _Json:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1},
    }


def _ref(model: str) -> _Json:
    return {"$ref": f"#/components/schemas/{model}"}
