"""Pictures of the page for the README: `make screenshots`, after a day of 5,000 people."""

import asyncio
import tempfile
from pathlib import Path

from tests.browser.conftest import Town, Visitor, opened
from tests.journeys.test_stack import play

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
RESIDENTS = "5000"


async def take(town: Town, name: str, path: str, **screen: object) -> None:
    """Take one picture, once the page has heard how old its figures are."""
    visitor: Visitor = await town.signed_in(**screen)  # type: ignore[arg-type]
    await visitor.page.goto(visitor.origin + path)
    await visitor.page.wait_for_function("/^[0-9]/.test(document.getElementById('age').innerText)")
    await visitor.page.screenshot(path=PICTURES / f"{name}.png")
    print(PICTURES / f"{name}.png")  # noqa: T201 - says what it did


async def main() -> None:
    """Take them all."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        async with opened(Path(folder)) as town:
            await play(town.up, RESIDENTS)
            office = (await town.dashboard.get("/v1/coverage?by=office"))["rows"][0]["code"]
            await take(town, "district", "/")
            await take(town, "office", f"/office/{office}", locale="zh-CN", dark=True)
            await take(town, "map", "/map/communities")
            await take(town, "wall", "/?wall=1", locale="zh-CN", width=1920)
            await take(town, "ledger", "/ledger")
            async with town.aside():
                await take(town, "operations", "/operations", role="admin")
            await take(town, "phone", "/", locale="zh-CN", width=390)


if __name__ == "__main__":
    asyncio.run(main())
