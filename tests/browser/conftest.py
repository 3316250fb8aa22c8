"""A real stack with a day behind it, and Debian's Chromium to look at it with."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from shared.contracts.registry import ROLL, RollChanged
from tests.journeys.test_canaries import database
from tests.journeys.test_stack import Dashboard, dashboard, play
from tests.support.stack import Up, lastmetre, outcome, running


@dataclass
class Visitor:
    """Somebody at a screen of their own, and what their browser complained of or asked for."""

    page: Page
    origin: str
    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Note whatever should not be."""
        self.page.on("console", lambda said: self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda asked: self._asked(asked.url))

    def _asked(self, url: str) -> None:
        if not url.startswith(self.origin):
            self.elsewhere.append(url)

    async def hindered(self) -> list[str]:
        """List what axe finds that keeps people from using the page as it is now."""
        found = await Axe().run(self.page)
        return [f"{each['id']}: {each['help']}" for each in found.response["violations"]]

    async def figures(self, row: str) -> list[str]:
        """Read the figures of a row of the table."""
        return await self.page.locator(f"#{row} td:not(.bar-cell)").all_inner_texts()


@dataclass
class Town:
    """The stack, and who looks at it."""

    up: Up
    dashboard: Dashboard
    browser: Browser

    async def link(self, role: str = "district", area: str = "41") -> str:
        """A link that signs in once, as the command prints it."""
        status, said = await outcome(
            await lastmetre(self.up.state, "page", "--role", role, "--area", area)
        )
        assert status == 0, said
        return said.strip()

    @asynccontextmanager
    async def aside(self, data: bytes = b'{"round": 3}') -> AsyncIterator[int]:
        """Set an event aside in reporting that cannot be read; it is gone afterwards."""
        async with database(self.up, "reporting") as connection:
            parked_id: int = await connection.fetchval(
                "INSERT INTO parked (consumer, topic, partition, pos, event_id, incarnation, type,"
                " recorded_at, data, reason, kind, parked_at)"
                " SELECT consumer, topic, partition, 1000000000, id, incarnation, $1, now(), $2,"
                " $3, 'unreadable', now() FROM applied WHERE topic = $4 AND partition = 7"
                " RETURNING id",
                RollChanged.type, data, f"unreadable {RollChanged.type}: ValidationError", ROLL,
            )  # fmt: skip
            try:
                yield parked_id
            finally:
                await connection.execute("DELETE FROM parked WHERE id = $1", parked_id)

    async def visitor(
        self, *, locale: str = "en-GB", width: int = 1280, dark: bool = False
    ) -> Visitor:
        """Open a browser of one's own; nobody has signed in yet."""
        context: BrowserContext = await self.browser.new_context(
            locale=locale,
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
        )
        visitor = Visitor(await context.new_page(), self.up.note["addresses"]["reporting"])
        visitor.watch()
        return visitor

    async def signed_in(
        self, *, role: str = "district", area: str = "41", locale: str = "en-GB",
        width: int = 1280, dark: bool = False,
    ) -> Visitor:  # fmt: skip
        """Open the page by a link."""
        visitor = await self.visitor(locale=locale, width=width, dark=dark)
        await visitor.page.goto(await self.link(role, area))
        await visitor.page.wait_for_selector("#view")
        return visitor


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """A town with one day played."""
    if shutil.which("chromium") is None:
        pytest.exit("there is no chromium on the PATH: install Debian's", returncode=1)
    async with opened(tmp_path_factory.mktemp("town")) as town:
        await play(town.up)
        yield town


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Town]:
    """Start a stack and a browser; everybody may look."""
    os.environ |= {
        "LASTMETRE_REPORTING_PUBLIC": "true",
        "LASTMETRE_REPORTING_PUBLIC_MINUTES": "0.1",
    }
    async with (
        running(folder / "state", folder / "data") as up,
        async_playwright() as playwright,
        # Whoever is root in a container has no sandbox to offer; nothing foreign is loaded.
        await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        ) as browser,
    ):
        yield Town(up, await dashboard(up), browser)
