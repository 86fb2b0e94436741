"""Debian's Chromium, driven by Playwright, which would bring browsers of its own."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Browser, Page, async_playwright

from kindless import packages


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Installed if it is missing; that it cannot be is an error in one sentence."""
    packages.ensure(["chromium"], "the tests of the page")
    async with async_playwright() as playwright:
        # Root has no sandbox; every page here is our own.
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield browser
        await browser.close()


async def violations(page: Page) -> list[str]:
    """What axe finds, with the elements concerned."""
    found = await Axe().run(page)
    return [
        f"{each['id']}: {[node['target'] for node in each['nodes']]}"
        for each in found.response["violations"]
    ]
