"""The cluster that the command line, the kubeconfig or the pod it runs in says."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kubernetes.aio import config

from supercheck_operator import __version__
from supercheck_operator.cli.answers import problem
from supercheck_operator.kube import ConfigError, Kube, configuration

_MOUNTED: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_DEFAULT: Final = "default"


@dataclass(frozen=True)
class Place:
    """What the command line says about where; None where it is silent."""

    kubeconfig: Path | None = None
    context: str | None = None
    namespace: str | None = None


@dataclass(frozen=True)
class Cluster:
    kube: Kube
    namespace: str
    """Where names are looked for."""


@asynccontextmanager
async def connect(place: Place) -> AsyncIterator[Cluster]:
    """Raises Problem where the kubeconfig cannot be used."""
    in_cluster = _in_cluster(place)
    try:
        where = await configuration(place.kubeconfig, place.context, in_cluster=in_cluster)
    except ConfigError as error:
        raise problem(error) from error
    kube = Kube(where, user_agent=f"kubectl-supercheck/{__version__}")
    try:
        yield Cluster(kube, place.namespace or _namespace(place, in_cluster=in_cluster))
    finally:
        await kube.close()


def _in_cluster(place: Place) -> bool:
    """As kubectl: in a pod without a kubeconfig, the pod's own service account."""
    said = place.kubeconfig or place.context or os.environ.get("KUBECONFIG")
    return not said and not _has_kubeconfig() and (_MOUNTED / "token").is_file()


def _has_kubeconfig() -> bool:
    try:
        return Path("~/.kube/config").expanduser().is_file()
    except RuntimeError:  # a user without a home, as in many containers
        return False


def _namespace(place: Place, *, in_cluster: bool) -> str:
    if in_cluster:
        return (_MOUNTED / "namespace").read_text().strip()
    contexts, current = config.list_kube_config_contexts(
        str(place.kubeconfig) if place.kubeconfig else None
    )
    chosen = next((each for each in contexts if each["name"] == place.context), current)
    return str(chosen["context"].get("namespace") or _DEFAULT)
