"""The dashboard's panels, with what a Prometheus answers to their queries, as one SVG."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import cycle
from typing import Any, Final

Raw = dict[str, Any]

_COLUMN: Final = 50
_ROW: Final = 32
_GAP: Final = 8
_TOP, _BOTTOM, _LEFT, _RIGHT = 30, 44, 56, 12
"""Around a graph, in its panel."""
_COLORS: Final = ("#3b6fd4", "#d9822b", "#3d9a50", "#c4432b", "#8457b8", "#4aa5b0", "#8a8a8a")
_STYLE: Final = """\
text { font: 12px system-ui, sans-serif; fill: #33383f }
.title { font-weight: 600 } .row { font-size: 14px; font-weight: 600 }
.figure { font-size: 24px; font-weight: 600; text-anchor: middle } .axis { fill: #737a84 }
.panel { fill: #fff; stroke: #dfe2e6 } .grid { stroke: #eceef0 } .line { fill: none }"""


@dataclass(frozen=True)
class Series:
    """What one query found under one legend: values by seconds before now."""

    legend: str
    points: Sequence[tuple[float, float]]


Answers = dict[str, list[Series]]
"""By the title of a panel."""


def text(dashboard: Raw, answers: Answers, seconds: float) -> str:
    """``seconds``: how far the graphs go back."""
    panels = dashboard["panels"]
    height = max(each["gridPos"]["y"] + each["gridPos"]["h"] for each in panels) * _ROW
    width = 24 * _COLUMN
    body = "\n".join(line for panel in panels for line in _panel(panel, answers, seconds))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + _GAP}">\n'
        f"<style>{_STYLE}</style>\n"
        f'<rect width="100%" height="100%" fill="#f5f6f7"/>\n{body}\n</svg>\n'
    )


def legend(target: Raw, labels: Raw) -> str:
    """What Grafana makes of a target's legend."""
    return re.sub(
        r"{{(\w+)}}", lambda found: str(labels.get(found[1], "")), target["legendFormat"]
    ).strip()


def shown(value: float, unit: str) -> str:
    """With its unit, as short as it is still understood."""
    match unit:
        case "s" if value < 1:
            return f"{1000 * value:.0f} ms"
        case "s" if value < 120:
            return f"{value:.3g} s"
        case "s" if value < 2 * 86400:
            return f"{value / 60:.0f} min"
        case "s":
            return f"{value / 86400:.0f} d"
        case "percentunit":
            return f"{100 * value:.0f} %"
        case "reqps" | "ops":
            return f"{value:.2g}/s"
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _panel(panel: Raw, answers: Answers, seconds: float) -> Iterator[str]:
    place = panel["gridPos"]
    x, y = place["x"] * _COLUMN + _GAP, place["y"] * _ROW + _GAP
    width, height = place["w"] * _COLUMN - _GAP, place["h"] * _ROW - _GAP
    if panel["type"] == "row":
        yield f'<text class="row" x="{x}" y="{y + 18}">{escape(panel["title"])}</text>'
        return
    found = answers[panel["title"]]
    unit = panel["fieldConfig"]["defaults"]["unit"]
    yield f'<g transform="translate({x} {y})">'
    yield f'<rect class="panel" width="{width}" height="{height}" rx="3"/>'
    yield f'<text class="title" x="12" y="20">{escape(panel["title"])}</text>'
    if panel["type"] == "stat":
        by_name = panel["options"].get("textMode") == "name"
        figures = [each.legend if by_name else _figure(each, unit) for each in found]
        size = "figure" if len(figures) == 1 and not by_name else "title"
        yield (
            f'<text class="{size}" text-anchor="middle" x="{width / 2}" y="{height / 2 + 18}">'
            f"{escape('   '.join(figures))}</text>"
        )
    else:
        yield from _graph(found, unit, seconds, width, height)
    yield "</g>"


def _figure(series: Series, unit: str) -> str:
    return f"{series.legend} {shown(series.points[-1][1], unit)}".strip()


def _graph(
    found: Sequence[Series], unit: str, seconds: float, width: int, height: int
) -> Iterator[str]:
    right, bottom = width - _RIGHT, height - _BOTTOM
    top = max((value for each in found for _, value in each.points), default=0) * 1.1 or 1.0
    for share in (0, 0.5, 1):
        at = bottom - share * (bottom - _TOP)
        yield f'<path class="grid" d="M{_LEFT} {at:.0f}H{right}"/>'
        told = shown(share * top, unit)
        yield f'<text class="axis" text-anchor="end" x="{_LEFT - 6}" y="{at + 4:.0f}">{told}</text>'
    for share in (0, 1):
        at = _LEFT + share * (right - _LEFT)
        ago = "now" if share else f"{seconds / 60:.0f} min ago"
        anchor = "end" if share else "start"
        yield (
            f'<text class="axis" text-anchor="{anchor}" x="{at:.0f}" y="{bottom + 15}">{ago}</text>'
        )
    named = _LEFT
    colors = dict(zip((each.legend for each in found), cycle(_COLORS), strict=False))
    for each in found:
        color = colors.get(each.legend.removesuffix(" capacity"), colors[each.legend])
        dashed = ' stroke-dasharray="6 4"' if each.legend.endswith("capacity") else ""
        line = " ".join(
            f"{right - ago / seconds * (right - _LEFT):.1f},"
            f"{bottom - value / top * (bottom - _TOP):.1f}"
            for ago, value in each.points
        )
        yield f'<polyline class="line" points="{line}" stroke="{color}"{dashed}/>'
        if named < right - 40:
            yield f'<path d="M{named} {height - 14}h14" stroke="{color}"{dashed}/>'
            yield f'<text x="{named + 18}" y="{height - 10}">{escape(each.legend)}</text>'
        named += 34 + round(6.5 * len(each.legend))
