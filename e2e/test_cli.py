"""kubectl supercheck with real containers: what they print is seen, once, whatever happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from e2e.conftest import CLUSTER, WAIT_SECONDS

from kindless import components

if TYPE_CHECKING:
    from e2e.conftest import Namespace, Raw

_PROGRAM: Final = Path(sys.executable).with_name("kubectl-supercheck")
_COUNTS: Final = 'for i in $(seq 1 60); do echo "number $i"; sleep 0.2; done'


def _command(namespace: Namespace, *arguments: str) -> list[str]:
    return [str(_PROGRAM), "-n", namespace.name, *arguments]


def _environment(namespace: Namespace) -> dict[str, str]:
    return os.environ | {"KUBECONFIG": str(namespace.kubectl.kubeconfig)}


def _cli(namespace: Namespace, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(namespace, *arguments),
        env=_environment(namespace),
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )


def _says(name: str, image: str, script: str) -> Raw:
    return {"name": name, "image": image, "command": ["sh", "-c", script]}


def test_the_logs_of_every_test_are_told_apart(namespace: Namespace, image: str) -> None:
    name = namespace.submit(
        "two",
        _says("login", image, "echo first; echo second"),
        _says("cart", image, "echo third; exit 3"),
    )
    assert namespace.finished(name)["phase"] == "Failed"

    done = _cli(namespace, "logs", name)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[login] first", "[login] second", "[cart] third"]
    one = _cli(namespace, "logs", name, "--test", "login", "--tail", "1", "--timestamps")
    assert re.fullmatch(r"20\d\d-\S+Z second\n", one.stdout), one
    unknown = _cli(namespace, "logs", name, "--test", "pay")
    assert unknown.returncode == 66
    assert unknown.stderr == "Error: two has no test pay; it has login, cart.\n"


def test_the_logs_of_every_attempt_are_there_after_a_retry(
    namespace: Namespace, image: str
) -> None:
    name = namespace.submit(
        "again",
        _says("flaky", image, 'echo "on $HOSTNAME"; exit 1'),
        retry={"limit": 1, "on": ["Failure"], "backoffSeconds": 0},
    )
    followed = _cli(namespace, "logs", "-f", name)
    assert followed.returncode == 0, followed.stderr
    assert namespace.finished(name)["attempts"] == 2

    pods = sorted(pod["metadata"]["name"] for pod in namespace.pods_of(name))
    done = _cli(namespace, "logs", name)
    assert done.stdout.splitlines() == followed.stdout.splitlines()
    first, second = done.stdout.splitlines()
    assert re.fullmatch(r"\[flaky\] on \S+", first)
    assert re.fullmatch(r"\[flaky #2\] on \S+", second)
    assert sorted(line.rpartition(" ")[2] for line in (first, second)) == pods
    assert _cli(namespace, "logs", name, "--attempt", "2").stdout == f"{second[11:]}\n"


def test_run_waits_for_a_real_test_and_exits_with_its_verdict(
    namespace: Namespace, image: str
) -> None:
    done = _cli(
        namespace, "run", "--image", image, "--name", "real", "--env", "WHO=there", "--wait",
        "--", "sh", "-c", 'echo "hello $WHO"; exit 7',
    )  # fmt: skip
    assert done.returncode == 1, done
    assert "real: Failed (TestFailed)" in done.stdout
    assert _cli(namespace, "logs", "real").stdout == "hello there\n"


def test_logs_are_followed_from_the_line_to_the_end_over_a_killed_api_server(
    namespace: Namespace, image: str, narrow_queue: str
) -> None:
    before = namespace.submit("before", _says("only", image, "sleep 2"), queue=narrow_queue)
    name = namespace.submit("counts", _says("only", image, _COUNTS), queue=narrow_queue)
    with subprocess.Popen(
        _command(namespace, "logs", "--follow", name),
        env=_environment(namespace),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        told = [process.stdout.readline() for _ in range(5)]
        components.kill(CLUSTER, "kube-apiserver")
        components.start(CLUSTER, "kube-apiserver")
        told += process.stdout.readlines()
        assert process.wait(WAIT_SECONDS) == 0, process.stderr.read()
    assert [line.strip() for line in told] == [f"number {i}" for i in range(1, 61)]
    assert namespace.finished(before)["phase"] == "Passed"
