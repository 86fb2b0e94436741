"""Where words go: results to the standard output, what happens meanwhile to the other one."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Final

import yaml
from rich.console import Console, RenderableType

from supercheck_operator.cli import junit
from supercheck_operator.clock import utc_now
from supercheck_operator.resources import API_VERSION, Raw, TestExecution

FORMATS: Final = ("json", "yaml", "junit")
_WIDE: Final = 10_000
"""Columns of what is no terminal: nothing is cut off for a program."""


def console() -> Console:
    plain = not sys.stdout.isatty()
    return Console(width=_WIDE if plain else None, highlight=False, soft_wrap=False)


def show(what: RenderableType) -> None:
    """On a terminal in colour; elsewhere plain, with nothing at the ends of lines."""
    terminal = console()
    if terminal.is_terminal:
        terminal.print(what)
        return
    with terminal.capture() as captured:
        terminal.print(what)
    for line in captured.get().splitlines():
        say(line.rstrip())


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - it is the output


def tell(line: str) -> None:
    """What is no result."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def dump(raws: Sequence[Raw], form: str, *, one: bool) -> None:
    """Objects as ``form`` has them; as a list, unless ``one`` was asked for."""
    raws = [_without_bookkeeping(each) for each in raws]
    if form == "junit":
        models = [TestExecution.model_validate(each) for each in raws]
        sys.stdout.write(junit.xml(models, utc_now()))
    elif one and len(raws) == 1:
        write(raws[0], form)
    else:
        write({"apiVersion": "v1", "kind": "List", "items": list(raws)}, form)


def write(what: object, form: str) -> None:
    """JSON or YAML."""
    if form == "json":
        say(json.dumps(what, indent=2, ensure_ascii=False))
    else:
        say(yaml.safe_dump(what, sort_keys=False, allow_unicode=True).rstrip("\n"))


def with_type(raw: Raw) -> Raw:
    """A LIST leaves away what its items are."""
    return {"apiVersion": API_VERSION, "kind": "TestExecution", **raw}


def _without_bookkeeping(raw: Raw) -> Raw:
    """As kubectl shows objects: who changed which field is longer than what it is about."""
    metadata = {key: value for key, value in raw["metadata"].items() if key != "managedFields"}
    return {**raw, "metadata": metadata}
