"""The life of an execution: which phase may follow which. Pure.

An attempt moves forward only, and so does the count of attempts: back to Queued is the way from
one attempt to the next. The last four phases are final; nothing follows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from supercheck_operator.resources import REASONS, Phase, TestExecutionStatus

_ENDS: Final = tuple(phase for phase in Phase if phase.final)
MOVES: Final[Mapping[Phase, tuple[Phase, ...]]] = {
    # Straight to an end: cancelled or timed out in the queue, or over before Running was written.
    Phase.QUEUED: (Phase.RUNNING, *_ENDS),
    Phase.RUNNING: (Phase.QUEUED, *_ENDS),
} | dict.fromkeys(_ENDS, ())


def follows(before: TestExecutionStatus, phase: Phase, attempts: int) -> bool:
    """Whether an execution with the status ``before`` may become ``phase`` after ``attempts``."""
    made = before.attempts or 0
    if before.phase is Phase.QUEUED and phase is Phase.QUEUED:
        return attempts > made
    if phase is not before.phase and phase not in MOVES[before.phase]:
        return False
    return attempts >= made


def diagram() -> str:
    """The state machine, as Mermaid draws it."""
    lines = ["stateDiagram-v2", "    [*] --> Queued: admitted"]
    for phase, successors in MOVES.items():
        lines += [
            f"    {phase} --> {after}" + (": retry" if after is Phase.QUEUED else "")
            for after in successors
        ]
    for phase, reasons in REASONS.items():
        if reasons:
            lines.append(f"    note right of {phase}")
            lines += [f"        {reason}" for reason in reasons]
            lines.append("    end note")
    lines += [f"    {phase} --> [*]" for phase in _ENDS]
    return "\n".join(lines)
