"""What is written down about a cluster, in its own folder of the cache."""

import json
import re
import socket
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from kindless import paths, processes
from kindless.errors import Problem

NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
PORTS = (
    "kube-apiserver",
    "etcd",
    "etcd-peer",
    "kube-controller-manager",
    "kube-scheduler",
    "kwok-controller",
    "coredns",
)


@dataclass
class Cluster:
    """A cluster as created: what `delete` and the chaos commands need to know."""

    name: str
    real_node: bool = True
    audit: bool = False
    json_storage: bool = False
    admission_config: str | None = None
    ports: dict[str, int] = field(default_factory=dict)
    kubeconfig: str | None = None  # the file of the user's that got an entry
    restore: dict[str, str] = field(default_factory=dict)  # files of the system, as they were
    ready: bool = False

    @property
    def folder(self) -> Path:
        return paths.clusters() / self.name

    @property
    def own_kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    def save(self) -> None:
        self.folder.mkdir(exist_ok=True)
        unfinished = self.folder / ".cluster.json"
        unfinished.write_text(json.dumps(asdict(self), indent=2))
        unfinished.replace(self.folder / "cluster.json")

    def running(self) -> bool:
        return bool(processes.of_cluster(self.folder))


def check_name(name: str) -> None:
    if not NAME.fullmatch(name) or len(name) > 40:
        raise Problem(
            f"'{name}' is no cluster name: use up to 40 small letters, digits, dots and dashes."
        )


def load(name: str) -> Cluster | None:
    """The record of a cluster, be it ready, half-created or dead; None if there is none."""
    file = paths.clusters() / name / "cluster.json"
    try:
        stored = json.loads(file.read_text())
    except FileNotFoundError:
        return None
    # One of another version of this tool may say more.
    known = {each.name for each in fields(Cluster)}
    return Cluster(**{name: value for name, value in stored.items() if name in known})


def existing(name: str) -> Cluster:
    cluster = load(name)
    if cluster is None:
        raise Problem(f"There is no cluster '{name}': `kindless get clusters` lists them.")
    return cluster


def every() -> list[Cluster]:
    found = (load(folder.name) for folder in sorted(paths.clusters().iterdir()))
    return [cluster for cluster in found if cluster is not None]


def choose_ports(taken: Iterable[int]) -> dict[str, int]:
    """Free ports, none of them another cluster's even while that one's component is down.

    They lie below the range that the kernel hands out to clients, so none is lost meanwhile.
    """
    avoid = set(taken)
    free = (port for port in range(21000, 32000) if port not in avoid and _is_free(port))
    try:
        return {name: next(free) for name in PORTS}
    except StopIteration:
        raise Problem(
            "There is no free TCP port from 21000 to 32000: end what uses them."
        ) from None


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
