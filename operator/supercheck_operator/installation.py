"""What must be in the cluster before the operator can work: found there, or put there."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from typing import Final

from prometheus_client import CollectorRegistry

from supercheck_operator import crds
from supercheck_operator.admission import registration
from supercheck_operator.admission.certificates import server_context
from supercheck_operator.admission.keeper import (
    CertificateError,
    Keeper,
    MemoryStore,
    MountedCertificates,
    OwnCertificates,
    SecretStore,
    Store,
)
from supercheck_operator.admission.registration import LocalRegistration
from supercheck_operator.declared_queues import DeclarationError, DeclaredQueues
from supercheck_operator.kube import (
    CRDS,
    EXECUTIONS,
    QUEUES,
    AnsweredError,
    ForbiddenError,
    Kube,
    KubeError,
    NotFoundError,
    Resource,
    UnreachableError,
)
from supercheck_operator.settings import Settings

logger = logging.getLogger(__name__)

_FIELD_MANAGER: Final = "supercheck-operator"
_TRIED_AGAIN: Final = 1.0
"""Seconds between two tries to reach the API server."""
_SERVED_WITHIN: Final = 30.0
"""Seconds from a definition's creation until the API server serves it."""


class StartError(Exception):
    """The operator cannot start; its text is one sentence that says why and what to do."""


def new_keeper(
    kube: Kube, settings: Settings, names: Sequence[str], registry: CollectorRegistry
) -> Keeper:
    """Who sees to the webhook's certificate, as ``settings`` say; it is for ``names``.

    Raises StartError.
    """
    clients = settings.webhook_client_ca_file
    try:
        context = server_context(clients)
    except OSError as error:
        broken = isinstance(error, ssl.SSLError)
        told = "it holds no certificate" if broken else error.strerror
        raise StartError(f"WEBHOOK_CLIENT_CA_FILE cannot be {str(clients)!r}: {told}.") from error
    if settings.webhook_certificates is not None:
        return MountedCertificates(settings.webhook_certificates, registry, context)
    store: Store = MemoryStore()
    if settings.webhook_secret is not None:
        store = SecretStore(kube, namespace=settings.pod_namespace, name=settings.webhook_secret)
    return OwnCertificates(
        store=store,
        trust=LocalRegistration(kube, settings.webhook_port).trust
        if settings.local
        else partial(registration.trust, kube, settings.webhook_configuration),
        names=names,
        lifetime=timedelta(seconds=settings.webhook_certificate_seconds),
        registry=registry,
        context=context,
    )


async def prepare(
    kube: Kube, settings: Settings, keeper: Keeper | None, declared: DeclaredQueues | None
) -> None:
    """Reach the API server and see to definitions, queues and webhook. Raises StartError.

    ``keeper`` keeps the certificate of our webhook, if we serve one. In a cluster, an API server
    that is away comes back, and is waited for: to end would cost ever longer pauses between starts.
    """
    told = ""
    while True:
        try:
            return await _prepare(kube, settings, keeper, declared)
        except KubeError as error:
            why = f"The API server at {kube.configuration.host} cannot be used: {error}"
            if not settings.pod_namespace or not _passes(error):
                raise StartError(f"{why.rstrip('.')}.") from error
            if why != told:
                logger.warning("waiting: %s", why)
            told = why
        await asyncio.sleep(_TRIED_AGAIN)


def _passes(error: KubeError) -> bool:
    """What is wrong with the API server itself, or with a load balancer before it."""
    if isinstance(error, AnsweredError):
        return error.busy or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return isinstance(error, UnreachableError)


async def _prepare(
    kube: Kube, settings: Settings, keeper: Keeper | None, declared: DeclaredQueues | None
) -> None:
    try:
        logger.info("Kubernetes %s at %s", await kube.version(), kube.configuration.host)
        if settings.local:
            await _apply_definitions(kube, settings)
        else:
            await _find_definitions(kube, settings)
        if declared is not None:
            await declared.apply()
        if keeper is not None:
            await _begin(keeper, settings)
    except DeclarationError as error:
        raise StartError(str(error)) from error


async def _apply_definitions(kube: Kube, settings: Settings) -> None:
    for definition in crds.shipped():
        await kube.apply(CRDS, definition, manager=_FIELD_MANAGER)
    deadline = asyncio.get_running_loop().time() + _SERVED_WITHIN
    while True:
        try:
            return await _find_definitions(kube, settings)
        except StartError:
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(0.1)


async def _find_definitions(kube: Kube, settings: Settings) -> None:
    for resource in (EXECUTIONS, QUEUES):
        try:
            await _probe(kube, resource, settings.watch_namespaces or ("",))
        except NotFoundError as error:
            raise StartError(
                f"The CustomResourceDefinition {resource.plural}.{resource.group} is not"
                " installed: run kubectl apply -f crds/, or use --local."
            ) from error


async def _probe(kube: Kube, resource: Resource, namespaces: Sequence[str]) -> None:
    """In the first of ``namespaces`` in which we may: in one that is gone we have no rights."""
    for number, namespace in enumerate(namespaces, 1):
        try:
            await kube.probe(resource, namespace)
        except ForbiddenError:
            if number == len(namespaces):
                raise
        else:
            return


async def _begin(keeper: Keeper, settings: Settings) -> None:
    try:
        await keeper.begin()
    except CertificateError as error:
        raise StartError(str(error)) from error
    except NotFoundError as error:
        secret = f" or Secret {settings.webhook_secret}" if settings.webhook_secret else ""
        raise StartError(
            f"ValidatingWebhookConfiguration {settings.webhook_configuration}{secret} is not"
            " installed: create it with a clientConfig that reaches this process, or use --local"
            " outside a cluster."
        ) from error
