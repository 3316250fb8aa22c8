"""The page as people meet it: in a browser, over a real stack."""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import pytest
from playwright.async_api import Route, expect

from tests.browser.conftest import Town, Visitor
from tests.journeys.test_stack import play
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECONDS = 60.0
POLL_AFTER = 16_000
"""Milliseconds after which a page that hears nothing has asked."""
COLUMNS = ("roll", "sampled", "excluded", "in_hand", "visits_open")


async def shows_what_the_api_says(town: Town, visitor: Visitor) -> bool:
    """Compare every row of the page with `GET /v1/coverage`."""
    told = await town.dashboard.get("/v1/coverage?by=office")
    for line in (*told["rows"], {**told["total"], "code": None}):
        row = f"row-{line['code']}" if line["code"] else "total"
        unaccounted, _, *others = await visitor.figures(row)
        if [unaccounted, *others] != [f"{line[name]:,}" for name in ("unaccounted", *COLUMNS)]:
            return False
    return True


def content(visitor: Visitor) -> None:
    """Nothing was complained of, and nothing asked of anybody else."""
    assert visitor.complaints == []
    assert visitor.elsewhere == []


def comparing(town: Town, visitor: Visitor) -> Callable[[], Awaitable[bool]]:
    return lambda: shows_what_the_api_says(town, visitor)


async def test_figures_move_while_a_day_is_played(town: Town) -> None:
    visitor = await town.signed_in()
    await eventually(comparing(town, visitor), SECONDS)
    before = await visitor.page.inner_text("h1")
    # Whoever leaves the page open is led to the next round, and sees it fill up.
    day = asyncio.create_task(play(town.up))
    await expect(visitor.page.locator("h1")).not_to_have_text(before, timeout=SECONDS * 1000)
    sampled = visitor.page.locator("#total td.sampled")
    await expect(sampled).not_to_have_text("0", timeout=SECONDS * 1000)
    await day
    await eventually(comparing(town, visitor), SECONDS)
    await expect(visitor.page.locator("#age")).to_contain_text("s ago")
    content(visitor)


async def test_what_changes_comes_without_asking(town: Town) -> None:
    visitor = await town.signed_in()
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url))
    for _ in range(2):
        then = await visitor.page.get_attribute("#view", "data-as-of")
        await visitor.page.wait_for_function(
            "(then) => document.getElementById('view').dataset.asOf !== then", arg=then
        )
    assert all("/v1/stream" in url for url in asked)
    content(visitor)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
async def test_nothing_hinders_anybody(town: Town, locale: str, *, dark: bool) -> None:
    stranger = await town.visitor(locale=locale, dark=dark)
    await stranger.page.goto(stranger.origin)
    assert "/sign-in" in stranger.page.url
    assert await stranger.hindered() == []
    visitor = await town.signed_in(role="admin", locale=locale, dark=dark)
    assert await visitor.hindered() == []
    await visitor.page.click("tbody th a")
    await visitor.page.wait_for_url("**/office/**")
    assert await visitor.hindered() == []
    await visitor.page.click("nav a[href^='/ledger']")
    await visitor.page.wait_for_selector("#verdict")
    assert await visitor.hindered() == []
    async with town.aside() as number:
        await visitor.page.click("nav a[href^='/operations']")
        await visitor.page.wait_for_selector("#parked tbody tr")
        assert await visitor.hindered() == []
        for action in ("", "/redrive", "/discard"):
            letter = f"{visitor.origin}/operations/parked/reporting/{number}{action}"
            await visitor.page.goto(letter)
            assert await visitor.hindered() == []
    content(visitor)


async def test_an_event_that_was_set_aside_is_mended_from_the_page(town: Town) -> None:
    admin, district, office = [
        await town.signed_in(role=role) for role in ("admin", "district", "office")
    ]
    for visitor in (admin, district):
        await visitor.page.click("nav a[href^='/operations']")
        await expect(visitor.page.locator("#parked")).to_contain_text("Nothing is set aside")
    async with town.aside():
        # Whoever has it open sees it come; who may not decide sees nothing to press.
        for visitor, buttons in ((admin, 3), (district, 0)):
            rows = visitor.page.locator("#parked tbody tr")
            await expect(rows).to_have_count(1, timeout=SECONDS * 1000)
            await expect(rows.locator("a.button")).to_have_count(buttons)
        shown = await admin.page.locator("#parked a.button").first.get_attribute("href")
        assert await office.page.locator("nav a[href^='/operations']").count() == 0
        for visitor, path in ((district, shown), (office, shown), (office, "/operations")):
            answer = await visitor.page.goto(visitor.origin + (path or ""))
            assert answer is not None
            assert answer.status == HTTPStatus.FORBIDDEN
            await expect(visitor.page.get_by_role("alert")).to_contain_text("gives no right")

        page = admin.page
        await page.get_by_role("link", name="Show and mend").click()
        await page.get_by_label("Correct data").fill('{"round": 4}')
        await page.get_by_label("Reason", exact=True).fill("as the producer meant it")
        await page.get_by_role("button", name="Save the mended data").click()
        await expect(page.get_by_role("alert")).to_contain_text("round")
        assert await admin.hindered() == []
        await page.get_by_label("Correct data").fill('{"round": "none", "communities": {}}')
        await page.get_by_role("button", name="Save the mended data").click()
        await expect(page.get_by_text("it can be applied now")).to_be_visible()
        await page.get_by_role("button", name="Yes, re-drive it").click()
        await expect(page.locator("#parked")).to_contain_text("Nothing is set aside")
    refused = "the server responded with a status of 422"
    assert [said for said in admin.complaints if refused not in said] == []


async def test_the_ledger_says_what_the_api_says(town: Town) -> None:
    visitor = await town.signed_in()
    page = visitor.page
    await page.click("nav a[href^='/ledger']")
    await expect(page.locator("nav [aria-current=page]")).to_have_text("Ledger")
    # The worker proves it anew every few seconds, and it is shown without asking.
    await expect(page.locator("#verdict .word")).to_have_text("Balanced", timeout=SECONDS * 1000)
    told = await town.dashboard.get("/v1/ledger")
    assert told["balanced"] is True
    total = page.locator("#account .total tr")
    for row in (0, 1):
        figures = total.nth(row).locator("td:not(.agreement)")
        for column, name in enumerate(("roll", "sampled", "excluded")):
            account = f"{told['account'][name]:,}"
            # What is shown is the last proof, which may be of a moment before.
            await expect(figures.nth(column)).to_have_text(account, timeout=SECONDS * 1000)
        await expect(figures.last).to_have_text("0")
    await page.click("#cut summary")
    then = await page.get_attribute("#view", "data-as-of")
    await page.wait_for_function(
        "(then) => document.getElementById('view').dataset.asOf !== then", arg=then
    )
    # It stays open when it is renewed.
    assert await page.locator("#cut tbody tr").count() == len(told["cut"]["registry.roll.v1"])
    await expect(page.locator("#cut tbody tr").first).to_be_visible()
    content(visitor)


async def test_where_no_event_comes_through_the_page_asks_and_keeps_its_place(town: Town) -> None:
    """A proxy holds back what has no end: one event at a time comes through."""
    visitor = await town.visitor()
    page = visitor.page

    async def held_back(route: Route) -> None:
        await (route.continue_() if "limit=1" in route.request.url else route.abort())

    await page.route("**/v1/stream*", held_back)
    await page.clock.install()
    await page.goto(await town.link())
    await page.wait_for_selector("#view")
    await page.evaluate("document.body.dataset.here = 'still'")
    await page.click("thead button[data-sort='4']")
    for _ in range(2):
        then = await page.get_attribute("#view", "data-as-of")
        await page.clock.run_for(POLL_AFTER)
        await page.wait_for_function(
            "(then) => document.getElementById('view').dataset.asOf !== then", arg=then
        )
    assert await page.evaluate("document.body.dataset.here") == "still"
    assert await page.get_attribute("thead th:has(button[data-sort='4'])", "aria-sort") == (
        "descending"
    )
    await expect(page.locator("#lost")).to_be_empty()
    assert visitor.elsewhere == []


async def test_everybody_looks_at_offices_without_signing_in(town: Town) -> None:
    for locale, dark, width in (("en-GB", False, 1280), ("zh-CN", True, 390)):
        visitor = await town.visitor(locale=locale, dark=dark, width=width)

        async def published(visitor: Visitor = visitor) -> bool:
            answer = await visitor.page.goto(f"{visitor.origin}/public")
            return answer is not None and answer.ok

        await eventually(published, SECONDS)
        assert await visitor.page.context.cookies() == []
        assert await visitor.hindered() == []
        assert await visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        told = await town.dashboard.get("/v1/coverage?by=office")
        shown = await visitor.page.locator(".account tbody tr").count()
        assert shown == len([line for line in told["rows"] if line["roll"]])
        content(visitor)


async def test_one_goes_down_to_an_office_sorts_and_comes_back(town: Town) -> None:
    visitor = await town.signed_in()
    page = visitor.page
    offices = await page.locator("tbody th").all_inner_texts()
    await page.click("tbody th a")
    await expect(page.locator("h1")).to_contain_text(offices[0])
    await page.click("thead button[data-sort='4']")
    rolls = [int(n.replace(",", "")) for n in await page.locator("td.roll").all_inner_texts()][:-1]
    assert rolls == sorted(rolls, reverse=True)
    await page.click("thead button[data-sort='4']")
    assert await page.get_attribute("thead th:has(button[data-sort='4'])", "aria-sort") == (
        "ascending"
    )
    await page.go_back()
    assert await page.locator("tbody th").all_inner_texts() == offices
    content(visitor)


async def test_language_and_light_are_switched_and_kept(town: Town) -> None:
    visitor = await town.signed_in()
    page = visitor.page
    await page.get_by_role("link", name="中文").click()
    await expect(page.locator("#headline")).to_contain_text("未落实")
    await page.goto(visitor.origin)
    await expect(page.locator("#headline")).to_contain_text("未落实")
    colour = "getComputedStyle(document.body).backgroundColor"
    light = await page.evaluate(colour)
    await page.click("#theme")
    dark = await page.evaluate(colour)
    assert dark != light
    await page.reload()
    assert await page.evaluate(colour) == dark
    content(visitor)


@pytest.mark.parametrize("path", ["/", "/?wall=1", "/ledger", "/operations"])
@pytest.mark.parametrize("width", [390, 1920])
async def test_it_fits_a_phone_and_a_wall(town: Town, path: str, width: int) -> None:
    visitor = await town.signed_in(width=width)
    await visitor.page.goto(visitor.origin + path)
    assert await visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    content(visitor)


async def test_a_link_is_good_once_and_an_office_sees_its_own(town: Town) -> None:
    office = (await town.dashboard.get("/v1/coverage?by=office"))["rows"][0]
    link = await town.link("office", office["code"])
    first, second = await town.visitor(), await town.visitor()
    await first.page.goto(link)
    await first.page.wait_for_selector("#view")
    assert await first.page.locator(".account tbody tr").count() == 1
    await second.page.goto(link)
    await expect(second.page.get_by_role("alert")).to_contain_text("used before")
    await first.page.get_by_role("button", name="Sign out").click()
    await first.page.goto(first.origin)
    assert "/sign-in" in first.page.url
    content(first)
