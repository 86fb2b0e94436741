"""What is logged is one line each, and shows what is in it."""

import io
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supercheck_operator.log import OneLine, escaped


def logged(message: str, *arguments: object, error: Exception | None = None) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(OneLine())
    record = logging.LogRecord(
        "name", logging.WARNING, __file__, 1, message, arguments,
        (type(error), error, error.__traceback__) if error else None,
    )  # fmt: skip
    handler.emit(record)
    return stream.getvalue()


@given(name=st.text())
def test_a_record_is_one_line_whatever_is_in_it(name: str) -> None:
    told = logged("no Job yet for %s", name)
    assert told.endswith("\n")
    assert told[:-1].isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("login é 日本 \\n", "login é 日本 \\n"),
        ("a\n2026-11-24 INFO: admitted", "a\\n2026-11-24 INFO: admitted"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\u202eright to left", "\\u202eright to left"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_is_not_seen_as_itself_is_escaped(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_a_traceback_is_indented_below_its_record() -> None:
    def fail() -> None:
        raise ValueError("first\n2026-11-24 INFO supercheck_operator: forged\x1b[2J")

    try:
        fail()
    except ValueError as error:
        told = logged("it failed", error=error).splitlines()
    assert told[0].endswith("WARNING name: it failed")
    assert all(line.startswith("  | ") and line.isprintable() for line in told[1:])
    assert any("forged" in line for line in told[1:])
