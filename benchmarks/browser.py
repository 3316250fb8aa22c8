"""Chromium, which looks at the page as people do."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from playwright.async_api import Browser, Page, async_playwright

from services.reporting.api.page.serving import COOKIE

_TIMES = """() => {
  const loaded = performance.getEntriesByType("navigation")[0].loadEventEnd;
  const painted = performance.getEntriesByName("first-contentful-paint")[0].startTime;
  return [painted / 1000, loaded / 1000];
}"""
_ICON = "() => fetch(document.querySelector('link[rel=icon]').href).then((file) => file.text())"
_WATCH = """() => {
  window.seen = [];
  const note = () => {
    const total = document.querySelector("#total td.sampled").textContent;
    window.seen.push([Date.now() / 1000, Number(total.replaceAll(",", ""))]);
  };
  const changed = new MutationObserver(() => requestAnimationFrame(note));
  changed.observe(document.getElementById("view"), { childList: true, subtree: true });
}"""


@dataclass(frozen=True)
class FirstView:
    """What it takes somebody with nothing in their cache to see a page: seconds and bytes."""

    painted: float
    """Until there was something to read."""
    loaded: float
    """Until everything was there: rows sorted by our script, styles, all of the document."""
    size: int
    """As it came over the wire, with headers: document, styles, script and icon."""


def installed() -> bool:
    """Whether there is a Chromium."""
    return shutil.which("chromium") is not None


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Start it."""
    async with (
        async_playwright() as playwright,
        # Whoever is root in a container has no sandbox to offer; nothing foreign is loaded.
        await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        ) as browser,
    ):
        yield browser


async def first_view(browser: Browser, origin: str, path: str, token: str) -> FirstView:
    """Open a page in a browser of one's own, and close it again."""
    page, view = await opened(browser, origin, path, token)
    await page.context.close()
    return view


async def opened(browser: Browser, origin: str, path: str, token: str) -> tuple[Page, FirstView]:
    """Open a page in a browser of one's own that holds nothing but the cookie."""
    context = await browser.new_context()
    await context.add_cookies([{"name": COOKIE, "value": token, "url": origin}])
    page = await context.new_page()
    wire = await context.new_cdp_session(page)
    came: list[int] = []

    def finished(told: dict[str, Any]) -> None:
        came.append(int(told["encodedDataLength"]))

    wire.on("Network.loadingFinished", finished)
    await wire.send("Network.enable")
    await page.goto(origin + path)
    await page.wait_for_selector("#view")
    painted, loaded = await page.evaluate(_TIMES)
    # A browser without a window asks for no icon.
    await page.evaluate(_ICON)
    return page, FirstView(painted, loaded, sum(came))


async def watch(page: Page) -> None:
    """Note from now on what the page shows as sampled, whenever it is drawn."""
    await page.evaluate(_WATCH)


async def seen(page: Page) -> list[tuple[float, int]]:
    """Tell what it showed, and when."""
    return [(at, n) for at, n in await page.evaluate("window.seen")]
