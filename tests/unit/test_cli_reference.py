"""docs/cli.md says what the command line takes."""

from __future__ import annotations

from pathlib import Path

import click

from supercheck_operator.cli.app import cli
from supercheck_operator.cli.completion import answer
from supercheck_operator.cli.exits import Exit
from supercheck_operator.cli.reference import replaced

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_reference_is_that_of_the_command_line() -> None:
    """If it fails: run ``python -m supercheck_operator.cli.reference docs/cli.md``."""
    text = DOCS.read_text()
    assert replaced(text) == text


def test_every_command_option_and_exit_code_is_in_it() -> None:
    text = DOCS.read_text()
    for name, command in cli.commands.items():
        assert f"### {name}\n" in text
        for option in command.params:
            assert option.opts[-1] in text or not isinstance(option, click.Option)
    for code in Exit:
        assert f"| {int(code)} | {code.meaning} |" in text


def test_every_command_and_option_explains_itself() -> None:
    for command in cli.commands.values():
        assert command.help
        assert command.short_help
        for option in command.params:
            assert not isinstance(option, click.Option) or option.help, option


def test_completion_for_kubectl_ends_with_what_to_do_about_files() -> None:
    lines = answer(["q"])
    assert lines[0].startswith("queue\t")
    assert lines[-1] == ":4"
    assert answer(["run", "--kubeconfig", ""]) == [":0"]
    assert answer([])[-1] == ":4"
