"""Completion: for shells, and for kubectl, which asks a program of its plugins."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

from supercheck_operator.cli.app import PROGRAM, cli

_SCRIPT: Final = "kubectl-supercheck"
_VARIABLE: Final = "_KUBECTL_SUPERCHECK_COMPLETE"
_FILES: Final = 0
_NO_FILES: Final = 4
"""Cobra's directives: https://pkg.go.dev/github.com/spf13/cobra#ShellCompDirective"""


def script(shell: str) -> str:
    """What ``shell`` reads to complete the console script."""
    kind = get_completion_class(shell)
    assert kind is not None
    return kind(cli, {}, _SCRIPT, _VARIABLE).source()


def main() -> None:
    """The console script ``kubectl_complete-supercheck``, as kubectl calls it."""
    print("\n".join(answer(sys.argv[1:])))  # noqa: T201


def answer(words: Sequence[str]) -> list[str]:
    """The lines kubectl expects for ``words``, of which the last is being typed."""
    *arguments, incomplete = words or [""]
    found = ShellComplete(cli, {}, PROGRAM, _VARIABLE).get_completions(list(arguments), incomplete)
    wants_file = any(item.type in ("file", "dir") for item in found)
    lines = [_line(item) for item in found if item.type == "plain"]
    return [*lines, f":{_FILES if wants_file else _NO_FILES}"]


def _line(item: CompletionItem) -> str:
    return f"{item.value}\t{item.help}" if item.help else str(item.value)
