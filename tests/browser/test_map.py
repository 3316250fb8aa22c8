"""The map as people meet it: in a browser, over a real stack."""

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Town, Visitor
from tests.browser.test_page import content

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def at_the_map(town: Town, path: str = "/map", **screen: object) -> Visitor:
    """Open the map."""
    visitor = await town.signed_in(**screen)  # type: ignore[arg-type]
    await visitor.page.goto(visitor.origin + path)
    await visitor.page.wait_for_selector("figure.map svg")
    return visitor


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(("locale", "path"), [("en-GB", "/map"), ("zh-CN", "/map/communities")])
async def test_the_map_hinders_nobody(town: Town, locale: str, path: str, *, dark: bool) -> None:
    visitor = await at_the_map(town, path, locale=locale, dark=dark)
    assert await visitor.hindered() == []
    content(visitor)


@pytest.mark.parametrize("width", [390, 1920])
@pytest.mark.parametrize("path", ["/map", "/map?wall=1"])
async def test_the_map_fits_a_phone_and_a_wall(town: Town, path: str, width: int) -> None:
    visitor = await at_the_map(town, path, width=width)
    assert await visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    content(visitor)


async def test_every_office_is_drawn_and_written_and_leads_to_its_page(town: Town) -> None:
    visitor = await at_the_map(town)
    page = visitor.page
    told = (await town.dashboard.get("/v1/coverage?by=office"))["rows"]
    assert await page.locator(".area").count() == len(told)
    assert await page.locator(".account tbody tr").count() == len(told)
    painted = "e => getComputedStyle(e).fill"
    for line in told:
        area = page.locator(f"#shape-{line['code']}")
        link = area.get_by_role("link", name=line["name"])
        await expect(link).to_have_attribute("href", f"/office/{line['code']}?lang=en")
        assert await area.locator("use").evaluate(painted) != "rgb(0, 0, 0)"
        assert (await visitor.figures(f"row-{line['code']}"))[0] == f"{line['unaccounted']:,}"
    # By mouse; what is drawn is there to be pressed.
    await page.locator(".area use").first.click()
    await page.wait_for_url("**/office/**")
    await page.get_by_role("link", name="Map of this office").click()
    await page.wait_for_url("**/map/4*")
    assert await page.locator(".area").count() > 1
    content(visitor)


async def test_the_map_is_repainted_where_it_stands(town: Town) -> None:
    """An area that comes by the stream is drawn as the one it replaces; so is where somebody is."""
    visitor = await at_the_map(town)
    page = visitor.page
    shape = page.locator(".area").first
    name = await shape.get_attribute("id")
    await shape.locator("a").focus()
    before = await shape.bounding_box()
    await page.evaluate(
        """(name) => {
          const part = document.getElementById(name).outerHTML;
          place(name, part.replace(/area [a-z0-9-]+/, "area zero"));
        }""",
        name,
    )
    await expect(shape).to_have_class("area zero")
    assert await shape.bounding_box() == before
    assert await page.evaluate("document.activeElement.closest('g').id") == name
    content(visitor)


async def test_rows_of_the_map_are_sorted(town: Town) -> None:
    visitor = await at_the_map(town)
    await visitor.page.click("thead button[data-sort='2']")
    shares = await visitor.page.locator("tbody td.left").all_inner_texts()
    values = [float(share.rstrip("%")) for share in shares]
    assert values == sorted(values, reverse=True)
    content(visitor)
