"""The operator's image on the node, and a namespace of its users."""

from __future__ import annotations

import uuid
from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest
from e2e.chart.release import IMAGE, ROOT, create_namespace
from e2e.conftest import Kubectl, Namespace, put_on_node

if TYPE_CHECKING:
    from e2e.conftest import KindCluster


@pytest.fixture(scope="session")
def operator_image(kind_cluster: KindCluster) -> str:
    """The image as it is published, on the node."""
    put_on_node(kind_cluster, IMAGE, ROOT)
    return IMAGE


@pytest.fixture
def team(helm: object, kubectl: Kubectl) -> Generator[Namespace, None, None]:  # noqa: ARG001
    """A namespace of users of the release that a module has as ``helm``."""
    name = f"team-{uuid.uuid4().hex[:8]}"
    create_namespace(kubectl, name)
    yield Namespace(name, kubectl)
    kubectl("delete", "namespace", name)
