"""The control plane: real etcd, API server, controller manager and scheduler, run by kwokctl."""

import os
import subprocess
from typing import Any

import yaml

from kindless import binaries, components, kubeconfig, paths, processes
from kindless.errors import Problem
from kindless.record import Cluster

FAKE_NODE = {"kwok.x-k8s.io/node": "fake"}
SERVICES = "10.96.0.0/16"
SERVICES_FIRST = "10.96.0.1"  # the API server's own Service


def configuration(cluster: Cluster, address: str | None) -> list[dict[str, Any]]:
    """kwokctl's configuration; ADDRESS is that of the real node, if the cluster gets one."""
    built = {name: str(binaries.BINARIES[name].path()) for name in binaries.CONTROL_PLANE}
    pki = cluster.folder / "pki"
    options: dict[str, Any] = {
        "runtime": "binary",
        "bindAddress": "127.0.0.1",
        "disableQPSLimits": True,
        "etcdBinary": built["etcd"],
        "etcdPeerPort": cluster.ports["etcd-peer"],
        "etcdPort": cluster.ports["etcd"],
        "kubeApiserverBinary": built["kube-apiserver"],
        "kubeApiserverCertSANs": [SERVICES_FIRST, *([address] if address else [])],
        "kubeApiserverPort": cluster.ports["kube-apiserver"],
        "kubeControllerManagerBinary": built["kube-controller-manager"],
        "kubeControllerManagerPort": cluster.ports["kube-controller-manager"],
        "kubeSchedulerBinary": built["kube-scheduler"],
        "kubeSchedulerPort": cluster.ports["kube-scheduler"],
        "kubectlBinary": built["kubectl"],
        "kwokControllerBinary": built["kwok-controller"],
        "kwokControllerPort": cluster.ports["kwok-controller"],
    }
    if cluster.audit:
        options["kubeAuditPolicy"] = str(paths.data("audit-policy.yaml"))
    api_server = {"service-cluster-ip-range": SERVICES}
    overrides = {}
    if cluster.json_storage:
        api_server["storage-media-type"] = "application/json"
    if cluster.admission_config:
        api_server["admission-control-config-file"] = cluster.admission_config
    if address:
        # Pods reach it by the bridge, and it reaches the kubelet with a certificate of its own.
        overrides["bind-address"] = "0.0.0.0"
        api_server |= {
            "advertise-address": address,
            "kubelet-client-certificate": str(pki / "admin.crt"),
            "kubelet-client-key": str(pki / "admin.key"),
            "kubelet-preferred-address-types": "InternalIP",
        }
    else:
        # Nothing but this machine talks to it; a loopback address makes no valid endpoint.
        api_server |= {"advertise-address": "127.0.0.1", "endpoint-reconciler-type": "none"}
    patches = [
        _patch("etcd", {"unsafe-no-fsync": "true"}),  # what a power cut would lose is a test's
        _patch("kube-apiserver", api_server, overrides),
        # Alone, they need no election, and after a kill need not wait for a lease to run out.
        _patch("kube-controller-manager", {"leader-elect": "false"}),
        _patch("kube-scheduler", {"leader-elect": "false"}),
        # kwokctl makes kwok manage all nodes, and it would fail a real node's pods. With Leases, a
        # kwok started again after a kill would wait 40 s for its former self's to run out.
        _patch(
            "kwok-controller",
            {"manage-nodes-with-annotation-selector": "kwok.x-k8s.io/node=fake"},
            {"manage-all-nodes": "false", "node-lease-duration-seconds": "0"},
        ),
    ]
    stages = list(yaml.safe_load_all(paths.data("stages.yaml").read_text()))
    return [
        {
            "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
            "kind": "KwokctlConfiguration",
            "options": options,
            "componentsPatches": patches,
        },
        {
            "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
            "kind": "KwokConfiguration",
            "options": {"podPlayStageParallelism": 16, "nodePlayStageParallelism": 8},
        },
        *stages,
    ]


def create(cluster: Cluster, address: str | None = None) -> None:
    """Start the control plane and wait until it serves."""
    binaries.build(binaries.CONTROL_PLANE)
    config = cluster.folder / "kwokctl.yaml"
    config.write_text(yaml.safe_dump_all(configuration(cluster, address), sort_keys=False))
    kubectl = binaries.path("kubectl")
    environment = {
        "KWOK_WORKDIR": str(paths.cache()),
        # kwokctl takes the first kubectl on PATH.
        "PATH": f"{kubectl.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }
    made = subprocess.run(
        [
            *(str(binaries.path("kwokctl")), "create", "cluster", "--name", cluster.name),
            *("--config", str(config), "--kubeconfig", "", "--wait", "60s"),
        ],
        env=processes.environment(cluster.folder, environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if made.returncode:
        raise Problem(f"The control plane did not start: {made.stdout.strip()[-2000:]}")
    for component in components.CONTROL_PLANE:
        components.wait_ready(cluster.name, component)
    pki = cluster.folder / "pki"
    content = kubeconfig.document(
        cluster.name,
        f"https://127.0.0.1:{cluster.ports['kube-apiserver']}",
        authority=(pki / "ca.crt").read_bytes(),
        certificate=(pki / "admin.crt").read_bytes(),
        key=(pki / "admin.key").read_bytes(),
    )
    kubeconfig.write(cluster.own_kubeconfig, content)
    # A pod is refused until its namespace's service account is there.
    kubectl_run(cluster, "wait", "--for=create", "serviceaccount/default", "--timeout=60s")


def kubectl_run(cluster: Cluster, *arguments: str, stdin: str = "") -> str:
    """Run kubectl as the cluster's administrator."""
    ran = subprocess.run(
        [
            *(str(binaries.path("kubectl")), "--kubeconfig", str(cluster.own_kubeconfig)),
            *arguments,
        ],
        input=stdin,
        capture_output=True,
        text=True,
    )
    if ran.returncode:
        raise Problem(f"kubectl {' '.join(arguments[:3])} failed: {ran.stderr.strip()[-500:]}")
    return ran.stdout


def add_fake_nodes(cluster: Cluster, count: int) -> None:
    """Add nodes whose pods are played by kwok, and wait until they are Ready."""
    names = [f"fake-{number}" for number in range(count)]
    nodes = [_fake_node(name, tainted=cluster.real_node) for name in names]
    kubectl_run(cluster, "apply", "-f", "-", stdin=yaml.safe_dump_all(nodes))
    targets = [f"node/{name}" for name in names]
    kubectl_run(cluster, "wait", "--for=condition=Ready", *targets, "--timeout=60s")


def _fake_node(name: str, *, tainted: bool) -> dict[str, Any]:
    # Beside a real node, only pods that tolerate it are meant for a fake one.
    taint = [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}]
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "type": "kwok"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": FAKE_NODE},
        "spec": {"taints": taint if tainted else []},
    }


def _patch(
    component: str, added: dict[str, str], replaced: dict[str, str] | None = None
) -> dict[str, Any]:
    arguments: list[dict[str, Any]]
    arguments = [{"key": key, "value": value} for key, value in added.items()]
    arguments += [
        {"key": key, "value": value, "override": True} for key, value in (replaced or {}).items()
    ]
    return {"name": component, "extraArgs": arguments}
