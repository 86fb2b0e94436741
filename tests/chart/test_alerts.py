"""Every alert fires when it should and only then, as Prometheus itself says."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from harness.chart import CHART, rendered
from harness.prometheus import tool

RULES: Final = CHART / "files" / "alerts.yaml"
RUNBOOKS: Final = CHART.parents[1] / "docs" / "runbooks"
ALERTS: Final[list[dict[str, Any]]] = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
BUILD: Final = {"supercheck_build_info": "1x400"}
DAY: Final = 86400


@dataclass(frozen=True)
class Case:
    """Series as promtool writes them, one value a minute, and what fires after ``minutes``."""

    what: str
    series: dict[str, str]
    fires: frozenset[tuple[str, str, str]] = frozenset()
    """Name of the alert, its severity, and the queue or kind it is about."""
    minutes: int = 60


def fires(alert: str, severity: str, about: str = "") -> frozenset[tuple[str, str, str]]:
    return frozenset({(f"Supercheck{alert}", severity, about)})


def queued(values: str) -> dict[str, str]:
    return BUILD | {
        'supercheck_executions_queued{queue="q"}': values,
        'supercheck_queued_capacity{queue="q"}': "50x400",
    }


def finished(passed: str, error: str) -> dict[str, str]:
    metric = "supercheck_executions_finished_total"
    return BUILD | {
        f'{metric}{{queue="q",phase="Passed",reason=""}}': passed,
        f'{metric}{{queue="q",phase="Error",reason="OOMKilled"}}': error,
    }


def waits(values: str) -> dict[str, str]:
    return BUILD | {'supercheck_oldest_wait_seconds{queue="q"}': values}


def rejected(error_type: str) -> dict[str, str]:
    name = "apiserver_admission_webhook_rejection_count"
    labels = f'name="admission.supercheck.io",error_type="{error_type}"'
    return BUILD | {f"{name}{{{labels}}}": "0+1x400"}


def drifts(values: str) -> dict[str, str]:
    return BUILD | {'supercheck_ledger_corrections_total{kind="missed_pod"}': values}


def expires(seconds: float) -> dict[str, str]:
    return BUILD | {"supercheck_webhook_certificate_expires_seconds": f"{seconds:.0f}x400"}


HOUR_2: Final = 120
CASES: Final = [
    Case("all is well", BUILD | queued("3x400") | waits("30x400") | finished("0+1x400", "0x400")),
    Case("no operator is scraped", {"up": "1x400"}, fires("WebhookDown", "critical")),
    Case("not scraped for a moment", {"supercheck_build_info": "1x57 _x2 1"}, minutes=59),
    Case(
        "an API server cannot call it",
        rejected("calling_webhook_error"),
        fires("WebhookDown", "critical"),
    ),
    Case("it refuses for capacity", rejected("no_error")),
    Case("a queue is 68 % full", queued("34x400")),
    Case("70 % full", queued("35x400"), fires("QueueSaturated", "warning", "q")),
    Case("70 % full for nine minutes", queued("0x50 35x400"), minutes=59),
    Case("90 % full", queued("45x400"), fires("QueueSaturated", "critical", "q")),
    Case("full", queued("50x400"), fires("QueueSaturated", "critical", "q")),
    Case(
        "no places at all",
        BUILD
        | {
            'supercheck_executions_queued{queue="q"}': "0x400",
            'supercheck_queued_capacity{queue="q"}': "0x400",
        },
    ),
    Case("a wait of 14 minutes", waits("840x400")),
    Case("of 16", waits("960x400"), fires("OldestWaitTooLong", "warning", "q")),
    Case("of 46", waits("2760x400"), fires("OldestWaitTooLong", "critical", "q")),
    Case("4 % errors", finished("0+96x400", "0+4x400")),
    Case("6 % errors", finished("0+94x400", "0+6x400"), fires("ErrorShareHigh", "warning", "q")),
    Case("20 % errors", finished("0+4x400", "0+1x400"), fires("ErrorShareHigh", "critical", "q")),
    Case("errors long ago", finished("0+1x400", "0+1x9 10x400"), minutes=HOUR_2),
    Case("a leader", BUILD | {"supercheck_leader": "1x400"}),
    Case(
        "one of two leads",
        BUILD | {'supercheck_leader{pod="a"}': "1x400", 'supercheck_leader{pod="b"}': "0x400"},
    ),
    Case("nobody leads", BUILD | {"supercheck_leader": "0x400"}, fires("NoLeader", "critical")),
    Case("the ledger is up", BUILD | {"supercheck_ledger_up": "1x400"}),
    Case("it is down", BUILD | {"supercheck_ledger_up": "0x400"}, fires("LedgerDown", "critical")),
    Case("one correction", drifts("0x40 1x400"), minutes=60),
    Case("again and again", drifts("0+1x400"), fires("LedgerDrifting", "warning", "missed_pod")),
    Case("valid for 30 days", expires(30 * DAY), minutes=HOUR_2),
    Case("for 10 days", expires(10 * DAY), fires("CertificateExpiring", "warning"), minutes=HOUR_2),
    Case("for 2 days", expires(2 * DAY), fires("CertificateExpiring", "critical"), minutes=HOUR_2),
]


def promtool(*arguments: str) -> str:
    command = [tool("promtool"), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_the_rules() -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", str(RULES))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_what_fires(case: Case, tmp_path: Path) -> None:
    firing = 'sum by (alertname, severity, queue, kind) (ALERTS{alertstate="firing"})'
    expected = [
        {
            "labels": "{"
            f'alertname="{name}",severity="{severity}"'
            + (f',{"kind" if name.endswith("Drifting") else "queue"}="{about}"' if about else "")
            + "}",
            "value": 1,
        }
        for name, severity, about in case.fires
    ]
    test = {
        "interval": "1m",
        "input_series": [{"series": s, "values": values} for s, values in case.series.items()],
        "promql_expr_test": [
            {"expr": firing, "eval_time": f"{case.minutes}m", "exp_samples": expected}
        ],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": [test]}))
    promtool("test", "rules", str(file))


def test_every_alert_of_every_severity_is_seen_to_fire() -> None:
    declared = {(each["alert"], each["labels"]["severity"]) for each in ALERTS}
    assert declared == {(name, severity) for case in CASES for name, severity, _ in case.fires}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda a: f"{a['alert']}-{a['labels']['severity']}")
def test_an_alert_says_what_it_means_and_where_to_read_on(alert: dict[str, Any]) -> None:
    said = alert["annotations"]
    assert said["summary"].endswith(".")
    assert said["description"].endswith(".")
    assert said["summary"] != said["description"]
    place, _, page = said["runbook_url"].partition("/")
    assert place == "RUNBOOKS"
    assert page == f"{alert['alert']}.md"
    assert (RUNBOOKS / page).read_text().startswith(f"# {alert['alert']}\n")


def test_no_page_is_without_its_alert() -> None:
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == {each["alert"] for each in ALERTS}


def test_the_chart_has_them_with_an_address() -> None:
    base = "https://example.com/runbooks"
    [rule] = [
        each
        for each in rendered(
            "--set=prometheusRule.enabled=true", f"--set=prometheusRule.runbookBaseUrl={base}"
        )
        if each["kind"] == "PrometheusRule"
    ]
    shipped = yaml.safe_load(RULES.read_text().replace("RUNBOOKS", base))
    assert rule["spec"] == shipped
    assert base in rule["spec"]["groups"][0]["rules"][0]["annotations"]["runbook_url"]
