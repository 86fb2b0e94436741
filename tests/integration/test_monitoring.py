"""Debian's Prometheus scrapes an operator under load: every query of the dashboard and of the
alerts finds what it asks for."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
import yaml

from conftest import Cluster
from harness.api import Api, Raw, Space, execution
from harness.chart import CHART
from harness.process import Operator
from harness.prometheus import Prometheus, running, scraping
from harness.steps import make_queue
from harness.waiting import eventually

SETTINGS = {"SWEEP_SECONDS": "1", "RUNNING_CAPACITY": "5"}
DASHBOARD = json.loads((CHART / "files" / "dashboards" / "supercheck-operator.json").read_text())
RULES = CHART / "files" / "alerts.yaml"
FOR_GRAFANA = {"$__rate_interval": "60s", "$__range": "60s", "$queue": ".*"}
_SELECTOR = re.compile(r"(?<![\w:])(?:supercheck|apiserver)_\w+(?:{[^}]*})?")


def queries() -> list[tuple[str, str]]:
    """Of every panel, as Grafana sends them for all queues."""
    found = []
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"]
            for name, value in FOR_GRAFANA.items():
                query = query.replace(name, value)
            found.append((f"{panel['title']}: {target.get('legendFormat', '')}", query))
    return found


def selectors() -> Iterator[tuple[str, str]]:
    """Every series that an alert looks at."""
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            for selector in _SELECTOR.findall(rule["expr"]):
                yield rule["alert"], selector


async def _load(space: Space, over: asyncio.Event) -> None:
    """More than can run, some of which fails, some of which cannot run at all."""
    kinds: list[Raw] = [
        {"runs_for": "300ms"},
        {"runs_for": "300ms", "annotations": {"stage.kindless/exit-code": "1"}},
        {"pod": {"serviceAccountName": "nobody"}, "startTimeoutSeconds": 1},
    ]
    number = 0
    while not over.is_set():
        await space.try_submit(execution(f"e-{number}", queue="busy", **kinds[number % 3]))
        number += 1
        await asyncio.sleep(0.05)


async def _reserve_in_vain(api: Api) -> None:
    """An execution that is admitted and then refused by a quota: the sweep has to notice."""
    space = Space(api, "full")
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space.name}}
    await api.create("/api/v1/namespaces", body)
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"count/testexecutions.supercheck.io": "0"}},
    }
    await api.create(f"/api/v1/namespaces/{space.name}/resourcequotas", quota)

    async def enforced() -> bool:
        return (await space.try_submit(execution("in-vain"), dry_run=True))[0] == 403

    await eventually(enforced, "the API server knows of the quota")
    status, answer = await space.try_submit(execution("in-vain"))
    assert status == 403, answer


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def scraped(
    cluster: Cluster, api: Api, lasting: Operator, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Prometheus]:
    """Prometheus, when it has seen everything that there is to see, with the load still on."""
    space = Space(api, "monitored")
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space.name}}
    await api.create("/api/v1/namespaces", body)
    await make_queue(space, "busy", runningCapacity=3, queuedCapacity=10)
    await _reserve_in_vain(api)
    over = asyncio.Event()
    folder = tmp_path_factory.mktemp("prometheus")
    configuration = scraping(folder, lasting, cluster.kubeconfig)
    async with running(folder, configuration) as prometheus:
        load = asyncio.create_task(_load(space, over))

        async def under_way() -> bool:
            ended = "supercheck_executions_finished_total"
            phases = await prometheus.values(f"sum by (phase) (increase({ended}[20s])) > 0")
            corrected = await prometheus.values("supercheck_ledger_corrections_total")
            return len(phases) == 3 and bool(corrected)

        await eventually(under_way, "all ends and a correction are seen", within=90)
        yield prometheus
        over.set()
        await load


@pytest.mark.parametrize(("name", "query"), queries())
async def test_every_query_of_the_dashboard_finds_what_it_asks_for(
    scraped: Prometheus, name: str, query: str
) -> None:
    assert await scraped.values(query), name


async def test_every_rule_is_evaluated(scraped: Prometheus) -> None:
    async def all_ok() -> list[Raw]:
        groups = (await scraped.ask("rules"))["groups"]
        rules: list[Raw] = [rule for group in groups for rule in group["rules"]]
        return rules if all(rule["health"] == "ok" for rule in rules) else []

    rules = await eventually(all_ok, "every rule is evaluated")
    assert len(rules) == len(yaml.safe_load(RULES.read_text())["groups"][0]["rules"])
    assert not [rule["lastError"] for rule in rules if rule.get("lastError")]


@pytest.mark.parametrize(("alert", "selector"), sorted(set(selectors())))
async def test_every_series_that_an_alert_looks_at_is_there(
    scraped: Prometheus, alert: str, selector: str
) -> None:
    # Calls of a webhook that answers fail for other reasons than one that does not.
    assert await scraped.values(selector.replace("calling_webhook_error", "no_error")), alert
