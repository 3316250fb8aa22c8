"""Somebody looks at the map: areas where they lie to each other, and who is left in them."""

import re
from collections.abc import Iterator
from http import HTTPStatus
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.reporting.api.page.rendering import static
from services.reporting.api.page.views import Views
from services.reporting.api.page.views.question import Question
from services.reporting.api.page.words import SPEECH
from services.reporting.domain.coverage import Line
from services.reporting.domain.maps import HEIGHT, MARGIN, STEPS, WIDTH, draw, radius, step
from services.reporting.flow import rebuild
from shared.auth import Caller
from shared.contracts.geometry import Geometry, MultiPolygon, Point, Polygon
from shared.contracts.registry import Area, AreasChanged, RollChanged, Standing
from tests.reporting.conftest import CHAOHE, FIRST, QIANCHENG, SECOND, THIRD, Desk
from tests.reporting.producers import change
from tests.reporting.test_page import SIZES, figures, look, sign_in
from tests.support.geometries import geometries

UNTESTED, SAMPLED = Standing(), Standing(klass="sampled", channel="site")


def block(west: float, south: float, size: float = 0.1) -> Polygon:
    """A square block of land."""
    east, north = west + size, south + size
    ring = ((west, south), (east, south), (east, north), (west, north), (west, south))
    return Polygon((ring,))


WEST, EAST = block(113.6, 34.7), block(113.7, 34.7)


async def place(desk: Desk, **placed: Geometry | None) -> None:
    """Tell where areas are: `_CODE=geometry`."""
    kinds = {9: "office", 12: "community"}
    told = [
        Area(code, f"名{code}", kinds[len(code)], geometry=geometry)  # type: ignore[arg-type]
        for code, geometry in ((name.removeprefix("_"), each) for name, each in placed.items())
    ]
    desk.world.registry.announce(AreasChanged(told), "410171")
    await desk.wiring.consumer.catch_up()


def shapes(page: str) -> dict[str, str]:
    """Read the class of each area that is drawn."""
    return dict(re.findall(r'<g id="shape-(\d+)" class="area ([a-z0-9-]+)"', page))


def path_of(page: str, code: str) -> str:
    """Read the borders of an area."""
    found = re.search(rf'<path id="border-{code}" d="([^"]+)"', page)
    assert found, page
    return found[1]


async def test_offices_are_drawn_coloured_and_lead_to_their_page(desk: Desk) -> None:
    round_id = await desk.open_round(SIZES)
    await place(desk, **{f"_{QIANCHENG}": WEST, f"_{CHAOHE}": EAST})
    sampled = [change(UNTESTED, SAMPLED) for _ in range(490)]
    desk.world.registry.announce(RollChanged(round_id, {FIRST: sampled}), FIRST)
    await desk.wiring.consumer.catch_up()
    await sign_in(desk, "district")
    page = await look(desk, "/map")
    assert shapes(page) == {QIANCHENG: "step-2", CHAOHE: "step-5"}
    assert (
        f'<a href="/office/{QIANCHENG}?lang=en" aria-label="名{QIANCHENG}: 10 unaccounted' in page
    )
    assert figures(page, f"row-{QIANCHENG}") == ["10", "2.00%", "500", "490", "0"]
    assert "Not on the map" not in re.sub(r'<p id="unplaced" hidden>.*?</p>', "", page)
    # Side by side: the same height, one beginning where the other ends.
    west, east = path_of(page, QIANCHENG), path_of(page, CHAOHE)
    assert west.split("l")[1] == east.split("l")[1]


async def test_the_map_says_what_the_api_says(desk: Desk) -> None:
    await desk.open_round(SIZES)
    await place(desk, **{f"_{QIANCHENG}": WEST})
    await sign_in(desk, "district")
    page = await look(desk, "/map")
    told = (await desk.get("/v1/coverage", by="office")).json()
    for line in told["rows"]:
        shown = figures(page, f"row-{line['code']}")
        assert shown[0] == str(line["unaccounted"])
        assert shown[2:] == [str(line[n]) for n in ("roll", "sampled", "in_hand")]
    assert figures(page, "total")[0] == str(told["total"]["unaccounted"])


async def test_an_area_that_is_nowhere_is_listed_and_not_dropped(desk: Desk) -> None:
    await desk.open_round(SIZES | {f"{QIANCHENG}000": 7})
    await sign_in(desk, "district")
    assert "Nobody has told where areas are yet" in await look(desk, "/map")
    await place(desk, **{f"_{FIRST}": WEST})
    page = await look(desk, "/map/communities")
    assert shapes(page).keys() == {FIRST}
    unplaced = page.split('<p id="unplaced">')[1].split("</p>")[0]
    assert "蝶湖社区 (200)" in unplaced
    assert "Unassigned (7)" in unplaced
    for code in (FIRST, SECOND, THIRD, f"{QIANCHENG}000"):
        assert figures(page, f"row-{code}")


async def test_one_office_is_drawn_by_its_communities(desk: Desk) -> None:
    await desk.open_round(SIZES)
    point = Point((113.75, 34.75))
    placed: dict[str, Geometry] = {f"_{FIRST}": WEST, f"_{SECOND}": point, f"_{THIRD}": EAST}
    await place(desk, **placed)
    await sign_in(desk, "district")
    page = await look(desk, f"/map/{QIANCHENG}")
    assert shapes(page).keys() == {FIRST, SECOND}
    assert "<circle" in page.split(f'id="shape-{SECOND}"')[1].split("</g>")[0]
    assert f'href="/office/{QIANCHENG}?lang=en"' in page
    assert f'href="/map/{QIANCHENG}?lang=en"' in await look(desk, f"/office/{QIANCHENG}")


async def test_nobody_sees_more_of_the_map_than_their_token_allows(desk: Desk) -> None:
    await desk.open_round(SIZES)
    await place(desk, **{f"_{QIANCHENG}": WEST, f"_{CHAOHE}": EAST, f"_{FIRST}": WEST})
    await sign_in(desk, "office", areas=(CHAOHE,))
    assert shapes(await look(desk, "/map")).keys() == {CHAOHE}
    assert QIANCHENG not in await look(desk, "/map/communities")
    foreign = await desk.client.get(f"/map/{QIANCHENG}")
    assert foreign.status_code == HTTPStatus.NOT_FOUND


async def test_borders_that_are_told_anew_are_drawn_anew(desk: Desk) -> None:
    await desk.open_round(SIZES)
    await sign_in(desk, "district")
    await place(desk, **{f"_{QIANCHENG}": WEST, f"_{CHAOHE}": EAST})
    before = await look(desk, "/map")
    await place(desk, **{f"_{CHAOHE}": block(113.7, 34.7, 0.2)})
    after = await look(desk, "/map")
    assert path_of(before, QIANCHENG) != path_of(after, QIANCHENG)
    await place(desk, **{f"_{CHAOHE}": None})
    assert shapes(await look(desk, "/map")).keys() == {QIANCHENG}


async def test_a_point_may_come_as_latitude_and_longitude(desk: Desk) -> None:
    await desk.open_round(SIZES)
    area = Area(CHAOHE, "潮河街道", "office", lat=34.7, lon=113.7)
    desk.world.registry.announce(AreasChanged([area]), "410171")
    await desk.wiring.consumer.catch_up()
    await sign_in(desk, "district")
    assert shapes(await look(desk, "/map")) == {CHAOHE: "step-5"}


async def test_a_rebuild_brings_borders_back(desk: Desk) -> None:
    await desk.open_round(SIZES)
    point = Point((113.75, 34.75))
    placed: dict[str, Geometry] = {f"_{QIANCHENG}": WEST, f"_{CHAOHE}": point}
    await place(desk, **placed)
    await sign_in(desk, "district")
    before = await look(desk, "/map")
    async with desk.database.begin() as tx:
        await tx.do("UPDATE area SET geometry = NULL")
    await desk.database.transact(rebuild.begin, Caller("operator", frozenset({"admin"})))
    assert await rebuild.build(desk.database, desk.wiring.builder)
    after = await look(desk, "/map")
    for code in (QIANCHENG, CHAOHE):
        shape = f'id="shape-{code}"'
        assert after.split(shape)[1].split("</g>")[0] == before.split(shape)[1].split("</g>")[0]
    assert path_of(after, QIANCHENG) == path_of(before, QIANCHENG)


async def test_an_area_is_repainted_and_nothing_is_drawn_anew(desk: Desk) -> None:
    """What is sent is the area, its words and its row; not the borders of a city."""
    round_id = await desk.open_round(SIZES)
    await place(desk, **{f"_{QIANCHENG}": WEST, f"_{CHAOHE}": EAST})
    views, question = Views(desk.wiring), Question("map", "en", ("410171",))
    before = await views.look(question)
    sampled = [change(UNTESTED, SAMPLED) for _ in range(SIZES[THIRD])]
    desk.world.registry.announce(RollChanged(round_id, {THIRD: sampled}), THIRD)
    await desk.wiring.consumer.catch_up()
    news = (await views.look(question)).since(before)
    assert news is not None
    assert news["parts"].keys() == {
        "summary", f"shape-{CHAOHE}", f"label-{CHAOHE}", "legend", f"row-{CHAOHE}", "total"
    }  # fmt: skip
    assert 'class="area zero"' in news["parts"][f"shape-{CHAOHE}"]


@pytest.mark.parametrize(
    ("unaccounted", "roll", "expected"),
    [
        (0, 0, "unknown"), (0, 1_000_000, "zero"), (1, 1_000_000, "step-1"), (10, 1000, "step-2"),
        (49, 1000, "step-2"), (50, 1000, "step-3"), (200, 1000, "step-4"), (500, 1000, "step-5"),
        (1000, 1000, "step-5"),
    ],
)  # fmt: skip
def test_an_area_is_of_the_class_its_share_says(unaccounted: int, roll: int, expected: str) -> None:
    assert step(Line("1", "某", 0, roll=roll, unaccounted=unaccounted)) == expected


def test_one_of_a_million_is_not_written_as_nobody() -> None:
    assert SPEECH["en"].left(1, 1_000_000) == "0.01%"
    assert SPEECH["zh"].left(0, 1_000_000) == "0.00%"
    assert SPEECH["zh"].left(29, 10_000) == "0.29%"
    assert SPEECH["en"].left(0, 0) == SPEECH["en"].left(None, 5) == "-"


@given(placed=st.dictionaries(st.text("0123456789", min_size=12), geometries, min_size=1))
def test_whatever_comes_is_drawn_into_the_frame(placed: dict[str, Geometry]) -> None:
    for shape in draw(placed).values():
        for x, y in (*corners(shape.path), (shape.x, shape.y)):
            assert -0.5 <= x <= WIDTH + 0.5
            assert -0.5 <= y <= HEIGHT + 0.5


def corners(path: str) -> Iterator[tuple[float, float]]:
    """Follow the lines of a path, as a browser does."""
    for ring in path.split("M")[1:]:
        start, _, steps = ring.removesuffix("z").partition("l")
        x, y = map(float, start.split())
        yield x, y
        numbers = list(map(float, steps.split()))
        for dx, dy in zip(numbers[::2], numbers[1::2], strict=True):
            x, y = x + dx, y + dy
            yield x, y


def test_north_is_up_and_a_degree_of_longitude_is_shorter_than_one_of_latitude() -> None:
    drawn = draw({"south-west": Point((113, 59.5)), "north-east": Point((114, 60.5))})
    one, other = drawn["south-west"], drawn["north-east"]
    assert one.x < other.x
    assert one.y > other.y
    assert (other.x - one.x) / (one.y - other.y) == pytest.approx(0.5, abs=0.01)


def test_a_name_stands_inside_the_larger_piece_of_land_and_not_in_a_hole() -> None:
    hole = block(0.2, 0.2, 0.6).coordinates[0]
    ring_road = (block(0, 0, 1).coordinates[0], hole)
    island = block(2, 0, 0.1).coordinates
    shape = draw({"1": MultiPolygon((island, ring_road))}, [10, 10_000])["1"]
    room, none = shape.rooms
    assert none is None
    assert room is not None
    # The strip south of the hole, as wide as the land: a degree, of which the map is 2.1 wide.
    degree = (WIDTH - 2 * MARGIN) / 2.1
    assert room.width == pytest.approx(degree, abs=1)
    assert room.x == pytest.approx(MARGIN + degree / 2, abs=1)


def test_circles_grow_with_the_roll_and_have_room() -> None:
    assert radius(400, 400, 10) == 2 * radius(100, 400, 10)
    assert radius(0, 400, 10) == radius(5, 0, 10) > 0
    assert radius(400, 400, 1000) < radius(400, 400, 10)


def colours(theme: str) -> dict[str, tuple[float, float, float]]:
    """Read the colours of the light or the dark page."""
    found: dict[str, str] = {}
    for name in ("page.css", "map.css"):
        css = static(name).decode()
        blocks = re.findall(r"^(:root[^{]*) {([^}]*)}", css, re.MULTILINE)
        for selector, rules in blocks:
            if selector == ":root" or theme in selector:
                found |= re.findall(r"(--[a-z0-9-]+): (#[0-9a-f]{3,6});", rules)
    return {name: _rgb(colour) for name, colour in found.items()}


def _rgb(written: str) -> tuple[float, float, float]:
    digits = written[1:] if len(written) == 7 else "".join(2 * each for each in written[1:])
    red, green, blue = (int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4))
    return red, green, blue


def luminance(colour: tuple[float, float, float]) -> float:
    """As WCAG 2.2 defines it."""
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_borders_words_and_classes_can_be_told_apart_by_lightness_alone(theme: str) -> None:
    colour = colours(theme)
    assert contrast(colour["--border"], colour["--paper"]) >= 3
    classes = [name for name in STEPS if name != "unknown"]
    for name in classes:
        assert contrast(colour[f"--{name}"], colour[f"--{name}-ink"]) >= 4.5, name
    steps = [luminance(colour[f"--step-{n}"]) for n in range(1, 6)]
    assert steps in (sorted(steps), sorted(steps, reverse=True))
    for one, other in pairwise(sorted(steps)):
        assert (other + 0.05) / (one + 0.05) >= 1.25
