"""What becomes of a test's Job and pod if nobody interferes, and the verdict that it deserves."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from supercheck_operator.resources import Phase, Reason


@dataclass(frozen=True)
class Course:
    verdict: tuple[Phase, Reason | None]
    takes: float | None = 2.0
    """Seconds from the start of the container to its exit; None: it never exits."""
    exit_code: int = 0
    exit_reason: str = ""


class Fate(Enum):
    """The first are the plainest: Hypothesis prefers them when it looks for the simplest story."""

    PASSES = Course((Phase.PASSED, None))
    PASSES_AT_ONCE = Course((Phase.PASSED, None), takes=0.01)
    PASSES_SLOWLY = Course((Phase.PASSED, None), takes=12.0)
    FAILS = Course((Phase.FAILED, Reason.TEST_FAILED), exit_code=1, takes=1.0)
    OUT_OF_MEMORY = Course((Phase.ERROR, Reason.OOM_KILLED), exit_code=137, exit_reason="OOMKilled")
    HANGS = Course((Phase.ERROR, Reason.EXECUTION_TIMEOUT), takes=None)
    SIDECAR_STAYS = Course((Phase.PASSED, None), takes=3.0)
    """Its own container passes, another of its pod never ends."""
    EVICTED = Course((Phase.ERROR, Reason.EVICTED), exit_code=137)
    NODE_LOST = Course((Phase.ERROR, Reason.NODE_LOST), takes=3.0)
    """The taint manager deletes the pod; nobody ever hears of its containers."""
    VANISHES = Course((Phase.ERROR, Reason.POD_DELETED), takes=3.0)
    """The pod is taken away by force; its Job fails."""
    REPLACED = Course((Phase.ERROR, Reason.POD_DELETED), takes=4.0)
    """The pod is taken away by force; its Job makes another, which passes."""
    REFUSED_BY_NODE = Course((Phase.ERROR, Reason.POD_REJECTED))
    NO_IMAGE = Course((Phase.ERROR, Reason.IMAGE_PULL_FAILED))
    NO_NODE = Course((Phase.ERROR, Reason.UNSCHEDULABLE))
    NO_POD = Course((Phase.ERROR, Reason.START_TIMEOUT))
    INVALID = Course((Phase.ERROR, Reason.INVALID_TEMPLATE))
    """The API server answers 422 to its Job."""
    OVER_QUOTA = Course((Phase.ERROR, Reason.QUOTA_EXCEEDED))
    """The API server answers 403 to its Job, for ever."""
    QUOTA_PASSES = Course((Phase.PASSED, None), takes=1.0)
    """The API server answers 403 to its Job, for a few seconds."""

    def __repr__(self) -> str:
        return f"Fate.{self.name}"
