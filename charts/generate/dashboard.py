"""The Grafana dashboard: what the operator's metrics say, in the order in which one asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models

UID: Final = "supercheck-operator"
_SOURCE: Final = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
_OF_QUEUE: Final = '{queue=~"$queue"}'
_RATE: Final = "[$__rate_interval]"
_HEIGHT: Final = 8

Queries = Mapping[str, str]
"""Queries by the legend of their series."""


def text() -> str:
    """The dashboard as JSON, the same each time."""
    return JSONEncoder(sort_keys=True, indent=2).encode(_dashboard().build()) + "\n"


def _dashboard() -> dashboard.Dashboard:
    made = (
        dashboard.Dashboard("Supercheck operator")
        .uid(UID)
        .description("Capacity, line, throughput, waits, outcomes and health.")
        .tags(["supercheck"])
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
        )
        .with_variable(
            dashboard.QueryVariable("queue")
            .label("Queue")
            .datasource(_SOURCE)
            .query("label_values(supercheck_running_capacity, queue)")
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(models.VariableSort.ALPHABETICAL_ASC)
            .multi(True)
            .include_all(True)
            .all_value(".*")
        )
    )
    _capacity(made)
    _throughput(made)
    _waits(made)
    _outcomes(made)
    _health(made)
    return made


def _capacity(made: dashboard.Dashboard) -> None:
    made.with_row(dashboard.Row("Capacity and line"))
    for title, what, metric in (
        ("Running", "Executions that hold a slot.", "supercheck_executions_running"),
        ("Queued", "Executions that wait.", "supercheck_executions_queued"),
    ):
        made.with_panel(_stat(title, what, {"": f"sum({metric}{_OF_QUEUE})"}))
    made.with_panel(
        _stat(
            "Fullest queue",
            "Places taken, of all places of the queue: submissions are refused at 100 %.",
            {
                "": f"max(supercheck_executions_queued{_OF_QUEUE}"
                f" / (supercheck_queued_capacity{_OF_QUEUE} > 0))"
            },
            unit="percentunit",
            steps=((0.7, "orange"), (0.9, "red")),
        )
    )
    made.with_panel(
        _stat(
            "Longest wait",
            "How long the first of those that wait has been waiting.",
            {"": f"max(supercheck_oldest_wait_seconds{_OF_QUEUE})"},
            unit="s",
            steps=((900, "orange"), (2700, "red")),
        )
    )
    for title, what, used, capacity in (
        (
            "Slots",
            "Executions running, and how many may. Above the dashed line: capacity was lowered.",
            "supercheck_executions_running",
            "supercheck_running_capacity",
        ),
        (
            "Line",
            "Executions waiting, and how many may.",
            "supercheck_executions_queued",
            "supercheck_queued_capacity",
        ),
    ):
        made.with_panel(
            _graph(
                title,
                what,
                {
                    "{{queue}}": f"sum by (queue) ({used}{_OF_QUEUE})",
                    "{{queue}} capacity": f"max by (queue) ({capacity}{_OF_QUEUE})",
                },
            ).override_by_regexp(
                "/capacity$/",
                [models.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [8, 8]})],
            )
        )


def _throughput(made: dashboard.Dashboard) -> None:
    made.with_row(dashboard.Row("Throughput"))
    made.with_panel(
        _graph(
            "Submissions",
            "Judged by the webhook, by its answer.",
            {
                "{{result}} {{reason}}": "sum by (result, reason)"
                f" (rate(supercheck_admissions_total{_OF_QUEUE}{_RATE}))"
            },
            unit="reqps",
        )
    )
    made.with_panel(
        _graph(
            "Executions at their end",
            "By phase.",
            {
                "{{phase}}": "sum by (phase)"
                f" (rate(supercheck_executions_finished_total{_OF_QUEUE}{_RATE}))"
            },
            unit="ops",
        )
    )


def _waits(made: dashboard.Dashboard) -> None:
    made.with_row(dashboard.Row("Waits and hand-off"))
    for title, what, metric in (
        ("Wait", "From creation to the claim of a slot.", "supercheck_queue_wait_seconds"),
        ("Hand-off", "From a freed slot to the next Job created.", "supercheck_handoff_seconds"),
        (
            "Duration",
            "From the first container's start to the end.",
            "supercheck_execution_duration_seconds",
        ),
    ):
        made.with_panel(_graph(title, what, _quantiles(metric, _OF_QUEUE), unit="s", span=8))


def _outcomes(made: dashboard.Dashboard) -> None:
    made.with_row(dashboard.Row("Outcomes"))
    finished = f"increase(supercheck_executions_finished_total{_OF_QUEUE}[$__range])"
    made.with_panel(
        _graph(
            "Outcomes by reason",
            "Failed is about the software under test, Error about the run itself.",
            {
                "{{phase}} {{reason}}": "sum by (phase, reason)"
                f" (increase(supercheck_executions_finished_total{_OF_QUEUE}{_RATE}))"
            },
            stacked=True,
        )
    )
    made.with_panel(
        _stat(
            "Ended",
            "In the time shown, by phase.",
            {"{{phase}}": f"sum by (phase) ({finished})"},
            span=6,
        )
    )
    share = 'supercheck_executions_finished_total{queue=~"$queue",phase="Error"}'
    made.with_panel(
        _stat(
            "Share of errors",
            "Of what ended in the time shown, how much could not be completed.",
            {"": f"(sum(increase({share}[$__range])) or vector(0)) / sum({finished})"},
            unit="percentunit",
            steps=((0.05, "orange"), (0.15, "red")),
            span=6,
        )
    )


def _health(made: dashboard.Dashboard) -> None:
    made.with_row(dashboard.Row("Health"))
    for title, what, query in (
        ("Leaders", "Processes that launch executions: one.", "sum(supercheck_leader)"),
        (
            "Ledger",
            "1 if every process can tell who occupies capacity.",
            "min(supercheck_ledger_up)",
        ),
    ):
        made.with_panel(_stat(title, what, {"": query}, steps=((1, "green"),), base="red"))
    made.with_panel(
        _stat(
            "Certificate",
            "Until the webhook's certificate expires; it is renewed at two thirds of its life.",
            {"": "min(supercheck_webhook_certificate_expires_seconds) - time()"},
            unit="s",
            steps=((3 * 86400, "orange"), (14 * 86400, "green")),
            base="red",
        )
    )
    made.with_panel(
        _stat(
            "Version",
            "What runs.",
            {"{{version}}, Python {{python}}": "supercheck_build_info"},
            text=common_models.BigValueTextMode.NAME,
        )
    )
    made.with_panel(
        _graph(
            "Time to judge",
            "A submission; API servers wait for 10 s.",
            _quantiles("supercheck_admission_duration_seconds", ""),
            unit="s",
            span=8,
        )
    )
    made.with_panel(
        _graph(
            "Writes to the API server",
            "By verb and resource.",
            {
                "{{verb}} {{resource}}": "sum by (verb, resource)"
                f" (rate(supercheck_kube_writes_total{_RATE}))"
            },
            unit="reqps",
            span=8,
        )
    )
    made.with_panel(
        _graph(
            "Corrections",
            "What sweeps found that no watch had told; 0 but for a moment after a start.",
            {
                "{{kind}}": "sum by (kind)"
                f" (increase(supercheck_ledger_corrections_total{_RATE})) or vector(0)"
            },
            span=8,
        )
    )


def _quantiles(metric: str, labels: str) -> Queries:
    return {
        f"p{share}": f"histogram_quantile(0.{share},"
        f" sum by (le) (rate({metric}_bucket{labels}{_RATE})))"
        for share in (50, 95, 99)
    }


def _targets(queries: Queries) -> list[Builder[Dataquery]]:
    return [
        prometheus.Dataquery().expr(query).legend_format(legend).ref_id(chr(ord("A") + number))
        for number, (legend, query) in enumerate(queries.items())
    ]


def _stat(
    title: str,
    what: str,
    queries: Queries,
    *,
    unit: str = "short",
    span: int = 6,
    steps: tuple[tuple[float, str], ...] = (),
    base: str = "green",
    text: common_models.BigValueTextMode = common_models.BigValueTextMode.AUTO,
) -> stat.Panel:
    thresholds = [models.Threshold(value=None, color=base)]
    thresholds += [models.Threshold(value=value, color=color) for value, color in steps]
    return (
        stat.Panel()
        .title(title)
        .description(what)
        .datasource(_SOURCE)
        .targets(_targets(queries))
        .unit(unit)
        .thresholds(
            dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(thresholds)
        )
        .text_mode(text)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .height(4)
        .span(span)
    )


def _graph(
    title: str,
    what: str,
    queries: Queries,
    *,
    unit: str = "short",
    span: int = 12,
    stacked: bool = False,
) -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .title(title)
        .description(what)
        .datasource(_SOURCE)
        .targets(_targets(queries))
        .unit(unit)
        .min(0)
        .fill_opacity(10)
        .show_points(common_models.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(common_models.LegendDisplayMode.LIST)
            .placement(common_models.LegendPlacement.BOTTOM)
        )
        .height(_HEIGHT)
        .span(span)
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
    return panel
