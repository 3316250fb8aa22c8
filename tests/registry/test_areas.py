"""Areas and where they lie: borders come with them, are checked, kept and announced."""

from http import HTTPStatus
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from services.registry import messages
from services.registry.domain.areas import Area
from services.registry.domain.geometry import MOST_POSITIONS
from shared.contracts.geometry import Geometry, Polygon, Position, positions
from shared.contracts.registry import ROUNDS, AreasChanged
from shared.kafka import MAX_BATCH
from tests.registry.conftest import Registry
from tests.support.geometries import anything, geometries
from tests.support.town import CHAOHE, DISTRICT, LUYUAN

SQUARE = [[113.7, 34.7], [113.8, 34.7], [113.8, 34.8], [113.7, 34.8], [113.7, 34.7]]
BORDERS = {"type": "Polygon", "coordinates": [SQUARE]}
OFFICE = {"code": CHAOHE, "name": "潮河办事处", "kind": "office", "parent": DISTRICT}

ONE_TOWN_FOR_ALL = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


async def put(town: Registry, *areas: Any) -> Any:
    """Send areas as the district."""
    return await town.registry.put("/v1/areas:batch", json=areas, headers=town.headers("district"))


async def on_file(town: Registry, code: str = CHAOHE) -> Any:
    """Read an area with its borders."""
    answer = await town.registry.get(
        "/v1/areas", params={"geometry": "true"}, headers=town.headers("district")
    )
    return next(area for area in answer.json()["items"] if area["code"] == code)


async def announced(town: Registry) -> list[Any]:
    """Read the borders that went out with one area, in order."""
    async with town.apps["registry"].state.wiring.database.begin() as tx:
        rows = await tx.rows(
            "SELECT data FROM outbox WHERE topic = $1 AND type = $2 ORDER BY partition, pos",
            ROUNDS, AreasChanged.type,
        )  # fmt: skip
    told = [msgspec.json.decode(row["data"]) for row in rows]
    return [
        area.get("geometry")
        for message in told
        for area in message["areas"]
        if area["code"] == CHAOHE
    ]


async def test_borders_are_kept_until_they_are_replaced_or_taken_away(town: Registry) -> None:
    placed = await put(town, OFFICE | {"geometry": BORDERS})
    assert placed.json() == {"areas": 1, "changed": 1}
    assert (await on_file(town))["geometry"] == BORDERS
    # Whoever sends names knows nothing of borders, and takes none away.
    assert (await put(town, OFFICE)).json()["changed"] == 0
    assert (await put(town, OFFICE | {"name": "潮河街道"})).json()["changed"] == 1
    assert (await on_file(town))["geometry"] == BORDERS
    point = {"type": "Point", "coordinates": [113.75, 34.75]}
    await put(town, OFFICE | {"geometry": point})
    await put(town, OFFICE | {"geometry": None})
    assert (await on_file(town)).get("geometry") is None
    assert await announced(town) == [None, BORDERS, BORDERS, point, None]


async def test_a_list_of_areas_leaves_borders_out_unless_they_are_wanted(town: Registry) -> None:
    await put(town, OFFICE | {"geometry": BORDERS})
    answer = await town.registry.get("/v1/areas", headers=town.headers("district"))
    assert all("geometry" not in area for area in answer.json()["items"])


async def test_decimals_that_tell_nothing_are_left_out(town: Registry) -> None:
    fine = {"type": "Point", "coordinates": [113.123456789, -0.00000001]}
    await put(town, OFFICE | {"geometry": fine})
    assert (await on_file(town))["geometry"]["coordinates"] == [113.123457, 0.0]
    assert (await put(town, OFFICE | {"geometry": fine})).json()["changed"] == 0


def square(**changed: Any) -> Any:
    """The borders with one position of the ring changed, by its number."""
    ring = [list(each) for each in SQUARE]
    for number, position in changed.items():
        ring[int(number.removeprefix("_"))] = position
    return {"type": "Polygon", "coordinates": [ring]}


LONG = [[113 + number / 1000, 34.0] for number in range(MOST_POSITIONS)]


@pytest.mark.parametrize(
    ("geometry", "location", "rule"),
    [
        (square(_2=[34.8, 113.8]), "[1].geometry.coordinates[0][2][1]", "Expected float <= 90.0"),
        (square(_0=[181, 0]), "[1].geometry.coordinates[0][0][0]", "Expected float <= 180.0"),
        (square(_4=[113.7, 34.71]), "[1]", "geometry.coordinates[0]: a ring ends where it begins"),
        (
            {"type": "MultiPolygon", "coordinates": [[SQUARE], [SQUARE, [[0, 0]] * 4]]},
            "[1]",
            "geometry.coordinates[1][1]: a ring has at least 3 different positions",
        ),
        (
            {"type": "Polygon", "coordinates": [[*LONG, LONG[0]]]},
            "[1]",
            "geometry: at most 500 positions; simplify it",
        ),
        (
            {"type": "Polygon", "coordinates": [SQUARE[:3]]},
            "[1].geometry.coordinates[0]",
            "Expected array of length >= 4",
        ),
        (
            {"type": "Polygon", "coordinates": []},
            "[1].geometry.coordinates",
            "Expected array of length >= 1",
        ),
        (square(_1=[113.8, 34.7, 95.0]), "[1].geometry.coordinates[0][1]", "array of length 2"),
        ({"type": "LineString", "coordinates": SQUARE}, "[1].geometry.type", "of no known kind"),
        ({"coordinates": SQUARE}, "[1].geometry", "missing required field type"),
        ("113.7,34.7", "[1].geometry", "Expected object | null, got str"),
    ],
    ids=[
        "latitude first", "beyond the date line", "an open ring", "a ring without an inside",
        "too fine", "too short", "no ring at all", "with a height", "a line", "no type", "a text",
    ],
)  # fmt: skip
async def test_what_is_no_border_is_refused_with_row_field_and_rule(
    town: Registry, geometry: Any, location: str, rule: str
) -> None:
    good = {"code": LUYUAN, "name": "新名社区", "kind": "community", "parent": CHAOHE}
    answer = await put(town, good, OFFICE | {"geometry": geometry})
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (422, "/problems/bad-input")
    (error,) = problem["errors"]
    assert error["location"] == location
    assert rule in error["rule"]
    # All of them or none.
    assert (await on_file(town, LUYUAN))["name"] == "绿园社区"


async def test_all_that_is_wrong_is_told_at_once(town: Registry) -> None:
    far = OFFICE | {"geometry": {"type": "Point", "coordinates": [113, 91]}}
    problem = (await put(town, far, {"code": "41"}, OFFICE)).json()
    assert [error["location"] for error in problem["errors"]] == [
        "[0].geometry.coordinates[1]", "[1].code"
    ]  # fmt: skip


@ONE_TOWN_FOR_ALL
@given(geometry=geometries)
async def test_any_border_comes_back_as_it_was_sent(town: Registry, geometry: Geometry) -> None:
    sent = msgspec.to_builtins(geometry)
    answer = await put(town, OFFICE | {"geometry": sent})
    assert answer.is_success, answer.text
    kept = msgspec.convert((await on_file(town))["geometry"], type(geometry))
    assert kept == geometry


@ONE_TOWN_FOR_ALL
@given(geometry=anything)
async def test_whatever_is_sent_as_a_border_is_taken_or_refused(
    town: Registry, geometry: Any
) -> None:
    answer = await put(town, OFFICE | {"geometry": geometry})
    assert answer.status_code in {HTTPStatus.OK, HTTPStatus.UNPROCESSABLE_ENTITY}, answer.text


async def test_more_numbers_than_borders_can_have_are_not_even_looked_at(town: Registry) -> None:
    body = b'[{"geometry":{"type":"Polygon","coordinates":[[' + b"[1,1]," * 400_000 + b"]]}}]"
    answer = await town.registry.put(
        "/v1/areas:batch", content=body, headers=town.headers("district")
    )
    assert answer.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE


def test_borders_of_a_whole_city_go_out_in_records_that_kafka_carries() -> None:
    def corner(number: int) -> Position:
        return (-113.123456 + number / 1_000_000, 34.123456)

    ring = tuple(corner(number) for number in range(MOST_POSITIONS - 1))
    finest = Polygon(((*ring, ring[0]),))
    areas = [
        Area(f"410171{number:06d}", "某社区", "community", "410171001", geometry=finest)
        for number in range(200)
    ]
    told = [message for message, _ in messages.areas_changed(areas)]
    assert [area.code for message in told for area in message.areas] == [a.code for a in areas]
    assert max(len(msgspec.json.encode(message)) for message in told) < MAX_BATCH
    assert sum(1 for _ in positions(finest)) == MOST_POSITIONS
