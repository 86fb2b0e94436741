"""The board as people see it: drawn live in a terminal, or as plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from e2e.demo.board import Board, Execution, Queue
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_BLUE: Final = "dodger_blue1"
_AMBER: Final = "orange3"
_STYLES: Final = {
    "Passed": "green",
    "Failed": "red",
    "Error": "magenta",
    "Cancelled": "yellow",
    "Running": _BLUE,
    "Queued": _AMBER,
}
_FRAME_ROWS: Final = 9
"""Rows that are taken by bars, titles and borders."""
_BAR_WIDTH: Final = 30


def live(board: Board, now: datetime, height: int) -> RenderableType:
    """The whole picture in at most ``height`` rows."""
    queues = [board.queues[name] for name in sorted(board.queues)]
    rows = max(4, height - _FRAME_ROWS - len(queues) - len(board.refusals))
    left = Group(
        Panel(_running(board, queues, now, rows // 2), title="running", border_style=_BLUE),
        Panel(_line(board, queues, rows - rows // 2 - 2), title="the line", border_style=_AMBER),
    )
    right = Panel(_results(board, now, rows), title="results", border_style="green")
    columns = Table.grid(expand=True, padding=(0, 1, 0, 0))
    columns.add_column(ratio=2)
    columns.add_column(ratio=3)
    columns.add_row(left, right)
    return Group(_bars(queues), columns, *_refusals(board))


def _bars(queues: list[Queue]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for queue in queues:
        table.add_row(
            Text(queue.name, style="bold"),
            *_bar("RUNNING", queue.running, queue.running_capacity, _BLUE),
            *_bar("QUEUED", queue.queued, queue.queued_capacity, _AMBER),
        )
    return table


def _bar(title: str, count: int, capacity: int, style: str) -> tuple[RenderableType, ...]:
    bar = ProgressBar(
        total=max(capacity, 1),
        completed=min(count, capacity),
        width=_BAR_WIDTH,
        complete_style=style,
        finished_style=style,
    )
    return Text(title, style=style if count else "dim"), Text(f"{count}/{capacity}"), bar


def _rows(columns: int) -> Table:
    """Columns that are shown whole, and a last one that takes what room is left."""
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    for _ in range(columns - 1):
        table.add_column(no_wrap=True)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    return table


def _running(board: Board, queues: list[Queue], now: datetime, rows: int) -> Table:
    table = _rows(3)
    entries = [(each, _elapsed(each, now)) for each in board.running()]
    entries += [(each, "starts") for queue in queues for each in board.starting(queue)]
    for each, told in entries[:rows]:
        several = not each.progress.endswith("/1")
        why = each.message if each.reason == "Starting" else each.progress if several else ""
        table.add_row(Text(each.name, style=_BLUE), Text(told), _one_line(why))
    return table


def _line(board: Board, queues: list[Queue], rows: int) -> Table:
    table = _rows(3)
    waiting = [
        (position, each) for queue in queues for position, each in enumerate(board.line(queue), 1)
    ]
    for position, each in waiting[:rows]:
        place = f"{position}." if each.queue == "default" else f"{position}. of {each.queue}"
        priority = f"priority {each.priority}" if each.priority else ""
        table.add_row(Text(place, style=_AMBER), Text(each.name), Text(priority, style="dim"))
    if len(waiting) > rows:
        table.add_row("", Text(f"… and {len(waiting) - rows} more", style="dim"))
    return table


def _results(board: Board, now: datetime, rows: int) -> Table:
    table = _rows(4)
    for each in board.finished()[:rows]:
        table.add_row(
            Text(each.name), _verdict(each), Text(_elapsed(each, now)), _one_line(each.message)
        )
    return table


def _refusals(board: Board) -> Iterator[Text]:
    for refusal in board.refusals:
        yield Text.assemble(
            (f"{refusal.name} refused, HTTP {refusal.code}: ", "bold red"), refusal.message
        )


def _verdict(each: Execution) -> Text:
    return Text(each.verdict, style=_STYLES.get(each.phase, ""))


def _elapsed(each: Execution, now: datetime) -> str:
    seconds = each.seconds(now)
    return "" if seconds is None else f"{seconds:.0f} s"


def _one_line(message: str) -> Text:
    """Pytest's own summary of what failed, if there is one; else the last line, as errors are."""
    lines = message.strip().splitlines() or [""]
    told = next((line for line in lines if line.startswith("FAILED ")), lines[-1])
    return Text(told, style="dim", no_wrap=True, overflow="ellipsis")


def summary(board: Board, now: datetime) -> Table:
    """Every execution with its verdict, and whether it is the one that the example expects."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, expand=True)
    for heading in ("execution", "verdict", "passed", "ran"):
        table.add_column(heading, no_wrap=True)
    table.add_column("message", no_wrap=True, ratio=1)
    table.add_column("as expected", no_wrap=True)
    for each in board.executions.values():
        table.add_row(
            each.name,
            _verdict(each),
            each.progress,
            _elapsed(each, now),
            _one_line(each.message),
            _expected(each.expected, good=each.as_expected),
        )
    for refusal in board.refusals:
        told = Text(f"Refused/{refusal.code}", style="bold red")
        good = _expected(refusal.expected, good=refusal.as_expected)
        table.add_row(refusal.name, told, "", "", _one_line(refusal.message), good)
    return table


def _expected(told: str, *, good: bool) -> Text:
    return Text("yes", style="green") if good else Text(f"no: {told}", style="bold red")


class Ticker:
    """Plain lines: one whenever an execution has moved on."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}
        self._refusals = 0

    def news(self, board: Board, now: datetime) -> Iterator[str]:
        counts = "  ".join(
            f"{q.name}: running {q.running}/{q.running_capacity},"
            f" queued {q.queued}/{q.queued_capacity}"
            for _, q in sorted(board.queues.items())
        )
        for each in board.executions.values():
            state = f"{each.verdict} {each.message}"
            if self._told.get(each.name) != state:
                self._told[each.name] = state
                told = " ".join(filter(None, (_elapsed(each, now), _one_line(each.message).plain)))
                yield f"{now:%H:%M:%S}  {each.name:<22} {each.verdict:<22} {told}  [{counts}]"
        for refusal in board.refusals[self._refusals :]:
            self._refusals += 1
            yield f"{now:%H:%M:%S}  {refusal.name:<22} HTTP {refusal.code}: {refusal.message}"
