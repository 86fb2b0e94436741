"""What Argo CD and Flux make of our objects, by the languages they say it in: Lua and CEL."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import cel
import pytest
import yaml
from lupa import LuaRuntime  # type: ignore[import-untyped]

from harness.chart import CHART
from supercheck_operator.resources import Phase, StopPolicy, TestExecution

Raw = dict[str, Any]

GITOPS: Final = CHART.parents[1] / "gitops"
VERDICTS: Final = {
    Phase.QUEUED: "Progressing",
    Phase.RUNNING: "Progressing",
    Phase.PASSED: "Healthy",
    Phase.FAILED: "Degraded",
    Phase.ERROR: "Degraded",
    Phase.CANCELLED: "Degraded",
}
"""Argo CD's word for every phase there is."""
FLUX: Final = {"Progressing": "inProgress", "Healthy": "current", "Degraded": "failed"}


def execution(phase: Phase | None, **spec: Any) -> Raw:
    body: Raw = {"metadata": {"name": "e", "generation": 1}, "spec": spec}
    if phase is not None:
        body["status"] = {"phase": phase.value, "observedGeneration": -1}
    return body


def queue(**given: Any) -> Raw:
    policy = given.pop("stopPolicy", "None")
    status = {"observedGeneration": 2, **given}
    return {
        "metadata": {"name": "q", "generation": 2},
        "spec": {"stopPolicy": policy},
        "status": status,
    }


def health(kind: str, body: Raw) -> tuple[str, str]:
    """As Argo CD asks: a Lua without libraries that reach out, and ``obj``."""
    lua = LuaRuntime(unpack_returned_tuples=True, register_eval=False)
    lua.execute("os, io, require, package, dofile, loadfile = nil, nil, nil, nil, nil, nil")
    lua.globals().obj = lua.table_from(body, recursive=True)
    [file] = (GITOPS / "argocd" / "health").glob(f"*_{kind}.lua")
    answer = lua.execute(file.read_text())
    return str(answer.status), str(answer.message)


def test_every_phase_has_a_verdict() -> None:
    assert set(VERDICTS) == set(Phase)


@pytest.mark.parametrize("phase", Phase)
def test_argo_cd_waits_for_the_verdict_and_takes_it(phase: Phase) -> None:
    assert health("TestExecution", execution(phase))[0] == VERDICTS[phase]


def test_argo_cd_does_not_take_a_new_execution_for_a_healthy_one() -> None:
    assert health("TestExecution", execution(None))[0] == "Progressing"


def test_argo_cd_shows_why_it_did_not_pass() -> None:
    body = execution(Phase.ERROR)
    body["status"] |= {"reason": "OOMKilled", "message": "It used more than 64Mi."}
    assert health("TestExecution", body)[1] == "Error (OOMKilled): It used more than 64Mi."


def test_argo_cd_shows_a_suspended_execution_as_such_until_it_runs() -> None:
    assert health("TestExecution", execution(Phase.QUEUED, suspend=True))[0] == "Suspended"
    assert health("TestExecution", execution(Phase.RUNNING, suspend=True))[0] == "Progressing"


@pytest.mark.parametrize("policy", StopPolicy)
def test_argo_cd_shows_a_stopped_queue_as_suspended(policy: StopPolicy) -> None:
    expected = "Healthy" if policy is StopPolicy.NONE else "Suspended"
    assert health("ExecutionQueue", queue(stopPolicy=policy.value))[0] == expected


def test_argo_cd_waits_until_the_operator_has_seen_a_queue() -> None:
    assert health("ExecutionQueue", queue(observedGeneration=1))[0] == "Progressing"
    assert health("ExecutionQueue", {"metadata": {"generation": 1}, "spec": {}})[0] == "Progressing"


def test_a_full_queue_is_healthy_and_says_that_it_is_full() -> None:
    full = {"type": "Saturated", "status": "True", "message": "50/50 queued"}
    assert health("ExecutionQueue", queue(conditions=[full])) == ("Healthy", "50/50 queued")


def test_the_snippet_for_argo_cd_is_made_of_these_checks() -> None:
    data = yaml.safe_load((GITOPS / "argocd" / "argocd-cm.yaml").read_text())["data"]
    files = {file.stem: file.read_text() for file in (GITOPS / "argocd" / "health").iterdir()}
    assert data == {f"resource.customizations.health.{name}": lua for name, lua in files.items()}


def test_argo_cd_is_sent_to_the_chart_in_a_registry() -> None:
    """With ``chart``, a scheme in ``repoURL`` is that of another form of source."""
    source = yaml.safe_load((GITOPS / "argocd" / "application.yaml").read_text())["spec"]["source"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (source["chart"], source["targetRevision"]) == (chart["name"], chart["version"])
    assert "://" not in source["repoURL"]


def expressions(kind: str) -> Raw:
    manifest = yaml.safe_load((GITOPS / "flux" / "kustomization.yaml").read_text())
    [found] = [each for each in manifest["spec"]["healthCheckExprs"] if each["kind"] == kind]
    return dict(found)


def flux(kind: str, body: Raw) -> set[str]:
    """Which of Flux's expressions are so; absent fields are as in an object without them."""
    given: Raw = {"status": {}} | body
    names = expressions(kind).keys() & {"inProgress", "failed", "current"}
    return {name for name in names if cel.evaluate(expressions(kind)[name], given)}


@pytest.mark.parametrize("phase", Phase)
def test_flux_waits_for_the_verdict_and_takes_it(phase: Phase) -> None:
    assert flux("TestExecution", execution(phase)) == {FLUX[VERDICTS[phase]]}


def test_flux_waits_for_what_has_no_status_yet() -> None:
    assert flux("TestExecution", execution(None)) == {"inProgress"}
    new = {"metadata": {"generation": 1}, "spec": {}}
    assert flux("ExecutionQueue", new) == {"inProgress"}


def test_flux_waits_until_the_operator_has_seen_a_queue() -> None:
    assert flux("ExecutionQueue", queue(observedGeneration=1)) == {"inProgress"}
    assert flux("ExecutionQueue", queue()) == {"current"}


def executions() -> list[Path]:
    return sorted(GITOPS.glob("*/smoke-tests/checkout.yaml"))


@pytest.mark.parametrize("file", executions(), ids=lambda file: file.parts[-3])
def test_an_example_may_be_applied_again_and_again(file: Path) -> None:
    """What is deleted by time or number would be applied, and run, again."""
    manifest = yaml.safe_load(file.read_text())
    parsed = TestExecution.model_validate(
        manifest
        | {
            "metadata": manifest["metadata"]
            | {"uid": "u", "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z"}
        }
    )
    assert parsed.spec.ttl_seconds_after_finished is None
    hooked = "argocd.argoproj.io/hook" in manifest["metadata"].get("annotations", {})
    beside, version = file.with_name("kustomization.yaml"), parsed.spec.tests[0].image[-8:]
    named = beside.is_file() and f"nameSuffix: {version.replace(':', '-')}" in beside.read_text()
    assert hooked or named
