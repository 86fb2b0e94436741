"""Who may see what: in a cluster, the API server says who a caller is and what they may do."""

from __future__ import annotations

from typing import Final, Protocol

from supercheck_operator.kube import ACCESS_REVIEWS, TOKEN_REVIEWS, Kube, Resource
from supercheck_operator.resources import GROUP, Raw

_SCHEME: Final = "bearer"


class UnauthenticatedError(Exception):
    """The caller did not say who they are, or the API server does not know them."""


class DeniedError(Exception):
    """The caller is known and may not."""


class Access(Protocol):
    async def check(self, authorization: str, verb: str, resource: str, name: str) -> None:
        """Raises UnauthenticatedError, DeniedError, or a KubeError if nobody can tell."""


class LocalAccess:
    """On the loopback interface of one's own machine everybody is oneself."""

    async def check(self, authorization: str, verb: str, resource: str, name: str) -> None:
        return None


class ClusterAccess:
    """TokenReview for who, SubjectAccessReview for what."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    async def check(self, authorization: str, verb: str, resource: str, name: str) -> None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != _SCHEME or not token:
            raise UnauthenticatedError("Send a bearer token of the cluster.")
        review = await self._review(TOKEN_REVIEWS, "TokenReview", {"token": token})
        if not review["status"].get("authenticated"):
            raise UnauthenticatedError("The cluster does not know this token.")
        user = review["status"]["user"]
        spec = {
            "user": user.get("username", ""),
            "groups": user.get("groups") or [],
            "uid": user.get("uid", ""),
            "extra": user.get("extra") or {},
            "resourceAttributes": {
                "group": GROUP,
                "resource": resource,
                "verb": verb,
                "name": name,
            },
        }
        answer = await self._review(ACCESS_REVIEWS, "SubjectAccessReview", spec)
        if not answer["status"].get("allowed"):
            raise DeniedError(f'{user.get("username")} may not {verb} {resource} "{name}".')

    async def _review(self, resource: Resource, kind: str, spec: Raw) -> Raw:
        version = f"{resource.group}/{resource.version}"
        return await self._kube.ask(resource, {"apiVersion": version, "kind": kind, "spec": spec})
