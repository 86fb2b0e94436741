"""What is played: executions, what happens to them and to the operator, and the weather."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from hypothesis import strategies as st
from tests.simulation.api import Weather
from tests.simulation.fates import Fate


class What(Enum):
    """Something that somebody does. Those that need a number use ``Event.number``."""

    ANNOTATE = auto()
    CANCEL = auto()
    SUSPEND = auto()
    RESUME = auto()
    PRIORITIZE = auto()
    DELETE = auto()
    DELETE_SLOWLY = auto()
    DELETE_LEAVING_JOBS = auto()
    DELETE_POD = auto()
    DELETE_POD_BY_FORCE = auto()
    DELETE_JOB = auto()
    DELETE_JOB_SLOWLY = auto()
    DELETE_JOB_LEAVING_PODS = auto()
    SET_CAPACITY = auto()
    HOLD = auto()
    DRAIN = auto()
    CLOSE = auto()
    OPEN = auto()
    KILL = auto()
    KILL_AT_A_REQUEST = auto()
    LOSE_THE_WATCH = auto()
    OUTAGE = auto()
    API_SERVER_AWAY = auto()
    """For everybody: what the Job controller has asked for last, it asks for again."""
    CLOCK_JUMPS = auto()
    """That of the operator alone, or that of everybody."""

    def __repr__(self) -> str:
        return f"What.{self.name}"


@dataclass(frozen=True)
class Event:
    after: float
    """Seconds since the event before it."""
    what: What
    whom: int = 0
    """Which execution, or which queue; taken modulo how many there are."""
    number: int = 0


@dataclass(frozen=True)
class Plan:
    """An execution that somebody submits, and tries again while it is refused."""

    at: float
    tests: tuple[Fate, ...]
    again: Fate = Fate.PASSES
    """What becomes of each test that is run again."""
    queue: int = 0
    namespace: str = "team-a"
    script: bool = False
    spec: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Story:
    plans: tuple[Plan, ...]
    events: tuple[Event, ...] = ()
    queues: tuple[tuple[tuple[str, Any], ...], ...] = ((), ())
    weather: Weather = field(default_factory=Weather)
    noise: int = 0
    standby: bool = False
    """Another process watches all the time, and leads when the first one is gone."""

    @property
    def tests(self) -> int:
        return sum(len(plan.tests) for plan in self.plans)


QUEUE_NAMES = ("default", "other")

_FIELDS = (
    (),
    (("maxConcurrentTests", 1),),
    (("failFast", True),),
    (("timeoutSeconds", 8),),
    (("startTimeoutSeconds", 4),),
    (("queueTimeoutSeconds", 6),),
    (("priority", 5),),
    (("suspend", True),),
    (("ttlSecondsAfterFinished", 3),),
    (("failFast", True), ("maxConcurrentTests", 1)),
    (("failFast", True), ("timeoutSeconds", 5)),
    (("retry", {"limit": 1, "on": ["Error"], "backoffSeconds": 3}),),
    (("retry", {"limit": 2, "on": ["Error", "Failure"], "backoffSeconds": 1}),),
    (("retry", {"limit": 1, "on": ["Failure"], "backoffSeconds": 0}), ("failFast", True)),
    (("retry", {"limit": 1, "on": ["Error", "Failure"], "backoffSeconds": 8}), ("priority", 3)),
)
_QUEUES = (
    (("runningCapacity", 1),),
    (("runningCapacity", 2),),
    (("runningCapacity", 1), ("queuedCapacity", 1)),
    (("runningCapacity", 3), ("queuedCapacity", 0)),
    (("runningCapacity", 2), ("ordering", "FairShare")),
    (("runningCapacity", 2), ("perNamespace", {"runningCapacity": 1, "queuedCapacity": 1})),
)
_WEATHERS = (
    Weather(),
    Weather(twice=0.2, late=0.1),
    Weather(failing=0.1),
    Weather(lost=0.1, twice=0.1, late=0.1),
    Weather(failing=0.2, lost=0.3, twice=0.1, late=0.2),
)

plans = st.builds(
    Plan,
    at=st.sampled_from((0.0, 0.3, 1.0, 3.0, 8.0)),
    tests=st.lists(st.sampled_from(Fate), min_size=1, max_size=3).map(tuple),
    again=st.sampled_from(Fate),
    queue=st.integers(0, 1),
    namespace=st.sampled_from(("team-a", "team-b")),
    script=st.sampled_from((False, False, True)),
    spec=st.sampled_from(_FIELDS),
)
events = st.builds(
    Event,
    after=st.sampled_from((0.0, 0.03, 0.2, 0.7, 2.0, 6.0, 15.0, 33.0)),
    what=st.sampled_from(What),
    whom=st.integers(0, 5),
    number=st.integers(0, 7),
)
stories = st.builds(
    Story,
    plans=st.lists(plans, min_size=1, max_size=5).map(tuple),
    events=st.lists(events, max_size=8).map(tuple),
    queues=st.tuples(st.sampled_from(_QUEUES), st.sampled_from(_QUEUES)),
    weather=st.sampled_from(_WEATHERS),
    noise=st.integers(0, 2**16),
    standby=st.sampled_from((False, False, True)),
)
