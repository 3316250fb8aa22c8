"""`lastmetre import areas`: borders as others draw them become borders as registry takes them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import shapely
from shapely.geometry import mapping, shape

from deploy.local.calls import Api
from deploy.local.geojson import MOST_POSITIONS, Placed, read, send, simplified
from deploy.local.rows import FileError
from services.registry.domain.geometry import MOST_POSITIONS as TAKEN
from shared.contracts.geometry import Geometry, Point, positions

SQUARE = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]
BORDERS = {"type": "Polygon", "coordinates": [SQUARE]}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file of features, each a pair of properties and geometry."""

    def written(*features: tuple[Any, Any]) -> Path:
        file = tmp_path / "areas.geojson"
        told = [
            {"type": "Feature", "properties": properties, "geometry": geometry}
            for properties, geometry in features
        ]
        file.write_text(json.dumps({"type": "FeatureCollection", "features": told}))
        return file

    return written


def wavy(west: float, east: float, corners: int = 3000) -> list[list[float]]:
    """Borders with two straight and two wavy sides, as fine as a survey draws them."""

    def side(lon: float) -> list[list[float]]:
        heights = [34 + number / corners for number in range(corners + 1)]
        return [[lon + 0.001 * ((number * 7919) % 13), lat] for number, lat in enumerate(heights)]

    ring = side(east) + side(west)[::-1]
    return [*ring, ring[0]]


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("410171001001", "410171001001"), ("410171001000", "410171001"),
        ("410171000000", "410171"), (410171, "410171"), ("410100", "4101"), ("4101", "4101"),
        ("410171001", "410171001"), ("410100000000", "4101"),
    ],
)  # fmt: skip
def test_codes_are_read_however_many_zeros_they_end_with(
    write: Write, written: object, code: str
) -> None:
    (placed,) = read(write(({"adcode": written}, BORDERS)), "adcode", None)
    assert placed.code == code


def test_heights_above_the_sea_are_left_out(write: Write) -> None:
    point = {"type": "Point", "coordinates": [113.7, 34.7, 95.5]}
    (placed,) = read(write(({"code": "410171"}, point)), "code", None)
    assert placed.geometry == Point((113.7, 34.7))


@pytest.mark.parametrize(
    ("properties", "geometry", "why"),
    [
        ({"adcode": "410171"}, BORDERS, "feature 2: it has no property code; it has adcode"),
        (None, BORDERS, "feature 2: it has no property code; it has none"),
        ({"code": "41017"}, BORDERS, "feature 2: 41017 is no code"),
        ({"code": "四一"}, BORDERS, "feature 2: 四一 is no code"),
        ({"code": "410171"}, BORDERS, "feature 2: 410171 has been there before"),
        (
            {"code": "410172"},
            {"type": "Polygon", "coordinates": [[[0, 0], [0, 91], [1, 1], [0, 0]]]},
            "feature 2: geometry.coordinates[0][1][1]: Expected float <= 90.0",
        ),
        (
            {"code": "410172"},
            {"type": "LineString", "coordinates": SQUARE},
            "feature 2: geometry.type: is of no known kind",
        ),
        ({"code": "410172"}, "nowhere", "feature 2: geometry.: Expected object, got str"),
    ],
)
def test_a_feature_that_is_no_area_is_named(
    write: Write, properties: Any, geometry: Any, why: str
) -> None:
    file = write(({"code": "410171"}, BORDERS), (properties, geometry))
    with pytest.raises(FileError) as refused:
        read(file, "code", None)
    assert str(refused.value).startswith(why)


@pytest.mark.parametrize("content", ["", "[]", '{"type":"Feature"}', "\\xff"])
def test_what_is_no_collection_is_said_to_be_none(tmp_path: Path, content: str) -> None:
    file = tmp_path / "areas.geojson"
    file.write_text(content)
    with pytest.raises(FileError, match="no GeoJSON FeatureCollection"):
        read(file, "code", None)


def test_neighbours_keep_the_border_they_share(write: Write) -> None:
    west = {"type": "Polygon", "coordinates": [wavy(113, 114)]}
    east = {"type": "MultiPolygon", "coordinates": [[wavy(114, 115)]]}
    file = write(({"code": "410171001"}, west), ({"code": "410171002"}, east))
    made = simplified(read(file, "code", None))
    one, other = (shape(msgspec.to_builtins(each.geometry)) for each in made)
    for each in made:
        assert sum(1 for _ in positions(each.geometry)) <= MOST_POSITIONS
    assert one.intersection(other).area == 0
    assert one.union(other).area == pytest.approx(one.area + other.area)
    assert shapely.get_num_interior_rings(one.union(other)) == 0


def test_what_is_coarse_already_stays_as_it_is(write: Write) -> None:
    point = {"type": "Point", "coordinates": [113.7, 34.7]}
    file = write(({"code": "410171001"}, BORDERS), ({"code": "410171002"}, point))
    found = read(file, "code", None)
    assert sorted(simplified(found), key=lambda each: each.code) == found


def test_a_thousand_islands_are_too_many() -> None:
    islands = shapely.MultiPolygon([shapely.box(n, 0, n + 0.5, 0.5) for n in range(170)])
    placed = Placed("410171", None, msgspec.convert(mapping(islands), Geometry))
    with pytest.raises(FileError, match="leave out its smallest pieces of land"):
        simplified([placed])


class Registry:
    """Registry's areas, as a client sees them."""

    def __init__(self, *known: dict[str, Any]) -> None:
        self.known = list(known)
        self.sent: list[list[dict[str, Any]]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"items": self.known})
        areas = json.loads(request.content)
        self.sent.append(areas)
        return httpx.Response(200, json={"areas": len(areas), "changed": len(areas)})

    async def take(self, placed: list[Placed]) -> Any:
        async with Api(
            "http://registry", lambda: "token", transport=httpx.MockTransport(self)
        ) as api:
            return await send(placed, api)


OFFICE = {
    "code": "410171001",
    "name": "潮河街道",
    "kind": "office",
    "parent": "410171",
    "lat": 34.7,
    "lon": 113.7,
}


async def test_names_stay_as_they_are_on_file(write: Write) -> None:
    registry = Registry(OFFICE)
    file = write(({"code": "410171001", "name": "别名"}, BORDERS))
    assert await registry.take(read(file, "code", None)) == {"areas": 1, "changed": 1}
    assert registry.sent == [[OFFICE | {"geometry": {"type": "Polygon", "coordinates": [SQUARE]}}]]


async def test_new_areas_are_named_by_the_file_parents_first(write: Write) -> None:
    registry = Registry()
    file = write(
        ({"code": "410171001001", "title": "绿园社区"}, BORDERS),
        ({"code": "410171", "title": "经开区"}, BORDERS),
    )
    with pytest.raises(FileError, match="does not know 2 of the areas, the first is 410171"):
        await registry.take(read(file, "code", None))
    await registry.take(read(file, "code", "title"))
    ((district, community),) = registry.sent
    assert (district["name"], district["kind"], district["parent"]) == (
        "经开区",
        "district",
        "4101",
    )
    assert (community["kind"], community["parent"]) == ("community", "410171001")


async def test_many_borders_go_in_several_batches() -> None:
    ring = tuple((number / 1000, 1.0) for number in range(MOST_POSITIONS - 1))
    finest = msgspec.convert({"type": "Polygon", "coordinates": [[*ring, ring[0]]]}, Geometry)
    registry = Registry()
    codes = [f"410171001{number:03d}" for number in range(1, 302)]
    await registry.take([Placed(code, "某", finest) for code in codes])
    assert len(registry.sent) == 2
    assert [area["code"] for batch in registry.sent for area in batch] == codes


def test_the_command_knows_how_much_registry_takes() -> None:
    assert MOST_POSITIONS == TAKEN
