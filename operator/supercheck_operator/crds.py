"""The CustomResourceDefinitions, generated from the models of ``resources.py``.

Pydantic's JSON schema is made structural (Kubernetes knows no ``$ref`` and no ``anyOf`` with null)
and completed by what only Kubernetes has: CEL rules, printer columns, the default status.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from kubernetes import client
from pydantic import BaseModel

from supercheck_operator.resources import (
    GROUP,
    QUANTITY_PATTERN,
    VERSION,
    ExecutionQueueSpec,
    ExecutionQueueStatus,
    TestExecutionSpec,
    TestExecutionStatus,
)

Schema = dict[str, Any]

MUTABLE = ("cancel", "suspend", "priority")
"""The only fields of a TestExecution's spec that may change after its creation."""

_QUANTITIES = ("limits", "requests", "overhead", "sizeLimit", "divisor")
"""Fields of a pod that hold quantities; the client's models take them for plain strings."""

_FINAL = "['Passed', 'Failed', 'Error', 'Cancelled']"
_KEPT = (
    "type",
    "format",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "enum",
    "default",
    "description",
    "nullable",
)


def manifests() -> dict[str, dict[str, Any]]:
    """Both definitions, by the name of their file in ``crds/``."""
    return {
        "testexecutions.yaml": _test_executions(),
        "executionqueues.yaml": _execution_queues(),
    }


def shipped() -> list[dict[str, Any]]:
    """The definitions as they were generated: making them again takes seconds and 40 MB."""
    installed = Path(__file__).with_name("manifests")
    folder = installed if installed.is_dir() else Path(__file__).parents[2] / "crds"
    return [yaml.safe_load(path.read_text()) for path in sorted(folder.glob("*.yaml"))]


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in _files().items():
        (folder / name).write_text(text)


def differing(folder: Path) -> list[str]:
    """Names of the files in ``folder`` that are not what the models say."""
    return [
        name
        for name, text in _files().items()
        if not (folder / name).is_file() or (folder / name).read_text() != text
    ]


def _files() -> dict[str, str]:
    head = "# Generated from operator/supercheck_operator/resources.py by `make fmt`.\n"
    return {
        name: head + yaml.safe_dump(manifest, sort_keys=False, width=100)
        for name, manifest in manifests().items()
    }


def _test_executions() -> dict[str, Any]:
    spec = structural(TestExecutionSpec)
    spec["properties"]["template"] = _pod_template() | {
        "description": spec["properties"]["template"]["description"],
        "nullable": True,
    }
    spec["x-kubernetes-validations"] = [
        *(_immutable(field) for field in spec["properties"] if field not in MUTABLE),
        {
            "rule": "!oldSelf.cancel || self.cancel",
            "message": "cancel is once and for all: it cannot be taken back",
        },
        {
            "rule": "!has(self.timeoutSeconds) || self.tests.all(t,"
            " !has(t.timeoutSeconds)"
            " || t.timeoutSeconds <= self.timeoutSeconds)",
            "message": "a test's timeoutSeconds cannot be longer than the execution's",
        },
    ]
    status = structural(TestExecutionStatus)
    status["default"] = {"phase": "Queued", "observedGeneration": -1}
    status["properties"]["phase"]["x-kubernetes-validations"] = [
        {
            "rule": f"!(oldSelf in {_FINAL}) || self == oldSelf",
            "message": "a final phase never changes",
        }
    ]
    schema = _root(
        "One run: a single test, or a job of several tests. It counts once against capacity.",
        spec,
        status,
    )
    schema["required"] = ["spec"]
    schema["x-kubernetes-validations"] = [
        {
            "rule": "self.metadata.name.size() <= 63",
            "message": "metadata.name: at most 63 characters, so that it fits a label",
        }
    ]
    return _definition(
        kind="TestExecution",
        plural="testexecutions",
        scope="Namespaced",
        short_names=["tx", "testexec"],
        schema=schema,
        columns=[
            _column("Queue", ".spec.queue"),
            _column("Phase", ".status.phase"),
            _column("Reason", ".status.reason"),
            _column("Passed", ".status.progress"),
            _column("Priority", ".spec.priority", kind="integer", wide=True),
            _column("Started", ".status.startedAt", kind="date", wide=True),
            _column("Completed", ".status.completedAt", kind="date", wide=True),
            _column("Age", ".metadata.creationTimestamp", kind="date"),
        ],
    )


def _execution_queues() -> dict[str, Any]:
    schema = _root(
        "One line of executions with its limits.",
        structural(ExecutionQueueSpec),
        structural(ExecutionQueueStatus),
    )
    schema["properties"]["spec"]["default"] = {}
    schema["x-kubernetes-validations"] = [
        {
            "rule": "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')",
            "message": "metadata.name: a DNS label of at most 63 characters",
        }
    ]
    return _definition(
        kind="ExecutionQueue",
        plural="executionqueues",
        scope="Cluster",
        short_names=["xq"],
        schema=schema,
        columns=[
            _column("Running", ".status.usage.running"),
            _column("Queued", ".status.usage.queued"),
            _column("Stop", ".spec.stopPolicy"),
            _column("Age", ".metadata.creationTimestamp", kind="date"),
        ],
    )


def _immutable(field: str) -> Schema:
    return {
        "rule": f"has(self.{field}) == has(oldSelf.{field})"
        f" && (!has(self.{field}) || self.{field} == oldSelf.{field})",
        "message": f"{field} cannot be changed after creation"
        f" (only {', '.join(MUTABLE)} can); create another TestExecution",
    }


def _root(description: str, spec: Schema, status: Schema) -> Schema:
    return {
        "type": "object",
        "description": description,
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
    }


def _column(name: str, path: str, *, kind: str = "string", wide: bool = False) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "type": kind, "jsonPath": path}
    return column | {"priority": 1} if wide else column


def _definition(
    *,
    kind: str,
    plural: str,
    scope: str,
    short_names: list[str],
    schema: Schema,
    columns: list[dict[str, Any]],
) -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": short_names,
                "categories": ["supercheck"],
            },
            "scope": scope,
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": columns,
                }
            ],
        },
    }


def _pod_template() -> Schema:
    """PodTemplateSpec as the Kubernetes client's release knows it, without its prose.

    What only a running pod has is left out, and a template need not have containers: it is laid
    under pods that do.
    """
    schema = _bare(structural(client.V1PodTemplateSpec))
    metadata, pod = schema["properties"]["metadata"], schema["properties"]["spec"]
    metadata["properties"] = {
        name: metadata["properties"][name] for name in ("labels", "annotations")
    }
    del pod["properties"]["ephemeralContainers"]
    del pod["required"]
    return schema


def _bare(node: Schema) -> Schema:
    """Without descriptions and defaults, and with quantities as such."""
    result = {key: value for key, value in node.items() if key not in ("description", "default")}
    if "properties" in node:
        result["properties"] = {
            name: _quantities(_bare(child)) if name in _QUANTITIES else _bare(child)
            for name, child in node["properties"].items()
        }
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            result[key] = _bare(node[key])
    return result


def _quantities(node: Schema) -> Schema:
    quantity = {
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "x-kubernetes-int-or-string": True,
        "pattern": QUANTITY_PATTERN,
    }
    if node.get("type") == "object":
        return node | {"additionalProperties": quantity}
    return quantity


def structural(model: type[BaseModel]) -> Schema:
    """The structural OpenAPI v3 schema of ``model``."""
    schema = model.model_json_schema(by_alias=True)
    return _structural(schema, schema.get("$defs", {}))


def _structural(node: Schema, definitions: dict[str, Schema]) -> Schema:
    if reference := node.get("$ref"):
        target = definitions[reference.removeprefix("#/$defs/")]
        return _structural(
            {**target, **{k: v for k, v in node.items() if k != "$ref"}}, definitions
        )
    options = node.get("anyOf", [])
    int_or_string = {"integer", "string"} <= {option.get("type") for option in options}
    if options and not int_or_string:
        # The only other unions are `T | None`: one option beside null.
        rest = {k: v for k, v in node.items() if k != "anyOf"}
        [option] = [option for option in options if option.get("type") != "null"]
        return _structural({**option, **rest}, definitions) | {"nullable": True}
    result: Schema = {key: node[key] for key in _KEPT if key in node}
    result |= {key: value for key, value in node.items() if key.startswith("x-kubernetes-")}
    if result.get("default", ...) is None:
        del result["default"]
    if int_or_string:
        result["anyOf"] = [{"type": "integer"}, {"type": "string"}]
        result["x-kubernetes-int-or-string"] = True
    if "const" in node:
        result["enum"] = [node["const"]]
    if "properties" in node:
        result["properties"] = {
            name: _structural(child, definitions) for name, child in node["properties"].items()
        }
        if node.get("required"):
            result["required"] = list(node["required"])
    elif isinstance(node.get("additionalProperties"), dict):
        result["additionalProperties"] = _structural(node["additionalProperties"], definitions)
    if "items" in node:
        result["items"] = _structural(node["items"], definitions)
    return result
