"""The live page in a real browser, while executions run."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, expect

from conftest import NewOperator
from harness.api import Space, execution
from harness.browser import chromium, violations
from harness.process import Operator
from harness.redis_server import RedisServer
from harness.steps import QUEUES, end, make_queue, named, until

LOGIN = Path(__file__).parents[2] / "operator/supercheck_operator/web/page/login.html"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, lasting_operator: Operator) -> AsyncIterator[Page]:
    """Not opened yet; at the end it has asked no other host and met no error."""
    context = await browser.new_context(base_url=lasting_operator.url)
    page = await context.new_page()
    asked: set[str] = set()
    errors: list[str] = []
    page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if "Policy" in said.text else None)
    yield page
    await context.close()
    assert asked == {urlsplit(lasting_operator.url).netloc}
    assert errors == []


@pytest_asyncio.fixture(loop_scope="session")
async def on_redis(
    lasting: Operator, new_operator: NewOperator, redis_server: RedisServer
) -> Operator:
    """Alone in the cluster, with its ledger in Redis, which can be lost."""
    if lasting.running:
        lasting.kill()
    made = new_operator(REDIS_URL=redis_server.url)
    await made.start()
    return made


class Card:
    """One queue on the page."""

    def __init__(self, page: Page, queue: str) -> None:
        self._card = page.get_by_role("article", name=f"Queue {queue}")

    async def shows(self, running: str, queued: str, *, within: float = 30) -> None:
        for kind, figure in (("running", running), ("queued", queued)):
            told = self._card.locator(f".meter.{kind} .figure")
            await expect(told).to_have_text(figure, timeout=within * 1000)

    async def filled(self, kind: str, share: float) -> None:
        """Its bar is as long as that, once it has moved there."""
        bar = self._card.locator(f".{kind} .bar span")
        await expect(bar).to_have_css("transform", f"matrix({share:g}, 0, 0, 1, 0, 0)")

    async def colour(self, kind: str) -> tuple[int, int, int]:
        bar = self._card.locator(f".{kind} .bar span")
        text: str = await bar.evaluate("bar => getComputedStyle(bar).backgroundColor")
        red, green, blue = (int(part) for part in re.findall(r"\d+", text)[:3])
        return red, green, blue


async def test_bars_move_while_executions_run(page: Page, space: Space) -> None:
    queue = await make_queue(space, "moving", runningCapacity=2, queuedCapacity=4)
    await page.goto("/")
    card = Card(page, queue)
    await card.shows("0/2", "0/4")
    await card.filled("running", 0)
    for i in range(5):
        await space.submit(execution(f"e-{i}", queue=queue, runs_for="2s"))
    await card.shows("2/2", "3/4")
    await card.filled("running", 1)
    await card.filled("queued", 0.75)
    red, green, blue = await card.colour("running")
    assert blue > green > red
    red, green, blue = await card.colour("queued")
    assert red > green > blue
    await card.shows("0/2", "0/4", within=60)
    await card.filled("running", 0)
    await card.filled("queued", 0)
    await expect(page.locator("#results").get_by_role("link", name="e-4")).to_be_visible()
    await space.api.delete(f"{QUEUES}/{queue}")


async def test_a_skeleton_stands_until_the_first_news(page: Page) -> None:
    held: list[Route] = []

    async def hold(route: Route) -> None:
        held.append(route)

    await page.route("**/api/live", hold)
    await page.goto("/")
    await expect(page.locator(".skeleton").first).to_be_visible()
    await expect(page.locator("#overview")).to_have_attribute("aria-busy", "true")
    await expect(page.get_by_role("status")).to_have_text("Connecting…")
    await held[0].continue_()
    await expect(page.get_by_role("article", name="Queue default")).to_be_visible()
    await expect(page.locator(".skeleton")).to_have_count(0)
    await expect(page.locator("#overview")).to_have_attribute("aria-busy", "false")
    await expect(page.get_by_role("status")).to_have_text("Live")


async def test_it_is_back_by_itself_after_the_server_was_killed(
    page: Page, space: Space, lasting_operator: Operator
) -> None:
    await page.goto("/")
    card = Card(page, "default")
    await card.shows("0/5", "0/50")
    lasting_operator.kill()
    await expect(page.get_by_role("status")).to_have_text("Reconnecting…")
    await expect(page.locator("body")).to_have_attribute("data-stale", "")
    await lasting_operator.start()
    await space.submit(execution("meanwhile", runs_for="never"))
    await expect(page.get_by_role("status")).to_have_text("Live", timeout=30_000)
    await card.shows("1/5", "0/50")
    await expect(page.locator("#running").get_by_role("link", name="meanwhile")).to_be_visible()


async def _says_that_figures_are_unavailable(page: Page, redis_server: RedisServer) -> None:
    """For as long as Redis is away, which then comes back."""
    told = "Unable to verify queue capacity due to an error. Please try again later."
    status, alert = page.get_by_role("status"), page.get_by_role("alert")
    await expect(status).to_have_text("Figures unavailable")
    await expect(alert).to_have_text(told)
    await expect(page.locator("body")).to_have_attribute("data-stale", "")
    await page.evaluate(
        """window.said = [];
        new MutationObserver(() => said.push(connection.textContent))
          .observe(document.getElementById("connection"), { childList: true });"""
    )
    await asyncio.sleep(6)  # a connection that is lost is tried again after 5 s
    assert await page.evaluate("said.join()") == ""
    redis_server.start()
    await expect(status).to_have_text("Live", timeout=30_000)
    await expect(alert).to_be_hidden()
    await expect(page.locator("body")).not_to_have_attribute("data-stale", "")
    await Card(page, "default").shows("0/5", "0/50")


async def test_it_says_when_figures_become_unavailable(
    browser: Browser, on_redis: Operator, redis_server: RedisServer
) -> None:
    async with await browser.new_page(base_url=on_redis.url) as page:
        await page.goto("/")
        await Card(page, "default").shows("0/5", "0/50")
        redis_server.kill()
        await _says_that_figures_are_unavailable(page, redis_server)


async def test_opened_while_figures_are_unavailable_it_says_so(
    browser: Browser, on_redis: Operator, redis_server: RedisServer
) -> None:
    redis_server.kill()
    async with await browser.new_page(base_url=on_redis.url) as page:
        await page.goto("/")
        await _says_that_figures_are_unavailable(page, redis_server)


async def test_what_runs_and_waits_is_told_with_progress_and_positions(
    page: Page, space: Space
) -> None:
    queue = await make_queue(space, "told", runningCapacity=1)
    tests = named("login", "cart", "pay")
    await space.submit(execution("long", queue=queue, tests=tests, runs_for="never"))
    for name in ("first", "second"):
        await space.submit(execution(name, queue=queue))
    await page.goto(f"/#queue={queue}")
    running = page.locator("#running li")
    await expect(running).to_have_count(1)
    await expect(running.get_by_role("img")).to_have_attribute(
        "aria-label", "0 of 3 tests have ended, running: login, cart"
    )
    await expect(running.locator(".elapsed")).to_have_text(re.compile(r"^\d+ s$"))
    line = page.locator("#line li")
    await expect(line).to_have_count(2)
    await expect(line.nth(0)).to_contain_text("first")
    await expect(line.nth(1).locator(".position")).to_have_text("2")
    await space.api.delete(f"{QUEUES}/{queue}")


async def test_a_long_line_hides_no_other_and_a_phone_tells_why_too(
    page: Page, space: Space
) -> None:
    long = await make_queue(space, "a-long-line", stopPolicy="Hold")
    short = await make_queue(space, "short-line", stopPolicy="Hold")
    for i in range(13):
        await space.submit(execution(f"long-{i}", queue=long))
    await space.submit(execution("short", queue=short))
    await page.set_viewport_size({"width": 390, "height": 844})
    await page.goto(f"/#namespace={space.name}")
    line = page.locator("#line")
    await expect(line.locator(".group")).to_have_text([f"{long} 13", f"{short} 1"])
    await expect(line.get_by_role("link", name="short")).to_be_visible()
    await expect(line.get_by_text("QueueHeld").first).to_be_visible()
    await expect(line.get_by_role("link", name="long-12")).to_have_count(0)
    await line.get_by_role("button", name="Show all 14").click()
    await expect(line.get_by_role("link", name="long-12")).to_be_visible()
    for queue in (long, short):
        await space.api.delete(f"{QUEUES}/{queue}")


async def test_a_line_that_is_cut_says_so(page: Page, space: Space) -> None:
    queue = await make_queue(space, "cut", stopPolicy="Hold", queuedCapacity=300)
    await asyncio.gather(*(space.submit(execution(f"e-{i}", queue=queue)) for i in range(200)))
    await page.goto(f"/#queue={queue}")
    count, line = page.locator("#line-count"), page.locator("#line")
    await expect(count).to_have_text("200", timeout=30_000)
    await expect(line.get_by_role("button")).to_have_text("Show all 200")
    await asyncio.gather(*(space.submit(execution(f"f-{i}", queue=queue)) for i in range(5)))
    await Card(page, queue).shows("0/5", "205/300")
    await expect(count).to_have_text("200+")
    await expect(line.get_by_role("button")).to_have_text("Show the first 200")
    # Nobody can tell from the first ones that no other namespace has one further back.
    await page.goto(f"/#queue={queue}&namespace=elsewhere")
    await expect(count).to_have_text("0+")
    await expect(line).to_have_text("None among the first 200.")
    await space.api.delete(f"{QUEUES}/{queue}")


async def test_it_is_filtered_by_queue_and_namespace_and_the_address_says_so(
    page: Page, space: Space
) -> None:
    queue = await make_queue(space, "chosen")
    await space.submit(execution("here", queue=queue, runs_for="never"))
    await space.submit(execution("there", runs_for="never"))
    await page.goto("/")
    rows = page.locator("#running li")
    await expect(rows).to_have_count(2)
    await page.get_by_label("Queue", exact=True).select_option(queue)
    await expect(rows).to_have_count(1)
    await expect(page).to_have_url(re.compile(f"#queue={queue}$"))
    await expect(page.locator(".queue")).to_have_count(1)
    await page.get_by_label("Queue", exact=True).select_option("")
    await page.get_by_label("Namespace", exact=True).select_option(space.name)
    await expect(rows).to_have_count(2)
    await page.reload()
    await expect(page.get_by_label("Namespace", exact=True)).to_have_value(space.name)
    await space.api.delete(f"{QUEUES}/{queue}")


async def test_with_a_keyboard_one_execution_is_found_and_left(page: Page, space: Space) -> None:
    notes = {"stage.kindless/exit-code": "1", "stage.kindless/message": "no such <b>button</b>"}
    await space.submit(execution("broken", annotations=notes))
    await page.goto(f"/#namespace={space.name}")
    link = page.locator("#results").get_by_role("link", name="broken")
    await expect(link).to_be_visible()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_be_focused()
    await page.keyboard.press("Tab")
    await expect(link).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1, name="broken")).to_be_visible()
    await expect(page).to_have_title("broken · supercheck")
    row = page.get_by_role("row", name=re.compile("^t "))
    await expect(row).to_contain_text("Failed")
    await expect(row).to_contain_text("no such <b>button</b>")
    await expect(page.locator("#detail b")).to_have_count(0)
    await expect(page.locator("main")).to_be_focused()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="All executions")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Running")).to_be_visible()


async def test_the_way_to_the_content_leaves_the_address_as_it_is(page: Page, space: Space) -> None:
    await space.submit(execution("here", runs_for="never"))
    row = page.locator("#running").get_by_role("link", name="here")
    title = page.get_by_role("heading", level=1, name="here")
    for address, shown in (
        (f"/#namespace={space.name}", row), (f"/#execution={space.name}/here", title),
    ):  # fmt: skip
        await page.goto(address)
        await expect(shown).to_be_visible()
        await page.get_by_role("link", name="Skip to the content").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("main")).to_be_focused()
        await expect(page).to_have_url(address)
        await expect(shown).to_be_visible()


async def test_of_what_is_over_the_message_stays_selected_and_nothing_is_asked_again(
    page: Page, space: Space
) -> None:
    notes = {"stage.kindless/exit-code": "1", "stage.kindless/message": "no such button"}
    await space.submit(execution("over", annotations=notes))
    await until(space, "over", "Failed")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    await page.goto(f"/#execution={space.name}/over")
    why = page.get_by_role("cell", name=re.compile("no such button"))
    await why.click(click_count=3)
    path = f"/api/executions/{space.name}/over"
    before = asked.count(path)
    await asyncio.sleep(2.5)
    assert "no such button" in await _selected(page)
    assert asked.count(path) == before
    # Left and opened again, it is there again.
    await page.get_by_role("link", name="All executions").click()
    await page.locator("#results").get_by_role("link", name="over").click()
    await expect(why).to_be_visible()


async def test_of_what_runs_only_the_times_are_drawn_anew(page: Page, space: Space) -> None:
    await space.submit(execution("runs", runs_for="never"))
    await until(space, "runs", "Running")
    await page.goto(f"/#execution={space.name}/runs")
    lasts = page.locator("#detail dl div", has_text="Running for").locator("dd")
    took = page.get_by_role("row", name=re.compile("^t ")).locator("[data-head=Took]")
    pod = page.locator("#detail code")
    await expect(took).to_have_text(re.compile("^[2-9] s$"))
    await pod.click(click_count=3)
    for told in (lasts, took):
        before = await told.text_content()
        assert before
        await expect(told).not_to_have_text(before)
    assert (await pod.text_content() or "?") in await _selected(page)
    await end(space, "runs")
    await expect(page.locator("#detail .head")).to_contain_text("Passed")


async def _selected(page: Page) -> str:
    text: str = await page.evaluate("getSelection().toString()")
    return text


async def test_focus_survives_every_message(page: Page, space: Space) -> None:
    await space.submit(execution("stays", runs_for="never"))
    await page.goto("/")
    link = page.locator("#running").get_by_role("link", name="stays")
    await link.focus()
    for i in range(3):
        await space.submit(execution(f"comes-{i}", runs_for="never"))
        await expect(page.locator("#running li")).to_have_count(i + 2)
        await expect(link).to_be_focused()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("phone", [False, True])
async def test_axe_finds_nothing_light_or_dark_on_a_desk_or_a_phone(
    page: Page, space: Space, *, dark: bool, phone: bool
) -> None:
    if phone:
        await page.set_viewport_size({"width": 390, "height": 844})
    await page.emulate_media(color_scheme="dark" if dark else "light")
    await space.submit(execution("runs", tests=named("a", "b", "c"), runs_for="never"))
    bad = {"stage.kindless/exit-code": "1", "stage.kindless/message": "expected 200, got 500"}
    await space.submit(execution("failed", annotations=bad))
    await page.goto("/")
    await expect(page.locator("#results").get_by_role("link", name="failed")).to_be_visible()
    background: str = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in re.findall(r"\d+", background)[:3]) / 3
    assert (brightness < 64) is dark
    await _is_fine(page)
    for name in ("runs", "failed"):
        await page.goto(f"/#execution={space.name}/{name}")
        await expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()
        await expect(page.get_by_role("table")).to_be_visible()
        await _is_fine(page)

    async def login(route: Route) -> None:
        await route.fulfill(body=LOGIN.read_text(), content_type="text/html")

    await page.route("**/login", login)
    await page.goto("/login")
    await expect(page.get_by_label("Token")).to_be_focused()
    await _is_fine(page)


async def _is_fine(page: Page) -> None:
    """axe finds nothing, and nothing is wider than the screen."""
    assert await violations(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
