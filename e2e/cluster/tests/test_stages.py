import yaml

from kindless import controlplane, paths
from kindless.record import PORTS, Cluster


def stages() -> list[dict[str, object]]:
    return list(yaml.safe_load_all(paths.data("stages.yaml").read_text()))


def test_stages_leave_finalizers_to_those_who_set_them() -> None:
    text = paths.data("stages.yaml").read_text()
    assert all(stage["kind"] == "Stage" for stage in stages())
    assert "finalizers:" not in text


def test_kwok_leaves_real_nodes_alone() -> None:
    cluster = Cluster("one", ports=dict.fromkeys(PORTS, 1))
    document = controlplane.configuration(cluster, "10.244.0.1")[0]
    patches = {patch["name"]: patch["extraArgs"] for patch in document["componentsPatches"]}
    assert {"key": "manage-all-nodes", "value": "false", "override": True} in patches[
        "kwok-controller"
    ]
    assert {"key": "advertise-address", "value": "10.244.0.1"} in patches["kube-apiserver"]
