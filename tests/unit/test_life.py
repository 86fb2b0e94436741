from __future__ import annotations

from pathlib import Path

import pytest

from supercheck_operator.execution.life import MOVES, diagram, follows
from supercheck_operator.resources import REASONS, Phase, Reason, TestExecutionStatus

DOCS = Path(__file__).parents[2] / "docs" / "life.md"


def test_nothing_follows_what_is_final() -> None:
    assert [phase for phase, after in MOVES.items() if not after] == [p for p in Phase if p.final]
    for before in (phase for phase in Phase if phase.final):
        status = TestExecutionStatus(phase=before, attempts=1)
        assert [phase for phase in Phase if follows(status, phase, 1)] == [before]


def test_an_attempt_moves_forward_only() -> None:
    running = TestExecutionStatus(phase=Phase.RUNNING, attempts=2)
    assert follows(running, Phase.PASSED, 2)
    assert follows(running, Phase.RUNNING, 2)
    assert follows(running, Phase.QUEUED, 2)
    assert not follows(running, Phase.PASSED, 1)


def test_from_the_queue_back_to_the_queue_only_by_an_attempt() -> None:
    assert follows(TestExecutionStatus(), Phase.QUEUED, 1)
    assert not follows(TestExecutionStatus(attempts=1), Phase.QUEUED, 1)
    assert follows(TestExecutionStatus(attempts=1), Phase.RUNNING, 2)


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_explains_one_phase(reason: Reason) -> None:
    assert reason in REASONS[reason.phase]
    assert sum(reason in reasons for reasons in REASONS.values()) == 1


def test_the_diagram_in_the_docs_is_that_of_the_machine() -> None:
    assert f"```mermaid\n{diagram()}\n```" in DOCS.read_text()
