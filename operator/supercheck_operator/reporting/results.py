"""What has lately ended, for a list of recent results. Fed with everything that is seen."""

from __future__ import annotations

from bisect import insort
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import Final

from supercheck_operator.execution.observed import parse_time
from supercheck_operator.reporting.shown import ShownExecution
from supercheck_operator.resources import DEFAULT_QUEUE, Phase, Raw, Summary

_KEPT: Final = 20
"""Of each namespace in each queue: nobody's results push out those of another team."""

_Place = tuple[str, str]
"""Queue and namespace."""


@dataclass(frozen=True, slots=True, order=True)
class _Result:
    completed: str
    version: int
    """Times have whole seconds; the last write tells who was later in one."""
    uid: str
    raw: Raw = field(compare=False)


class Results:
    def __init__(self) -> None:
        self._by_place: dict[_Place, list[_Result]] = {}
        self._known: dict[str, _Place] = {}

    def observe(self, raw: Raw, *, deleted: bool = False) -> None:
        """Take over ``raw``, an execution in any phase, if it has ended; forget a deleted one."""
        uid = raw["metadata"]["uid"]
        if deleted:
            self._drop(uid)
            return
        status = raw.get("status") or {}
        completed = status.get("completedAt")
        if uid in self._known or not completed or not Phase(status["phase"]).final:
            return
        place = (raw["spec"].get("queue", DEFAULT_QUEUE), raw["metadata"]["namespace"])
        results = self._by_place.setdefault(place, [])
        version = int(raw["metadata"]["resourceVersion"])
        if len(results) == _KEPT and (completed, version) <= (
            results[0].completed,
            results[0].version,
        ):
            return
        insort(results, _Result(completed, version, uid, _core(raw)))
        self._known[uid] = place
        if len(results) > _KEPT:
            self._drop(results[0].uid)

    def missing(self, listed: Container[str], version: int) -> None:
        """Forget what a LIST of ``version`` does not show."""
        known = (result for results in self._by_place.values() for result in results)
        for uid in [r.uid for r in known if r.uid not in listed and r.version <= version]:
            self._drop(uid)

    def of(self, queue: str) -> list[ShownExecution]:
        """The latest first."""
        found = sorted(self._of(queue), reverse=True)
        return [shown(result.raw) for result in found]

    def namespaces(self) -> set[str]:
        return {namespace for _, namespace in self._by_place}

    def mean_seconds(self, queue: str) -> float | None:
        """How long their containers ran, on average; None if none did."""
        took = [
            (end - start).total_seconds()
            for result in self._of(queue)
            if (start := parse_time(result.raw["status"].get("startedAt"))) is not None
            and (end := parse_time(result.completed)) is not None
        ]
        return sum(took) / len(took) if took else None

    def _of(self, queue: str) -> Iterator[_Result]:
        for (name, _), results in self._by_place.items():
            if name == queue:
                yield from results

    def _drop(self, uid: str) -> None:
        place = self._known.pop(uid, None)
        if place is None:
            return
        results = [result for result in self._by_place[place] if result.uid != uid]
        if results:
            self._by_place[place] = results
        else:
            del self._by_place[place]


def shown(raw: Raw, *, tests: bool = False) -> ShownExecution:
    """A stored execution, as its status tells."""
    metadata, spec, status = raw["metadata"], raw["spec"], raw.get("status") or {}
    return ShownExecution.model_validate(
        {
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            "queue": spec.get("queue", DEFAULT_QUEUE),
            "priority": spec.get("priority", 0),
            "phase": status.get("phase", Phase.QUEUED),
            "reason": status.get("reason"),
            "message": status.get("message"),
            "createdAt": metadata["creationTimestamp"],
            "startedAt": status.get("startedAt"),
            "completedAt": status.get("completedAt"),
            "attempts": status.get("attempts") or 0,
            "summary": status.get("summary") or Summary(total=len(spec.get("tests", ()))),
            "tests": (status.get("tests") or ()) if tests else (),
        }
    )


def _core(raw: Raw) -> Raw:
    """What is shown in a list; scripts, templates and tests would be most of an object."""
    metadata, spec, status = raw["metadata"], raw["spec"], raw["status"]
    return {
        "metadata": {
            key: metadata[key] for key in ("namespace", "name", "uid", "creationTimestamp")
        },
        "spec": {key: spec[key] for key in ("queue", "priority") if key in spec},
        "status": {key: status[key] for key in status if key not in ("tests", "conditions")},
    }
