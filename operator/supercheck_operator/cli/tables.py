"""What people see: tables, bars, sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from supercheck_operator.cli import durations
from supercheck_operator.cli.standing import Lineup, Standing
from supercheck_operator.resources import (
    ExecutionQueue,
    Phase,
    Raw,
    StopPolicy,
    TestExecution,
    TestStatus,
)

_BLUE: Final = "dodger_blue1"
_AMBER: Final = "orange3"
_STYLES: Final = {
    Phase.QUEUED: _AMBER,
    Phase.RUNNING: _BLUE,
    Phase.PASSED: "green",
    Phase.FAILED: "red",
    Phase.ERROR: "magenta",
    Phase.CANCELLED: "yellow",
}
_BAR: Final = 30
_GAP: Final = (0, 3, 0, 0)

Standings = Mapping[str, Standing]
"""By UID."""


def executions(
    found: Iterable[TestExecution],
    standings: Standings,
    now: datetime,
    *,
    with_namespace: bool = False,
) -> Table:
    """One line each."""
    columns = ["NAME", "QUEUE", "PHASE", "REASON", "POSITION", "STARTS", "PASSED", "AGE"]
    table = _table((["NAMESPACE"] if with_namespace else []) + columns)
    for execution in found:
        meta, status = execution.metadata, execution.status
        standing = standings.get(meta.uid)
        cells = [
            Text(meta.name),
            Text(execution.spec.queue),
            _phase(status.phase),
            Text(reason_of(execution, standing)),
            Text(str(standing.position or "") if standing else ""),
            Text(_about(standing.starts_in if standing else None)),
            Text(status.progress or f"0/{len(execution.spec.tests)}"),
            Text(durations.show(durations.between(meta.creation_timestamp, None, now) or 0)),
        ]
        table.add_row(*([Text(meta.namespace)] if with_namespace else []), *cells)
    return table


def details(execution: TestExecution, standing: Standing | None, now: datetime) -> RenderableType:
    """All about one, with its tests."""
    meta, status = execution.metadata, execution.status
    took = durations.between(status.started_at, status.completed_at, now)
    facts = _table([])
    for name, value in (
        ("Name", meta.name),
        ("Namespace", meta.namespace),
        ("Queue", execution.spec.queue),
        ("Priority", str(execution.spec.priority)),
        ("Phase", status.phase.value),
        ("Reason", reason_of(execution, standing)),
        ("Message", standing.message if standing else status.message or ""),
        ("Attempts", str(status.attempts or 0)),
        ("Age", durations.show(durations.between(meta.creation_timestamp, None, now) or 0)),
        ("Took" if status.phase.final else "Runs for", durations.show(took) if took else ""),
    ):
        if value:
            style = _STYLES[status.phase] if name == "Phase" else ""
            facts.add_row(Text(name, style="bold"), Text(value, style=style))
    return Group(facts, Text(), tests(execution, now))


def tests(execution: TestExecution, now: datetime) -> Table:
    results = {each.name: each for each in execution.status.tests or ()}
    table = _table(["TEST", "PHASE", "REASON", "EXIT", "TOOK", "MESSAGE"])
    for test in execution.spec.tests:
        result = results.get(test.name) or TestStatus(name=test.name)
        took = durations.between(result.started_at, result.completed_at, now)
        table.add_row(
            Text(test.name),
            _phase(result.phase),
            Text(result.reason or ""),
            Text("" if result.exit_code is None else str(result.exit_code)),
            Text("" if took is None else durations.show(took)),
            Text(" ".join((result.message or "").split())),
        )
    return table


def queue(
    resource: ExecutionQueue, lineup: Lineup, now: datetime, *, longest: int | None = None
) -> RenderableType:
    """Bars, who runs, and the ``longest`` part of the line that is wanted."""
    title = Text(resource.metadata.name, style="bold")
    if resource.spec.stop_policy is not StopPolicy.NONE:
        title.append(f"  {resource.spec.stop_policy.value}", style="red")
    parts: list[RenderableType] = [title, bars(resource)]
    if lineup.running:
        table = _table(["RUNNING", "NAMESPACE", "FOR", "PASSED"])
        for each in sorted(lineup.running, key=lambda run: run.status.started_at or "~"):
            ran = durations.between(each.status.started_at, None, now)
            table.add_row(
                Text(each.metadata.name),
                Text(each.metadata.namespace),
                Text("starting" if ran is None else durations.show(ran)),
                Text(each.status.progress or f"0/{len(each.spec.tests)}"),
            )
        parts += [Text(), table]
    if lineup.waiting:
        parts += [Text(), _line(lineup.waiting, longest)]
    return Group(*parts)


def bars(resource: ExecutionQueue) -> Table:
    status = resource.status
    grid = Table.grid(padding=(0, 2, 0, 0))
    for title, count, capacity, style in (
        ("RUNNING", status.running, status.running_capacity, _BLUE),
        ("QUEUED", status.queued, status.queued_capacity, _AMBER),
    ):
        bar = ProgressBar(
            total=max(capacity or 0, 1),
            completed=min(count or 0, capacity or 0),
            width=_BAR,
            complete_style=style,
            finished_style=style,
        )
        grid.add_row(Text(title, style=style), Text(_figure(count, capacity)), bar)
    return grid


def figures(resource: ExecutionQueue) -> str:
    """The bars in one line of text."""
    status = resource.status
    return (
        f"{resource.metadata.name} RUNNING {_figure(status.running, status.running_capacity)}"
        f" QUEUED {_figure(status.queued, status.queued_capacity)}"
    )


def _line(waiting: Sequence[tuple[TestExecution, Standing]], longest: int | None) -> Table:
    table = _table(["POSITION", "WAITING", "NAMESPACE", "REASON", "STARTS"])
    shown = waiting[:longest] if longest else waiting
    for execution, standing in shown:
        table.add_row(
            Text(str(standing.position or "-")),
            Text(execution.metadata.name),
            Text(execution.metadata.namespace),
            Text(standing.reason.value),
            Text(_about(standing.starts_in)),
        )
    if len(shown) < len(waiting):
        table.add_row(Text(""), Text(f"and {len(waiting) - len(shown)} more", style="dim"))
    return table


def queue_object(resource: ExecutionQueue, lineup: Lineup) -> Raw:
    """The same for programs."""
    status = resource.status
    return {
        "name": resource.metadata.name,
        "stopPolicy": resource.spec.stop_policy.value,
        "running": status.running,
        "runningCapacity": status.running_capacity,
        "queued": status.queued,
        "queuedCapacity": status.queued_capacity,
        "line": [
            {
                "namespace": execution.metadata.namespace,
                "name": execution.metadata.name,
                "reason": standing.reason.value,
                "position": standing.position,
                "startsInSeconds": None
                if standing.starts_in is None
                else round(standing.starts_in),
            }
            for execution, standing in lineup.waiting
        ],
    }


def outcome(execution: TestExecution, now: datetime) -> str:
    """How it ended, in a sentence, and what each test that did not pass has to say."""
    status = execution.status
    took = durations.between(status.started_at, status.completed_at, now)
    reason = f" ({status.reason})" if status.reason else ""
    after = f" after {durations.show(took)}" if took is not None else ""
    said = status.message or f"{status.progress or f'0/{len(execution.spec.tests)}'} passed."
    lines = [f"{execution.metadata.name}: {status.phase}{reason}{after}. {said}"]
    for test in status.tests or () if len(execution.spec.tests) > 1 else ():
        if test.phase is not Phase.PASSED:
            words = " ".join((test.message or "").split())
            lines.append(f"  {test.name}: {test.phase} ({test.reason or '-'}) {words}".rstrip())
    return "\n".join(lines)


def reason_of(execution: TestExecution, standing: Standing | None) -> str:
    return standing.reason.value if standing else execution.status.reason or ""


def with_reason(raw: Raw, standing: Standing | None) -> Raw:
    """``raw`` with the reason for its waiting, which the operator does not write."""
    if standing is None:
        return raw
    said = {"reason": standing.reason.value, "message": standing.message}
    return {**raw, "status": {**raw["status"], **said}}


def _figure(count: int | None, capacity: int | None) -> str:
    return "-" if count is None or capacity is None else f"{count}/{capacity}"


def _about(seconds: float | None) -> str:
    return "" if seconds is None else f"~{durations.show(seconds)}"


def _phase(phase: Phase) -> Text:
    return Text(phase.value, style=_STYLES[phase])


def _table(columns: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=_GAP, show_header=bool(columns))
    for column in columns or ("", ""):
        table.add_column(column, no_wrap=True, header_style="bold", overflow="ellipsis")
    return table
