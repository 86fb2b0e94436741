"""The API server as a user of the cluster sees it."""

import asyncio
import base64
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import yaml

Raw = dict[str, Any]

GROUP = "/apis/supercheck.io/v1alpha1"


def session(kubeconfig: Path, **options: Any) -> aiohttp.ClientSession:
    """To the API server, as the user of ``kubeconfig``; ``options`` are the connector's."""
    config = yaml.safe_load(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    tls = ssl.create_default_context(cadata=authority)
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
    with tempfile.NamedTemporaryFile() as file:
        file.write(base64.b64decode(user["client-certificate-data"]))
        file.write(base64.b64decode(user["client-key-data"]))
        file.flush()
        tls.load_cert_chain(file.name)
    connector = aiohttp.TCPConnector(ssl=tls, **{"limit": 200, **options})
    return aiohttp.ClientSession(cluster["server"], connector=connector, read_bufsize=2**21)


class Api:
    """Requests by path; answers as (status, body)."""

    def __init__(self, kubeconfig: Path) -> None:
        self._session = session(kubeconfig)

    async def close(self) -> None:
        await self._session.close()

    async def call(
        self,
        method: str,
        path: str,
        body: Raw | None = None,
        *,
        content_type: str = "application/json",
    ) -> tuple[int, Raw]:
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content_type, "User-Agent": "tests"}
        async with self._session.request(method, path, data=data, headers=headers) as response:
            return response.status, json.loads(await response.text())

    async def get(self, path: str) -> Raw:
        status, body = await self.call("GET", path)
        assert status == 200, body
        return body

    async def text(self, path: str) -> str:
        async with self._session.get(path) as response:
            assert response.status == 200, await response.text()
            return await response.text()

    async def items(self, path: str) -> list[Raw]:
        found: list[Raw] = (await self.get(path))["items"]
        return found

    async def create(self, path: str, body: Raw) -> Raw:
        status, answer = await self.call("POST", path, body)
        assert status == 201, answer
        return answer

    async def patch(self, path: str, body: Raw) -> tuple[int, Raw]:
        return await self.call("PATCH", path, body, content_type="application/merge-patch+json")

    async def delete(self, path: str) -> None:
        status, answer = await self.call("DELETE", path)
        assert status in (200, 202, 404), answer

    async def watch(
        self, path: str, version: str, *, listed_again: Callable[[set[str]], None] = lambda _: None
    ) -> AsyncIterator[Raw]:
        """Every event of ``path`` after ``version``, over any interruption of the connection.

        Where the API server has lost the past (it does when it starts again), what exists is
        listed and told as events of the type LISTED; before, ``listed_again`` is told their UIDs,
        since nothing else tells what was deleted meanwhile.
        """
        mark = "&" if "?" in path else "?"
        while True:
            url = f"{path}{mark}watch=true&allowWatchBookmarks=true&resourceVersion={version}"
            timeout = aiohttp.ClientTimeout(total=None)
            try:
                async with self._session.get(url, timeout=timeout) as response:
                    async for line in response.content:
                        event: Raw = json.loads(line)
                        if event["type"] == "ERROR" or "metadata" not in event.get("object", {}):
                            break
                        version = event["object"]["metadata"]["resourceVersion"]
                        if event["type"] != "BOOKMARK":
                            yield event
                    else:
                        continue
                listed = await self.get(path)
                version = listed["metadata"]["resourceVersion"]
                listed_again({item["metadata"]["uid"] for item in listed["items"]})
                for item in listed["items"]:
                    yield {"type": "LISTED", "object": item}
            except (aiohttp.ClientError, AssertionError, ValueError):
                await asyncio.sleep(0.1)


def execution(
    name: str,
    *,
    runs_for: str | None = None,
    start: str | None = None,
    tests: list[Raw] | None = None,
    annotations: dict[str, str] | None = None,
    pod: Raw | None = None,
    **spec: Any,
) -> Raw:
    """A TestExecution whose fake pods behave as told: a duration, ``never``, a start or none."""
    notes = dict(annotations or {})
    if runs_for is not None:
        notes["stage.kindless/runs-for"] = runs_for
    if start is not None:
        notes["stage.kindless/start"] = start
    template: Raw = {}
    if notes:
        template["metadata"] = {"annotations": notes}
    if pod is not None:
        template["spec"] = pod
    body: Raw = {"tests": tests or [{"name": "t", "image": "example/e2e:1"}], **spec}
    if template:
        body["template"] = template
    return {
        "apiVersion": "supercheck.io/v1alpha1",
        "kind": "TestExecution",
        "metadata": {"name": name},
        "spec": body,
    }


class Space:
    """One namespace and what a test does in it."""

    def __init__(self, api: Api, name: str) -> None:
        self.api = api
        self.name = name
        self.executions = f"{GROUP}/namespaces/{name}/testexecutions"
        self.jobs = f"/apis/batch/v1/namespaces/{name}/jobs"
        self.pods = f"/api/v1/namespaces/{name}/pods"
        self.config_maps = f"/api/v1/namespaces/{name}/configmaps"

    async def submit(self, body: Raw) -> Raw:
        return await self.api.create(self.executions, body)

    async def try_submit(self, body: Raw, *, dry_run: bool = False) -> tuple[int, Raw]:
        query = "?dryRun=All" if dry_run else ""
        return await self.api.call("POST", self.executions + query, body)

    async def get(self, name: str) -> Raw:
        return await self.api.get(f"{self.executions}/{name}")

    async def status(self, name: str) -> Raw:
        found: Raw = (await self.get(name))["status"]
        return found

    async def change(self, name: str, spec: Raw) -> tuple[int, Raw]:
        return await self.api.patch(f"{self.executions}/{name}", {"spec": spec})

    async def remove(self, name: str) -> None:
        await self.api.delete(f"{self.executions}/{name}")

    async def phases(self) -> dict[str, str]:
        found = await self.api.items(self.executions)
        return {item["metadata"]["name"]: item["status"]["phase"] for item in found}
