"""Who may see and do what, as the API server says: an operator as the chart runs it."""

import asyncio
import itertools
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import expect

from conftest import Cluster
from harness.api import Api, Raw, Space, execution
from harness.browser import chromium
from harness.callers import allow, ask_as, disallow, new_token
from harness.events import follow
from harness.fuzzing import fuzz
from harness.install import install_definitions, install_webhook, uninstall
from harness.process import Operator
from harness.steps import QUEUES, make_queue, until
from harness.waiting import eventually

SECRET = "sesame"
"""In the name of everything that only its team may know."""
PATHS = (
    "/api/executions",
    "/api/executions?queue=default",
    "/api/executions?phase=Passed",
    "/api/executions?namespace={other}",
    "/api/executions/{other}/{name}",
    "/api/executions/{other}/nothing",
    "/api/queue-stats",
    "/api/queue-stats/history",
    "/api/queue-stats?queue={name}",
    "/api/me",
    "/api/nothing",
)
STREAMS = ("/api/queue-stats/sse", "/api/live")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def installed(
    cluster: Cluster, api: Api, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Operator]:
    await uninstall(api)
    await install_definitions(api)
    operator = Operator(
        cluster.kubeconfig, tmp_path_factory.mktemp("operator") / "log", local=False
    )
    await install_webhook(api, operator.webhook_port)
    await operator.start()
    yield operator
    operator.kill()


@dataclass
class Teams:
    """Two namespaces with executions that run, wait and are over; and four callers."""

    own: Space
    other: Space
    tokens: dict[str, str]

    async def until_known(self, operator: Operator) -> None:
        """What was allowed is in force, here and in what the operator believes."""

        async def known() -> bool:
            own = f"/api/executions?namespace={self.own.name}"
            other = f"/api/executions?namespace={self.other.name}"
            stats = "/api/queue-stats"
            expected = {
                ("one", own): 200, ("one", other): 403, ("one", stats): 403,
                ("all", own): 200, ("all", other): 200, ("all", stats): 200,
                ("counts", stats): 200, ("counts", own): 403,
            }  # fmt: skip
            answers = {
                (who, path): (await ask_as(operator, path, f"Bearer {self.tokens[who]}"))[0]
                for who, path in expected
            }
            return answers == expected

        await eventually(known, "the roles are in force")


@pytest_asyncio.fixture(loop_scope="session")
async def teams(installed: Operator, space: Space, api: Api) -> AsyncIterator[Teams]:
    other = Space(api, f"{SECRET}-{space.name}")
    await api.create(
        "/api/v1/namespaces",
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other.name}},
    )
    tokens = {who: await new_token(space, who) for who in ("nobody", "one", "all", "counts")}
    await allow(space, "one", "get list create", "testexecutions", namespace=space.name)
    await allow(space, "all", "get list create", "testexecutions")
    await allow(space, "all", "get", "executionqueues")
    await allow(space, "counts", "get", "executionqueues")
    for team, name in ((space, "mine"), (other, SECRET)):
        await team.submit(execution(f"{name}-over"))
        await until(team, f"{name}-over", "Passed")
        for i in range(4):
            await team.submit(execution(f"{name}-{i}", runs_for="never"))
    teams = Teams(space, other, tokens)
    await teams.until_known(installed)
    yield teams
    for account, resource in (
        ("all", "testexecutions"), ("all", "executionqueues"), ("counts", "executionqueues"),
    ):  # fmt: skip
        await disallow(space, account, resource)
    await api.delete(f"/api/v1/namespaces/{other.name}")
    await api.delete(other.executions)
    await api.delete(f"{other.jobs}?propagationPolicy=Background")
    await api.delete(f"{other.pods}?gracePeriodSeconds=0")


async def _get(operator: Operator, path: str, token: str) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        aiohttp.ClientSession() as session,
        session.get(operator.url + path, headers=headers) as response,
    ):
        return response.status, f"{response.headers}{await response.text()}"


async def _first(operator: Operator, path: str, token: str) -> tuple[int, str]:
    """What a stream begins with, or the answer that it is not begun."""
    async with follow(operator.url + path, token=token) as stream:
        if stream.response.status != 200:
            return stream.response.status, await stream.response.text()
        return 200, await stream.message()


async def test_nothing_of_another_team_leaks_in_any_answer_error_or_event(
    installed: Operator, teams: Teams
) -> None:
    for who in ("", "nobody", "one", "counts"):
        token = teams.tokens.get(who, "")
        for path in PATHS:
            asked = path.format(other=teams.other.name, name=f"{SECRET}-0")
            status, text = await _get(installed, asked, token)
            assert status < 500, (who, path, text)
            # What the caller has named themselves may be named in the answer.
            told = text.replace(teams.other.name, "").replace(f"{SECRET}-0", "")
            assert SECRET not in told, (who, path, text)
        for path in STREAMS:
            status, text = await _first(installed, path, token)
            assert status in (200, 401, 403), (who, path, text)
            assert SECRET not in text, (who, path, text)
    status, text = await _get(installed, "/api/executions", teams.tokens["all"])
    assert text.count(SECRET) > 10  # the test would see it


async def test_what_exists_and_what_does_not_look_the_same_to_who_may_not_see(
    installed: Operator, teams: Teams
) -> None:
    for who in ("nobody", "one", "counts"):
        token = teams.tokens[who]
        there = await _get(installed, f"/api/executions/{teams.other.name}/{SECRET}-0", token)
        nowhere = await _get(installed, f"/api/executions/{teams.other.name}/{SECRET}-9", token)
        assert there[0] == nowhere[0] == 403
        elsewhere = await _get(installed, "/api/executions?namespace=no-such-namespace", token)
        assert elsewhere[0] == 403


async def test_each_sees_what_the_cluster_lets_them(installed: Operator, teams: Teams) -> None:
    async def seen(who: str) -> tuple[set[str], Raw]:
        status, answer, _ = await ask_as(
            installed, "/api/executions", f"Bearer {teams.tokens[who]}"
        )
        assert status == 200
        lists = (answer[part] for part in ("running", "queued", "finished"))
        return {each["namespace"] for part in lists for each in part}, answer

    both = {teams.own.name, teams.other.name}
    assert (await seen("nobody"))[0] == set()
    assert (await seen("nobody"))[1]["others"] == {"running": 0, "queued": 0}
    namespaces, answer = await seen("one")
    assert namespaces == {teams.own.name}
    assert [each["name"] for each in answer["running"]] == [f"mine-{i}" for i in range(4)]
    assert answer["others"] == {"running": 0, "queued": 0}
    namespaces, answer = await seen("counts")
    assert namespaces == set()
    assert answer["others"] == {"running": 5, "queued": 3}
    namespaces, answer = await seen("all")
    assert namespaces == both
    assert [each["position"] for each in answer["queued"]] == [1, 2, 3]
    assert answer["others"] == {"running": 0, "queued": 0}


async def test_one_s_own_place_in_line_counts_the_others(installed: Operator, teams: Teams) -> None:
    await teams.own.submit(execution("late"))
    token = teams.tokens["one"]

    async def placed() -> Raw:
        status, answer, _ = await ask_as(
            installed, "/api/executions?phase=Queued", f"Bearer {token}"
        )
        assert status == 200
        return dict(answer["queued"][0]) if answer["queued"] else {}

    found = await eventually(placed, "it waits")
    assert (found["name"], found["position"]) == ("late", 4)


async def test_a_right_that_is_taken_away_ends_what_is_shown(
    installed: Operator, teams: Teams
) -> None:
    token = teams.tokens["all"]
    async with (
        follow(f"{installed.url}/api/live", token=token) as live,
        follow(f"{installed.url}/api/queue-stats/sse", token=token) as figures,
    ):
        assert SECRET in await live.message()
        await figures.message()
        await disallow(teams.own, "all", "testexecutions")
        await disallow(teams.own, "all", "executionqueues")
        async with asyncio.timeout(60):
            while SECRET in await live.message():
                pass
            try:
                while True:
                    await figures.message()
            except EOFError:
                pass
    assert (await _get(installed, "/api/queue-stats", token))[0] == 403


async def test_what_is_submitted_is_created_by_the_caller_s_own_rights(
    installed: Operator, teams: Teams
) -> None:
    async def submit(who: str, space: Space, name: str) -> tuple[int, Raw]:
        token = teams.tokens.get(who, "")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        body = execution(name)
        body["metadata"]["namespace"] = space.name
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(f"{installed.url}/api/executions", json=body) as response,
        ):
            return response.status, await response.json()

    assert (await submit("", teams.own, "anonymous"))[0] == 401
    for who, space in (("nobody", teams.own), ("counts", teams.own), ("one", teams.other)):
        status, answer = await submit(who, space, "not-mine")
        assert status == 403
        account = f"system:serviceaccount:{teams.own.name}:{who}"
        assert f'User "{account}" cannot create resource "testexecutions"' in answer["message"]
    status, created = await submit("one", teams.own, "by-me")
    assert (status, created["metadata"]["name"]) == (201, "by-me")
    [fields] = created["metadata"]["managedFields"]
    assert "supercheck-operator" in fields["manager"]
    assert (await submit("one", teams.own, "by-me"))[0] == 409


# In a browser ------------------------------------------------------------------------------------


async def test_a_browser_logs_in_with_a_token_and_out_again(
    installed: Operator, teams: Teams
) -> None:
    jar = aiohttp.CookieJar(unsafe=True)  # 127.0.0.1 is an address
    async with aiohttp.ClientSession(installed.url, cookie_jar=jar) as browser:
        async with browser.get("/") as page:
            assert page.status == 401
            assert 'action="/login"' in await page.text()
        wrong = {"token": "<b>wrong</b>"}
        async with browser.post("/login", data=wrong) as page:
            assert page.status == 401
            text = await page.text()
            assert "The cluster does not know this token." in text
            assert "<b>" not in text
        token = {"token": f" {teams.tokens['one']}\n"}
        async with browser.post("/login", data=token, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/")
            cookie = answer.headers["Set-Cookie"]
            assert "HttpOnly" in cookie
            assert "SameSite=Strict" in cookie
            assert "Secure" not in cookie
        async with browser.get("/") as page:
            assert page.status == 200
            assert "<script" in await page.text()
        async with browser.get("/api/live") as stream:
            assert stream.status == 200
        async with browser.get("/api/me") as me:
            name = f"system:serviceaccount:{teams.own.name}:one"
            assert await me.json() == {"name": name, "login": True}
        # The cookie alone lets no other site's page do anything.
        body = {"metadata": {"namespace": teams.own.name, "name": "forged"}}
        for headers in ({}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "same-site"}):
            async with browser.post("/api/executions", json=body, headers=headers) as answer:
                assert answer.status == 403
        async with browser.post("/logout", headers={"Origin": installed.url}) as page:
            assert page.status == 200
        async with browser.get("/api/me") as me:
            assert me.status == 401


async def test_the_forms_of_a_real_browser_log_in_and_out(
    installed: Operator, space: Space
) -> None:
    token = await new_token(space, "viewer")
    async with chromium() as browser, await browser.new_page(base_url=installed.url) as page:
        await page.goto("/")
        field = page.get_by_label("Token")
        await field.fill("wrong")
        await page.get_by_role("button", name="Log in").click()
        told = page.get_by_role("alert")
        await expect(told).to_have_text("The cluster does not know this token.")
        await field.fill(token)
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_role("status")).to_have_text("Live")
        await expect(page.locator("#me-name")).to_have_text(re.compile(":viewer$"))
        await page.get_by_role("button", name="Log out").click()
        await expect(field).to_be_focused()
        await page.goto("/")
        await expect(field).to_be_visible()


async def test_by_tls_the_cookie_is_for_tls_only(installed: Operator, teams: Teams) -> None:
    async with (
        aiohttp.ClientSession(headers={"X-Forwarded-Proto": "https"}) as browser,
        browser.post(
            f"{installed.url}/login",
            data={"token": teams.tokens["one"]},
            allow_redirects=False,
        ) as answer,
    ):
        assert re.search("; Secure", answer.headers["Set-Cookie"])


async def test_whatever_is_sent_with_a_token_is_answered_as_the_document_says(
    installed: Operator, teams: Teams
) -> None:
    await fuzz(installed, token=teams.tokens["all"])


async def test_guessing_tokens_is_slowed_down(installed: Operator) -> None:
    async with aiohttp.ClientSession() as session:

        async def guess(i: int) -> int:
            headers = {"Authorization": f"Bearer guess-{i}"}
            async with session.get(f"{installed.url}/api/me", headers=headers) as answer:
                if answer.status == 429:
                    assert json.loads(await answer.text())["error"] == "Too many requests"
                    assert int(answer.headers["Retry-After"]) >= 1
                return answer.status

        answers = await asyncio.gather(*(guess(i) for i in range(300)))
    assert set(answers) == {401, 429}
    assert answers.count(401) < 200


async def test_who_is_known_is_let_in_while_somebody_guesses_from_the_same_address(
    installed: Operator, space: Space
) -> None:
    token = await new_token(space, "viewer")

    async def known() -> bool:
        return (await ask_as(installed, "/api/me", f"Bearer {token}"))[0] == 200

    await eventually(known, "there is room for an unknown token")
    over = time.monotonic() + 11  # who somebody is, is believed for 10 s
    answers: set[int] = set()

    async def guess(session: aiohttp.ClientSession, i: int) -> None:
        for n in itertools.count():
            headers = {"Authorization": f"Bearer guess-{i}-{n}"}
            async with session.get(f"{installed.url}/api/me", headers=headers) as answer:
                answers.add(answer.status)

    async with aiohttp.ClientSession() as session:
        guesses = asyncio.gather(*(guess(session, i) for i in range(20)))
        await asyncio.sleep(over - time.monotonic())
        still = await known()
        guesses.cancel()
        with suppress(asyncio.CancelledError):
            await guesses
    assert still
    assert answers == {401, 429}


# The process -------------------------------------------------------------------------------------


async def test_installed_it_puts_its_authority_into_the_configuration_and_admits(
    installed: Operator, space: Space
) -> None:
    await space.submit(execution("e"))
    await until(space, "e", "Passed")
    status, answer = await space.try_submit(execution("f", queue="nowhere"))
    assert status == 403
    assert "Existing queues: default." in answer["message"]
    # A new start makes a new authority; what trusts the old one is told.
    installed.kill()
    await installed.start()
    await space.submit(execution("g"))
    await until(space, "g", "Passed")


async def test_figures_are_for_those_who_may_see_queues(installed: Operator, space: Space) -> None:
    nobody = await new_token(space, "nobody")
    reader = await new_token(space, "reader")
    await allow(space, "reader", "get", "executionqueues")
    path = "/api/queue-stats"

    for authorization in ("", "Bearer ", "Bearer nonsense", "Basic dXNlcjpwYXNz", nobody, "Bearer"):
        status, answer, headers = await ask_as(installed, path, authorization)
        assert status == 401, (authorization, answer)
        assert answer.keys() == {"error", "message"}
        assert answer["error"] == "Unauthorized"
        assert headers["WWW-Authenticate"] == "Bearer"

    status, answer, _ = await ask_as(installed, path, f"Bearer {nobody}")
    assert status == 403
    assert answer["error"] == "Forbidden"
    assert "may not get executionqueues" in answer["message"]
    assert f"system:serviceaccount:{space.name}:nobody" in answer["message"]

    async def allowed() -> bool:
        return (await ask_as(installed, path, f"Bearer {reader}"))[0] == 200

    await eventually(allowed, "the role is in force")
    _, answer, _ = await ask_as(installed, path, f"bearer {reader}")
    assert answer == {"running": 0, "runningCapacity": 5, "queued": 0, "queuedCapacity": 50}
    # What does not exist is told to those only who may know.
    assert (await ask_as(installed, f"{path}?queue=nowhere", f"Bearer {reader}"))[0] == 404
    assert (await ask_as(installed, f"{path}?queue=nowhere", f"Bearer {nobody}"))[0] == 403
    await disallow(space, "reader", "executionqueues")


async def test_a_right_to_one_queue_is_no_right_to_another(
    installed: Operator, space: Space
) -> None:
    token = await new_token(space, "one")
    await allow(space, "one", "get", "executionqueues", names=["team"])
    await make_queue(space, "team", runningCapacity=3)

    async def allowed() -> bool:
        status, *_ = await ask_as(installed, "/api/queue-stats?queue=team", f"Bearer {token}")
        return status == 200

    await eventually(allowed, "the role is in force")
    assert (await ask_as(installed, "/api/queue-stats", f"Bearer {token}"))[0] == 403
    await space.api.delete(f"{QUEUES}/team")
    await disallow(space, "one", "executionqueues")


async def test_health_and_metrics_need_no_token(installed: Operator) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert (await installed.get(path))[0] == 200
