from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from kubernetes import client
from tests.unit.builders import Raw

from supercheck_operator import crds
from supercheck_operator.resources import Model

EXECUTIONS = crds.manifests()["testexecutions.yaml"]
QUEUES = crds.manifests()["executionqueues.yaml"]
BOTH = pytest.mark.parametrize("manifest", [EXECUTIONS, QUEUES], ids=["executions", "queues"])


def version_of(manifest: Raw) -> Raw:
    [version] = manifest["spec"]["versions"]
    assert isinstance(version, dict)
    return version


def schema_of(manifest: Raw) -> Raw:
    schema: Raw = version_of(manifest)["schema"]["openAPIV3Schema"]
    return schema


def nodes(node: Any) -> Iterator[Raw]:
    """Every mapping in a schema."""
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from nodes(child)
    elif isinstance(node, list):
        for child in node:
            yield from nodes(child)


def spec_field(manifest: Raw, *path: str) -> Raw:
    node = schema_of(manifest)["properties"]["spec"]
    for name in path:
        node = node["items" if name == "*" else "properties"]
        node = node if name == "*" else node[name]
    assert isinstance(node, dict)
    return node


def test_the_names_are_those_of_the_contract() -> None:
    assert EXECUTIONS["metadata"]["name"] == "testexecutions.supercheck.io"
    assert EXECUTIONS["spec"]["scope"] == "Namespaced"
    assert EXECUTIONS["spec"]["names"]["shortNames"] == ["tx", "testexec"]
    assert QUEUES["metadata"]["name"] == "executionqueues.supercheck.io"
    assert QUEUES["spec"]["scope"] == "Cluster"
    assert QUEUES["spec"]["names"]["shortNames"] == ["xq"]
    for manifest in (EXECUTIONS, QUEUES):
        assert manifest["spec"]["names"]["categories"] == ["supercheck"]
        assert version_of(manifest)["subresources"] == {"status": {}}


def test_a_new_execution_is_queued_without_a_write() -> None:
    status = schema_of(EXECUTIONS)["properties"]["status"]
    assert status["default"] == {"phase": "Queued", "observedGeneration": -1}


def test_an_execution_needs_a_spec_and_a_queue_does_not() -> None:
    assert schema_of(EXECUTIONS)["required"] == ["spec"]
    assert spec_field(EXECUTIONS)["required"] == ["tests"]
    assert schema_of(QUEUES)["properties"]["spec"]["default"] == {}


@BOTH
def test_a_schema_is_structural(manifest: Raw) -> None:
    for node in nodes(schema_of(manifest)):
        assert "$ref" not in node
        assert "$defs" not in node
        assert "const" not in node
        assert node.get("default", ...) is not None
        if "anyOf" in node:
            assert node["x-kubernetes-int-or-string"] is True
            assert node["anyOf"] == [{"type": "integer"}, {"type": "string"}]


def test_only_what_may_change_may_change() -> None:
    rules = spec_field(EXECUTIONS)["x-kubernetes-validations"]
    frozen = {rule["message"].split()[0] for rule in rules if "oldSelf." in rule["rule"]}
    assert frozen - {"cancel"} == spec_field(EXECUTIONS)["properties"].keys() - {
        "cancel",
        "suspend",
        "priority",
    }


def test_the_columns_are_those_of_the_contract() -> None:
    columns = version_of(EXECUTIONS)["additionalPrinterColumns"]
    narrow = [column["name"] for column in columns if "priority" not in column]
    wide = [column["name"] for column in columns if column.get("priority") == 1]
    assert narrow == ["Queue", "Phase", "Reason", "Passed", "Age"]
    assert wide == ["Priority", "Started", "Completed"]
    assert [column["name"] for column in version_of(QUEUES)["additionalPrinterColumns"]] == [
        "Running",
        "Queued",
        "Stop",
        "Age",
    ]


def test_limits_of_the_models_are_limits_of_the_schema() -> None:
    tests = spec_field(EXECUTIONS, "tests")
    assert (tests["minItems"], tests["maxItems"]) == (1, 100)
    assert tests["x-kubernetes-list-map-keys"] == ["name"]
    assert spec_field(EXECUTIONS, "tests", "*", "script")["maxLength"] == 256 * 1024
    assert spec_field(EXECUTIONS, "queueTimeoutSeconds")["nullable"] is True
    assert spec_field(EXECUTIONS, "queue")["default"] == "default"
    assert spec_field(QUEUES, "ordering")["enum"] == ["FIFO", "FairShare"]


def test_the_template_is_a_pod_template_that_needs_no_containers() -> None:
    template = spec_field(EXECUTIONS, "template")["properties"]
    assert set(template["metadata"]["properties"]) == {"labels", "annotations"}
    pod = template["spec"]
    assert "required" not in pod
    assert "ephemeralContainers" not in pod["properties"]
    container = pod["properties"]["containers"]["items"]
    assert container["required"] == ["name"]
    limit = container["properties"]["resources"]["properties"]["limits"]["additionalProperties"]
    assert limit["x-kubernetes-int-or-string"] is True


def test_a_client_side_apply_has_room_for_the_definitions() -> None:
    """kubectl keeps the whole object in an annotation, of which all together have 256 KiB."""
    assert all(len(json.dumps(crd)) < 200 * 1024 for crd in crds.manifests().values())


def test_a_field_that_can_be_one_thing_only_is_an_enum_of_one() -> None:
    class Only(Model):
        kind: Literal["Only"]

    assert crds.structural(Only)["properties"]["kind"] == {"type": "string", "enum": ["Only"]}


def test_a_template_has_the_schema_of_a_pod_that_may_leave_out_everything() -> None:
    template = spec_field(EXECUTIONS, "template")
    assert template["nullable"] is True
    assert "required" not in template
    assert template["properties"]["metadata"]["properties"].keys() == {"labels", "annotations"}
    pod = template["properties"]["spec"]
    whole = crds.structural(client.V1PodTemplateSpec)["properties"]["spec"]
    assert whole["required"] == ["containers"]
    assert "required" not in pod
    assert {"volumes", "tolerations", "runtimeClassName", "containers"} <= pod["properties"].keys()
    assert "ephemeralContainers" not in pod["properties"]
    limits = pod["properties"]["containers"]["items"]["properties"]["resources"]["properties"]
    assert limits["limits"]["additionalProperties"]["x-kubernetes-int-or-string"] is True


def test_what_is_shipped_is_what_was_generated() -> None:
    assert crds.shipped() == [QUEUES, EXECUTIONS]


def test_what_is_written_is_what_is_checked(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "crds"
    assert crds.differing(folder) == ["testexecutions.yaml", "executionqueues.yaml"]
    crds.write(folder)
    assert crds.differing(folder) == []
    assert yaml.safe_load((folder / "executionqueues.yaml").read_text()) == QUEUES
    (folder / "executionqueues.yaml").write_text("changed by hand")
    assert crds.differing(folder) == ["executionqueues.yaml"]
