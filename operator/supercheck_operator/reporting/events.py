"""Kubernetes Events, where a person looks for one: a start in trouble, errors, cancellations. Pure.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Final

from supercheck_operator.execution.assess import Assessment
from supercheck_operator.resources import API_VERSION, Phase, Raw, TestExecution

CONTROLLER: Final = "supercheck.io/operator"
_NOTE_LIMIT: Final = 1024
_NAME_LIMIT: Final = 240
_ACTIONS: Final = {Phase.RUNNING: "Start", Phase.ERROR: "Finish", Phase.CANCELLED: "Cancel"}


def worth_telling(assessment: Assessment) -> bool:
    """A verdict about the software under test is in the status; an event is for what went wrong."""
    return assessment.phase in (Phase.ERROR, Phase.CANCELLED) or assessment.trouble is not None


def event(execution: TestExecution, assessment: Assessment, now: datetime, reporter: str) -> Raw:
    """Its name follows from what it tells, so telling it again creates nothing."""
    metadata = execution.metadata
    reason = str(assessment.trouble or assessment.reason)
    identity = f"{metadata.uid}/{assessment.attempts}/{assessment.phase}/{reason}"
    digest = hashlib.sha256(identity.encode()).hexdigest()[:10]
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata.name[:_NAME_LIMIT]}.{digest}",
            "namespace": metadata.namespace,
        },
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "type": "Normal" if assessment.phase is Phase.CANCELLED else "Warning",
        "reason": reason,
        "action": _ACTIONS[assessment.phase],
        "note": _cut(assessment.message or reason),
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": "TestExecution",
            "name": metadata.name,
            "namespace": metadata.namespace,
            "uid": metadata.uid,
        },
        "reportingController": CONTROLLER,
        "reportingInstance": reporter,
    }


def _cut(note: str) -> str:
    """The API server takes less than 1 KiB of UTF-8; errors come last."""
    encoded = note.encode()
    if len(encoded) < _NOTE_LIMIT:
        return note
    return "…" + encoded[-(_NOTE_LIMIT - 4) :].decode(errors="ignore")
