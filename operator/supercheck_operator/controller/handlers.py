"""Kopf's part: the watch of queues. Nothing is decided here.

Only an ``on.event`` handler that leaves ``patch`` alone: it writes nothing and needs no finalizer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from typing import Any, Final

import kopf
from kubernetes.aio import client

from supercheck_operator.controller.reconcile import Reconciler
from supercheck_operator.kube import REQUEST_TIMEOUT
from supercheck_operator.resources import GROUP, VERSION

_WORKERS: Final = 200
_IDLE: Final = 0.2


def registry(reconciler: Reconciler, where: client.Configuration) -> kopf.OperatorRegistry:
    """The handlers, the settings and the login of the operator."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.event(GROUP, VERSION, "executionqueues", registry=handlers, id="queue")
    async def queue_seen(event: kopf.RawEvent, **_: Any) -> None:  # noqa: ANN401 - Kopf's protocol
        reconciler.observe_queue(dict(event["object"]), deleted=event["type"] == "DELETED")

    @kopf.on.startup(registry=handlers)
    async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:  # noqa: ANN401
        _configure(settings)

    @kopf.on.login(registry=handlers)
    async def login(**_: Any) -> kopf.ConnectionInfo:  # noqa: ANN401
        return await _connection(where)

    return handlers


def _configure(settings: kopf.OperatorSettings) -> None:
    settings.posting.enabled = False
    settings.scanning.disabled = True
    # Idle workers keep their place: limit ÷ idle_timeout bounds the events per second.
    settings.queueing.worker_limit = _WORKERS
    settings.queueing.idle_timeout = _IDLE
    settings.networking.request_timeout = REQUEST_TIMEOUT
    settings.networking.error_backoffs = _ForEver()
    settings.watching.connect_timeout = REQUEST_TIMEOUT
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.inactivity_timeout = 70
    # What these storages would keep for diffs and progress serves nobody here.
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.persistence.progress_storage = _NoProgress()


async def _connection(where: client.Configuration) -> kopf.ConnectionInfo:
    authorization = await where.get_api_key_with_prefix("BearerToken", alias="authorization")
    scheme, _, token = (authorization or "").partition(" ")
    return kopf.ConnectionInfo(
        server=where.host,
        ca_path=where.ssl_ca_cert,
        insecure=not where.verify_ssl,
        scheme=scheme or None,
        token=token or None,
        certificate_path=where.cert_file,
        private_key_path=where.key_file,
        proxy_url=where.proxy,
    )


class _ForEver(Iterable[float]):
    """Seconds between tries: when they come to an end, so does Kopf, and the process with it."""

    def __iter__(self) -> Iterator[float]:
        return chain((0.5, 1, 1, 2, 2, 3, 3), repeat(5))


class _NoDiffBase(kopf.DiffBaseStorage):
    """Kopf copies every object deeply to find differences; nobody here asks for them."""

    def build(
        self,
        *,
        body: kopf.Body,
        extra_fields: Any = None,  # noqa: ANN401
    ) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        return None


class _NoProgress(kopf.ProgressStorage):
    def fetch(self, *, key: Any, body: kopf.Body) -> None:  # noqa: ANN401
        return None

    def store(self, *, key: Any, record: Any, body: kopf.Body, patch: kopf.Patch) -> None:  # noqa: ANN401
        return None

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:  # noqa: ANN401
        return None

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: Any) -> None:  # noqa: ANN401
        return None

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence
