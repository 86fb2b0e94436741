"""What docs/life.md says of causes is what is tested, row by row, and what the code can say.

And links within the documentation lead somewhere.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from itertools import takewhile
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from supercheck_operator.resources import REASONS, Phase, Reason

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "life.md"
PAGES: Final = sorted(
    page for files in ("*.md", "docs/**/*.md", "e2e/*/*.md") for page in ROOT.glob(files)
)
TESTS: Final = ("e2e/test_causes.py", "tests/integration/test_causes.py")
NEVER_STORED: Final = {
    Reason.WAITING,
    Reason.QUEUE_HELD,
    Reason.SUSPENDED,
    Reason.NAMESPACE_AT_CAPACITY,
}
"""Why something waits, it is told elsewhere: what waits is never written."""


class Row(NamedTuple):
    cause: str
    phase: str
    reason: str
    message: str
    slot: str


def _rows() -> list[Row]:
    lines = PAGE.read_text().partition("\n| cause |")[2].splitlines()[2:]
    table = takewhile(lambda line: line.startswith("|"), lines)
    return [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in table]


def _test_of(cause: str) -> str:
    return "test_" + re.sub(r"\W+", "_", cause)


def _tests() -> list[str]:
    """Names of the tests in both files."""
    return [
        node.name
        for file in TESTS
        for node in ast.parse((ROOT / file).read_text()).body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.name.startswith("test_")
    ]


ROWS: Final = _rows()


def test_every_cause_has_one_test_of_its_name_and_every_test_is_of_a_cause() -> None:
    assert sorted(_tests()) == sorted(_test_of(row.cause) for row in ROWS)


def test_every_reason_that_a_status_may_have_has_a_cause() -> None:
    assert {row.reason for row in ROWS} == {"none", *(r for r in Reason if r not in NEVER_STORED)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.cause)
def test_the_reason_of_a_cause_belongs_to_its_phase(row: Row) -> None:
    if row.reason == "none":
        assert Phase(row.phase) in (Phase.QUEUED, Phase.PASSED)
        assert row.message == "none"
    else:
        assert Reason(row.reason).phase == row.phase


def test_no_phase_is_without_a_cause() -> None:
    assert {row.phase for row in ROWS} == {*REASONS}


def _prose(page: Path) -> str:
    """Without blocks of code, in which nothing is a heading or a link."""
    return re.sub(r"^( *)```.*?^\1```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    seen: Counter[str] = Counter()
    anchors = set()
    for title in re.findall(r"^#+ +(.+?) *$", _prose(page), flags=re.MULTILINE):
        slug = re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        anchors.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return anchors


def _leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    there = page.parent / path if path else page
    of_a_heading = there.suffix == ".md" and anchor
    return there.exists() and (not of_a_heading or anchor in _anchors(there))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading_that_exist(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", _prose(page))
    within = [link for link in links if not re.match(r"\w+:", link)]
    assert [link for link in within if not _leads_somewhere(page, link)] == []


def test_anchors_are_those_of_github(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Why `it` waits?\n\n```sh\n# not this\n```\n\n## A, b\n\n## A, b\n")
    assert _anchors(page) == {"why-it-waits", "a-b", "a-b-1"}
