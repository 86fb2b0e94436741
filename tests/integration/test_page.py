"""The live page in a real browser, while executions run."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, expect

from harness.api import Space, execution
from harness.browser import chromium, violations
from harness.process import Operator
from harness.steps import QUEUES, make_queue, named

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
