"""Names of Services: CoreDNS, for the pods of a real node.

It runs on the machine, as kube-proxy does, and so needs no image. Its Service leads to the bridge.
"""

from pathlib import Path
from typing import Any

import yaml

from kindless import binaries, names, processes
from kindless.controlplane import kubectl_run
from kindless.processes import Command
from kindless.record import Cluster

RESOLVER = Path("/etc/resolv.conf")


def start(cluster: Cluster, address: str) -> None:
    """Start it on the machine's ADDRESS for pods; it is well when the component `coredns` is."""
    file = cluster.folder / "Corefile"
    file.write_text(corefile(cluster, address, RESOLVER.read_text() if RESOLVER.exists() else ""))
    command = Command("coredns", [str(binaries.path("coredns")), "-conf", str(file)])
    command.save(cluster.folder)
    processes.spawn(cluster.folder, command)
    objects = service(address, cluster.ports["coredns"])
    kubectl_run(cluster, "create", "-f", "-", stdin=yaml.safe_dump_all(objects))


def corefile(cluster: Cluster, address: str, resolver: str) -> str:
    """CoreDNS's configuration; RESOLVER is what the machine's resolv.conf holds."""
    # It would not start if there were nobody to ask.
    known = any(line.startswith("nameserver") for line in resolver.splitlines())
    return f"""\
.:{cluster.ports["coredns"]} {{
  bind {address}
  errors
  kubernetes {names.DOMAIN} in-addr.arpa {{
    kubeconfig {cluster.own_kubeconfig}
    pods insecure
    fallthrough in-addr.arpa
  }}
  {f"forward . {RESOLVER}" if known else ""}
  cache {{
    disable success {names.DOMAIN}
    disable denial {names.DOMAIN}
  }}
}}
"""


def service(address: str, port: int) -> list[dict[str, Any]]:
    """The Service, named as everywhere, and where it leads, since it selects no pods."""
    name = "kube-dns"
    metadata = {"name": name, "namespace": "kube-system"}
    ports = [("dns", "UDP"), ("dns-tcp", "TCP")]
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata | {"labels": {"k8s-app": name}},
            "spec": {
                "clusterIP": names.SERVER,
                "ports": [{"name": name, "protocol": kind, "port": 53} for name, kind in ports],
            },
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": metadata | {"labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address]}],
            "ports": [{"name": name, "protocol": kind, "port": port} for name, kind in ports],
        },
    ]
