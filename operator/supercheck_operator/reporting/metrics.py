"""The metrics of the contract. No label ever holds an object's name but a queue's."""

from __future__ import annotations

import platform
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from supercheck_operator import __version__

_FAST: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_SLOW: Final = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)


class Metrics:
    """One set of metrics with a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.executions_running = Gauge(
            "supercheck_executions_running", "Executions running.", ["queue"], registry=registry
        )
        self.executions_queued = Gauge(
            "supercheck_executions_queued", "Executions waiting.", ["queue"], registry=registry
        )
        self.running_capacity = Gauge(
            "supercheck_running_capacity", "Running slots in force.", ["queue"], registry=registry
        )
        self.queued_capacity = Gauge(
            "supercheck_queued_capacity", "Queue places in force.", ["queue"], registry=registry
        )
        self.leader = Gauge(
            "supercheck_leader", "1 if this process launches executions.", registry=registry
        )
        self.ledger_up = Gauge(
            "supercheck_ledger_up",
            "1 if the ledger can tell who occupies capacity.",
            registry=registry,
        )
        self.admissions = Counter(
            "supercheck_admissions_total",
            "Submissions judged.",
            ["queue", "result", "reason"],
            registry=registry,
        )
        self.executions_finished = Counter(
            "supercheck_executions_finished_total",
            "Executions at their end.",
            ["queue", "phase", "reason"],
            registry=registry,
        )
        self.kube_writes = Counter(
            "supercheck_kube_writes_total",
            "Requests that change something in the API server.",
            ["verb", "resource"],
            registry=registry,
        )
        self.ledger_corrections = Counter(
            "supercheck_ledger_corrections_total",
            "What a sweep found different from what watches had told.",
            ["kind"],
            registry=registry,
        )
        self.ledger_errors = Counter(
            "supercheck_ledger_errors_total",
            "What the ledger was asked and could not answer.",
            registry=registry,
        )
        self.admission_duration = Histogram(
            "supercheck_admission_duration_seconds",
            "Time to judge a submission.",
            buckets=_FAST,
            registry=registry,
        )
        self.queue_wait = Histogram(
            "supercheck_queue_wait_seconds",
            "From creation to the claim of a slot.",
            ["queue"],
            buckets=_SLOW,
            registry=registry,
        )
        self.handoff = Histogram(
            "supercheck_handoff_seconds",
            "From a freed slot to the next Job created.",
            ["queue"],
            buckets=_FAST,
            registry=registry,
        )
        self.execution_duration = Histogram(
            "supercheck_execution_duration_seconds",
            "From the first container's start to the end.",
            ["queue", "phase"],
            buckets=_SLOW,
            registry=registry,
        )
        build = Gauge(
            "supercheck_build_info",
            "1; its labels say what runs.",
            ["version", "python"],
            registry=registry,
        )
        build.labels(__version__, platform.python_version()).set(1)
