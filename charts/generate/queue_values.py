"""The part of the values' schema that is about queues, which is that of their definition."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

_KEPT = ("description", "enum", "minimum", "maximum", "minLength", "required")


def text(chart: Path, crds: Path) -> str:
    """values.schema.json with what the definition says about a queue's spec."""
    definition = yaml.safe_load((crds / "executionqueues.yaml").read_text())
    [version] = definition["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    schema = json.loads((chart / "values.schema.json").read_text())
    # What follows the name in YAML may be nothing at all.
    schema["properties"]["queues"]["additionalProperties"] = _strict(spec | {"nullable": True})
    return json.dumps(schema, indent=2) + "\n"


def _strict(node: dict[str, Any]) -> dict[str, Any]:
    """As JSON schema, which knows no ``nullable``, and refusing what is not there."""
    result: dict[str, Any] = {key: node[key] for key in _KEPT if key in node}
    result["type"] = [node["type"], "null"] if node.get("nullable") else node["type"]
    if "properties" in node:
        result["properties"] = {name: _strict(child) for name, child in node["properties"].items()}
        result["additionalProperties"] = False
    elif "additionalProperties" in node:
        result["additionalProperties"] = node["additionalProperties"]
    if "items" in node:
        result["items"] = _strict(node["items"])
    return result
