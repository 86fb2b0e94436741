"""The Kubernetes API as this project uses it: raw objects in, raw objects out, one error tree.

Typed client models cost more than the requests themselves here, so only the transport, the
authentication and the configuration of the ``kubernetes`` client are used.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode

import aiohttp
import orjson
import yaml
from kubernetes.aio import client, config

from supercheck_operator.clock import Clock
from supercheck_operator.resources import GROUP, VERSION, Raw

REQUEST_TIMEOUT: Final = 10.0
"""Seconds for any request but a LIST, which may take longer, but not be silent for longer."""
WRITE_TIMEOUT: Final = 5.0
"""Seconds for whatever only a leader may send: see ``controller.leadership``."""
_CONNECTIONS: Final = 64
"""For requests, at a time; what more there are wait for one."""
_LIST_TIMEOUT: Final = 60.0
_FIRST_PAGE: Final = 50
"""Objects in the first part of a list; etcd takes up to 1.5 MiB of each."""
_PAGE: Final = 500
_PAGES: Final = 40
"""A long list comes in so many parts, not in parts of ``_PAGE``: to answer one, an API server goes
through all that follows it. 100,000 in 200 parts took half of its time of a sweep for that."""
_PAGE_BYTES: Final = 16 * 2**20
"""Of one part, unless its objects are longer than those of the part before."""
_SILENCE: Final = 70.0
"""Seconds without a word after which a watch is given up; a bookmark comes every minute."""
_WATCH_SECONDS: Final = 300
_LONGEST_EVENT: Final = 2**25
"""Bytes: more than an object that etcd takes (1.5 MiB) can have as JSON."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource of the API, by its place in the URL."""

    group: str
    version: str
    plural: str
    namespaced: bool = True

    def url(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts += [self.plural, *([name] if name else []), *([subresource] if subresource else [])]
        return "/" + "/".join(quote(part, safe="") for part in parts)


EXECUTIONS: Final = Resource(GROUP, VERSION, "testexecutions")
QUEUES: Final = Resource(GROUP, VERSION, "executionqueues", namespaced=False)
JOBS: Final = Resource("batch", "v1", "jobs")
PODS: Final = Resource("", "v1", "pods")
EVENTS: Final = Resource("", "v1", "events")
NEW_EVENTS: Final = Resource("events.k8s.io", "v1", "events")
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases")
CONFIG_MAPS: Final = Resource("", "v1", "configmaps")
SECRETS: Final = Resource("", "v1", "secrets")
NAMESPACES: Final = Resource("", "v1", "namespaces", namespaced=False)
CRDS: Final = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
WEBHOOKS: Final = Resource(
    "admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", namespaced=False
)
TOKEN_REVIEWS: Final = Resource("authentication.k8s.io", "v1", "tokenreviews", namespaced=False)
ACCESS_REVIEWS: Final = Resource(
    "authorization.k8s.io", "v1", "subjectaccessreviews", namespaced=False
)


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a LIST; ``version`` is the resourceVersion of all of it."""

    items: list[Raw]
    version: int


class KubeError(Exception):
    """A request to the API server did not succeed; its text is the API server's message."""


class UnreachableError(KubeError):
    """No answer, or none that tells whether the request was carried out."""


class NotSentError(UnreachableError):
    """It was kept from being sent by who is told of every write."""


class AnsweredError(KubeError):
    """The API server said no; ``retry_after`` are the seconds it asks for before another try."""

    def __init__(
        self, status: int, reason: str, message: str, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after

    @property
    def busy(self) -> bool:
        """It has not judged the request at all: for lack of time, of room, of our credentials."""
        return self.status in (401, 408, 429, 503, 504)


class ForbiddenError(AnsweredError):
    """403: no rights, or somebody's policy."""


class NotFoundError(AnsweredError):
    """404."""


class AlreadyExistsError(AnsweredError):
    """409 for a name that is taken."""


class ConflictError(AnsweredError):
    """409 for a resourceVersion that is not the newest."""


class InvalidError(AnsweredError):
    """400 or 422: the object itself is refused."""


class ExpiredError(AnsweredError):
    """410: the past that was asked for is no longer kept; list again."""


class ConfigError(Exception):
    """The kubeconfig, or the service account, cannot be used; its text is one sentence."""


async def configuration(
    kubeconfig: Path | None, context: str | None, *, in_cluster: bool
) -> client.Configuration:
    """Where the API server is and who we are to it. Raises ConfigError."""
    loaded = client.Configuration()
    where = "The service account" if in_cluster else f"The kubeconfig {_existing(kubeconfig)}"
    try:
        if in_cluster:
            config.load_incluster_config(client_configuration=loaded)
        else:
            await config.load_kube_config(
                config_file=str(kubeconfig) if kubeconfig else None,
                context=context,
                client_configuration=loaded,
                persist_config=False,
            )
    except (config.ConfigException, OSError, yaml.YAMLError, ValueError, KeyError, TypeError) as e:
        told = " ".join(str(e).split()).rstrip(".")
        hint = "; outside a cluster, use --local" if in_cluster else ""
        raise ConfigError(f"{where} cannot be used: {told}{hint}.") from e
    return loaded


def _existing(kubeconfig: Path | None) -> str:
    """The files that are to be read, as told to people. Raises ConfigError if there is none."""
    said = str(kubeconfig) if kubeconfig else os.environ.get("KUBECONFIG", "~/.kube/config")
    if not any(Path(path).expanduser().is_file() for path in said.split(os.pathsep)):
        raise ConfigError(f"The kubeconfig {said} does not exist: name one by --kubeconfig.")
    return said


def without_credentials(where: client.Configuration) -> client.Configuration:
    """The same API server, to which nobody is known yet.

    A client certificate would win over any token that is sent with a request.
    """
    bare = client.Configuration(host=where.host)
    for name in ("ssl_ca_cert", "ca_cert_data", "verify_ssl", "tls_server_name", "proxy",
                 "assert_hostname", "disable_strict_ssl_verification"):  # fmt: skip
        setattr(bare, name, getattr(where, name))
    return bare


class Kube:
    """A client. ``on_write`` is told verb and resource of every request that may change something,
    before it is sent; what it raises keeps the request from being sent. ``watches`` are as many as
    go on at a time: each has a connection for itself.

    Every call raises a KubeError when it does not succeed.
    """

    def __init__(
        self,
        where: client.Configuration,
        *,
        user_agent: str,
        on_write: Callable[[str, str], None] = lambda _verb, _resource: None,
        write_timeout: float = REQUEST_TIMEOUT,
        watches: int = 0,
    ) -> None:
        where.connection_pool_maxsize = _CONNECTIONS + watches
        # Otherwise ~/.netrc is read, by a thread, for every request.
        where.client_session_kwargs = {"trust_env": False}
        self.configuration = where
        self._api = client.ApiClient(where)
        self._api.user_agent = user_agent
        self._on_write = on_write
        self._write_timeout = write_timeout
        self.clock = Clock()
        """The API server's, as its answers tell."""
        self.writing = 0
        """Requests under way that may change something."""

    async def close(self) -> None:
        await self._api.close()

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Raw:
        return await self._request("GET", resource.url(namespace, name))

    async def list(
        self, resource: Resource, *, namespace: str = "", labels: str = "", fields: str = ""
    ) -> tuple[list[Raw], int]:
        """What both selectors select, and the list's resourceVersion: see ``pages``."""
        items: list[Raw] = []
        version = 0
        async for page in self.pages(resource, namespace=namespace, labels=labels, fields=fields):
            items += page.items
            version = page.version
        return items, version

    async def pages(
        self, resource: Resource, *, namespace: str = "", labels: str = "", fields: str = ""
    ) -> AsyncIterator[Page]:
        """A consistent read, in parts.

        https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list
        """
        query = {"limit": str(_FIRST_PAGE), "labelSelector": labels, "fieldSelector": fields}
        most = _PAGE
        while True:
            content = await self._content(
                "GET", resource.url(namespace), query=query, timeout=_LIST_TIMEOUT
            )
            page: Raw = orjson.loads(content)
            size = len(content)
            del content  # both take memory while the page is looked at
            yield Page(page["items"], int(page["metadata"]["resourceVersion"]))
            token = page["metadata"].get("continue")
            if not token:
                return
            most = max(most, page["metadata"].get("remainingItemCount", 0) // _PAGES)
            fitting = _PAGE_BYTES * len(page["items"]) // size
            query |= {"continue": token, "limit": str(max(1, min(most, fitting)))}

    async def probe(self, resource: Resource, namespace: str = "") -> None:
        """Nothing, where ``resource`` is served; NotFoundError where it is not."""
        await self._request("GET", resource.url(namespace), query={"limit": "1"})

    @asynccontextmanager
    async def watch(
        self,
        resource: Resource,
        *,
        version: str,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
    ) -> AsyncIterator[AsyncIterator[Raw]]:
        """Once the API server has agreed: every event after ``version``, with bookmarks, until it
        ends the stream.

        Raises ExpiredError, also later, where it no longer knows what came after ``version``.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(_WATCH_SECONDS),
            "labelSelector": labels,
            "fieldSelector": fields,
        }
        async with self._stream(resource.url(namespace), query, silence=_SILENCE) as content:
            yield _events(content)

    async def logs(
        self, namespace: str, pod: str, query: Mapping[str, str]
    ) -> AsyncIterator[bytes]:
        """A container's output, line by line, as ``query`` asks for it."""
        async with self._stream(PODS.url(namespace, pod, "log"), query) as content:
            kept = b""
            async for chunk in content.iter_any():
                *lines, kept = (kept + chunk).split(b"\n")
                for line in lines:
                    yield line
            if kept:
                yield kept

    async def create(self, resource: Resource, body: Raw, *, manager: str = "") -> Raw:
        """``manager`` is noted in ``managedFields`` as who created what somebody wrote by hand:
        fields the schema lacks are then refused.
        """
        self._on_write("create", resource.plural)
        namespace = body["metadata"].get("namespace", "")
        query = {"fieldManager": manager, "fieldValidation": "Strict"} if manager else None
        return await self._request("POST", resource.url(namespace), query=query, body=body)

    async def create_for(self, token: str, resource: Resource, body: Raw) -> Raw:
        """``create`` for a caller, with their ``token``; fields the schema lacks are refused.

        Without a token it is done as who we are, which for others must be nobody: see
        ``without_credentials``.
        """
        self._on_write("create", resource.plural)
        namespace = body["metadata"].get("namespace", "")
        query = {"fieldValidation": "Strict"}
        return await self._request(
            "POST", resource.url(namespace), query=query, body=body, token=token
        )

    async def ask(self, resource: Resource, body: Raw) -> Raw:
        """Create a review: an object that is an answer and is stored nowhere."""
        return await self._request("POST", resource.url(), body={"metadata": {}} | body)

    async def patch(
        self,
        resource: Resource,
        name: str,
        body: Raw,
        *,
        namespace: str = "",
        subresource: str = "",
    ) -> Raw:
        """JSON merge patch (RFC 7396); a resourceVersion in ``body`` makes it conditional."""
        self._on_write("patch", resource.plural)
        return await self._request(
            "PATCH",
            resource.url(namespace, name, subresource),
            body=body,
            content_type="application/merge-patch+json",
        )

    async def apply(self, resource: Resource, body: Raw, *, manager: str) -> Raw:
        """Server-side apply of ``body``, taking over its fields."""
        self._on_write("apply", resource.plural)
        metadata = body["metadata"]
        return await self._request(
            "PATCH",
            resource.url(metadata.get("namespace", ""), metadata["name"]),
            query={"fieldManager": manager, "force": "true"},
            body=body,
            content_type="application/apply-patch+yaml",
        )

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str,
        *,
        uid: str,
        version: int | None = None,
    ) -> None:
        """Delete that very object and, in the background, what it owns; absent is success.

        Raises ConflictError if a ``version`` is given and it is no longer the newest.
        """
        self._on_write("delete", resource.plural)
        conditions = {"uid": uid} | ({"resourceVersion": str(version)} if version else {})
        body = {"propagationPolicy": "Background", "preconditions": conditions}
        try:
            await self._request("DELETE", resource.url(namespace, name), body=body)
        except NotFoundError:
            return
        except ConflictError:
            if version is not None:
                raise

    async def version(self) -> str:
        """The API server's version, such as v1.36.3."""
        return str((await self._request("GET", "/version"))["gitVersion"])

    async def _request(
        self,
        method: str,
        url: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Raw | None = None,
        content_type: str = "application/json",
        token: str = "",
    ) -> Raw:
        content = await self._content(
            method, url, query=query, body=body, content_type=content_type, token=token
        )
        parsed: Raw = orjson.loads(content)
        return parsed

    async def _content(
        self,
        method: str,
        url: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Raw | None = None,
        content_type: str = "application/json",
        timeout: float = REQUEST_TIMEOUT,  # noqa: ASYNC109 - it is the transport's own
        token: str = "",
    ) -> bytes:
        headers = await self._headers(method, url, content_type, body)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        writes = method != "GET"
        if writes:
            # The API server gives it up, too: nothing lands after its sender has.
            timeout = min(timeout, self._write_timeout)
            query = {**(query or {}), "timeout": f"{timeout:g}s"}
        self.writing += writes
        sent_at = self.clock.now()
        try:
            async with _transport_errors(method, url):
                response = await self._api.rest_client.request(
                    method,
                    self._full(url, query),
                    headers=headers,
                    body=body,
                    _request_timeout=aiohttp.ClientTimeout(
                        total=timeout, sock_read=REQUEST_TIMEOUT
                    ),
                )
                self._hear(response.headers, sent_at)
                content: bytes = await response.read()
        finally:
            self.writing -= writes
        if response.status >= 400:
            raise _refusal(response.status, content, response.headers)
        return content

    def _hear(self, headers: Mapping[str, str], sent_at: datetime) -> None:
        """A proxy in between may leave the time out, or tell something else."""
        with suppress(KeyError, ValueError, TypeError):
            self.clock.heard(parsedate_to_datetime(headers["Date"]), sent_at)

    @asynccontextmanager
    async def _stream(
        self, url: str, query: Mapping[str, str], *, silence: float | None = None
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """The body of an answer that takes its time; ``silence`` of so many seconds is an error."""
        headers = await self._headers("GET", url, "application/json", None)
        patience = aiohttp.ClientTimeout(
            total=None, sock_connect=REQUEST_TIMEOUT, sock_read=silence
        )
        async with _transport_errors("GET", url):
            answer = await self._api.rest_client.request(
                "GET", self._full(url, query), headers=headers, _request_timeout=patience
            )
            response: aiohttp.ClientResponse = answer.response
            try:
                if response.status >= 400:
                    raise _refusal(response.status, await response.read(), response.headers)
                yield response.content
            finally:
                response.close()

    async def _headers(
        self, method: str, url: str, content_type: str, body: Raw | None
    ) -> dict[str, str]:
        headers = {
            "Accept": "application/json",
            "Content-Type": content_type,
            "User-Agent": self._api.user_agent,
        }
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], url, method, body)
        return headers

    def _full(self, url: str, query: Mapping[str, str] | None) -> str:
        return f"{self.configuration.host}{url}" + (f"?{urlencode(query)}" if query else "")


async def _events(content: aiohttp.StreamReader) -> AsyncIterator[Raw]:
    while (line := await content.readline(max_line_length=_LONGEST_EVENT)).endswith(b"\n"):
        event: Raw = orjson.loads(line)
        if event["type"] == "ERROR":
            raise _answered(int(event["object"].get("code", 500)), event["object"])
        yield event


@asynccontextmanager
async def _transport_errors(method: str, url: str) -> AsyncIterator[None]:
    try:
        yield
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        told = str(error) or "no answer in time"
        raise UnreachableError(f"{method} {url}: {told}") from error


def _refusal(status: int, content: bytes, headers: Mapping[str, str]) -> AnsweredError:
    """What a whole answer says; some come from a gate before the API and are plain text."""
    try:
        answer: Raw = orjson.loads(content)
        answer.get("message")
    except (ValueError, AttributeError):
        answer = {"message": content.decode(errors="replace")[:500]}
    asked = headers.get("Retry-After", "")
    return _answered(status, answer, float(asked) if asked.isdecimal() else None)


def _answered(status: int, answer: Raw, retry_after: float | None = None) -> AnsweredError:
    reason, message = str(answer.get("reason", "")), str(answer.get("message", ""))
    asked = (answer.get("details") or {}).get("retryAfterSeconds")
    kind: type[AnsweredError] = {
        403: ForbiddenError,
        404: NotFoundError,
        409: AlreadyExistsError if reason == "AlreadyExists" else ConflictError,
        410: ExpiredError,
        400: InvalidError,
        422: InvalidError,
    }.get(status, AnsweredError)
    return kind(status, reason, message or f"HTTP {status}", asked or retry_after)
