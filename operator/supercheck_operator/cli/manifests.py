"""What is to be submitted: from files, or from a command line. Pure but for reading the files."""

from __future__ import annotations

import json
import re
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from supercheck_operator.cli.exits import Exit, Problem
from supercheck_operator.resources import API_VERSION, Raw

KIND: Final = "TestExecution"
TEST: Final = "test"
"""The name of the one test of an execution that is made from ``--image``."""
GENERATED: Final = "run-"
_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"
"""As the API server's own: no vowels, so that no words come about."""
_SUFFIX: Final = 5
_NAME_LIMIT: Final = 253


class _Loader(yaml.SafeLoader):
    """YAML as a manifest means it: ``on`` is a word, a date is text, ``12:30`` is no number."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(?:0b[01_]+|0[0-7_]*|[1-9][0-9_]*|0x[0-9a-fA-F_]+)", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), list(_first)
    )


@dataclass(frozen=True)
class Changes:
    """What the command line says about every execution of a file, over what the file says."""

    name: str | None = None
    queue: str | None = None
    priority: int | None = None
    timeout: int | None = None
    """Seconds."""
    env: Mapping[str, str] | None = None


def read(files: Iterable[str]) -> list[Raw]:
    """The TestExecutions in ``files``, in their order; ``-`` is the standard input.

    Raises Problem for what cannot be read, is no TestExecution, or has no name.
    """
    found = [body for file in files for body in _documents(file)]
    if not found:
        raise Problem(f"There is no {KIND} in {', '.join(files)}.", Exit.INVALID)
    return found


def _documents(file: str) -> Iterator[Raw]:
    told = "the standard input" if file == "-" else file
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        documents = list(yaml.load_all(text, Loader=_Loader))
        json.dumps(documents)
    except FileNotFoundError as error:
        raise Problem(f"{told} does not exist.", Exit.NOT_FOUND) from error
    except OSError as error:
        raise Problem(f"{told} cannot be read: {error.strerror}.", Exit.NOT_FOUND) from error
    except UnicodeDecodeError as error:
        raise Problem(f"{told} is no text in UTF-8.", Exit.INVALID) from error
    except (yaml.YAMLError, TypeError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise Problem(f"{told} is no YAML that can be sent: {said}.", Exit.INVALID) from error
    for number, document in enumerate(documents, start=1):
        if document is not None:
            yield from _executions(document, f"document {number} of {told}")


def _executions(document: Any, where: str) -> Iterator[Raw]:  # noqa: ANN401 - anything may be read
    if not isinstance(document, dict):
        raise Problem(f"{where} is no object.", Exit.INVALID)
    kind, version = document.get("kind"), document.get("apiVersion")
    if kind == "List" and isinstance(document.get("items"), list):
        for item in document["items"]:
            yield from _executions(item, f"an item of {where}")
        return
    if (kind, version) != (KIND, API_VERSION):
        raise Problem(
            f"{where} is a {kind or 'thing without a kind'} ({version or 'no apiVersion'}), and"
            f" only a {KIND} ({API_VERSION}) can be run: put the rest into a file for kubectl"
            " apply.",
            Exit.INVALID,
        )
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not (metadata.get("name") or metadata.get("generateName")):
        raise Problem(f"{where} has no metadata.name, and no generateName.", Exit.INVALID)
    yield document


def from_image(image: str, command: Sequence[str], changes: Changes) -> Raw:
    """An execution of one test; ``command`` replaces the image's own, if there is any."""
    test: Raw = {"name": TEST, "image": image}
    if command:
        test["command"] = list(command)
    metadata = {"name": changes.name} if changes.name else {"generateName": GENERATED}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": metadata,
        "spec": {"tests": [test]},
    }


def changed(body: Raw, changes: Changes) -> Raw:
    """``body`` with what the command line says; what cannot take it is left for the schema."""
    result = deepcopy(body)
    if changes.name:
        result["metadata"] = {**result["metadata"], "name": changes.name}
        result["metadata"].pop("generateName", None)
    spec = result.setdefault("spec", {})
    if not isinstance(spec, dict):
        return result
    said = {
        "queue": changes.queue,
        "priority": changes.priority,
        "timeoutSeconds": changes.timeout,
    }
    spec |= {field: value for field, value in said.items() if value is not None}
    for test in spec.get("tests") or [] if changes.env else []:
        if isinstance(test, dict):
            test["env"] = _env(test.get("env") or [], changes.env or {})
    return result


def _env(before: list[Raw], said: Mapping[str, str]) -> list[Raw]:
    kept = [each for each in before if not (isinstance(each, dict) and each.get("name") in said)]
    return kept + [{"name": name, "value": value} for name, value in said.items()]


def named(body: Raw) -> tuple[Raw, bool]:
    """``body`` with a name, and whether that was made here from its ``generateName``.

    A name that is known before it is sent makes a create that got no answer safe to repeat.
    """
    metadata = dict(body["metadata"])
    prefix = metadata.pop("generateName", "")
    if metadata.get("name"):
        return body, False
    suffix = "".join(secrets.choice(_LETTERS) for _ in range(_SUFFIX))
    metadata["name"] = str(prefix)[: _NAME_LIMIT - _SUFFIX] + suffix
    return {**body, "metadata": metadata}, True
