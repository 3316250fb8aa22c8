"""Areas: cities, districts, offices and communities."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request, Response
from msgspec import UNSET, Meta, UnsetType

from services.registry.domain.areas import Area
from services.registry.domain.geometry import check, rounded
from services.registry.flow import residents, rounds
from services.registry.wiring import Wiring
from shared.auth import CallerDep
from shared.bodies import JSON, Given, RowError, decode_rows, json_reply, read_body
from shared.contracts.geometry import Geometry, Latitude, Longitude
from shared.contracts.vocabulary import AreaKind
from shared.errors import BadInput, RuleError
from shared.openapi import openapi_body, openapi_reply

MOST_ERRORS = 100
CODE_LENGTHS: dict[AreaKind, int] = {"city": 4, "district": 6, "office": 9, "community": 12}


class AreaIn(Given, frozen=True, omit_defaults=True):
    """A city (4 digits), district (6), office (9) or community (12)."""

    code: Annotated[str, Meta(pattern=r"^\d{4,12}$")]
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    kind: AreaKind
    parent: Annotated[str, Meta(pattern=r"^\d{2,9}$")] | None = None
    lat: Latitude | None = None
    lon: Longitude | None = None
    geometry: Geometry | UnsetType | None = UNSET
    """Its borders, or a point: GeoJSON (RFC 7946), at most 500 positions of longitude and latitude,
    kept to six decimals. Left out, those on file stay; null takes them away."""

    def __post_init__(self) -> None:
        if len(self.code) != CODE_LENGTHS[self.kind]:
            raise RuleError("code: 4 digits for a city, 6 district, 9 office, 12 community")
        if self.geometry:
            check(self.geometry)

    def area(self) -> Area:
        """What it says."""
        geometry = rounded(self.geometry) if self.geometry else self.geometry
        return Area(self.code, self.name, self.kind, self.parent, self.lat, self.lon, geometry)


class AreasStored(msgspec.Struct, frozen=True):
    """How many areas were sent, and how many of them were new or differed."""

    areas: int
    changed: int


class AreaList(msgspec.Struct, frozen=True):
    """Areas in order of their codes."""

    items: list[AreaIn]


def router(wiring: Wiring) -> APIRouter:
    """Build the routes of areas."""
    routes = APIRouter(tags=["areas"])

    @routes.put(
        "/v1/areas:batch",
        openapi_extra=openapi_body(list[AreaIn], list_=False),
        responses=openapi_reply(AreasStored),
    )
    async def put_areas(request: Request, caller: CallerDep) -> Response:
        """Store areas; all of them or, when one is wrong, none.

        `errors` names every row that is wrong, up to a hundred: `[3].geometry.coordinates[0][2][1]`
        is the latitude of the third position in the outer border of the fourth row.
        """
        rows = decode_rows(await read_body(request), JSON, AreaIn)
        if rows.errors:
            raise _refused(rows.errors)
        given = rows.good
        if len({area.code for area in given}) != len(given):
            raise BadInput.at("code", "each code once")
        for area in given:
            # The city above one's district comes along with it.
            if area.kind != "city":
                caller.require(area.code)
        areas = [area.area() for area in given]
        changed = await wiring.database.transact(residents.register_areas, areas)
        return json_reply(AreasStored(len(areas), len(changed)))

    @routes.get("/v1/areas", responses=openapi_reply(AreaList))
    async def get_areas(
        caller: CallerDep,
        *,
        geometry: Annotated[bool, Query(description="with their borders: megabytes")] = False,
    ) -> Response:
        """List the caller's areas and those above them."""
        found = await wiring.database.transact(rounds.areas, caller.area_patterns, placed=geometry)
        return json_reply(
            AreaList(
                [AreaIn(a.code, a.name, a.kind, a.parent, a.lat, a.lon, a.geometry) for a in found]
            )
        )

    return routes


def _refused(errors: Sequence[RowError]) -> BadInput:
    """Tell all that is wrong at once: whoever has a file of areas mends it in one go."""
    told = [
        {"location": f"[{each.index}].{each.location}".rstrip("."), "rule": each.rule}
        for each in errors[:MOST_ERRORS]
    ]
    first = told[0]
    return BadInput(f"{first['location']}: {first['rule']}", errors=told)
