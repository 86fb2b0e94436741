"""How many are admitted, how many run, and when a place is free again."""

import asyncio
from collections import Counter

from harness.api import Space, execution
from harness.observer import Observer
from harness.process import Operator
from harness.steps import (
    NOWHERE,
    SILENT,
    being_deleted,
    jobs_of,
    let_go,
    pod_of,
    silent_pod_of,
    until,
)
from harness.waiting import eventually

REFUSAL = (
    'admission webhook "admission.supercheck.io" denied the request: '
    "Queue capacity limit reached (50/50 queued jobs). "
    "Please try again later when running capacity (5/5) is available."
)


async def test_of_94_at_once_exactly_55_are_admitted_and_five_jobs_exist(
    operator: Operator, space: Space
) -> None:
    async with Observer(space) as observer:
        answers = await asyncio.gather(
            *(space.try_submit(execution(f"e-{i}", runs_for="never")) for i in range(94))
        )
        assert Counter(status for status, _ in answers) == {201: 55, 429: 39}
        refusals = [body for status, body in answers if status == 429]
        assert {body["message"] for body in refusals} == {REFUSAL}
        assert {body["reason"] for body in refusals} == {"TooManyRequests"}
        assert not any("retryAfterSeconds" in body.get("details", {}) for body in refusals)
        assert len(await space.phases()) == 55
        assert await operator.stats() == (5, 5, 50, 50)

        async def five_run() -> bool:
            return list((await space.phases()).values()).count("Running") == 5

        await eventually(five_run, "five run")
        await observer.caught_up()
        assert len(observer.jobs) == 5
        assert observer.most_live == 5
    assert await operator.stats() == (5, 5, 50, 50)


async def test_with_one_place_left_dry_runs_take_nothing_and_one_of_40_gets_it(
    operator: Operator, space: Space
) -> None:
    await asyncio.gather(*(space.submit(execution(f"e-{i}", runs_for="never")) for i in range(54)))
    assert await operator.stats() == (5, 5, 49, 50)
    judged = await asyncio.gather(
        *(space.try_submit(execution(f"dry-{i}"), dry_run=True) for i in range(20))
    )
    assert {status for status, _ in judged} == {201}
    assert await operator.stats() == (5, 5, 49, 50)
    answers = await asyncio.gather(*(space.try_submit(execution(f"late-{i}")) for i in range(40)))
    assert Counter(status for status, _ in answers) == {201: 1, 429: 39}
    judged = await asyncio.gather(
        *(space.try_submit(execution(f"dry-{i}"), dry_run=True) for i in range(3))
    )
    assert {status for status, _ in judged} == {429}


async def test_deleting_one_that_waits_gives_exactly_its_place_back(
    operator: Operator, space: Space
) -> None:
    await asyncio.gather(*(space.submit(execution(f"e-{i}", runs_for="never")) for i in range(55)))
    assert (await space.try_submit(execution("no-room")))[0] == 429
    waiting = await _names(space, "Queued", 50)
    await space.remove(waiting[0])

    async def one_place() -> bool:
        return await operator.stats() == (5, 5, 49, 50)

    await eventually(one_place, "one place is free")
    corrected = await operator.metric('supercheck_ledger_corrections_total{kind="holder"}')
    assert corrected == 0, "by the event, not by the sweep"
    answers = await asyncio.gather(*(space.try_submit(execution(f"n-{i}")) for i in range(10)))
    assert Counter(status for status, _ in answers) == {201: 1, 429: 9}


async def test_a_deleted_running_one_keeps_its_slot_until_its_pod_is_gone(
    operator: Operator, space: Space
) -> None:
    await space.submit(execution("e-0", pod=SILENT))
    for i in range(1, 6):
        await space.submit(execution(f"e-{i}", pod=NOWHERE))
    pod = await silent_pod_of(space, "e-0")
    await space.remove("e-0")
    await being_deleted(space, pod)
    assert "e-0" not in await space.phases()
    # A second pass of everything the operator does, so that a slot given back would show.
    await space.submit(execution("e-6", pod=NOWHERE))
    await pod_of(space, "e-4")
    assert await operator.stats() == (5, 5, 2, 50)
    assert not await jobs_of(space, "e-5")

    await let_go(space, pod)
    await pod_of(space, "e-5")
    assert await operator.stats() == (5, 5, 1, 50)


async def test_a_refused_create_leaves_no_place_taken(operator: Operator, space: Space) -> None:
    """Admitted, then refused by the API server for its name: the place is not lost for long."""
    await space.submit(execution("twin", runs_for="never"))
    await until(space, "twin", "Running")  # seen: unseen, it would give its place to its namesake
    status, _ = await space.try_submit(execution("twin", runs_for="never"))
    assert status == 409
    assert await operator.stats() == (2, 5, 0, 50)

    async def given_back() -> bool:
        return await operator.stats() == (1, 5, 0, 50)

    await eventually(given_back, "the reservation is dropped", within=90)
    assert await operator.metric('supercheck_ledger_corrections_total{kind="reservation"}') == 1


async def _names(space: Space, phase: str, count: int) -> list[str]:
    async def enough() -> list[str] | None:
        found = [name for name, seen in (await space.phases()).items() if seen == phase]
        return found if len(found) == count else None

    return await eventually(enough, f"{count} are {phase}")
