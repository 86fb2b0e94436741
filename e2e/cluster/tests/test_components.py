import pytest

from kindless import components
from kindless.errors import Problem
from kindless.processes import Command

RECORDED = """
kind: KwokctlConfiguration
components:
- name: etcd
  binary: /bin/etcd
  args: [--name=node0]
  envs: [{name: A, value: b}]
---
kind: Stage
"""


def test_a_component_is_run_again_as_kwokctl_ran_it() -> None:
    found = components.recorded_by_kwokctl(RECORDED, "etcd")
    assert found == Command("etcd", ["/bin/etcd", "--name=node0"], {"A": "b"})
    with pytest.raises(Problem, match="has no kubelet"):
        components.recorded_by_kwokctl(RECORDED, "kubelet")


def test_an_unknown_component_is_told_with_those_known() -> None:
    with pytest.raises(Problem, match="it is one of etcd, kube-apiserver"):
        components.pid("any", "apiserver")
