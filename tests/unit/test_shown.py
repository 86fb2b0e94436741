from __future__ import annotations

from typing import cast

import pytest
from tests.unit.builders import raw_execution, when

from supercheck_operator.ledger.contract import LedgerUnavailableError
from supercheck_operator.reporting.results import shown
from supercheck_operator.reporting.shown import Shown, Source, brief


def test_nothing_can_be_shown_before_there_is_a_source() -> None:
    everything = Shown()
    with pytest.raises(LedgerUnavailableError):
        _ = everything.source
    source = cast("Source", object())
    stale = False
    everything.is_shown_by(source, lambda: stale)
    assert everything.source is source
    stale = True
    with pytest.raises(LedgerUnavailableError):
        _ = everything.source


def test_a_list_leaves_tests_out() -> None:
    tests = [{"name": "login", "phase": "Passed"}]
    over = {"phase": "Passed", "completedAt": when(0), "tests": tests}
    whole = shown(raw_execution(status=over), tests=True)
    assert [test.name for test in whole.tests] == ["login"]
    [short] = brief([whole])
    assert short == whole.model_copy(update={"tests": ()})
