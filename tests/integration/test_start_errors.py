"""A start that cannot succeed ends with one sentence and exit code 2; a stop ends with 0."""

import asyncio
import os
import resource
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
import yaml

from conftest import Cluster, NewOperator
from harness.api import Api, Space, execution
from harness.install import CRDS, WEBHOOKS, install_definitions, uninstall
from harness.process import PROGRAM, Operator, free_port, run_to_its_end
from harness.slow_api import write_kubeconfig
from harness.waiting import eventually


async def refused(*flags: str, **environment: str) -> str:
    """The sentence with which ``run`` refuses to start; nothing else is said on stderr."""
    code, errors = await run_to_its_end("run", "--log-level", "warning", *flags, **environment)
    assert code == 2, errors
    [sentence] = errors.splitlines()
    assert sentence.startswith("supercheck-operator: ")
    assert sentence.endswith(".")
    return sentence


@pytest.mark.parametrize(
    "variable",
    ["RUNNING_CAPACITY", "QUEUED_CAPACITY", "MAX_CONCURRENT_TESTS", "TEST_EXECUTION_TIMEOUT_MS"],
)
async def test_a_number_that_cannot_be_is_named(variable: str) -> None:
    for value in ("-1", "five", "1.5", "999999999999999999"):
        sentence = await refused(**{variable: value})
        assert variable in sentence
        assert repr(value) in sentence


async def test_a_number_as_long_as_a_page_is_not_repeated_whole() -> None:
    sentence = await refused(RUNNING_CAPACITY="9" * 5000)
    assert "RUNNING_CAPACITY" in sentence
    assert len(sentence) < 200


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--components", "admision"], "--components"),
        (["--components", ""], "--components"),
        (["--ledger", "postgres"], "--ledger"),
        (["--http-port", "0"], "--http-port"),
        (["--http-port", "-1"], "--http-port"),
        (["--webhook-port", "65536"], "--webhook-port"),
        (["--webhook-port", "https"], "--webhook-port"),
        (["--log-level", "loud"], "--log-level"),
    ],
)
async def test_a_flag_that_cannot_be_is_named(flags: list[str], named: str) -> None:
    assert named in await refused(*flags)


async def test_the_controller_can_be_elsewhere_only_with_a_ledger_that_is() -> None:
    assert await refused("--components", "admission,api") == (
        "supercheck-operator: --components must include controller: its process keeps the ledger in"
        " memory; without it, --ledger redis is needed."
    )


async def test_an_authority_of_clients_that_cannot_be_read_is_named(
    cluster: Cluster, tmp_path: Path
) -> None:
    for content, told in ((None, "No such file"), ("none", "it holds no certificate")):
        file = tmp_path / "clients.crt"
        if content is not None:
            file.write_text(content)
        sentence = await refused(
            "--local", "--kubeconfig", str(cluster.kubeconfig),
            "--http-port", str(free_port()), "--webhook-port", str(free_port()),
            WEBHOOK_CLIENT_CA_FILE=str(file),
        )  # fmt: skip
        assert f"WEBHOOK_CLIENT_CA_FILE cannot be '{file}': {told}" in sentence


async def test_equal_ports_are_refused() -> None:
    sentence = await refused("--http-port", "9000", "--webhook-port", "9000")
    assert "--webhook-port" in sentence
    assert "--http-port" in sentence


@pytest.mark.parametrize("variable", ["REDIS_HOST", "REDIS_URL"])
async def test_a_redis_that_cannot_be_is_named_without_its_password(variable: str) -> None:
    sentence = await refused(**{variable: "http://u:secret@127.0.0.1"})
    assert variable in sentence
    assert "secret" not in sentence


async def test_busy_ports_are_named(cluster: Cluster) -> None:
    local = ("--local", "--kubeconfig", str(cluster.kubeconfig))
    for flag, other in (("--http-port", "--webhook-port"), ("--webhook-port", "--http-port")):
        with _busy_port() as port:
            sentence = await refused(*local, flag, str(port), other, str(free_port()))
        assert f"{flag} {port}" in sentence
        assert "in use" in sentence


@contextmanager
def _busy_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


async def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "no-such-file")
    for sentence in (
        await refused("--local", "--kubeconfig", missing, *_ports()),
        await refused("--local", *_ports(), KUBECONFIG=missing),
    ):
        assert missing in sentence
        assert "current-context" not in sentence, "that is another mistake"


async def test_neither_in_a_cluster_nor_with_a_kubeconfig_is_said() -> None:
    sentence = await refused(*_ports(), KUBECONFIG="", KUBERNETES_SERVICE_HOST="")
    assert "outside a cluster, use --local" in sentence


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"just text",
        b"a: [1",
        b"\x00\xff\xfe",
        b"apiVersion: v1\nkind: Config\ncurrent-context: x\n",
        b"apiVersion: v1\nkind: Config\nclusters: 7\ncontexts: 7\nusers: 7\n",
    ],
)
async def test_a_kubeconfig_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    garbage = tmp_path / "kubeconfig"
    garbage.write_bytes(content)
    sentence = await refused("--local", "--kubeconfig", str(garbage), *_ports())
    assert str(garbage) in sentence


async def test_a_kubeconfig_that_is_a_folder_is_named(tmp_path: Path) -> None:
    assert str(tmp_path) in await refused("--local", "--kubeconfig", str(tmp_path), *_ports())


async def test_an_unknown_context_is_named(cluster: Cluster) -> None:
    sentence = await refused(
        "--local", "--kubeconfig", str(cluster.kubeconfig), "--context", "nowhere", *_ports()
    )
    assert "nowhere" in sentence


async def test_a_cluster_out_of_reach_is_named(cluster: Cluster, tmp_path: Path) -> None:
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    server = f"https://127.0.0.1:{free_port()}"
    config["clusters"][0]["cluster"]["server"] = server
    elsewhere = tmp_path / "kubeconfig"
    elsewhere.write_text(yaml.safe_dump(config))
    assert server in await refused("--local", "--kubeconfig", str(elsewhere), *_ports())


async def test_an_api_server_that_knows_us_not_is_said(cluster: Cluster, tmp_path: Path) -> None:
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": "wrong"}
    elsewhere = tmp_path / "kubeconfig"
    elsewhere.write_text(yaml.safe_dump(config))
    sentence = await refused("--local", "--kubeconfig", str(elsewhere), *_ports())
    assert "cannot be used" in sentence
    assert "nauthorized" in sentence


@pytest_asyncio.fixture(loop_scope="session")
async def bare(api: Api) -> AsyncIterator[Api]:
    """A cluster into which nothing of ours is installed, before and after."""
    await uninstall(api)
    yield api
    await uninstall(api)


async def test_without_the_definitions_they_are_asked_for(bare: Api, cluster: Cluster) -> None:
    sentence = await refused(*_ports(), KUBECONFIG=str(cluster.kubeconfig))
    assert "CustomResourceDefinition" in sentence
    assert "supercheck.io is not installed" in sentence
    assert "--local" in sentence
    assert not await bare.items(CRDS)


async def test_without_the_webhook_configuration_it_is_asked_for(
    bare: Api, cluster: Cluster
) -> None:
    await install_definitions(bare)
    sentence = await refused(*_ports(), KUBECONFIG=str(cluster.kubeconfig))
    assert "ValidatingWebhookConfiguration supercheck-operator is not installed" in sentence
    assert not await bare.items(WEBHOOKS)


def _ports() -> list[str]:
    return ["--http-port", str(free_port()), "--webhook-port", str(free_port())]


async def test_the_version_is_told() -> None:
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "--version", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")
    assert out.decode() == f"{version('supercheck-operator')}\n"


@pytest.mark.parametrize("flags", [["run", "--capacity", "5"], ["walk"], [], ["run", "extra"]])
async def test_wrong_usage_is_shown_how_it_is_right(flags: list[str]) -> None:
    code, errors = await run_to_its_end(*flags)
    assert code == 2
    assert errors.startswith("usage: supercheck-operator")
    assert "Traceback" not in errors


async def test_a_termination_ends_it_within_3_s_while_executions_run(
    operator: Operator, space: Space
) -> None:
    for i in range(7):
        await space.submit(execution(f"e-{i}", runs_for="never"))

    async def run() -> bool:
        return list((await space.phases()).values()).count("Running") == 5

    await eventually(run, "five run")
    watcher = asyncio.create_task(operator.get("/metrics"))
    began = time.monotonic()
    assert await asyncio.to_thread(operator.stop) == 0
    assert time.monotonic() - began < 3
    await asyncio.wait([watcher])
    watcher.exception()
    assert "Traceback" not in operator.log
    # They go on without it, and it takes them up again.
    assert list((await space.phases()).values()).count("Running") == 5
    await operator.start()
    assert await operator.stats() == (5, 5, 2, 50)


async def test_it_takes_as_many_connections_as_it_may(new_operator: NewOperator) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    operator = new_operator()
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
    try:
        operator.launch()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await operator.until_ready()
    assert resource.prlimit(operator.pid, resource.RLIMIT_NOFILE) == (hard, hard)


async def test_an_interrupt_ends_it_like_a_termination(operator: Operator, space: Space) -> None:
    await space.submit(execution("e", runs_for="never"))
    os.kill(operator.pid, 2)

    async def ended() -> bool:
        return not operator.running

    await eventually(ended, "it has ended", within=3)
    assert "Traceback" not in operator.log
    await operator.start()


async def test_a_termination_ends_it_also_while_the_api_server_is_silent(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        server = f"http://127.0.0.1:{silent.getsockname()[1]}"
        operator = Operator(write_kubeconfig(tmp_path, server), tmp_path / "log")
        operator.launch()

        async def serves() -> bool:
            try:
                return (await operator.get("/healthz"))[0] == 200
            except aiohttp.ClientError:
                return False

        await eventually(serves, "it serves while it waits")
        assert (await operator.get("/readyz"))[0] == 503
        began = time.monotonic()
        assert await asyncio.to_thread(operator.stop) == 0
        assert time.monotonic() - began < 3
    assert "Traceback" not in operator.log
