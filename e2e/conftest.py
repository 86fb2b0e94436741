"""A cluster with a real node, the operator beside it, and a fresh namespace for every test.

pytest-kind's own ``kind_cluster`` fixture makes the cluster, by real kind where a Docker engine
answers and by kindless elsewhere; an option given on the command line is left as it is.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import pytest

from kindless import binaries, engine

Raw = dict[str, Any]

collect_ignore: Final = ["images"]  # their suites run in containers; one is there to fail

CLUSTER: Final = "supercheck-e2e"
IMAGE: Final = "localhost/supercheck-e2e/pytest:1"
RUNNING_CAPACITY: Final = 5
WAIT_SECONDS: Final = 120
"""How long anything may take here before its test fails."""

_HERE: Final = Path(__file__).parent
_KINDLESS: Final = Path(sys.executable).parent / "kindless"
_LIVE: Final = "status.phase!=Succeeded,status.phase!=Failed"
_PYTEST_KIND_CLUSTER: Final = "pytest-kind"
_OPERATOR: Final = pytest.StashKey["Operator"]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before pytest-kind reads its options: only now, since what they need may have to be built."""
    if "kind_cluster" not in getattr(item, "fixturenames", ()):
        return
    option = item.config.option
    if option.cluster_name == _PYTEST_KIND_CLUSTER:
        option.cluster_name = CLUSTER
    option.kind_bin = option.kind_bin or str(engine.kind_binary())
    capture = item.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():  # what is built says so, and takes minutes
        if Path(option.kind_bin).name == _KINDLESS.name:
            binaries.build(binaries.CONTROL_PLANE + binaries.NODE)
        option.kind_kubectl_bin = option.kind_kubectl_bin or _kubectl()
    if not option.keep_cluster:
        # With it, a cluster of kindless goes when this process goes, also by SIGKILL.
        os.environ.setdefault("KINDLESS_OWNER_PID", str(os.getpid()))


def _kubectl() -> str:
    found = shutil.which("kubectl") if engine.docker() else None
    return found or str(binaries.path("kubectl"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what the operator said meanwhile."""
    report = yield
    operator = item.config.stash.get(_OPERATOR, None)
    if operator is not None and report.failed:
        report.sections.append(("operator log", operator.log_of_this_test()))
    return report


class KindCluster(Protocol):
    """What is used of pytest-kind's KindCluster, which has no types."""

    kind_path: Path
    kubectl_path: Path
    kubeconfig_path: Path

    def load_docker_image(self, docker_image: str) -> None: ...


@dataclass(frozen=True)
class Kubectl:
    """The cluster by its command line, as its users know it."""

    program: Path
    kubeconfig: Path

    def __call__(self, *arguments: str, stdin: Raw | None = None) -> str:
        """What it prints; it ends by itself, or by the test's failure."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr.strip()}"
        return done.stdout

    def run(self, *arguments: str, stdin: Raw | None = None) -> subprocess.CompletedProcess[str]:
        """For what may fail."""
        return subprocess.run(
            self._command(*arguments),
            input=None if stdin is None else json.dumps(stdin),
            capture_output=True,
            text=True,
            timeout=2 * WAIT_SECONDS,
            check=False,
        )

    def get(self, *arguments: str) -> Raw:
        found: Raw = json.loads(self("get", *arguments, "--output=json"))
        return found

    def raw(self, path: str) -> Raw:
        """What the API server answers to a GET of ``path``."""
        found: Raw = json.loads(self("get", "--raw", path))
        return found

    @contextmanager
    def watch(self, path: str, since: str = "") -> Iterator[Iterator[Raw]]:
        """The events of a collection; at the end of time they just end.

        They begin with what is there now, or with what happened after the resource version
        ``since``.
        """
        url = f"{path}?watch=true&timeoutSeconds={WAIT_SECONDS}&resourceVersion={since}"
        with subprocess.Popen(
            self._command("get", "--raw", url), stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            try:
                yield (json.loads(line) for line in process.stdout)
            finally:
                process.kill()

    def _command(self, *arguments: str) -> list[str]:
        return [str(self.program), f"--kubeconfig={self.kubeconfig}", *arguments]


class Operator:
    """The operator as its users run it: a process of its own, outside the cluster."""

    def __init__(self, kubeconfig: Path) -> None:
        self.http = f"http://127.0.0.1:{(ports := _free_ports(2))[0]}"
        self._lines: list[str] = []
        self._seen = 0
        self._ready = threading.Event()
        command = [
            *_ends_with_us(),
            str(Path(sys.executable).parent / "supercheck-operator"),
            *("run", "--local", f"--kubeconfig={kubeconfig}"),
            *(f"--http-port={ports[0]}", f"--webhook-port={ports[1]}"),
        ]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("REDIS_")}
        self._process = subprocess.Popen(
            command,
            env=environment | {"RUNNING_CAPACITY": str(RUNNING_CAPACITY)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line)
            if " ready: " in line:
                self._ready.set()
        self._ready.set()  # it has ended: whoever waits need not wait longer

    def wait_ready(self) -> None:
        self._ready.wait(WAIT_SECONDS)
        self.check_running()
        with urllib.request.urlopen(f"{self.http}/readyz", timeout=10) as answer:
            assert answer.status == 200

    def stats(self, queue: str) -> Raw:
        with urllib.request.urlopen(
            f"{self.http}/api/queue-stats?queue={queue}", timeout=10
        ) as body:
            stats: Raw = json.load(body)
        return stats

    def check_running(self) -> None:
        """And begin what ``log_of_this_test`` shows."""
        self._seen = len(self._lines)
        assert self._process.poll() is None, f"the operator has ended:\n{self.log()}"

    def log(self) -> str:
        return "".join(self._lines)

    def log_of_this_test(self) -> str:
        return "".join(self._lines[self._seen :])

    def stop(self) -> int:
        """End it as a service manager does; its exit code."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(15)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join()
            assert self._process.stdout is not None
            self._process.stdout.close()


def _ends_with_us() -> list[str]:
    """Where util-linux is, a process that gets SIGTERM when this one is killed."""
    program = shutil.which("setpriv")
    return [program, "--pdeathsig=TERM"] if program else []


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; held together, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@dataclass(frozen=True)
class Namespace:
    """A namespace of one test, under the restricted Pod Security level."""

    name: str
    kubectl: Kubectl

    def submit(self, name: str, *tests: Raw, **spec: Any) -> str:  # noqa: ANN401 - it is JSON
        """Create a TestExecution whose pods end soon after they are told to; its name."""
        grace = {"spec": {"terminationGracePeriodSeconds": 1}}
        self.create(
            {
                "apiVersion": "supercheck.io/v1alpha1",
                "kind": "TestExecution",
                "metadata": {"name": name, "namespace": self.name},
                "spec": {"tests": list(tests), "template": grace} | spec,
            }
        )
        return name

    def create(self, manifest: Raw) -> None:
        self.kubectl("create", "--filename=-", stdin=manifest)

    def wait(self, what: str, *resources: str) -> None:
        """Until ``what`` (``condition=…``, ``delete``) is so; as long as it is not, it waits."""
        self.kubectl(
            *("wait", f"--namespace={self.name}", f"--for={what}", *resources),
            f"--timeout={WAIT_SECONDS}s",
        )

    def finished(self, name: str) -> Raw:
        """The status of an execution, as soon as it is over."""
        self.wait("condition=Finished", f"testexecution/{name}")
        return self.status(name)

    def cancel(self, name: str) -> None:
        self.change(name, cancel=True)

    def change(self, name: str, **spec: Any) -> None:  # noqa: ANN401 - it is JSON
        self.kubectl(
            *("patch", "testexecution", name, f"--namespace={self.name}", "--type=merge"),
            f"--patch={json.dumps({'spec': spec})}",
        )

    def patch(self, resource: str, name: str, operations: list[Raw]) -> None:
        """Change it by JSON Patch."""
        self.kubectl(
            *("patch", resource, name, f"--namespace={self.name}", "--type=json"),
            f"--patch={json.dumps(operations)}",
        )

    def status(self, name: str) -> Raw:
        status: Raw = self.get("testexecution", name)["status"]
        return status

    def get(self, *arguments: str) -> Raw:
        return self.kubectl.get(f"--namespace={self.name}", *arguments)

    def pods_of(self, name: str) -> list[Raw]:
        return self._of("pods", name)

    def jobs_of(self, name: str) -> list[Raw]:
        return self._of("jobs", name)

    def _of(self, resource: str, name: str) -> list[Raw]:
        items: list[Raw] = self.get(resource, f"--selector=supercheck.io/execution={name}")["items"]
        return items

    @contextmanager
    def pods(self) -> Iterator[PodWatch]:
        """What the API server shows of this namespace's pods, while the test goes on."""
        with self.kubectl.watch(f"/api/v1/namespaces/{self.name}/pods") as events:
            yield PodWatch(events)

    def running(self, name: str) -> Raw:
        """The one pod of an execution, once its container runs."""
        with self.pods() as pods:
            return pods.until(lambda pod: _execution(pod) == name and _runs(pod))


class PodWatch:
    """Pods by their events, read no faster than the test asks."""

    def __init__(self, events: Iterator[Raw]) -> None:
        self._events = events
        self._live: set[str] = set()
        self.ended: set[str] = set()
        """Pods that are terminal or gone."""
        self.peak = 0
        """How many were live at once, at most."""

    def until(self, wanted: Callable[[Raw], bool]) -> Raw:
        """The first pod that is as ``wanted``, at the end of which everything before is counted."""
        for event in self._events:
            pod: Raw = event["object"]
            name: str = pod["metadata"]["name"]
            over = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
            if event["type"] == "DELETED" or over:
                self._live.discard(name)
                self.ended.add(name)
            else:
                self._live.add(name)
            self.peak = max(self.peak, len(self._live))
            if wanted(pod):
                return pod
        raise AssertionError(f"no such pod within {WAIT_SECONDS} s; live are {self._live}")

    def until_ended(self, count: int) -> None:
        """Until so many pods are terminal or gone."""
        if len(self.ended) < count:
            self.until(lambda _: len(self.ended) >= count)


def _execution(pod: Raw) -> str:
    name: str = pod["metadata"].get("labels", {}).get("supercheck.io/execution", "")
    return name


def _runs(pod: Raw) -> bool:
    return any("running" in c["state"] for c in pod["status"].get("containerStatuses", []))


@pytest.fixture(scope="session")
def kubectl(kind_cluster: KindCluster) -> Kubectl:
    return Kubectl(kind_cluster.kubectl_path, kind_cluster.kubeconfig_path.absolute())


@pytest.fixture(scope="session")
def image(kind_cluster: KindCluster) -> str:
    """The image of ``e2e/images/pytest``, on the node: pytest, a tiny suite, a shell and Python."""
    put_on_node(kind_cluster, IMAGE, _HERE / "images" / "pytest")
    return IMAGE


def put_on_node(kind_cluster: KindCluster, tag: str, context: Path) -> None:
    """Build an image, on the base that can be had here."""
    base = [] if engine.docker() else ["--build-arg=BASE=localhost/python:slim"]
    subprocess.run([_KINDLESS, "build", "image", "--tag", tag, *base, context], check=True)
    kind_cluster.load_docker_image(tag)


@pytest.fixture(scope="session")
def operator(
    kind_cluster: KindCluster, pytestconfig: pytest.Config
) -> Generator[Operator, None, None]:
    if kind_cluster.kind_path.name != _KINDLESS.name:
        pytest.fail(
            "The API server of real kind runs in a container, from which the operator's webhook at"
            f" 127.0.0.1 cannot be reached: run the tests as root with --kind-bin={_KINDLESS}."
        )
    operator = Operator(kind_cluster.kubeconfig_path.absolute())
    pytestconfig.stash[_OPERATOR] = operator
    try:
        operator.wait_ready()
        yield operator
    finally:
        exit_code = operator.stop()
    assert exit_code == 0, operator.log()
    assert "Traceback" not in operator.log()


@pytest.fixture
def namespace(kubectl: Kubectl, operator: Operator) -> Generator[Namespace, None, None]:
    """A namespace of the test's own, with all slots free; it goes, with everything in it."""
    operator.check_running()
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    level = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubectl(
        "create",
        "--filename=-",
        stdin={
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": level},
        },
    )
    space = Namespace(name, kubectl)
    # Whatever an earlier test left must give its slot back, or this one tells.
    space.wait("jsonpath={.status.running}=0", "executionqueue/default")
    yield space
    kubectl("delete", "testexecutions", "--all", f"--namespace={name}", "--wait=false")
    space.wait("delete", "pod", f"--field-selector={_LIVE}")
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def narrow_queue(namespace: Namespace) -> Generator[str, None, None]:
    """A queue with room for one, so that its next execution shows when the slot is free."""
    namespace.create(
        {
            "apiVersion": "supercheck.io/v1alpha1",
            "kind": "ExecutionQueue",
            "metadata": {"name": namespace.name},
            "spec": {"runningCapacity": 1},
        }
    )
    yield namespace.name
    namespace.kubectl("delete", "executionqueue", namespace.name)
