"""Queues that the installation declares in a file are there from the start on, and follow it."""

from pathlib import Path

import pytest
import yaml

from conftest import Cluster, NewOperator
from harness.api import Api, Raw, Space
from harness.process import free_port, run_to_its_end
from harness.steps import QUEUES
from harness.waiting import eventually


def declare(file: Path, **specs: Raw) -> None:
    manifests = [
        {
            "apiVersion": "supercheck.io/v1alpha1",
            "kind": "ExecutionQueue",
            "metadata": {"name": name},
            "spec": spec,
        }
        for name, spec in specs.items()
    ]
    file.write_text(yaml.safe_dump_all(manifests))


async def test_declared_queues_are_made_and_follow_the_file(
    api: Api, space: Space, new_operator: NewOperator, tmp_path: Path
) -> None:
    file = tmp_path / "queues.yaml"
    declare(file, default={"runningCapacity": 2}, nightly={"runningCapacity": 1})
    operator = new_operator(flags=["--queues", str(file)])
    await operator.start()
    assert await operator.stats("default") == (0, 2, 0, 50)
    assert await operator.stats("nightly") == (0, 1, 0, 50)
    status, answer = await api.patch(f"{QUEUES}/nightly", {"spec": {"stopPolicy": "Hold"}})
    assert status == 200, answer
    declare(file, nightly={"runningCapacity": 3})

    async def followed() -> bool:
        return await operator.stats("nightly") == (0, 3, 0, 50)

    await eventually(followed, "the queue follows the file", within=20)
    spec = (await api.get(f"{QUEUES}/nightly"))["spec"]
    assert spec["stopPolicy"] == "Hold", "what the file does not say is left alone"
    assert (await api.get(f"{QUEUES}/default"))["spec"]["runningCapacity"] == 2
    file.write_text("kind: [")

    async def told() -> bool:
        return "is not YAML" in operator.log

    await eventually(told, "it says that it cannot be read", within=20)
    assert operator.stop() == 0


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("kind: [", "is not YAML"),
        ("- a", "something that is no ExecutionQueue"),
        ("apiVersion: v1\nkind: ConfigMap", "something that is no ExecutionQueue"),
        ("apiVersion: supercheck.io/v1alpha1\nkind: ExecutionQueue", "a queue without a name"),
        (
            "apiVersion: supercheck.io/v1alpha1\nkind: ExecutionQueue\nmetadata: {name: a}\n"
            "spec: {runningCapacity: -1}",
            'queue "a", which is refused',
        ),
    ],
)
async def test_a_declaration_that_cannot_be_ends_the_start(
    cluster: Cluster, tmp_path: Path, content: str, told: str
) -> None:
    file = tmp_path / "queues.yaml"
    file.write_text(content)
    code, errors = await run_to_its_end(
        "run", "--local", "--kubeconfig", str(cluster.kubeconfig), "--log-level", "warning",
        "--queues", str(file),
        "--http-port", str(free_port()), "--webhook-port", str(free_port()),
    )  # fmt: skip
    assert code == 2, errors
    assert f"--queues {file}" in errors
    assert told in errors


async def test_a_declaration_that_is_not_there_ends_the_start(
    cluster: Cluster, tmp_path: Path
) -> None:
    code, errors = await run_to_its_end(
        "run", "--local", "--kubeconfig", str(cluster.kubeconfig), "--log-level", "warning",
        "--queues", str(tmp_path / "none"),
        "--http-port", str(free_port()), "--webhook-port", str(free_port()),
    )  # fmt: skip
    assert code == 2, errors
    assert "No such file" in errors
