"""What must be in the cluster before the operator can work: found there, or put there."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from supercheck_operator import crds
from supercheck_operator.admission import registration
from supercheck_operator.kube import CRDS, EXECUTIONS, QUEUES, Kube, KubeError, NotFoundError
from supercheck_operator.settings import Settings

logger = logging.getLogger(__name__)

_FIELD_MANAGER: Final = "supercheck-operator"
_SERVED_WITHIN: Final = 30.0
"""Seconds from a definition's creation until the API server serves it."""


class StartError(Exception):
    """The operator cannot start; its text is one sentence that says why and what to do."""


async def prepare(kube: Kube, settings: Settings, authority: bytes | None) -> None:
    """Reach the API server and see to definitions and webhook. Raises StartError.

    ``authority`` is what the API server must trust to call our webhook, if we serve one.
    """
    try:
        logger.info("Kubernetes %s at %s", await kube.version(), kube.configuration.host)
        if settings.local:
            await _apply_definitions(kube)
        else:
            await _find_definitions(kube)
        if authority is not None:
            await _register(kube, settings, authority)
    except KubeError as error:
        told = str(error).rstrip(".")
        raise StartError(
            f"The API server at {kube.configuration.host} cannot be used: {told}."
        ) from error


async def _apply_definitions(kube: Kube) -> None:
    for definition in crds.shipped():
        await kube.apply(CRDS, definition, manager=_FIELD_MANAGER)
    deadline = asyncio.get_running_loop().time() + _SERVED_WITHIN
    while True:
        try:
            return await _find_definitions(kube)
        except StartError:
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(0.1)


async def _find_definitions(kube: Kube) -> None:
    for resource in (EXECUTIONS, QUEUES):
        try:
            await kube.probe(resource)
        except NotFoundError as error:
            raise StartError(
                f"The CustomResourceDefinition {resource.plural}.{resource.group} is not"
                " installed: run kubectl apply -f crds/, or use --local."
            ) from error


async def _register(kube: Kube, settings: Settings, authority: bytes) -> None:
    if settings.local:
        await registration.register_locally(kube, settings.webhook_port, authority)
        return
    try:
        await registration.trust(kube, authority)
    except NotFoundError as error:
        raise StartError(
            f"ValidatingWebhookConfiguration {registration.NAME} is not installed: create it with a"
            " clientConfig that reaches this process, or use --local outside a cluster."
        ) from error
