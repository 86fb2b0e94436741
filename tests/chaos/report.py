"""What a run has been through, for people."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from tests.chaos.faults import Injected
from tests.chaos.load import Load
from tests.chaos.rules import Execution, Judge

_STORY: Final = 40
"""Lines of a story."""


@dataclass(frozen=True)
class Report:
    title: str
    began: float
    """Monotonic, as all times here."""
    faults: Sequence[Injected]
    leaders: Sequence[tuple[float, str]]
    load: Load
    judge: Judge
    ends: Sequence[int | None]
    """Exit codes of replicas that have ended by themselves."""

    def __str__(self) -> str:
        judge = self.judge
        ends = ", ".join(f"{count} {phase}" for phase, count in sorted(judge.ends.items()))
        answers = ", ".join(f"{count} {word}" for word, count in sorted(self.load.answers.items()))
        most = ", ".join(f"{count} in {queue}" for queue, count in sorted(judge.most_live.items()))
        return "\n".join(
            [
                self.title,
                f"executions: {len(judge.executions)} admitted; {ends}",
                f"Jobs: {len(judge.launches)}; most at once: {most}",
                f"submissions: {answers}",
                f"ended by themselves: {list(self.ends)}",
                f"violations: {len(judge.violations)}",
                *map(str, judge.violations[:20]),
                f"{'fault':<30}{'times':>6}{'to the next judgement':>26}{'next launch':>20}",
                f"{'':<36}{'median, most (s)':>26}{'median, most (s)':>20}",
                *self._recoveries(),
            ]
        )

    def timeline(self) -> str:
        """What happened when, by the second; to be read when something went wrong."""
        judge = self.judge
        return self._told(
            [
                *((at, "admitted") for at in judge.admissions),
                *((at, "launched") for at in judge.launches),
                *((at, "a pod ended") for at in judge.pod_ends),
                *self._story(),
            ]
        )

    def story(self) -> str:
        """The last that led to the first violation; short, as the end of a log is what is read."""
        first = self.judge.violations[0]
        told = sorted(moment for moment in self._story() if moment[0] <= first.at)
        return f"{first}\n{self._told(told[-_STORY:])}"

    def _story(self) -> list[tuple[float, str]]:
        """Moments of those that a violation is about, and of all that they may come from."""
        judge = self.judge
        return [
            *((fault.began, f"{fault.kind} {{") for fault in self.faults),
            *((fault.ended, f"}} {fault.kind}") for fault in self.faults),
            *((at, f"{holder} leads") for at, holder in self.leaders),
            *(
                (at, f"{queue}: {spec}")
                for queue, specs in judge.limits.items()
                for at, spec in specs
            ),
            *(
                (at, f"{x.name} {what}")
                for x in judge.executions.values()
                if self._broken(x)
                for at, what in x.story
            ),
        ]

    def _told(self, moments: Iterable[tuple[float, str]]) -> str:
        return "".join(f"{at - self.began:8.2f} {what}\n" for at, what in sorted(moments))

    def _broken(self, execution: Execution) -> bool:
        named = any(execution.name in str(told) for told in self.judge.violations)
        return named or execution in self.judge.suspects

    def _recoveries(self) -> list[str]:
        by_kind: defaultdict[str, list[Injected]] = defaultdict(list)
        for fault in self.faults:
            by_kind[fault.kind].append(fault)
        judge = self.judge
        return [
            f"{kind:<30}{len(faults):>6}"
            f"{_figures([_next(self.load.judged, fault.ended) for fault in faults]):>26}"
            f"{_figures([_launch(judge, fault.ended) for fault in faults]):>20}"
            for kind, faults in sorted(by_kind.items())
        ]


def _launch(judge: Judge, over: float) -> float | None:
    """Seconds to the next launch, from when the fault was ``over`` and a slot free.

    Pods end when Kubernetes' own components have recovered; until one does, none can be launched.
    """
    before = bisect.bisect_left(judge.launches, over)
    since = judge.launches[before - 1] if before else 0.0
    freed = bisect.bisect_left(judge.pod_ends, since)
    if freed == len(judge.pod_ends):
        return None
    return _next(judge.launches, max(over, judge.pod_ends[freed]))


def _next(moments: Sequence[float], after: float) -> float | None:
    """Seconds to the next of ``moments``; other faults may go on meanwhile."""
    at = bisect.bisect_left(moments, after)
    return moments[at] - after if at < len(moments) else None


def _figures(took: Sequence[float | None]) -> str:
    known = [seconds for seconds in took if seconds is not None]
    return f"{median(known):.1f}, {max(known):.1f}" if known else "-"
