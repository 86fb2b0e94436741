"""Submitting the examples, and watching what becomes of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml
from e2e.demo import board
from e2e.demo.board import Board, Raw
from e2e.demo.processes import DemoError
from kubernetes.aio import client, config, watch

NAMESPACE: Final = "demo"
_GROUP: Final = "supercheck.io"
_VERSION: Final = "v1alpha1"
_RECONNECT: Final = 0.5
_EMPTY_WITHIN: Final = 60.0


class Api:
    """The demo's cluster, through the API server, like any other client of it."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api
        self._custom = client.CustomObjectsApi(api)
        self._core = client.CoreV1Api(api)

    @classmethod
    async def connect(cls, kubeconfig: Path) -> Api:
        configuration = client.Configuration()
        await config.load_kube_config(str(kubeconfig), client_configuration=configuration)
        return cls(client.ApiClient(configuration))

    async def close(self) -> None:
        await self._api.close()

    async def clear(self) -> None:
        """Delete what an earlier demo left in this cluster."""
        try:
            await self._core.create_namespace(
                client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE))
            )
        except client.ApiException as error:
            if error.status != 409:
                raise
        where = (_GROUP, _VERSION, NAMESPACE, "testexecutions")
        await self._custom.delete_collection_namespaced_custom_object(*where)
        async with asyncio.timeout(_EMPTY_WITHIN):
            while (await self._core.list_namespaced_pod(NAMESPACE)).items:  # noqa: ASYNC110
                await asyncio.sleep(_RECONNECT)

    async def submit(self, manifests: Iterable[Raw], seen: Board) -> None:
        """Create everything in the given order; refusals are written on the board."""
        for manifest in manifests:
            if manifest["kind"] == "ExecutionQueue":
                await self._put_queue(manifest)
                continue
            try:
                await self._custom.create_namespaced_custom_object(
                    _GROUP, _VERSION, NAMESPACE, "testexecutions", manifest
                )
            except client.ApiException as error:
                name, expected = manifest["metadata"]["name"], board.expectation(manifest)
                seen.refusals.append(
                    board.Refusal(name, error.status or 0, _message(error), expected)
                )
            else:
                if (expected := board.expectation(manifest)).startswith(board.REFUSED):
                    name = manifest["metadata"]["name"]
                    raise DemoError(f"{name} was admitted, but {expected} was expected.")
        seen.submitted = True

    async def _put_queue(self, manifest: Raw) -> None:
        name = manifest["metadata"]["name"]
        try:
            await self._custom.create_cluster_custom_object(
                _GROUP, _VERSION, "executionqueues", manifest
            )
        except client.ApiException as error:
            if error.status != 409:
                raise
            await self._custom.patch_cluster_custom_object(
                *(_GROUP, _VERSION, "executionqueues", name, {"spec": manifest["spec"]}),
                _content_type="application/merge-patch+json",
            )

    async def watch_executions(self, seen: Board, changed: Callable[[], None]) -> None:
        """For ever: keep the executions on the board true."""

        def take(raw: Raw, *, deleted: bool) -> None:
            name = raw["metadata"]["name"]
            if deleted:
                seen.executions.pop(name, None)
            else:
                seen.executions[name] = board.execution(raw)
            changed()

        where = (_GROUP, _VERSION, NAMESPACE, "testexecutions")
        await _watch(self._custom.list_namespaced_custom_object, where, take)

    async def watch_queues(self, seen: Board, changed: Callable[[], None]) -> None:
        """For ever: keep the queues on the board true."""

        def take(raw: Raw, *, deleted: bool) -> None:
            if not deleted:
                seen.queues[raw["metadata"]["name"]] = board.queue(raw)
            changed()

        where = (_GROUP, _VERSION, "executionqueues")
        await _watch(self._custom.list_cluster_custom_object, where, take)


async def _watch(
    resource: Callable[..., Any], where: tuple[str, ...], take: Callable[..., None]
) -> None:
    """A watch without a resourceVersion begins with all there is, so each heals the last."""
    while True:
        try:
            async with watch.Watch() as events:
                async for event in events.stream(resource, *where):
                    take(event["raw_object"], deleted=event["type"] == "DELETED")
        except (client.ApiException, aiohttp.ClientError, OSError):
            await asyncio.sleep(_RECONNECT)


def read(folder: Path) -> list[Raw]:
    """All manifests of a folder, in the order of their files."""
    return [
        manifest
        for file in sorted(folder.glob("*.yaml"))
        for manifest in yaml.safe_load_all(file.read_text())
        if manifest is not None
    ]


def _message(error: client.ApiException) -> str:
    try:
        return str(json.loads(error.body or "")["message"])
    except (ValueError, KeyError, TypeError):
        return str(error.reason)
