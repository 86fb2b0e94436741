"""The definitions as kubectl and its users meet them."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_asyncio

from conftest import Cluster
from harness.api import Raw, Space, execution
from harness.process import Operator
from harness.steps import make_queue, until
from harness.waiting import eventually

FOLDER = Path(__file__).parents[2] / "crds"
KINDLESS = Path(sys.executable).with_name("kindless")


@pytest.fixture(scope="module")
def program() -> str:
    found = subprocess.run([KINDLESS, "get", "kubectl"], check=True, capture_output=True, text=True)
    return found.stdout.strip()


class Kubectl:
    def __init__(self, program: str, kubeconfig: Path) -> None:
        self._head = [program, "--kubeconfig", str(kubeconfig)]

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *self._head, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, errors = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), errors.decode()

    async def __call__(self, *arguments: str) -> str:
        code, out, errors = await self.run(*arguments)
        assert code == 0, errors
        return out


@pytest.fixture
def kubectl(program: str, cluster: Cluster) -> Kubectl:
    return Kubectl(program, cluster.kubeconfig)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def applied(program: str, cluster: Cluster) -> None:
    """By hand and without the operator, as the first step of an installation."""
    kubectl = Kubectl(program, cluster.kubeconfig)
    out = await kubectl("apply", "-f", str(FOLDER))
    assert out.count("created") == 2

    async def established() -> bool:
        code, _, _ = await kubectl.run("wait", "--for=condition=Established", "crd", "--all")
        return code == 0  # while there are no conditions at all, it does not wait but fails

    await eventually(established, "the definitions are established")


async def test_a_server_side_dry_run_accepts_both(kubectl: Kubectl) -> None:
    out = await kubectl("apply", "--server-side", "--dry-run=server", "-f", str(FOLDER))
    assert out.count("serverside-applied (server dry run)") == 2


@pytest.mark.usefixtures("applied")
async def test_a_client_side_apply_accepts_both_as_often_as_one_likes(kubectl: Kubectl) -> None:
    """It keeps the whole manifest in an annotation, which has room for 256 KiB."""
    out = await kubectl("apply", "-f", str(FOLDER))
    assert out.count("unchanged") == 2


@pytest.mark.usefixtures("applied")
async def test_the_api_server_has_nothing_to_complain_about(space: Space) -> None:
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for found in await space.api.items(path):
        conditions = {each["type"]: each["status"] for each in found["status"]["conditions"]}
        assert conditions["NamesAccepted"] == "True"
        assert conditions.get("NonStructuralSchema", "False") == "False"


@pytest.mark.usefixtures("applied")
@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("tx.spec.template.spec.nodeSelector", "map[string]string"),
        ("tx.spec.template.spec.containers.resources.limits", "limits"),
        ("tx.spec.tests.script", "/supercheck/script"),
        ("tx.spec.timeoutSeconds", "TEST_EXECUTION_TIMEOUT_MS"),
        ("tx.status.tests.exitCode", "integer"),
        ("xq.spec.stopPolicy", "HoldAndDrain"),
        ("xq.spec.perNamespace.queuedCapacity", "integer"),
    ],
)
async def test_fields_explain_themselves(kubectl: Kubectl, path: str, told: str) -> None:
    async def explained() -> str:
        code, out, _ = await kubectl.run("explain", path)
        return out if code == 0 else ""

    assert told in await eventually(explained, f"{path} is explained")


@pytest.mark.usefixtures("applied")
async def test_a_new_object_says_that_it_waits_without_any_write(space: Space) -> None:
    """No operator is there: it is the schema that says so."""
    body = execution("new")
    body["status"] = {"phase": "Passed", "observedGeneration": 7}
    for made in (await space.submit(body), await space.get("new")):
        assert made["status"] == {"phase": "Queued", "observedGeneration": -1}
        assert made["spec"]["queue"] == "default"
        assert made["spec"]["startTimeoutSeconds"] == 300
        for field in ("timeoutSeconds", "queueTimeoutSeconds", "ttlSecondsAfterFinished"):
            assert field not in made["spec"]
        assert not any(made["spec"][flag] for flag in ("cancel", "suspend", "failFast"))
    await space.remove("new")


@pytest.mark.usefixtures("applied")
async def test_names_short_names_and_the_category(kubectl: Kubectl) -> None:
    out = await kubectl("api-resources", "--api-group=supercheck.io", "-o", "wide", "--no-headers")
    rows = {line.split()[0]: line.split() for line in out.splitlines()}
    assert rows["testexecutions"][1:5] == [
        "tx,testexec", "supercheck.io/v1alpha1", "true", "TestExecution",
    ]  # fmt: skip
    assert rows["executionqueues"][1:5] == [
        "xq", "supercheck.io/v1alpha1", "false", "ExecutionQueue",
    ]  # fmt: skip
    assert rows["testexecutions"][-1] == rows["executionqueues"][-1] == "supercheck"


async def test_columns_of_executions(kubectl: Kubectl, operator: Operator, space: Space) -> None:
    await space.submit(execution("good", priority=3))
    await until(space, "good", "Passed")
    await space.submit(execution("bad", annotations={"stage.kindless/exit-code": "1"}))
    await until(space, "bad", "Failed")
    await space.submit(execution("waits", suspend=True))
    for name in (
        "tx",
        "testexec",
        "testexecution",
        "testexecutions",
        "testexecutions.supercheck.io",
    ):
        header, *rows = await _table(kubectl, "-n", space.name, "get", name)
        assert header == ["NAME", "QUEUE", "PHASE", "REASON", "PASSED", "AGE"]
        assert [row[:5] for row in rows] == [
            ["bad", "default", "Failed", "TestFailed", "0/1"],
            ["good", "default", "Passed", "", "1/1"],
            ["waits", "default", "Queued", "", ""],
        ]
    header, *rows = await _table(kubectl, "-n", space.name, "get", "tx", "-o", "wide")
    assert header == [
        "NAME", "QUEUE", "PHASE", "REASON", "PASSED", "PRIORITY", "STARTED", "COMPLETED", "AGE",
    ]  # fmt: skip
    assert [row[5] for row in rows] == ["0", "3", "0"]
    assert all(row[6].endswith("s") and row[7].endswith("s") for row in rows[:2])
    assert operator.running


async def test_columns_of_queues(kubectl: Kubectl, operator: Operator, space: Space) -> None:
    queue = await make_queue(
        space, "columns", runningCapacity=1, queuedCapacity=7, stopPolicy="Hold"
    )
    await space.submit(execution("waits", queue=queue))

    async def told() -> bool:
        header, *rows = await _table(kubectl, "get", "xq")
        assert header == ["NAME", "RUNNING", "QUEUED", "STOP", "AGE"]
        return ["columns", "0/1", "1/7", "Hold"] in [row[:4] for row in rows]

    await eventually(told, "the queue's columns are true")
    names = (await kubectl("get", "supercheck", "-A", "-o", "name")).split()
    assert "executionqueue.supercheck.io/columns" in names
    assert "testexecution.supercheck.io/waits" in names
    assert operator.running
    await space.api.delete("/apis/supercheck.io/v1alpha1/executionqueues/columns")


async def test_kubectl_wait_ends_for_either_outcome(
    kubectl: Kubectl, operator: Operator, space: Space
) -> None:
    await space.submit(execution("good", runs_for="300ms"))
    bad = {"stage.kindless/exit-code": "3", "stage.kindless/message": "no login"}
    await space.submit(execution("bad", runs_for="300ms", annotations=bad))
    wait = ("-n", space.name, "wait", "--timeout=30s")
    await kubectl(*wait, "--for=condition=Finished", "tx/good", "tx/bad")
    await kubectl(*wait, "--for=condition=Succeeded", "tx/good")
    await kubectl(*wait, "--for=condition=Succeeded=False", "tx/bad")
    await kubectl(*wait, "--for=jsonpath={.status.phase}=Failed", "tx/bad")
    out = await kubectl("-n", space.name, "describe", "tx", "bad")
    assert "no login" in out
    assert operator.running


async def test_kubectl_says_why_a_create_is_refused(
    kubectl: Kubectl, operator: Operator, space: Space, tmp_path: Path
) -> None:
    """At once: it does not retry by itself, as no time to retry after is given."""
    manifest = tmp_path / "execution.json"

    async def apply(body: Raw) -> tuple[int, str, str]:
        manifest.write_text(str(body).replace("'", '"'))
        return await asyncio.wait_for(
            kubectl.run("-n", space.name, "create", "-f", str(manifest)), 10
        )

    queue = await make_queue(space, "full", runningCapacity=0, queuedCapacity=0)
    code, _, errors = await apply(execution("e", queue=queue))
    assert code == 1
    assert (
        "Queue capacity limit reached (0/0 queued jobs). Please try again later when running"
        " capacity (0/0) is available." in errors
    )
    code, _, errors = await apply(execution("e", queue="nowhere"))
    assert code == 1
    assert 'Queue "nowhere" does not exist. Existing queues: default, full.' in errors
    code, _, errors = await apply(execution("e", template={"spec": {"nodeSelektor": {}}}))
    assert code == 1
    assert 'unknown field "spec.template.spec.nodeSelektor"' in errors
    assert operator.running


async def _table(kubectl: Kubectl, *arguments: str) -> list[list[str]]:
    """Cells by the header's columns, so that empty ones are seen."""
    lines = (await kubectl(*arguments)).splitlines()
    header = lines[0]
    starts = [i for i, c in enumerate(header) if c != " " and (i == 0 or header[i - 1] == " ")]
    ends = [*starts[1:], None]
    return [
        [line[begin:end].strip() for begin, end in zip(starts, ends, strict=True)] for line in lines
    ]
