"""A real control plane with fake nodes, and the operator as a real process beside it."""

import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from harness.api import GROUP, Api, Space
from harness.process import Operator
from harness.redis_server import RedisServer
from harness.waiting import eventually

KINDLESS = Path(sys.executable).with_name("kindless")


@dataclass(frozen=True)
class Cluster:
    name: str
    kubeconfig: Path
    audit_log: Path


def _kindless(*arguments: str | Path) -> str:
    done = subprocess.run([KINDLESS, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for each test module, so that what one module breaks is no other's concern."""
    with run_cluster(tmp_path_factory.mktemp("cluster") / "kubeconfig") as made:
        yield made


@contextmanager
def run_cluster(kubeconfig: Path, *options: str | Path) -> Iterator[Cluster]:
    name = f"supercheck-it-{uuid.uuid4().hex[:8]}"
    _kindless(
        "create", "cluster", "--name", name, "--kubeconfig", kubeconfig,
        "--no-node", "--fake-nodes", "1", "--audit", "--owner-pid", str(os.getpid()), *options,
    )  # fmt: skip
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "kindless"
    yield Cluster(name, kubeconfig, cache / "clusters" / name / "logs" / "audit.log")
    _kindless("delete", "cluster", "--name", name, "--kubeconfig", kubeconfig)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def api(cluster: Cluster) -> AsyncIterator[Api]:
    client = Api(cluster.kubeconfig)
    yield client
    await client.close()


NewOperator = Callable[..., Operator]


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def new_operator(
    cluster: Cluster, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[NewOperator]:
    """Makes operators that are not started yet; whatever still runs at the end is ended."""
    made: list[Operator] = []

    def make(*, local: bool = True, flags: Sequence[str] = (), **environment: str) -> Operator:
        log = tmp_path / f"operator-{len(made)}.log"
        operator = Operator(cluster.kubeconfig, log, local=local, flags=flags, **environment)
        made.append(operator)
        return operator

    yield make
    for operator in made:
        if operator.running:
            operator.kill()
        # Shown by pytest only when the test fails.
        sys.stdout.write(f"--- operator's log ({request.node.name}) ---\n{operator.log[-20000:]}\n")


@pytest_asyncio.fixture(loop_scope="session")
async def operator(new_operator: NewOperator) -> Operator:
    """With the contract's defaults: five run, fifty wait."""
    made = new_operator()
    await made.start()
    return made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lasting(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[Operator]:
    """One operator for all tests of a module, with the environment it names SETTINGS."""
    log = tmp_path_factory.mktemp("operator") / "log"
    settings: dict[str, str] = getattr(request.module, "SETTINGS", {})
    operator = Operator(cluster.kubeconfig, log, local=True, **settings)
    await operator.start()
    yield operator
    if operator.running:
        operator.kill()


@pytest_asyncio.fixture(loop_scope="session")
async def lasting_operator(
    lasting: Operator, request: pytest.FixtureRequest
) -> AsyncIterator[Operator]:
    """The same one, running when a test begins whatever the one before has done to it."""
    if not lasting.running:
        await lasting.start()
    before = len(lasting.log)
    yield lasting
    told = lasting.log[before:]
    sys.stdout.write(f"--- operator's log ({request.node.name}) ---\n{told[-20000:]}\n")


@pytest_asyncio.fixture(loop_scope="session")
async def space(api: Api) -> AsyncIterator[Space]:
    """A namespace of its own, empty of executions, Jobs and pods when the next test begins."""
    name = f"it-{uuid.uuid4().hex[:8]}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    await api.create("/api/v1/namespaces", body)
    space = Space(api, name)
    yield space
    # The garbage collector knows a new kind only after up to 30 s: do not wait for it.
    jobs, pods = f"{space.jobs}?propagationPolicy=Background", f"{space.pods}?gracePeriodSeconds=0"
    for path in (space.executions, jobs, pods):
        await api.delete(path)

    async def empty() -> bool:
        paths = (f"{GROUP}/testexecutions", space.jobs, space.pods)
        return not any([await api.items(path) for path in paths])

    # After an API server was away, Kubernetes takes a while to see its own pods end.
    await eventually(empty, f"namespace {name} is empty", within=120)
