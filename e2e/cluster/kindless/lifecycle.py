"""Creating and deleting clusters, whole or not at all."""

import os
import shutil
import signal
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from kindless import binaries, controlplane, kubeconfig, node, paths, processes, record, watcher
from kindless.errors import Problem
from kindless.record import Cluster
from kindless.say import say


@dataclass(frozen=True)
class Wish:
    """What a new cluster should be."""

    name: str
    kubeconfig: Path
    real_node: bool = True
    fake_nodes: int = 0
    audit: bool = False
    json_storage: bool = False
    admission_config: Path | None = None
    owner: int | None = None


def listed() -> list[str]:
    """The clusters that are there to use, like kind's `get clusters`."""
    return [cluster.name for cluster in record.every() if cluster.ready and cluster.running()]


def create(wish: Wish) -> Cluster:
    record.check_name(wish.name)
    kubeconfig.read(wish.kubeconfig)  # told of now, not when all else is done
    if wish.real_node:
        _clear_dead_nodes(wish.name)
    with _locked(wish.name):
        old = record.load(wish.name)
        if old is not None and old.ready and old.running():
            raise Problem(
                f"There is a cluster '{wish.name}' already: "
                f"delete it with `kindless delete cluster --name {wish.name}`."
            )
        _remove(wish.name)  # what a killed command or a restarted machine left
        cluster = _reserve(wish)
        try:
            if wish.owner is not None:
                watcher.start(cluster, wish.owner)
            _fill(cluster, wish)
        except BaseException as error:
            _explain(cluster, error)
            # A second Ctrl-C would leave half of it behind.
            for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(signum, signal.SIG_IGN)
            _remove(wish.name)
            raise
    return cluster


def delete(name: str, file: Path | None = None) -> bool:
    """Delete a cluster in whatever state it is; False if there is none."""
    record.check_name(name)
    with _locked(name):
        there = _remove(name)
    if file is not None:
        kubeconfig.remove(file, name)
    return there


def _locked(name: str) -> AbstractContextManager[None]:
    return paths.locked(
        f"cluster-{name}", f"waiting for another command on cluster '{name}' to finish …"
    )


def _reserve(wish: Wish) -> Cluster:
    """Write the cluster down, with ports of its own, before anything of it is started."""
    with paths.locked("clusters", "waiting for another cluster's ports to be chosen …"):
        others = record.every()
        for other in others:
            if wish.real_node and other.real_node:
                raise Problem(
                    f"Cluster '{other.name}' has a real node, and a machine has room for one: "
                    f"delete it or create this one with --no-node."
                )
        cluster = Cluster(
            name=wish.name,
            real_node=wish.real_node,
            audit=wish.audit,
            json_storage=wish.json_storage,
            admission_config=str(wish.admission_config.absolute())
            if wish.admission_config
            else None,
            ports=record.choose_ports(port for other in others for port in other.ports.values()),
            kubeconfig=str(wish.kubeconfig.absolute()),
        )
        cluster.save()
    return cluster


def _clear_dead_nodes(name: str) -> None:
    """Undo what other clusters with a node left when they died, such as the bridge."""
    for other in record.every():
        if other.real_node and other.name != name and not other.running():
            # One that is being created runs nothing yet either, but holds its lock.
            with _locked(other.name):
                if not other.running():
                    _remove(other.name)


def _fill(cluster: Cluster, wish: Wish) -> None:
    binaries.build(binaries.CONTROL_PLANE + (binaries.NODE if wish.real_node else ()))
    if wish.real_node:
        node.prepare(cluster)
    began = time.monotonic()
    what = "a control plane and a node" if wish.real_node else "a control plane"
    say(f"starting {what} for '{cluster.name}' (about {10 if wish.real_node else 5} s) …")
    controlplane.create(cluster, node.ADDRESS if wish.real_node else None)
    if wish.real_node:
        node.start(cluster)
    if wish.fake_nodes:
        controlplane.add_fake_nodes(cluster, wish.fake_nodes)
    kubeconfig.add(wish.kubeconfig, kubeconfig.read(cluster.own_kubeconfig))
    cluster.ready = True
    cluster.save()
    say(f"cluster '{cluster.name}' is ready after {time.monotonic() - began:.1f} s")


def _explain(cluster: Cluster, error: BaseException) -> None:
    """Keep the logs of a cluster that did not come up, since its folder goes."""
    source = cluster.folder / "logs"
    if isinstance(error, Problem) and source.is_dir():
        kept = paths.cache() / "failed" / cluster.name
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(source, kept)
        say(f"the logs of the failed cluster are in {kept}")


def _remove(name: str) -> bool:
    """End and remove all that is left of a cluster."""
    folder = paths.clusters() / name
    cluster = record.load(name)
    if cluster is not None and cluster.real_node:
        node.stop(cluster)
    processes.end_all(folder)
    if cluster is not None and cluster.real_node:
        node.remove(cluster)
    if cluster is not None and cluster.kubeconfig is not None:
        kubeconfig.remove(Path(cluster.kubeconfig), name)
    there = folder.exists()
    if there:
        shutil.rmtree(folder)
    return there


def owner_from_environment() -> int | None:
    """The owner, for callers like pytest-kind that pass no options of ours."""
    value = os.environ.get("KINDLESS_OWNER_PID", "")
    if value and not value.isdigit():
        raise Problem("KINDLESS_OWNER_PID must be a process id.")
    return int(value) if value else None
