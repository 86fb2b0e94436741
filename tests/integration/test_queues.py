"""Queues side by side: each its own capacity, rules and status."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from harness.api import Api, Raw, Space, execution
from harness.observer import Observer
from harness.process import Operator
from harness.steps import (
    QUEUES,
    SILENT,
    change_queue,
    job_of,
    jobs_of,
    let_go,
    make_queue,
    named,
    silent_pod_of,
    until,
    until_stats,
)
from harness.waiting import eventually

SETTINGS = {"SWEEP_SECONDS": "1"}
DENIED = 'admission webhook "admission.supercheck.io" denied the request: '

pytestmark = pytest.mark.usefixtures("operator")


@pytest_asyncio.fixture(loop_scope="session")
async def operator(lasting_operator: Operator) -> Operator:
    return lasting_operator


@pytest_asyncio.fixture(loop_scope="session")
async def other(api: Api, operator: Operator) -> AsyncIterator[Space]:
    """A second namespace, labelled as a team's."""
    assert operator.running
    name = "team-b"
    path = f"/api/v1/namespaces/{name}"
    if (await api.call("GET", path))[0] == 404:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await api.create("/api/v1/namespaces", body)
    space = Space(api, name)
    yield space
    for kind in (space.executions, f"{space.jobs}?propagationPolicy=Background", space.pods):
        await api.delete(kind)

    async def empty() -> bool:
        return not [p for kind in (space.executions, space.pods) for p in await api.items(kind)]

    await eventually(empty, "the second namespace is empty")


async def _queue_status(space: Space, queue: str) -> Raw:
    found: Raw = (await space.api.get(f"{QUEUES}/{queue}")).get("status", {})
    return found


def _refusal(queued: str, running: str, where: str = "") -> str:
    return (
        f"Queue capacity limit reached ({queued} queued jobs). Please try again later when"
        f" running capacity ({running}) is available{where}."
    )


async def _drop(space: Space, queue: str) -> None:
    await space.api.delete(f"{QUEUES}/{queue}")


async def _running(space: Space, count: int) -> None:
    async def there() -> bool:
        return list((await space.phases()).values()).count("Running") == count

    await eventually(there, f"{count} run")


# Capacity ----------------------------------------------------------------------------------------


async def test_queues_have_capacities_of_their_own_side_by_side(
    operator: Operator, space: Space
) -> None:
    small = await make_queue(space, "small", runningCapacity=1, queuedCapacity=2)
    wide = await make_queue(space, "wide", runningCapacity=3, queuedCapacity=1)
    async with Observer(space) as observer:
        answers = await asyncio.gather(
            *(
                space.try_submit(execution(f"{queue}-{i}", queue=queue, runs_for="never"))
                for queue in (small, wide, "default")
                for i in range(8)
            )
        )
        counts = Counter(status for status, _ in answers)
        assert counts == {201: 3 + 4 + 8, 429: 5 + 4}
        told = {body["message"].removeprefix(DENIED) for status, body in answers if status == 429}
        assert told == {_refusal("2/2", "1/1"), _refusal("1/1", "3/3")}
        assert await operator.stats(small) == (1, 1, 2, 2)
        assert await operator.stats(wide) == (3, 3, 1, 1)
        assert await operator.stats() == (5, 5, 3, 50)
        await _running(space, 1 + 3 + 5)
        await observer.caught_up()
        assert len(observer.jobs) == 9
    for queue in (small, wide):
        await _drop(space, queue)


async def test_without_queue_places_only_what_can_run_now_is_admitted(
    operator: Operator, space: Space
) -> None:
    queue = await make_queue(space, "no-places", runningCapacity=2, queuedCapacity=0)
    answers = await asyncio.gather(
        *(space.try_submit(execution(f"e-{i}", queue=queue, runs_for="never")) for i in range(10))
    )
    assert Counter(status for status, _ in answers) == {201: 2, 429: 8}
    # A suspended one cannot run now, so it needs a place that there is not.
    await space.remove(next(iter(await space.phases())))
    await until_stats(operator, queue, (1, 2, 0, 0), within=60)
    body = execution("suspended", queue=queue, suspend=True)
    assert (await space.try_submit(body))[0] == 429
    await space.submit(execution("fits", queue=queue))
    await until(space, "fits", "Passed")
    await _drop(space, queue)


async def test_without_running_slots_everything_waits(operator: Operator, space: Space) -> None:
    queue = await make_queue(space, "no-slots", runningCapacity=0, queuedCapacity=2)
    answers = await asyncio.gather(
        *(space.try_submit(execution(f"e-{i}", queue=queue)) for i in range(5))
    )
    assert Counter(status for status, _ in answers) == {201: 2, 429: 3}
    assert await operator.stats(queue) == (0, 0, 2, 2)
    await space.submit(execution("elsewhere"))
    await until(space, "elsewhere", "Passed")
    assert not [job for name in await space.phases() for job in await jobs_of(space, name)
                if name != "elsewhere"]  # fmt: skip
    await change_queue(space, queue, runningCapacity=1)

    async def all_pass() -> bool:
        return set((await space.phases()).values()) == {"Passed"}

    await eventually(all_pass, "with a slot, all pass")
    await _drop(space, queue)


async def test_a_raised_capacity_is_used_at_once(operator: Operator, space: Space) -> None:
    queue = await make_queue(space, "raised", runningCapacity=1)
    for i in range(6):
        await space.submit(execution(f"e-{i}", queue=queue, runs_for="never"))
    await _running(space, 1)
    await change_queue(space, queue, runningCapacity=4)
    await _running(space, 4)
    assert await operator.stats(queue) == (4, 4, 2, 50)
    await _drop(space, queue)


async def test_a_lowered_capacity_kills_nothing_and_starts_nothing_until_there_is_room(
    operator: Operator, space: Space
) -> None:
    queue = await make_queue(space, "lowered", runningCapacity=5)
    async with Observer(space) as observer:
        for i in range(7):
            await space.submit(execution(f"e-{i}", queue=queue, runs_for="never"))
        await _running(space, 5)
        await change_queue(space, queue, runningCapacity=2)
        await until_stats(operator, queue, (5, 2, 2, 50))

        async def shown() -> bool:
            usage = (await _queue_status(space, queue)).get("usage")
            return usage == {"running": "5/2", "queued": "2/50"}

        await eventually(shown, "the queue says 5/2")
        for i, left in ((0, 4), (1, 3), (2, 2)):
            await space.remove(f"e-{i}")
            await until_stats(operator, queue, (left, 2, 2, 50), within=60)
        assert not await jobs_of(space, "e-5")
        await space.remove("e-3")
        await job_of(space, "e-5")
        await until_stats(operator, queue, (2, 2, 1, 50))
        await observer.caught_up()
        assert observer.most_live == 5
        assert len(observer.jobs) == 6
    await _drop(space, queue)


async def test_a_full_line_with_a_lowered_capacity_refuses_with_what_is_true(
    operator: Operator, space: Space
) -> None:
    queue = await make_queue(space, "shrunk", runningCapacity=3, queuedCapacity=3)
    for i in range(6):
        await space.submit(execution(f"e-{i}", queue=queue, runs_for="never"))
    await _running(space, 3)
    await change_queue(space, queue, runningCapacity=1, queuedCapacity=1)
    await until_stats(operator, queue, (3, 1, 3, 1))
    status, answer = await space.try_submit(execution("more", queue=queue))
    assert status == 429
    assert answer["message"] == DENIED + _refusal("3/1", "3/1")
    await _drop(space, queue)


# Namespaces --------------------------------------------------------------------------------------


async def test_a_namespace_s_share_is_exact_and_named(space: Space, other: Space) -> None:
    queue = await make_queue(
        space, "shares", runningCapacity=5, queuedCapacity=50,
        perNamespace={"runningCapacity": 1, "queuedCapacity": 2},
    )  # fmt: skip
    for each in (space, other):
        answers = await asyncio.gather(
            *(
                each.try_submit(execution(f"e-{i}", queue=queue, runs_for="never"))
                for i in range(20)
            )
        )
        assert Counter(status for status, _ in answers) == {201: 3, 429: 17}
        told = {body["message"] for status, body in answers if status == 429}
        where = f' in namespace "{each.name}"'
        assert told == {DENIED + _refusal("2/2", "1/1", where)}
        await _running(each, 1)
    await _drop(space, queue)


async def test_a_namespace_at_its_running_share_blocks_nobody_behind_it(
    operator: Operator, space: Space, other: Space
) -> None:
    queue = await make_queue(
        space, "unblocked", runningCapacity=3, perNamespace={"runningCapacity": 1}
    )
    for i in range(3):
        await space.submit(execution(f"e-{i}", queue=queue, runs_for="never"))
    await job_of(space, "e-0")
    await other.submit(execution("behind", queue=queue, runs_for="never"))
    await job_of(other, "behind")
    assert not await jobs_of(space, "e-1")
    await space.remove("e-0")
    await job_of(space, "e-1")
    assert not await jobs_of(space, "e-2")
    assert operator.running
    await _drop(space, queue)


async def test_what_a_namespace_s_share_holds_back_is_shown_as_waiting(
    operator: Operator, space: Space
) -> None:
    """It cannot start although the queue has free slots: counting it as running would be untrue."""
    queue = await make_queue(
        space, "true-counts", runningCapacity=5, queuedCapacity=50,
        perNamespace={"runningCapacity": 1, "queuedCapacity": 20},
    )  # fmt: skip
    for i in range(4):
        await space.submit(execution(f"e-{i}", queue=queue, runs_for="never"))
    await _running(space, 1)
    await until_stats(operator, queue, (1, 5, 3, 50), within=5)
    await _drop(space, queue)


async def test_shares_never_let_more_wait_than_the_queue_has_places(
    operator: Operator, space: Space, other: Space
) -> None:
    queue = await make_queue(
        space, "both-limits", runningCapacity=5, queuedCapacity=2,
        perNamespace={"runningCapacity": 1},
    )  # fmt: skip
    for each in (space, other):
        await asyncio.gather(
            *(
                each.try_submit(execution(f"e-{i}", queue=queue, runs_for="never"))
                for i in range(10)
            )
        )
        await _running(each, 1)
    await until_stats(operator, queue, (2, 5, 2, 2), within=5)
    waiting = [p for each in (space, other) for p in (await each.phases()).values()]
    assert Counter(waiting) == {"Running": 2, "Queued": 2}
    await _drop(space, queue)


async def test_namespaces_that_are_not_selected_are_refused(
    operator: Operator, space: Space, other: Space
) -> None:
    selector = {
        "matchLabels": {"kubernetes.io/metadata.name": other.name},
        "matchExpressions": [{"key": "banned", "operator": "DoesNotExist"}],
    }
    queue = await make_queue(space, "selective", namespaceSelector=selector)
    status, answer = await space.try_submit(execution("e", queue=queue))
    assert status == 403
    assert answer["reason"] == "Forbidden"
    start = f'{DENIED}Queue "selective" does not take executions of namespace "{space.name}"'
    assert answer["message"].startswith(start)
    assert other.name in answer["message"], "it says what is wanted"
    assert await operator.stats(queue) == (0, 5, 0, 50)
    await other.submit(execution("e", queue=queue))
    await until(other, "e", "Passed")
    path = f"/api/v1/namespaces/{other.name}"
    assert (await space.api.patch(path, {"metadata": {"labels": {"banned": "1"}}}))[0] == 200
    assert (await other.try_submit(execution("f", queue=queue)))[0] == 403
    assert (await space.api.patch(path, {"metadata": {"labels": {"banned": None}}}))[0] == 200
    await _drop(space, queue)


async def test_fair_share_starts_the_namespace_with_the_fewest_running(
    operator: Operator, space: Space, other: Space
) -> None:
    queue = await make_queue(
        space, "fair", runningCapacity=2, ordering="FairShare", stopPolicy="Hold"
    )
    for i in range(3):
        await space.submit(execution(f"e-{i}", queue=queue, runs_for="never"))
    await other.submit(execution("only", queue=queue, runs_for="never"))

    async def all_seen() -> bool:
        return len((await _queue_status(space, queue)).get("upcoming", [])) == 4

    await eventually(all_seen, "all four stand in the line")
    await change_queue(space, queue, stopPolicy="None")
    await job_of(other, "only")
    await job_of(space, "e-0")
    await until_stats(operator, queue, (2, 2, 2, 50))
    assert not await jobs_of(space, "e-1")
    await _drop(space, queue)


# Stop policies -----------------------------------------------------------------------------------


async def test_a_closed_queue_takes_nothing_and_finishes_what_it_has(
    operator: Operator, space: Space
) -> None:
    queue = await make_queue(space, "closing", runningCapacity=1)
    for i in range(3):
        await space.submit(execution(f"e-{i}", queue=queue, runs_for="800ms"))
    await change_queue(space, queue, stopPolicy="Closed")

    async def refused() -> Raw | None:
        status, answer = await space.try_submit(execution("late", queue=queue), dry_run=True)
        return answer if status == 403 else None

    answer = await eventually(refused, "it is closed")
    assert answer["message"] == (
        f'{DENIED}Queue "closing" is closed: it finishes what it has and takes no more.'
    )
    for i in range(3):
        await until(space, f"e-{i}", "Passed")
    assert await operator.stats(queue) == (0, 1, 0, 50)
    await _drop(space, queue)


async def test_a_held_queue_takes_but_does_not_start_until_it_is_released(
    operator: Operator, space: Space
) -> None:
    queue = await make_queue(space, "holding", runningCapacity=2, queuedCapacity=3)
    await space.submit(execution("runs", queue=queue, runs_for="never"))
    await _running(space, 1)
    await change_queue(space, queue, stopPolicy="Hold")

    async def held() -> bool:
        conditions = (await _queue_status(space, queue)).get("conditions", [])
        return ("Ready", "False") in [(c["type"], c["status"]) for c in conditions]

    await eventually(held, "it is held")
    answers = [await space.try_submit(execution(f"e-{i}", queue=queue)) for i in range(4)]
    assert Counter(status for status, _ in answers) == {201: 3, 429: 1}
    assert await operator.stats(queue) == (1, 2, 3, 3), "a free slot is no room while it is held"
    await asyncio.sleep(1.5)  # a sweep starts nothing either
    assert not [job for i in range(4) for job in await jobs_of(space, f"e-{i}")]
    assert (await space.status("runs"))["phase"] == "Running"
    await change_queue(space, queue, stopPolicy="None")
    for i in range(3):
        await until(space, f"e-{i}", "Passed")
    await _drop(space, queue)


async def test_draining_cancels_what_waits_and_what_runs(operator: Operator, space: Space) -> None:
    queue = await make_queue(space, "draining", runningCapacity=2)
    async with Observer(space) as observer:
        tests = named("a", "b", "c")
        for i in range(4):
            await space.submit(execution(f"e-{i}", queue=queue, tests=tests, runs_for="never"))
        await space.submit(execution("suspended", queue=queue, suspend=True))
        await space.submit(execution("elsewhere", runs_for="never"))
        await _running(space, 3)
        await change_queue(space, queue, stopPolicy="HoldAndDrain")
        for name in ("e-0", "e-1", "e-2", "e-3", "suspended"):
            status = await until(space, name, "Cancelled")
            assert status["reason"] == "QueueDrained"
            assert queue in status["message"]
        await until_stats(operator, queue, (0, 2, 0, 50))
        await observer.caught_up()
        assert set(observer.started) == {"e-0", "e-1", "elsewhere"}
    assert (await space.status("elsewhere"))["phase"] == "Running"
    await change_queue(space, queue, stopPolicy="None")
    await space.submit(execution("after", queue=queue))
    await until(space, "after", "Passed")
    await _drop(space, queue)


async def test_draining_gives_a_slot_back_only_when_its_pod_is_gone(
    operator: Operator, space: Space
) -> None:
    queue = await make_queue(space, "slow-drain", runningCapacity=1)
    await space.submit(execution("e", queue=queue, pod=SILENT))
    pod = await silent_pod_of(space, "e")
    await change_queue(space, queue, stopPolicy="HoldAndDrain")
    await until(space, "e", "Cancelled")
    await asyncio.sleep(1.5)
    assert await operator.stats(queue) == (1, 1, 0, 50)
    await let_go(space, pod)
    await until_stats(operator, queue, (0, 1, 0, 50))
    await _drop(space, queue)


# The resource itself -----------------------------------------------------------------------------


async def test_without_its_queue_what_waits_goes_on_waiting(
    operator: Operator, space: Space
) -> None:
    queue = await make_queue(space, "vanishing", runningCapacity=1)
    await space.submit(execution("runs", queue=queue, runs_for="1500ms"))
    await space.submit(execution("waits", queue=queue))
    await until(space, "runs", "Running")
    await _drop(space, queue)
    await until(space, "runs", "Passed")
    status, answer = await space.try_submit(execution("late", queue=queue))
    assert status == 403
    assert 'Queue "vanishing" does not exist' in answer["message"]
    await asyncio.sleep(1.5)  # nor does a sweep
    assert (await space.status("waits"))["phase"] == "Queued"
    assert not await jobs_of(space, "waits")
    assert (await operator.get(f"/api/queue-stats?queue={queue}"))[0] == 404
    [told] = json.loads((await operator.get(f"/api/executions?queue={queue}"))[1])["queued"]
    assert (told["name"], told["reason"]) == ("waits", "QueueHeld")
    assert 'Queue "vanishing" does not exist' in told["message"]
    await make_queue(space, queue, runningCapacity=1)
    await until(space, "waits", "Passed")
    await _drop(space, queue)


async def test_a_queue_deleted_while_the_operator_is_dead(operator: Operator, space: Space) -> None:
    queue = await make_queue(space, "lost", runningCapacity=1)
    await space.submit(execution("busy", queue=queue, runs_for="never"))
    await space.submit(execution("waits", queue=queue))
    await until(space, "busy", "Running")
    operator.kill()
    await _drop(space, queue)
    await operator.start()
    await space.remove("busy")
    await space.submit(execution("other"))
    await until(space, "other", "Passed")
    assert (await space.status("waits"))["phase"] == "Queued"
    await make_queue(space, queue, runningCapacity=1)
    await until(space, "waits", "Passed", within=90)
    await _drop(space, queue)


async def test_the_default_queue_comes_back_by_itself(operator: Operator, space: Space) -> None:
    await until_stats(operator, "default", (0, 5, 0, 50), within=60)
    before = await space.api.get(f"{QUEUES}/default")
    await space.api.delete(f"{QUEUES}/default")

    async def back() -> Raw | None:
        status, found = await space.api.call("GET", f"{QUEUES}/default")
        return found if status == 200 else None

    found = await eventually(back, "it is back")
    assert found["metadata"]["uid"] != before["metadata"]["uid"]

    async def taken() -> bool:
        return (await space.try_submit(execution("e")))[0] == 201

    await eventually(taken, "it takes executions")
    await until(space, "e", "Passed")


async def test_a_default_queue_of_one_s_own_is_left_as_it_is(
    operator: Operator, space: Space
) -> None:
    await change_queue(space, "default", runningCapacity=7)
    await until_stats(operator, "default", (0, 7, 0, 50), within=60)
    operator.kill()
    await operator.start()
    assert await operator.stats() == (0, 7, 0, 50)
    await change_queue(space, "default", runningCapacity=None)
    await until_stats(operator, "default", (0, 5, 0, 50))


async def test_the_status_of_a_queue_is_true_within_about_a_second(space: Space) -> None:
    queue = await make_queue(space, "shown", runningCapacity=2, queuedCapacity=12)
    made = await space.api.get(f"{QUEUES}/{queue}")
    for i in range(13):
        body = execution(f"e-{i:02d}", queue=queue, runs_for="never", priority=i % 2)
        await space.submit(body)
    await _running(space, 2)

    async def true() -> Raw | None:
        status = await _queue_status(space, queue)
        return status if status.get("queued") == 11 else None

    status = await eventually(true, "its status is true", within=3)
    assert status["observedGeneration"] == made["metadata"]["generation"]
    assert (status["running"], status["runningCapacity"]) == (2, 2)
    assert (status["queued"], status["queuedCapacity"]) == (11, 12)
    assert status["usage"] == {"running": "2/2", "queued": "11/12"}
    running = {name for name, phase in (await space.phases()).items() if phase == "Running"}
    waiting = [f"e-{i:02d}" for i in (*range(1, 13, 2), *range(0, 13, 2))]
    expected = [name for name in waiting if name not in running]
    assert status["upcoming"] == [
        {"namespace": space.name, "name": name, "position": position}
        for position, name in enumerate(expected[:10], start=1)
    ]
    assert _truths(status) == {"Ready": "True", "Saturated": "False"}
    await space.submit(execution("last", queue=queue, runs_for="never"))

    async def saturated() -> bool:
        return _truths(await _queue_status(space, queue))["Saturated"] == "True"

    await eventually(saturated, "it is saturated", within=3)
    for name in expected[:4]:
        await space.remove(name)

    async def moved() -> bool:
        status = await _queue_status(space, queue)
        names = [each["name"] for each in status["upcoming"]]
        room = _truths(status)["Saturated"] == "False"
        return room and names == [*expected[4:], "last"] and status["queued"] == 8

    await eventually(moved, "the line has moved up", within=3)
    await _drop(space, queue)


def _truths(status: Raw) -> dict[str, str]:
    return {each["type"]: each["status"] for each in status["conditions"]}


async def test_history_keeps_the_newest_of_each_namespace(space: Space) -> None:
    queue = await make_queue(space, "forgetful", history={"passed": 2, "failed": 1})
    notes = {"stage.kindless/exit-code": "1"}
    for i in range(4):
        await space.submit(execution(f"good-{i}", queue=queue))
        await until(space, f"good-{i}", "Passed")
        await space.submit(execution(f"bad-{i}", queue=queue, annotations=notes))
        await until(space, f"bad-{i}", "Failed")
        await space.submit(execution(f"kept-{i}"))
        await until(space, f"kept-{i}", "Passed")

    async def few() -> bool:
        names = [name for name in await space.phases() if not name.startswith("kept")]
        return len(names) == 3

    await eventually(few, "three are left")
    await asyncio.sleep(1.5)  # another sweep takes no more
    phases = await space.phases()
    assert len([name for name in phases if name.startswith("kept")]) == 4
    assert Counter(phases.values()) == {"Passed": 6, "Failed": 1}
    await _drop(space, queue)
