"""Every manifest that the documentation of queues and ``examples/`` show, applied as it stands."""

import json
import re
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from harness.api import Api, Raw, Space
from harness.process import Operator
from harness.steps import QUEUES

ROOT = Path(__file__).parents[2]
PLURALS = {"TestExecution": "testexecutions", "ExecutionQueue": "executionqueues"}
LABELS = {"testing": "allowed", "team": "payments"}


def _manifests() -> dict[str, list[Raw]]:
    """By where they are shown."""
    page = ROOT / "docs" / "queues.md"
    blocks = re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    found = {f"{page.name}-{number}": text for number, text in enumerate(blocks, start=1)}
    files = [*ROOT.glob("examples/*.yaml"), *ROOT.glob("examples/demo/*.yaml")]
    found |= {file.name: file.read_text() for file in sorted(files)}
    return {name: list(filter(None, yaml.safe_load_all(text))) for name, text in found.items()}


MANIFESTS = _manifests()


@pytest_asyncio.fixture(loop_scope="session")
async def operator(lasting_operator: Operator, api: Api) -> Operator:
    """Nothing that is shown comes to its end, or there might be room for what is to be refused."""
    for node in await api.items("/api/v1/nodes"):
        cordon = {"spec": {"unschedulable": True}}
        assert (await api.patch(f"/api/v1/nodes/{node['metadata']['name']}", cordon))[0] == 200
    return lasting_operator


@pytest.mark.parametrize("name", MANIFESTS)
async def test_an_example_is_taken_as_it_stands(
    name: str, operator: Operator, space: Space
) -> None:
    labels = {"metadata": {"labels": LABELS}}
    assert (await space.api.patch(f"/api/v1/namespaces/{space.name}", labels))[0] == 200
    ours = [each for each in MANIFESTS[name] if each["kind"] in PLURALS]
    assert ours, "it shows something of ours"
    for manifest in sorted(ours, key=lambda each: each["kind"]):
        refused = manifest["metadata"].get("annotations", {}).get("demo/expect") == "Refused/429"
        plural = PLURALS[manifest["kind"]]
        folder = QUEUES if plural == "executionqueues" else space.executions
        status, answer = await space.api.call(
            "PATCH",
            f"{folder}/{manifest['metadata']['name']}?fieldManager=tests&fieldValidation=Strict",
            manifest,
            content_type="application/apply-patch+yaml",
        )
        assert status == (429 if refused else 201), answer
        if not refused:
            assert _holds(answer["spec"], manifest["spec"]), json.dumps(answer["spec"])
    assert operator.running
    for manifest in ours:
        if manifest["kind"] == "ExecutionQueue":
            await space.api.delete(f"{QUEUES}/{manifest['metadata']['name']}")


def test_every_knob_of_a_queue_has_an_example() -> None:
    definition = yaml.safe_load((ROOT / "crds" / "executionqueues.yaml").read_text())
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    shown = {
        field
        for name, manifests in MANIFESTS.items()
        for each in manifests
        if name.startswith("queues.md") and each["kind"] == "ExecutionQueue"
        for field in each["spec"]
    }
    assert shown == set(schema["properties"])


def _holds(stored: object, written: object) -> bool:
    """Whether everything that was written is stored so."""
    if isinstance(written, dict):
        return isinstance(stored, dict) and all(
            key in stored and _holds(stored[key], value) for key, value in written.items()
        )
    if isinstance(written, list):
        return isinstance(stored, list) and all(map(_holds, stored, written))
    return stored == written
