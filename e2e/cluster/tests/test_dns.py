from pathlib import Path

import pytest

from kindless import dns, names
from kindless.record import Cluster


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return Cluster("one", ports={"coredns": 21007})


def test_other_names_are_asked_of_the_machines_resolver_if_it_has_one(cluster: Cluster) -> None:
    forward = "forward . /etc/resolv.conf"
    assert forward in dns.corefile(cluster, "10.244.0.1", "search a.b\nnameserver 192.0.2.1\n")
    assert forward not in dns.corefile(cluster, "10.244.0.1", "# nameserver 192.0.2.1\n")
    assert forward not in dns.corefile(cluster, "10.244.0.1", "")


def test_the_service_leads_to_where_it_listens(cluster: Cluster) -> None:
    listens = dns.corefile(cluster, "10.244.0.1", "").splitlines()
    assert listens[:2] == [".:21007 {", "  bind 10.244.0.1"]
    service, leads_to = dns.service("10.244.0.1", 21007)
    assert service["spec"]["clusterIP"] == names.SERVER
    assert leads_to["metadata"]["labels"] == {"kubernetes.io/service-name": "kube-dns"}
    assert leads_to["endpoints"] == [{"addresses": ["10.244.0.1"]}]
    assert leads_to["ports"] == [
        {"name": "dns", "protocol": "UDP", "port": 21007},
        {"name": "dns-tcp", "protocol": "TCP", "port": 21007},
    ]
