"""One component of a cluster at a time: its pid, killing it, starting it again.

    from kindless import components

    components.kill("kind", "kube-apiserver")   # SIGKILL; returns when it is gone
    components.start("kind", "kube-apiserver")  # the same command again; returns when it serves
    components.pid("kind", "kube-apiserver")    # None while it is down

Control plane: kube-apiserver, etcd, kube-controller-manager, kube-scheduler, kwok-controller.
A real node's: containerd, kubelet, kube-proxy, coredns.
"""

import http.client
import ssl
import time

import yaml

from kindless import names, processes, record
from kindless.errors import Problem
from kindless.processes import Command
from kindless.record import Cluster

# Where each answers that it is well: by TLS or not, and the path.
CONTROL_PLANE = {
    "etcd": (False, "/health"),
    "kube-apiserver": (True, "/readyz"),
    "kube-controller-manager": (True, "/healthz"),
    "kube-scheduler": (True, "/healthz"),
    "kwok-controller": (False, "/healthz"),
}
NODE = ("containerd", "kubelet", "kube-proxy", "coredns")


def pid(cluster: str, component: str) -> int | None:
    """The pid of a running component; None if it does not run."""
    found = _known(cluster, component)
    try:
        number = int((found.folder / "pids" / f"{component}.pid").read_text())
    except (FileNotFoundError, ValueError):
        return None
    # A pid of old may by now be another process's.
    return number if processes.belongs(number, found.folder) else None


def kill(cluster: str, component: str) -> None:
    """End a component by SIGKILL, as a crash does, and wait until it is gone."""
    number = pid(cluster, component)
    if number is None:
        raise Problem(f"{component} of '{cluster}' does not run: start it first.")
    processes.end([number])


def start(cluster: str, component: str, seconds: float = 60) -> int:
    """Run a component by its own command line again; returns its pid when it is well."""
    number = pid(cluster, component)
    if number is None:
        found = record.existing(cluster)
        number = processes.spawn(found.folder, command(found, component))
    if component in CONTROL_PLANE or component == "coredns":
        wait_ready(cluster, component, seconds)
    return number


def command(cluster: Cluster, component: str) -> Command:
    """The command line and environment that a component was first started with."""
    own = Command.load(cluster.folder, component)
    if own is not None:
        return own
    return recorded_by_kwokctl((cluster.folder / "kwok.yaml").read_text(), component)


def recorded_by_kwokctl(content: str, component: str) -> Command:
    for document in yaml.safe_load_all(content):
        if document.get("kind") != "KwokctlConfiguration":
            continue
        for part in document.get("components", []):
            if part["name"] == component:
                variables = {entry["name"]: entry["value"] for entry in part.get("envs") or []}
                return Command(component, [part["binary"], *part["args"]], variables)
    raise Problem(f"The cluster has no {component}.")


def wait_ready(cluster: str, component: str, seconds: float = 60) -> None:
    """Wait until a component of the control plane, or coredns, says that it is well."""
    found = _known(cluster, component)
    deadline = time.monotonic() + seconds
    while not _well(found, component):
        if time.monotonic() > deadline:
            log = found.folder / "logs" / f"{component}.log"
            raise Problem(f"{component} is not well after {seconds:.0f} s: read {log}.")
        # It cannot tell when it will be, so it is asked again.
        time.sleep(0.05)


def _well(cluster: Cluster, component: str) -> bool:
    if component == "coredns":
        return names.known(f"kubernetes.default.svc.{names.DOMAIN}")
    secure, path = CONTROL_PLANE[component]
    port = cluster.ports[component]
    connection: http.client.HTTPConnection
    if secure:
        pki = cluster.folder / "pki"
        # The controller manager and the scheduler sign their own, so no name can be verified.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _known(cluster: str, component: str) -> Cluster:
    if component not in (*CONTROL_PLANE, *NODE):
        known = ", ".join((*CONTROL_PLANE, *NODE))
        raise Problem(f"There is no component '{component}': it is one of {known}.")
    return record.existing(cluster)
