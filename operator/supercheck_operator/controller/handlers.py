"""Kopf's part: four watches whose events say "look again". Nothing is decided here.

Only ``on.event`` handlers that leave ``patch`` alone: they write nothing and need no finalizer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import kopf
from kubernetes.aio import client

from supercheck_operator.controller.reconcile import Reconciler
from supercheck_operator.controller.world import Kind
from supercheck_operator.kube import REQUEST_TIMEOUT
from supercheck_operator.resources import GROUP, LABEL_EXECUTION_UID, VERSION

_WORKERS: Final = 200
_IDLE: Final = 0.2


def registry(
    reconciler: Reconciler, where: client.Configuration, *, listed: Callable[[], None]
) -> kopf.OperatorRegistry:
    """The handlers, the settings and the login of the operator.

    ``listed`` is called when a watch begins, or begins again, with a list.
    """
    handlers = kopf.OperatorRegistry()

    def watch(kind: Kind) -> Callable[..., Any]:
        async def seen(event: kopf.RawEvent, **_: Any) -> None:  # noqa: ANN401 - Kopf's protocol
            if event["type"] is None:
                # Items of a list come one by one, by name: the first would start, not the oldest;
                # and what was deleted before the list never comes. A sweep sees all at once.
                listed()
            if event["type"] is not None or kind is not Kind.EXECUTION:
                reconciler.observe(kind, dict(event["object"]), deleted=event["type"] == "DELETED")

        return seen

    async def queue_seen(event: kopf.RawEvent, **_: Any) -> None:  # noqa: ANN401
        reconciler.observe_queue(dict(event["object"]), deleted=event["type"] == "DELETED")

    kopf.on.event(GROUP, VERSION, "testexecutions", registry=handlers, id="execution")(
        watch(Kind.EXECUTION)
    )
    kopf.on.event(GROUP, VERSION, "executionqueues", registry=handlers, id="queue")(queue_seen)
    kopf.on.event("batch", "v1", "jobs", registry=handlers, id="job")(watch(Kind.JOB))
    kopf.on.event("", "v1", "pods", registry=handlers, id="pod")(watch(Kind.POD))

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
    settings.networking.error_backoffs = [0.5, 1, 1, 2, 2, 3, 3, 5]
    settings.watching.connect_timeout = REQUEST_TIMEOUT
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.inactivity_timeout = 70
    settings.watching.label_selectors["batch", "v1", "jobs"] = LABEL_EXECUTION_UID
    settings.watching.label_selectors["", "v1", "pods"] = LABEL_EXECUTION_UID
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
