"""The examples for pipelines, step by step as their systems run them, with the rights they name."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import pytest_asyncio
import yaml

from conftest import Cluster
from harness.api import Raw, Space, execution
from harness.cli import manifest, with_user
from harness.process import Operator
from harness.steps import QUEUES, change_queue, make_queue
from harness.waiting import eventually

EXAMPLES = Path(__file__).parents[2] / "examples" / "pipelines"
FAILS = {"stage.kindless/exit-code": "3", "stage.kindless/message": "no cart"}
BASH = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c")

COLLECTIONS = {
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
}


def _documents(name: str) -> list[Raw]:
    return [each for each in yaml.safe_load_all((EXAMPLES / name).read_text()) if each]


@dataclass
class Pipeline:
    """One run of a pipeline in a checkout of its own, on a machine with kubectl."""

    folder: Path
    kubeconfig: Path
    kubectl: Path
    environment: dict[str, str] = field(default_factory=dict)
    said: str = ""

    def step(self, command: Sequence[str], script: str, **environment: str) -> int:
        programs = f"{Path(sys.executable).parent}:{self.kubectl.parent}:{os.environ['PATH']}"
        done = subprocess.run(
            [*command, script],
            cwd=self.folder,
            env={"PATH": programs, "HOME": str(self.folder)} | self.environment | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.said += done.stdout + done.stderr
        return done.returncode


def github(pipeline: Pipeline) -> int:
    """Each step in a shell of its own, with what the steps before put into GITHUB_ENV."""
    [workflow] = _documents("github-actions.yaml")
    kept = pipeline.folder / "github-env"
    kept.touch()
    pipeline.environment |= {"RUNNER_TEMP": str(pipeline.folder), "GITHUB_ENV": str(kept)}
    secrets = {"KUBECONFIG": pipeline.kubeconfig.read_text()}
    for step in workflow["jobs"]["e2e"]["steps"]:
        if "run" not in step:
            continue
        said = {
            name: re.sub(r"\$\{\{ secrets\.(\w+) \}\}", lambda found: secrets[found[1]], value)
            for name, value in step.get("env", {}).items()
        }
        if code := pipeline.step(BASH, step["run"], **said):
            return code
        lines = kept.read_text().splitlines()
        pipeline.environment |= {
            name: value for name, _, value in (x.partition("=") for x in lines)
        }
    return 0


def gitlab(pipeline: Pipeline) -> int:
    """All lines in one shell; a variable of the type File is the path of a file."""
    [document] = _documents("gitlab-ci.yml")
    job = document["e2e"]
    pipeline.environment["KUBECONFIG"] = str(pipeline.kubeconfig)
    assert job["artifacts"]["reports"]["junit"] == "results.xml"
    return pipeline.step(BASH, "\n".join(job["before_script"] + job["script"]))


def tekton(pipeline: Pipeline) -> int:
    """The script of the step, with parameters and workspaces put in."""
    task = next(each for each in _documents("tekton.yaml") if each["kind"] == "Task")
    [step] = task["spec"]["steps"]
    known = {f"params.{each['name']}": each["default"] for each in task["spec"]["params"]}
    known["workspaces.source.path"] = str(pipeline.folder)
    assert step["workingDir"] == "$(workspaces.source.path)"

    def put_in(text: str) -> str:
        return re.sub(r"\$\(([^)]+)\)", lambda found: known[found[1]], text)

    pipeline.environment["KUBECONFIG"] = str(pipeline.kubeconfig)
    pipeline.environment |= {each["name"]: put_in(each["value"]) for each in step["env"]}
    script = pipeline.folder / "script"
    script.write_text(put_in(step["script"]))
    script.chmod(0o755)
    return pipeline.step((), str(script))


def argocd(pipeline: Pipeline) -> int:
    """The command of the hook's container, with its volume."""
    job = next(each for each in _documents("argocd-hook.yaml") if each["kind"] == "Job")
    assert job["metadata"]["annotations"]["argocd.argoproj.io/hook"] == "PostSync"
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    [mount] = container["volumeMounts"]
    words = container["command"] + container["args"]
    words = [word.replace(mount["mountPath"], str(pipeline.folder), 1) for word in words]
    pipeline.environment["KUBECONFIG"] = str(pipeline.kubeconfig)
    return pipeline.step(words[:-1], words[-1])


PIPELINES: dict[str, tuple[Callable[[Pipeline], int], str]] = {
    "github": (github, "tekton.yaml"),
    "gitlab": (gitlab, "tekton.yaml"),
    "tekton": (tekton, "tekton.yaml"),
    "argocd": (argocd, "argocd-hook.yaml"),
}


@pytest_asyncio.fixture(loop_scope="session")
async def queue(space: Space, lasting_operator: Operator) -> AsyncIterator[str]:
    name = await make_queue(space, f"q-{space.name}", runningCapacity=1, queuedCapacity=1)
    yield name
    await space.api.delete(f"{QUEUES}/{name}")


async def _pipeline(name: str, cluster: Cluster, space: Space, folder: Path) -> Pipeline:
    """With a kubeconfig of the service account of an example, and of no more than its rights."""
    account = ""
    for document in _documents(PIPELINES[name][1]):
        if document["kind"] not in COLLECTIONS or document["kind"] == "Job":
            continue
        if document["kind"] == "ServiceAccount":
            account = document["metadata"]["name"]
        for subject in document.get("subjects", ()):
            subject["namespace"] = space.name
        await space.api.create(COLLECTIONS[document["kind"]].format(space.name), document)
    answer = await space.api.create(
        f"{COLLECTIONS['ServiceAccount'].format(space.name)}/{account}/token",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
    )
    user = {"token": answer["status"]["token"]}
    kubeconfig = with_user(cluster.kubeconfig, user, folder / "user", namespace=space.name)
    kubectl = await asyncio.to_thread(_kubectl)
    return Pipeline(folder, kubeconfig, kubectl)


def _kubectl() -> Path:
    kindless = Path(sys.executable).with_name("kindless")
    done = subprocess.run([kindless, "get", "kubectl"], check=True, stdout=-1, text=True)
    return Path(done.stdout.strip())


def _body(queue: str, **rest: Any) -> Raw:
    body = execution("e", queue=queue, **rest)
    body["metadata"] = {"generateName": "e2e-"}
    return body


@pytest.mark.parametrize("name", PIPELINES)
async def test_a_pipeline_passes_with_its_tests(
    name: str, cluster: Cluster, space: Space, queue: str, tmp_path: Path
) -> None:
    pipeline = await _pipeline(name, cluster, space, tmp_path)
    (tmp_path / "e2e.yaml").write_text(manifest(_body(queue)))
    code = await asyncio.to_thread(PIPELINES[name][0], pipeline)
    assert code == 0, pipeline.said
    assert list((await space.phases()).values()) == ["Passed"]
    _check_junit(name, tmp_path, failures=0)


@pytest.mark.parametrize("name", PIPELINES)
async def test_a_pipeline_fails_with_its_tests_and_keeps_their_words(
    name: str, cluster: Cluster, space: Space, queue: str, tmp_path: Path
) -> None:
    pipeline = await _pipeline(name, cluster, space, tmp_path)
    (tmp_path / "e2e.yaml").write_text(manifest(_body(queue, annotations=FAILS)))
    code = await asyncio.to_thread(PIPELINES[name][0], pipeline)
    assert code == 1, pipeline.said
    assert "no cart" in pipeline.said
    _check_junit(name, tmp_path, failures=1)


@pytest.mark.parametrize("name", PIPELINES)
async def test_a_pipeline_waits_while_there_is_no_room(
    name: str,
    cluster: Cluster,
    space: Space,
    queue: str,
    tmp_path: Path,
    lasting_operator: Operator,
) -> None:
    pipeline = await _pipeline(name, cluster, space, tmp_path)
    (tmp_path / "e2e.yaml").write_text(manifest(_body(queue)))
    await change_queue(space, queue, runningCapacity=0, queuedCapacity=0)
    running = asyncio.create_task(asyncio.to_thread(PIPELINES[name][0], pipeline))

    async def refused() -> bool:
        assert not running.done(), pipeline.said
        line = f'supercheck_admissions_total{{queue="{queue}",reason="TooManyRequests"'
        return await lasting_operator.metric(line) >= 2

    await eventually(refused, "it was refused, and tried again")
    assert await space.phases() == {}
    await change_queue(space, queue, runningCapacity=1)
    assert await running == 0, pipeline.said
    assert "Queue capacity limit reached" in pipeline.said


def _check_junit(name: str, folder: Path, *, failures: int) -> None:
    if name == "argocd":  # its verdict is the sync's; nobody takes a file from there
        return
    root = ET.fromstring((folder / "results.xml").read_text())
    assert [root.get("tests"), root.get("failures")] == ["1", str(failures)]


async def test_the_objects_beside_the_hook_are_what_an_api_server_takes(space: Space) -> None:
    for document in _documents("argocd-hook.yaml"):
        path = COLLECTIONS[document["kind"]].format(space.name)
        status, answer = await space.api.call("POST", f"{path}?dryRun=All", document)
        assert status == 201, answer


async def test_the_manifest_in_the_hook_is_admitted(
    space: Space, lasting_operator: Operator
) -> None:
    config = next(x for x in _documents("argocd-hook.yaml") if x["kind"] == "ConfigMap")
    body = yaml.safe_load(config["data"]["e2e.yaml"])
    status, answer = await space.try_submit(body, dry_run=True)
    assert status == 201, answer
