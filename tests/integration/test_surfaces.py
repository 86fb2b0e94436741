"""What is reached over HTTP beside a cluster: health, metrics, figures."""

import asyncio
import json
import re
from collections import defaultdict

import aiohttp
import pytest

from harness.api import Space, execution
from harness.process import Operator
from harness.steps import QUEUES, make_queue, until, until_stats
from harness.waiting import eventually

SAMPLE = re.compile(r"^(\w+?)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

# The contract: each metric with the labels it has, beside a histogram's own "le".
GAUGES = {
    "supercheck_executions_running": {"queue"},
    "supercheck_executions_queued": {"queue"},
    "supercheck_running_capacity": {"queue"},
    "supercheck_queued_capacity": {"queue"},
    "supercheck_oldest_wait_seconds": {"queue"},
    "supercheck_webhook_certificate_expires_seconds": set(),
    "supercheck_leader": set(),
    "supercheck_ledger_up": set(),
}
COUNTERS = {
    "supercheck_admissions_total": {"queue", "result", "reason"},
    "supercheck_executions_finished_total": {"queue", "phase", "reason"},
    "supercheck_kube_writes_total": {"verb", "resource"},
    "supercheck_ledger_errors_total": set(),
}
HISTOGRAMS = {
    "supercheck_admission_duration_seconds": set(),
    "supercheck_queue_wait_seconds": {"queue"},
    "supercheck_handoff_seconds": {"queue"},
    "supercheck_execution_duration_seconds": {"queue", "phase"},
}

Samples = dict[str, list[tuple[dict[str, str], float]]]


async def _samples(operator: Operator) -> tuple[Samples, dict[str, str]]:
    """Samples by name, and the type that each metric says it has."""
    status, text = await operator.get("/metrics")
    assert status == 200
    found: Samples = defaultdict(list)
    types: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            types[name] = kind
        elif not line.startswith("#"):
            matched = SAMPLE.match(line)
            assert matched, line
            labels = dict(LABEL.findall(matched[2] or ""))
            found[matched[1]].append((labels, float(matched[3])))
    return found, types


def _value(samples: Samples, name: str, **labels: str) -> float:
    return next((value for said, value in samples[name] if said == labels), 0.0)


async def test_healthy_and_ready(lasting_operator: Operator) -> None:
    assert await lasting_operator.get("/healthz") == (200, "ok\n")
    assert await lasting_operator.get("/readyz") == (200, "ok\n")


async def test_every_metric_of_the_contract_is_there_after_a_hand_off(
    lasting_operator: Operator, space: Space
) -> None:
    queue = await make_queue(space, "handed", runningCapacity=1)
    for name in ("first-of-two", "second-of-two"):
        await space.submit(execution(name, queue=queue, runs_for="500ms"))
    for name in ("first-of-two", "second-of-two"):
        await until(space, name, "Passed")
    samples, types = await _samples(lasting_operator)
    for name, labels in (GAUGES | COUNTERS).items():
        assert types[name] == ("gauge" if name in GAUGES else "counter")
        assert samples[name], name
        assert all(said.keys() == labels for said, _ in samples[name]), name
    for name, labels in HISTOGRAMS.items():
        assert types[name] == "histogram"
        assert sum(value for _, value in samples[f"{name}_count"]) > 0, name
        assert all(said.keys() == labels | {"le"} for said, _ in samples[f"{name}_bucket"]), name
    assert types["supercheck_ledger_corrections_total"] == "counter"
    for said, _ in samples["supercheck_ledger_corrections_total"]:
        assert said.keys() == {"kind"}
    [(build, one)] = samples["supercheck_build_info"]
    assert (build["version"], one) == ("0.1.0", 1)
    finished = {"queue": queue, "phase": "Passed", "reason": ""}
    assert _value(samples, "supercheck_executions_finished_total", **finished) == 2
    assert _value(samples, "supercheck_handoff_seconds_count", queue=queue) == 1
    assert _value(samples, "supercheck_queue_wait_seconds_count", queue=queue) == 2
    duration = _value(
        samples, "supercheck_execution_duration_seconds_sum", queue=queue, phase="Passed"
    )
    assert duration >= 0
    assert _value(samples, "supercheck_leader") == _value(samples, "supercheck_ledger_up") == 1
    await space.api.delete(f"{QUEUES}/{queue}")


async def test_no_label_ever_holds_the_name_of_an_execution_its_test_or_its_namespace(
    lasting_operator: Operator, space: Space
) -> None:
    test = {"name": "tell-tale-test", "image": "example/e2e:1"}
    notes = {"stage.kindless/exit-code": "1", "stage.kindless/message": "tell-tale-message"}
    await space.submit(execution("tell-tale-fails", tests=[test], annotations=notes))
    await until(space, "tell-tale-fails", "Failed")
    await space.try_submit(execution("tell-tale-lost", queue="tell-tale-queue"))
    await space.try_submit(execution("tell-tale-retry", retry={"limit": 2}))
    samples, _ = await _samples(lasting_operator)
    values = {value for found in samples.values() for said, _ in found for value in said.values()}
    assert not [value for value in values if "tell-tale" in value or space.name in value]


async def test_admissions_are_counted_by_their_result(
    lasting_operator: Operator, space: Space
) -> None:
    queue = await make_queue(space, "counted", runningCapacity=1, queuedCapacity=0)
    await asyncio.gather(
        *(space.try_submit(execution(f"e-{i}", queue=queue, runs_for="never")) for i in range(5))
    )
    samples, _ = await _samples(lasting_operator)
    admitted = {"queue": queue, "result": "admitted", "reason": ""}
    refused = {"queue": queue, "result": "refused", "reason": "TooManyRequests"}
    assert _value(samples, "supercheck_admissions_total", **admitted) == 1
    assert _value(samples, "supercheck_admissions_total", **refused) == 4
    await space.api.delete(f"{QUEUES}/{queue}")


async def test_figures_metrics_and_the_queue_s_status_say_the_same(
    lasting_operator: Operator, space: Space
) -> None:
    queue = await make_queue(space, "agreeing", runningCapacity=2, queuedCapacity=9)
    for i in range(5):
        await space.submit(execution(f"e-{i}", queue=queue, runs_for="never"))
    status, text = await lasting_operator.get(f"/api/queue-stats?queue={queue}")
    assert status == 200
    figures = json.loads(text)
    assert list(figures) == ["running", "runningCapacity", "queued", "queuedCapacity"]
    assert figures == {"running": 2, "runningCapacity": 2, "queued": 3, "queuedCapacity": 9}
    samples, _ = await _samples(lasting_operator)
    assert figures == {
        "running": _value(samples, "supercheck_executions_running", queue=queue),
        "runningCapacity": _value(samples, "supercheck_running_capacity", queue=queue),
        "queued": _value(samples, "supercheck_executions_queued", queue=queue),
        "queuedCapacity": _value(samples, "supercheck_queued_capacity", queue=queue),
    }

    async def told() -> bool:
        status = (await space.api.get(f"{QUEUES}/{queue}")).get("status", {})
        return bool({key: status.get(key) for key in figures} == figures)

    await eventually(told, "the queue's status says the same", within=3)
    await space.api.delete(f"{QUEUES}/{queue}")

    async def unknown() -> bool:
        return (await lasting_operator.get(f"/api/queue-stats?queue={queue}"))[0] == 404

    await eventually(unknown, "the queue is unknown")
    samples, _ = await _samples(lasting_operator)
    assert not [said for said, _ in samples["supercheck_running_capacity"]
                if said["queue"] == queue]  # fmt: skip


async def test_without_a_name_the_default_queue_is_meant(
    lasting_operator: Operator, space: Space
) -> None:
    await until_stats(lasting_operator, "default", (0, 5, 0, 50))
    await space.submit(execution("e", runs_for="never"))
    by_default = json.loads((await lasting_operator.get("/api/queue-stats"))[1])
    assert by_default == json.loads(
        (await lasting_operator.get("/api/queue-stats?queue=default"))[1]
    )
    assert by_default["running"] == 1


@pytest.mark.parametrize("queue", ["nowhere", "", "%00", "..%2f..", "x" * 5000, "%F0%9F%90%8D"])
async def test_an_unknown_queue_is_not_found_in_json(
    lasting_operator: Operator, queue: str
) -> None:
    status, text = await lasting_operator.get(f"/api/queue-stats?queue={queue}")
    assert status == 404
    answer = json.loads(text)
    assert answer.keys() == {"error", "message"}
    assert "does not exist" in answer["message"]


async def test_what_is_not_served_is_never_a_server_error(lasting_operator: Operator) -> None:
    async with aiohttp.ClientSession(lasting_operator.url) as session:
        for method, path in (
            ("GET", "/nothing"),
            ("GET", "/api/nothing"),
            ("GET", "/api/queue-stats/"),
            ("POST", "/api/queue-stats"),
            ("DELETE", "/metrics"),
            ("PUT", "/healthz"),
            ("GET", "/../../etc/passwd"),
        ):
            async with session.request(method, path) as response:
                assert response.status in (404, 405), (method, path)
    assert await lasting_operator.get("/healthz") == (200, "ok\n")
