"""The reference of the chart's values, from their schema and their defaults."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

_HEAD = """\
# Values of the chart

Made of [values.schema.json](../charts/supercheck-operator/values.schema.json) and
[values.yaml](../charts/supercheck-operator/values.yaml). What is not listed is refused; `global`
may hold anything. How to install: [install](install.md).

| value | default | |
| --- | --- | --- |
"""


def text(chart: Path) -> str:
    schema = json.loads((chart / "values.schema.json").read_text())
    defaults = yaml.safe_load((chart / "values.yaml").read_text())
    return _HEAD + "".join(_rows(schema, defaults, ""))


def _rows(schema: dict[str, Any], defaults: dict[str, Any], path: str) -> Iterator[str]:
    for name, child in schema["properties"].items():
        if "properties" in child:
            yield f"| **{path}{name}** | | {child['description']} |\n"
            yield from _rows(child, defaults[name], f"{path}{name}.")
        elif name in defaults:
            yield f"| `{path}{name}` | {_shown(defaults[name])} | {_meaning(child)} |\n"


def _shown(default: object) -> str:
    return "" if default == "" else f"`{json.dumps(default)}`"


def _meaning(child: dict[str, Any]) -> str:
    told = str(child["description"]).replace("|", "\\|")
    if "enum" in child:
        told += " One of " + ", ".join(f"`{each}`" for each in child["enum"]) + "."
    if "maximum" in child:
        told += f" {child['minimum']} to {child['maximum']}."
    return told
