"""``kubectl supercheck``, as people and pipelines have it: a program beside a real API server."""

import asyncio
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import pytest_asyncio
import yaml

from conftest import Cluster, NewOperator
from harness.api import Api, Raw, Space, execution
from harness.cli import Cli, Done, manifest, member
from harness.lost_answer import lost_answer
from harness.process import Operator
from harness.steps import QUEUES, change_queue, make_queue, named, until, until_stats
from harness.waiting import eventually
from kindless import components

SETTINGS = {"QUEUED_CAPACITY": "3", "RUNNING_CAPACITY": "2"}


@pytest.fixture
def cli(cluster: Cluster, space: Space) -> Cli:
    return Cli(cluster.kubeconfig, space.name)


@pytest_asyncio.fixture(loop_scope="session")
async def queue(space: Space, lasting_operator: Operator) -> AsyncIterator[str]:
    """A queue of the test's own: one runs, two wait."""
    name = await make_queue(space, f"q-{space.name}", runningCapacity=1, queuedCapacity=2)
    yield name
    await space.api.delete(f"{QUEUES}/{name}")


@pytest_asyncio.fixture(loop_scope="session")
async def other(api: Api, space: Space) -> AsyncIterator[Space]:
    """Another team's namespace; it is emptied before ``space`` looks whether all is gone."""
    other = Space(api, f"{space.name}-other")
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other.name}}
    await api.create("/api/v1/namespaces", body)
    yield other
    for path in (other.executions, f"{other.jobs}?propagationPolicy=Background", other.pods):
        await api.delete(path)


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    def write(*bodies: Raw) -> Path:
        path = tmp_path / "e2e.yaml"
        path.write_text(manifest(*bodies))
        return path

    return write


File = Callable[..., Path]


async def full(space: Space, queue: str) -> None:
    """One runs for ever and two wait: the next is refused."""
    for name in ("runs", "first", "second"):
        await space.submit(execution(name, queue=queue, runs_for="never"))
    await until(space, "runs", "Running")


# Exit codes -----------------------------------------------------------------------------------

FAILS = {"stage.kindless/exit-code": "3", "stage.kindless/message": "no cart"}
OUTCOMES: dict[str, tuple[Raw, int, str]] = {
    "passed": (execution("e"), 0, "e: Passed after"),
    "failed": (execution("e", annotations=FAILS), 1, "e: Failed (TestFailed)"),
    "error": (execution("e", start="never", startTimeoutSeconds=1), 2, "e: Error (StartTimeout)"),
    "cancelled": (execution("e", cancel=True), 3, "e: Cancelled (CancelledByUser)"),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_run_wait_exits_with_the_outcome_and_says_why(
    outcome: str, cli: Cli, queue: str, file: File
) -> None:
    body, code, words = OUTCOMES[outcome]
    done = await cli("run", "-f", file(body), "--queue", queue, "--wait")
    assert (done.code, words in done.out) == (code, True), done
    again = await cli("wait", "e")
    assert (again.code, words in again.out) == (code, True), again


async def test_refused_for_capacity_exits_with_4_and_stores_nothing(
    cli: Cli, space: Space, queue: str, file: File
) -> None:
    await full(space, queue)
    done = await cli("run", "-f", file(execution("e")), "--queue", queue, "--wait")
    assert done.code == 4
    assert done.err == (
        "e: Queue capacity limit reached (2/2 queued jobs). Please try again later when running"
        " capacity (1/1) is available.\n"
    )
    assert "e" not in await space.phases()


async def test_of_several_documents_each_is_submitted_and_the_worst_decides(
    cli: Cli, space: Space, queue: str, file: File
) -> None:
    await change_queue(space, queue, queuedCapacity=10)
    bodies = [
        execution("good"),
        execution("bad", annotations=FAILS),
        execution("gone", cancel=True),
        execution("late"),
    ]
    done = await cli("run", "-f", file(*bodies), "-q", queue, "--wait")
    assert done.code == 1, done
    assert await space.phases() == {
        "good": "Passed", "bad": "Failed", "gone": "Cancelled", "late": "Passed"
    }  # fmt: skip
    items = await space.api.items(space.executions)
    created = sorted(items, key=lambda item: int(item["metadata"]["generation"]))
    assert {item["spec"]["queue"] for item in created} == {queue}


async def test_what_is_refused_of_several_is_worse_than_what_failed(
    cli: Cli, space: Space, queue: str, file: File
) -> None:
    await change_queue(space, queue, stopPolicy="Hold")
    bodies = [execution(name, annotations=FAILS) for name in ("a", "b", "c", "d")]
    async with cli.started("run", "-f", file(*bodies), "-q", queue, "--wait") as running:
        await running.until_says("d: Queue capacity limit reached")
        await change_queue(space, queue, stopPolicy="None")
        done = await running.end()
    assert done.code == 4, done
    assert set(await space.phases()) <= {"a", "b", "c"}


# Submitting -----------------------------------------------------------------------------------


async def test_an_image_is_run_with_a_command_an_environment_and_limits(
    cli: Cli, space: Space, queue: str
) -> None:
    done = await cli(
        "run", "--image", "example/e2e:1", "--queue", queue, "--priority", "7",
        "--env", "URL=https://shop.example/?a=b", "-e", "EMPTY=", "--timeout", "2m",
        "--wait", "-o", "json", "--", "pytest", "-k", "login and not slow",
    )  # fmt: skip
    stored = done.json
    assert stored["metadata"]["name"].startswith("run-")
    assert stored["spec"]["priority"] == 7
    assert stored["spec"]["timeoutSeconds"] == 120
    [test] = stored["spec"]["tests"]
    assert test["command"] == ["pytest", "-k", "login and not slow"]
    assert test["env"] == [
        {"name": "URL", "value": "https://shop.example/?a=b"}, {"name": "EMPTY", "value": ""}
    ]  # fmt: skip
    assert stored["status"]["phase"] == "Passed"
    assert "managedFields" not in stored["metadata"]


async def test_generate_name_gives_each_run_a_name_of_its_own(
    cli: Cli, space: Space, queue: str, file: File
) -> None:
    body = execution("x")
    body["metadata"] = {"generateName": "nightly-"}
    path = file(body)
    for _ in range(2):
        done = await cli("run", "-f", path, "-q", queue, "--wait")
        assert done.code == 0, done
    names = list(await space.phases())
    assert len(names) == 2
    assert all(re.fullmatch(r"nightly-[a-z0-9]{5}", name) for name in names)


async def test_the_standard_input_is_a_file_too_and_on_is_no_boolean(
    cli: Cli, space: Space, queue: str
) -> None:
    text = f"""
        apiVersion: supercheck.io/v1alpha1
        kind: TestExecution
        metadata: {{name: typed}}
        spec:
          queue: {queue}
          retry: {{limit: 1, on: [Failure]}}
          tests: [{{name: t, image: i, env: [{{name: DAY, value: 2026-01-31}}], args: [12:30]}}]
    """
    done = await cli("run", "-f", "-", stdin=text)
    assert done.code == 0, done
    assert done.out == "testexecution.supercheck.io/typed created\n"
    spec = (await space.get("typed"))["spec"]
    assert spec["retry"]["on"] == ["Failure"]
    assert spec["tests"][0]["env"] == [{"name": "DAY", "value": "2026-01-31"}]
    assert spec["tests"][0]["args"] == ["12:30"]


async def test_retry_for_gets_in_when_there_is_room(
    cli: Cli, space: Space, queue: str, file: File
) -> None:
    await full(space, queue)
    arguments = ("run", "-f", file(execution("e")), "-q", queue, "--wait", "--retry-for", "10m")
    async with cli.started(*arguments) as running:
        await running.until_says("Trying again in ")
        await change_queue(space, queue, queuedCapacity=3)
        await running.until_says("e created")
        for name in ("runs", "first", "second"):
            await space.change(name, {"cancel": True})
        done = await running.end()
    assert done.code == 0, done
    assert "e: Queue capacity limit reached (2/2 queued jobs)" in done.err


async def test_retry_for_gives_up_when_its_time_is_over(
    cli: Cli, space: Space, queue: str, file: File
) -> None:
    await full(space, queue)
    began = time.monotonic()
    done = await cli("run", "-f", file(execution("e")), "-q", queue, "--retry-for", "3s")
    assert done.code == 4, done
    assert 3 <= time.monotonic() - began < 15
    assert done.err.count("Trying again in ") >= 2


async def test_what_a_refusal_asks_for_is_heeded(
    new_operator: NewOperator,
    lasting_operator: Operator,
    space: Space,
    queue: str,
    cli: Cli,
    file: File,
) -> None:
    lasting_operator.kill()
    operator = new_operator(RETRY_AFTER_SECONDS="4")
    await operator.start()
    await change_queue(space, queue, runningCapacity=0, queuedCapacity=0)
    arguments = ("run", "-f", file(execution("e")), "-q", queue, "--retry-for")
    hasty = await cli(*arguments, "3s")
    assert (hasty.code, "Trying again" in hasty.err) == (4, False), hasty
    began = time.monotonic()
    async with cli.started(*arguments, "1m") as running:
        await running.until_says("Trying again in ")
        await change_queue(space, queue, runningCapacity=1)
        done = await running.end()
    assert done.code == 0, done
    assert time.monotonic() - began >= 4
    operator.kill()


async def test_without_an_operator_it_says_so_and_with_retry_for_it_waits_for_one(
    cli: Cli, lasting_operator: Operator, space: Space, queue: str, file: File
) -> None:
    lasting_operator.kill()
    path = file(execution("e"))
    done = await cli("run", "-f", path, "-q", queue)
    assert done.code == 69, done
    assert "failed calling webhook" in done.err
    async with cli.started("run", "-f", path, "-q", queue, "--retry-for", "5m") as running:
        await running.until_says("Trying again in ")
        await lasting_operator.start()
        done = await running.end()
    assert done.code == 0, done


@pytest.mark.parametrize("metadata", [{"name": "once"}, {"generateName": "once-"}])
async def test_a_create_whose_answer_got_lost_is_not_made_twice(
    metadata: Raw, space: Space, queue: str, file: File, tmp_path: Path
) -> None:
    path = file(execution("x") | {"metadata": metadata})
    async with lost_answer(space.api, tmp_path) as kubeconfig:
        cli = Cli(kubeconfig, space.name)
        done = await cli("run", "-f", path, "-q", queue, "--retry-for", "1m")
    assert done.code == 0, done
    assert "The API server does not answer" in done.err
    [name] = await space.phases()
    assert done.out == f"testexecution.supercheck.io/{name} created\n"


# Waiting --------------------------------------------------------------------------------------


async def test_waiting_survives_an_api_server_that_is_killed_and_says_so(
    cluster: Cluster, cli: Cli, space: Space, queue: str, file: File
) -> None:
    body = execution("e", runs_for="never")
    async with cli.started("run", "-f", file(body), "-q", queue, "--wait") as running:
        await running.until_says("e runs.")
        await asyncio.to_thread(components.kill, cluster.name, "kube-apiserver")
        await running.until_says("The API server does not answer")
        await asyncio.to_thread(components.start, cluster.name, "kube-apiserver")
        await running.until_says("The API server answers again.")
        await _cancelled(space, "e")
        done = await running.end()
    assert done.code == 3, done
    assert done.err.count("does not answer") == 1


async def test_what_ends_while_the_api_server_is_away_is_learnt_from_a_new_list(
    cluster: Cluster, cli: Cli, space: Space, queue: str
) -> None:
    await space.submit(execution("e", queue=queue, runs_for="never"))
    await until(space, "e", "Running")
    async with cli.started("wait", "e") as running:
        await running.until_says("e runs.")
        running.signal(signal.SIGSTOP)
        await asyncio.to_thread(components.kill, cluster.name, "kube-apiserver")
        await asyncio.to_thread(components.start, cluster.name, "kube-apiserver")
        await _cancelled(space, "e")
        await eventually_over(space, "e")
        running.signal(signal.SIGCONT)
        done = await running.end()
    assert done.code == 3, done


async def _cancelled(space: Space, name: str) -> None:
    async def done() -> bool:
        # An API server that has just started may refuse for a while.
        status, _ = await space.change(name, {"cancel": True})
        return status == 200

    await eventually(done, f"{name} is cancelled")


async def eventually_over(space: Space, name: str) -> None:
    async def over() -> bool:
        status, body = await space.api.call("GET", f"{space.executions}/{name}")
        return status == 200 and body["status"]["phase"] == "Cancelled"

    await eventually(over, f"{name} is over")


async def test_waiting_does_not_poll(cluster: Cluster, cli: Cli, space: Space, queue: str) -> None:
    await space.submit(execution("e", queue=queue, runs_for="3s"))
    done = await cli("wait", "e")
    assert done.code == 0, done
    asked = [
        line
        for line in cluster.audit_log.read_text().splitlines()
        if f"namespaces/{space.name}/testexecutions" in line and "kubectl-supercheck" in line
    ]
    # One LIST and one watch, each logged when it is received and when it is answered, at most.
    assert 0 < len(asked) <= 6, asked


async def test_deleted_before_it_is_over_is_an_error(cli: Cli, space: Space, queue: str) -> None:
    await space.submit(execution("e", queue=queue, runs_for="never"))
    async with cli.started("wait", "e") as running:
        await running.until_says("e ")
        await space.remove("e")
        done = await running.end()
    assert done.code == 2, done
    assert "e: deleted before it was over; its result is not known.\n" in done.out


async def test_a_wait_that_takes_too_long_ends_and_the_execution_goes_on(
    cli: Cli, space: Space, queue: str
) -> None:
    await space.submit(execution("e", queue=queue, runs_for="never"))
    done = await cli("wait", "e", "--timeout", "2s")
    assert (done.code, done.out) == (124, "e: not over within 2s; it goes on.\n")
    assert (await space.status("e"))["phase"] == "Running"


async def test_ctrl_c_leaves_the_execution_running_and_says_how_to_stop_it(
    cli: Cli, space: Space, queue: str, file: File
) -> None:
    body = execution("e", runs_for="never")
    async with cli.started("run", "-f", file(body), "-q", queue, "--wait") as running:
        await running.until_says("e runs.")
        running.signal(signal.SIGINT)
        done = await running.end()
    assert done.code == 130, done
    assert f"e will go on. Stop with: kubectl supercheck cancel e -n {space.name}" in done.err
    assert (await space.status("e"))["phase"] == "Running"


async def test_a_pipeline_that_is_stopped_cancels_its_execution_if_so_wished(
    cli: Cli, space: Space, queue: str, file: File
) -> None:
    body = execution("e", runs_for="never")
    arguments = ("run", "-f", file(body), "-q", queue, "--wait", "--cancel-on-interrupt")
    async with cli.started(*arguments) as running:
        await running.until_says("e runs.")
        running.signal(signal.SIGTERM)
        done = await running.end()
    assert done.code == 143, done
    assert "e is being cancelled." in done.err
    await until(space, "e", "Cancelled")


async def test_interrupted_while_there_is_no_room_nothing_was_submitted(
    cli: Cli, space: Space, queue: str, file: File
) -> None:
    await full(space, queue)
    arguments = ("run", "-f", file(execution("e")), "-q", queue, "--retry-for", "10m")
    async with cli.started(*arguments) as running:
        await running.until_says("Trying again in ")
        running.signal(signal.SIGINT)
        done = await running.end()
    assert (done.code, "nothing was submitted" in done.err) == (130, True), done


# Results --------------------------------------------------------------------------------------


async def test_junit_has_a_suite_for_each_execution_and_a_case_for_each_test(
    cli: Cli, space: Space, queue: str, file: File
) -> None:
    bodies = [
        execution("good", tests=named("login", "pay")),
        execution("bad", tests=named("cart"), annotations=FAILS),
        execution("stuck", start="never", startTimeoutSeconds=1),
    ]
    await change_queue(space, queue, queuedCapacity=5)
    done = await cli("run", "-f", file(*bodies), "-q", queue, "--wait", "-o", "junit")
    assert done.code == 2, done
    root = ET.fromstring(done.out)
    assert [root.get(key) for key in ("tests", "failures", "errors")] == ["4", "1", "1"]
    suites = {suite.get("name"): suite for suite in root}
    assert [case.get("name") for case in suites["good"].iter("testcase")] == ["login", "pay"]
    [failure] = suites["bad"].iter("failure")
    assert (failure.get("type"), "no cart" in (failure.text or "")) == ("TestFailed", True)
    [error] = suites["stuck"].iter("error")
    assert error.get("type") == "StartTimeout"


async def test_get_tells_why_each_one_waits_and_when_it_may_start(
    cli: Cli, space: Space, queue: str
) -> None:
    await space.submit(execution("before", queue=queue, runs_for="1s"))
    await until(space, "before", "Passed")
    await change_queue(space, queue, queuedCapacity=10, perNamespace={"runningCapacity": 1})
    await space.submit(execution("runs", queue=queue, runs_for="never"))
    await until(space, "runs", "Running")
    await space.submit(execution("second", queue=queue))
    await space.submit(execution("first", queue=queue, priority=1))
    await space.submit(execution("parked", queue=queue, suspend=True))

    found = {
        item["metadata"]["name"]: item for item in (await cli("get", "-o", "json")).json["items"]
    }
    said = {name: item["status"].get("reason") for name, item in found.items()}
    assert said == {
        "before": None, "runs": "Running", "parked": "Suspended",
        "first": "NamespaceAtCapacity", "second": "NamespaceAtCapacity",
    }  # fmt: skip
    assert "Position 1" in found["first"]["status"]["message"]

    await change_queue(space, queue, perNamespace=None)
    lines = _rows(await cli("get"))
    assert lines["first"][2:5] == ["Queued", "Waiting", "1"]
    assert lines["second"][2:5] == ["Queued", "Waiting", "2"]
    assert lines["second"][5].startswith("~")

    await change_queue(space, queue, stopPolicy="Hold")
    lines = _rows(await cli("get", "-q", queue, "--phase", "Queued"))
    assert lines["first"][2:5] == ["Queued", "QueueHeld", "1"]
    assert "runs" not in lines
    one = await cli("get", "second")
    assert f'Queue "{queue}" starts nothing: its stopPolicy is Hold. Position 2.' in one.out
    assert re.search(r"^t +Queued", one.out, re.MULTILINE)


def _rows(done: Done) -> dict[str, list[str]]:
    assert done.code == 0, done
    return {line.split()[0]: line.split() for line in done.out.splitlines()[1:]}


async def test_queue_shows_bars_and_the_line_with_the_figures_of_the_operator(
    cli: Cli, space: Space, queue: str, lasting_operator: Operator
) -> None:
    await full(space, queue)
    await until_stats(lasting_operator, queue, (1, 1, 2, 2))

    async def same() -> Raw | None:
        seen: Raw = (await cli("queue", queue, "-o", "json")).json
        return seen if (seen["running"], seen["queued"]) == (1, 2) else None

    seen = await eventually(same, "the queue's status has it")
    assert (seen["runningCapacity"], seen["queuedCapacity"]) == (1, 2)
    assert [(each["name"], each["position"]) for each in seen["line"]] == [
        ("first", 1), ("second", 2)
    ]  # fmt: skip
    done = await cli("queue")
    assert re.search(rf"^{queue}\nRUNNING +1/1 ", done.out, re.MULTILINE), done
    assert re.search(r"^QUEUED +2/2 ", done.out, re.MULTILINE)
    assert re.search(rf"^2 +second +{space.name} +Waiting", done.out, re.MULTILINE)


async def test_queue_watch_tells_each_change(cli: Cli, space: Space, queue: str) -> None:
    async with cli.started("queue", queue, "--watch") as running:
        await running.until_says(f"{queue} RUNNING 0/1 QUEUED 0/2")
        await full(space, queue)
        await running.until_says(f"{queue} RUNNING 1/1 QUEUED 2/2")
        await space.change("second", {"cancel": True})
        await running.until_says(f"{queue} RUNNING 1/1 QUEUED 1/2")
        running.signal(signal.SIGINT)
        assert (await running.end()).code == 130


async def test_who_may_see_one_namespace_learns_positions_and_no_other_names(
    cluster: Cluster, space: Space, other: Space, queue: str, tmp_path: Path
) -> None:
    await other.submit(execution("secret-runs", queue=queue, runs_for="never"))
    await until(other, "secret-runs", "Running")
    await other.submit(execution("secret-waits", queue=queue))
    await space.submit(execution("mine", queue=queue))
    kubeconfig = await member(space.api, space.name, cluster.kubeconfig, tmp_path / "member")
    cli = Cli(kubeconfig, space.name)

    async def told() -> list[str] | None:
        row = _rows(await cli("get")).get("mine", [])
        return row if row[4:5] == ["2"] else None

    assert (await eventually(told, "its position is told"))[2:4] == ["Queued", "Waiting"]
    shown = await cli("queue", queue)
    assert re.search(r"^QUEUED +2/2 ", shown.out, re.MULTILINE), shown
    assert "secret" not in shown.out + shown.err
    assert "mine" in shown.out
    everywhere = await cli("get", "-A")
    assert everywhere.code == 77, everywhere
    held = await cli("hold", queue)
    assert held.code == 77, held


# Changing -------------------------------------------------------------------------------------


async def test_suspended_it_stays_and_resumed_it_starts(cli: Cli, space: Space, queue: str) -> None:
    await change_queue(space, queue, stopPolicy="Hold")
    await space.submit(execution("e", queue=queue))
    assert (await cli("suspend", "e")).code == 0
    await change_queue(space, queue, stopPolicy="None")
    assert (await space.get("e"))["spec"]["suspend"] is True
    done = await cli("resume", "e")
    assert (done.code, done.out) == (0, "e takes its turn again.\n")
    await until(space, "e", "Passed")
    late = await cli("suspend", "e")
    assert (late.code, "e is Passed" in late.err) == (65, True), late
    nothing = await cli("resume", "e")
    assert nothing.out == "e is neither suspended nor stopped.\n"


async def test_cancelled_by_name_also_several_and_again(cli: Cli, space: Space, queue: str) -> None:
    await full(space, queue)
    done = await cli("cancel", "runs", "first")
    assert (done.code, done.out.count("is being cancelled")) == (0, 2), done
    await until(space, "runs", "Cancelled")
    again = await cli("cancel", "runs")
    assert (again.code, again.out) == (0, "runs is Cancelled already.\n")


async def test_a_queue_is_held_closed_drained_and_opened(
    cli: Cli, space: Space, queue: str, file: File
) -> None:
    async def policy() -> str:
        found: str = (await space.api.get(f"{QUEUES}/{queue}"))["spec"]["stopPolicy"]
        return found

    for command, expected in (
        ("hold", "Hold"), ("resume", "None"), ("close", "Closed"), ("open", "None")
    ):  # fmt: skip
        done = await cli(command, queue)
        assert (done.code, await policy()) == (0, expected), done
    await space.submit(execution("e", queue=queue, runs_for="never"))
    await until(space, "e", "Running")
    asked = await cli("drain", queue)
    assert (asked.code, await policy()) == (64, "None"), asked
    assert (await cli("drain", queue, "--yes")).code == 0
    await until(space, "e", "Cancelled")
    assert (await cli("close", queue)).code == 0
    refused = await cli("run", "-f", file(execution("f")), "-q", queue, "--wait")
    assert refused.code == 77, refused


async def test_one_name_for_an_execution_and_a_queue_has_to_be_told_apart(
    cli: Cli, space: Space, queue: str
) -> None:
    await change_queue(space, queue, stopPolicy="Hold")
    await space.submit(execution(queue, queue=queue, suspend=True))
    unclear = await cli("resume", queue)
    assert unclear.code == 64
    assert f"say execution/{queue} or queue/{queue}" in unclear.err
    assert (await cli("resume", f"execution/{queue}")).code == 0
    assert (await space.phases()) == {queue: "Queued"}
    assert (await cli("resume", f"queue/{queue}")).code == 0
    await until(space, queue, "Passed")


# Bad input ------------------------------------------------------------------------------------

HEAD = "apiVersion: supercheck.io/v1alpha1\nkind: TestExecution\n"
FILES: dict[str, tuple[str, int, str]] = {
    "an empty file": ("", 65, "There is no TestExecution in "),
    "a text": ("hello", 65, "is no object"),
    "broken YAML": ("a: [", 65, "is no YAML that can be sent"),
    "a tab": ("a:\n\t- b", 65, "is no YAML that can be sent"),
    "a loop": ("a: &a [*a]", 65, "is no YAML that can be sent"),
    "a tag that makes objects": ("!!python/object/apply:os.system [id]", 65, "is no YAML"),
    "a date by tag": ("!!timestamp 2026-01-01", 65, "is no YAML"),
    "another kind": ("apiVersion: v1\nkind: Secret\nmetadata: {name: s}", 65, "is a Secret (v1)"),
    "another version": ("apiVersion: supercheck.io/v9\nkind: TestExecution", 65, "v1alpha1"),
    "no kind": ("metadata: {name: x}", 65, "thing without a kind"),
    "no name": (HEAD + "spec: {}", 65, "has no metadata.name"),
    "no metadata": (HEAD + "metadata: [x]", 65, "has no metadata.name"),
    "no tests": (HEAD + "metadata: {name: e}\nspec: {tests: []}", 65, "spec.tests"),
    "a spec that is text": (HEAD + "metadata: {name: e}\nspec: x", 65, "spec"),
    "a test that is text": (HEAD + "metadata: {name: e}\nspec: {tests: [x]}", 65, "spec.tests"),
    "an unknown queue": (
        HEAD + "metadata: {name: e}\nspec: {queue: nowhere, tests: [{name: t, image: i}]}",
        77, "nowhere",
    ),
    "a misspelt field": (
        HEAD + "metadata: {name: e}\nspec: {retyr: {limit: 1}, tests: [{name: t, image: i}]}",
        65, 'unknown field "spec.retyr"',
    ),
    "a bad name": (HEAD + "metadata: {name: A_B}\nspec: {tests: [{name: t, image: i}]}", 65, "A_B"),
}  # fmt: skip


@pytest.mark.parametrize("what", FILES)
async def test_a_bad_file_is_told_in_one_sentence(
    what: str, cli: Cli, space: Space, lasting_operator: Operator, tmp_path: Path
) -> None:
    text, code, words = FILES[what]
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    done = await cli("run", "-f", path, "-e", "A=1", "--wait")
    assert done.code == code, done
    assert words in done.err
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) == 1, done.err
    assert await space.phases() == {}


ARGUMENTS: dict[str, tuple[tuple[str, ...], int, str]] = {
    "nothing": ((), 64, "Missing command"),
    "an unknown command": (("start",), 64, "No such command 'start'"),
    "an unknown option": (("get", "--all"), 64, "--all"),
    "nothing to run": (("run",), 64, "either -f FILE or --image IMAGE"),
    "both": (("run", "-f", "x", "--image", "y"), 64, "either -f FILE or --image IMAGE"),
    "a command for a file": (("run", "-f", "x", "--", "sh"), 64, "a command goes with --image"),
    "a duration of words": (("run", "--image", "x", "--timeout", "long"), 64, "write it as 90s"),
    "a priority of words": (("run", "--image", "x", "--priority", "high"), 64, "--priority"),
    "a priority too high": (("run", "--image", "x", "--priority", "3000000000"), 64, "--priority"),
    "a variable without a value": (("run", "--image", "x", "-e", "A"), 64, "write NAME=VALUE"),
    "a variable without a name": (("run", "--image", "x", "-e", "=1"), 64, "write NAME=VALUE"),
    "an unknown format": (("get", "-o", "xml"), 64, "xml"),
    "junit before the end": (("run", "--image", "x", "-o", "junit"), 64, "goes with --wait"),
    "a limit without a wait": (("run", "--image", "x", "--wait-timeout", "1m"), 64, "--wait"),
    "names of everywhere": (("get", "x", "-A"), 64, "names are of one namespace"),
    "an unknown phase": (("get", "--phase", "Done"), 64, "Done"),
    "nobody to wait for": (("wait",), 64, "NAME"),
    "a watch in YAML": (("queue", "-w", "-o", "yaml"), 64, "-o json"),
    "an unknown shell": (("completion", "tcsh"), 64, "tcsh"),
    "a missing file": (("run", "-f", "/no/such/file"), 66, "/no/such/file does not exist"),
    "a folder": (("run", "-f", "/"), 66, "/ cannot be read"),
    "an image with spaces": (("run", "--image", "a b"), 65, "spec.tests[0].image"),
    "an unknown name to wait for": (("wait", "x"), 66, "There is no TestExecution x"),
    "an unknown name to get": (("get", "x"), 66, "There is no TestExecution x"),
    "an unknown name to cancel": (("cancel", "x"), 66, "There is no TestExecution x"),
    "an unknown name to suspend": (("suspend", "x"), 66, "There is no TestExecution x"),
    "an unknown name to resume": (("resume", "x"), 66, "called x"),
    "an unknown name of logs": (("logs", "x"), 66, '"x" not found'),
    "an unknown queue": (("queue", "x"), 66, "There is no ExecutionQueue x; there is default"),
    "an unknown queue to hold": (("hold", "x"), 66, "There is no ExecutionQueue x"),
    "an unknown queue to drain": (("drain", "x", "-y"), 66, "There is no ExecutionQueue x"),
    "an unknown context": (("get", "--context", "x"), 78, "context"),
    "a missing kubeconfig": (("get", "--kubeconfig", "/no/kubeconfig"), 78, "does not exist"),
}  # fmt: skip


@pytest.mark.parametrize("what", ARGUMENTS)
async def test_a_bad_command_line_is_told_in_one_sentence(
    what: str, cli: Cli, space: Space, lasting_operator: Operator
) -> None:
    arguments, code, words = ARGUMENTS[what]
    done = await cli(*arguments)
    assert done.code == code, done
    assert words in done.err, done.err
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) == 1, done.err
    assert await space.phases() == {}


async def test_a_name_that_is_taken_is_told(cli: Cli, space: Space, queue: str, file: File) -> None:
    await space.submit(execution("e", queue=queue))
    done = await cli("run", "-f", file(execution("e")), "-q", queue, "--wait")
    assert (done.code, "already exists" in done.err) == (65, True), done


async def test_name_is_for_one_execution(cli: Cli, space: Space, file: File) -> None:
    done = await cli("run", "-f", file(execution("a"), execution("b")), "--name", "c")
    assert (done.code, "--name is for one execution" in done.err) == (64, True), done


async def test_nobody_at_the_other_end_is_told(cli: Cli, tmp_path: Path, cluster: Cluster) -> None:
    content = yaml.safe_load(cluster.kubeconfig.read_text())
    content["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(content))
    for command in (("get",), ("wait", "x"), ("queue", "--watch"), ("run", "--image", "x")):
        done = await cli(*command, "--kubeconfig", path)
        if command[0] == "run":
            done = await cli("run", "--kubeconfig", path, "--image", "x")
        assert (done.code, "does not answer" in done.err) == (69, True), done


# Shells ---------------------------------------------------------------------------------------


def _kubectl(cli: Cli, *arguments: str) -> subprocess.CompletedProcess[str]:
    kindless = Path(sys.executable).with_name("kindless")
    found = subprocess.run([kindless, "get", "kubectl"], check=True, stdout=-1, text=True)
    path = f"{Path(sys.executable).parent}:{cli.environment['PATH']}"
    return subprocess.run(
        [found.stdout.strip(), *arguments],
        env=cli.environment | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_it_is_a_plugin_of_kubectl(cli: Cli, space: Space, queue: str) -> None:
    arguments = ("run", "-n", space.name, "-q", queue, "--image", "i", "--wait", "--", "a", "-b")
    done = await asyncio.to_thread(_kubectl, cli, "supercheck", *arguments)
    assert done.returncode == 0, done
    [stored] = await space.api.items(space.executions)
    assert stored["spec"]["tests"][0]["command"] == ["a", "-b"]


async def test_kubectl_completes_commands_options_and_names(
    cli: Cli, space: Space, queue: str
) -> None:
    await space.submit(execution("checkout-smoke", queue=queue, suspend=True))
    in_space = ("-n", space.name)
    for words, expected in (
        (("dr",), "drain"),
        (("run", "--retry"), "--retry-for"),
        (("get", "-o", ""), "junit"),
        (("cancel", *in_space, "check"), "checkout-smoke"),
        (("hold", queue[:4]), queue),
    ):
        done = await asyncio.to_thread(_kubectl, cli, "__complete", "supercheck", *words)
        completed = [line.split("\t")[0] for line in done.stdout.splitlines()]
        assert expected in completed, (words, done)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_completion_prints_what_the_shell_reads(shell: str, cli: Cli) -> None:
    done = await cli("completion", shell)
    assert done.code == 0, done
    assert "_KUBECTL_SUPERCHECK_COMPLETE" in done.out
    assert "kubectl-supercheck" in done.out
