"""The dashboard can be imported anywhere, and shows what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any, Final
from xml.etree import ElementTree as ET

import pytest
from charts.generate import dashboard, picture
from charts.generate.picture import Series

from harness.chart import CHART, rendered

Raw = dict[str, Any]

SHIPPED: Final = (CHART / "files" / "dashboards" / "supercheck-operator.json").read_text()
DASHBOARD: Final[Raw] = json.loads(SHIPPED)
PANELS: Final[list[Raw]] = [each for each in DASHBOARD["panels"] if each["type"] != "row"]
WITHOUT_QUEUE: Final = (
    *("supercheck_leader", "supercheck_ledger_up", "supercheck_build_info"),
    *("supercheck_webhook_certificate", "supercheck_admission_duration", "supercheck_kube_writes"),
    "supercheck_ledger_corrections",
)


def queries() -> Iterator[tuple[str, str]]:
    for panel in PANELS:
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"]


def test_what_is_shipped_is_what_is_generated() -> None:
    assert dashboard.text() == SHIPPED
    assert dashboard.text() == dashboard.text()


def test_it_can_be_imported_without_being_asked_anything() -> None:
    assert "__inputs" not in DASHBOARD
    assert "__requires" not in DASHBOARD
    assert DASHBOARD.get("id") is None
    assert DASHBOARD["uid"]


def test_data_source_and_queue_are_variables() -> None:
    source, queue = DASHBOARD["templating"]["list"]
    assert (source["type"], source["name"], source["query"]) == (
        *("datasource", "datasource"),
        "prometheus",
    )
    assert (queue["type"], queue["name"], queue["allValue"]) == ("query", "queue", ".*")
    assert queue["includeAll"]
    assert queue["multi"]
    for asked in [queue, *PANELS]:
        assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows(panel: Raw) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references)
    if panel["type"] == "timeseries":
        assert all(target["legendFormat"] for target in panel["targets"])


@pytest.mark.parametrize(("name", "query"), list(queries()))
def test_a_query_is_about_the_chosen_queues_where_there_are_queues(name: str, query: str) -> None:
    for metric in re.findall(r"supercheck_\w+(?:{[^}]*})?", query):
        assert 'queue=~"$queue"' in metric or metric.startswith(WITHOUT_QUEUE), name
    for window in re.findall(r"\[(.*?)\]", query):
        assert window in ("$__rate_interval", "$__range"), name


def test_a_picture_shows_every_panel_with_what_was_found_for_it() -> None:
    found = [Series("a & b", [(60.0, 1.0), (0.0, 2.0)]), Series("a & b capacity", [(0.0, 3.0)])]
    drawn = ET.fromstring(
        picture.text(DASHBOARD, {panel["title"]: found for panel in PANELS}, 60.0)
    )
    texts = [each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {panel["title"] for panel in DASHBOARD["panels"]} <= set(texts)
    graphs = [panel for panel in PANELS if panel["type"] == "timeseries"]
    assert texts.count("a & b") == len(graphs)
    lines = list(drawn.iter("{http://www.w3.org/2000/svg}polyline"))
    assert len(lines) == 2 * len(graphs)
    assert {line.get("stroke") for line in lines} == {lines[0].get("stroke")}


@pytest.mark.parametrize(
    ("value", "unit", "told"),
    [
        (0.0214, "s", "21 ms"),
        (2.5, "s", "2.5 s"),
        (900, "s", "15 min"),
        (90 * 86400, "s", "90 d"),
        (0.42, "percentunit", "42 %"),
        (1.25, "reqps", "1.2/s"),
        (50, "short", "50"),
        (5, "short", "5"),
    ],
)
def test_a_figure_is_told_with_its_unit(value: float, unit: str, told: str) -> None:
    assert picture.shown(value, unit) == told


def test_no_panel_covers_another() -> None:
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    for a, b in combinations(places, 2):
        apart = (
            a["x"] + a["w"] <= b["x"]
            or b["x"] + b["w"] <= a["x"]
            or a["y"] + a["h"] <= b["y"]
            or b["y"] + b["h"] <= a["y"]
        )
        assert apart, (a, b)
    assert all(place["x"] + place["w"] <= 24 for place in places)


def test_the_chart_gives_it_to_grafana_s_sidecar() -> None:
    folder = r"--set=dashboards.annotations.grafana_folder=Tests"
    [found] = [
        each
        for each in rendered("--set=dashboards.enabled=true", folder)
        if each["kind"] == "ConfigMap"
    ]
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["metadata"]["annotations"] == {"grafana_folder": "Tests"}
    assert json.loads(found["data"]["supercheck-operator.json"]) == DASHBOARD
