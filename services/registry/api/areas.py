"""Areas: cities, districts, offices and communities."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import Meta

from services.registry.api.rows import Latitude, Longitude
from services.registry.domain.areas import Area
from services.registry.flow import residents, rounds
from services.registry.wiring import Wiring
from shared.auth import CallerDep
from shared.bodies import Given, decode_one, json_reply, read_body
from shared.contracts.vocabulary import AreaKind
from shared.errors import BadInput, RuleError
from shared.openapi import openapi_body, openapi_reply

CODE_LENGTHS: dict[AreaKind, int] = {"city": 4, "district": 6, "office": 9, "community": 12}


class AreaIn(Given, frozen=True, omit_defaults=True):
    """A city (4 digits), district (6), office (9) or community (12)."""

    code: Annotated[str, Meta(pattern=r"^\d{4,12}$")]
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    kind: AreaKind
    parent: Annotated[str, Meta(pattern=r"^\d{2,9}$")] | None = None
    lat: Latitude | None = None
    lon: Longitude | None = None

    def __post_init__(self) -> None:
        if len(self.code) != CODE_LENGTHS[self.kind]:
            raise RuleError("code: 4 digits for a city, 6 district, 9 office, 12 community")


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
        """Store areas; all of them or, when one is wrong, none."""
        given = decode_one(await read_body(request), list[AreaIn])
        if len({area.code for area in given}) != len(given):
            raise BadInput.at("code", "each code once")
        for area in given:
            # The city above one's district comes along with it.
            if area.kind != "city":
                caller.require(area.code)
        areas = [Area(a.code, a.name, a.kind, a.parent, a.lat, a.lon) for a in given]
        changed = await wiring.database.transact(residents.register_areas, areas)
        return json_reply(AreasStored(len(areas), len(changed)))

    @routes.get("/v1/areas", responses=openapi_reply(AreaList))
    async def get_areas(caller: CallerDep) -> Response:
        """List the caller's areas and those above them."""
        found = await wiring.database.transact(rounds.areas, caller.area_patterns)
        return json_reply(
            AreaList([AreaIn(a.code, a.name, a.kind, a.parent, a.lat, a.lon) for a in found])
        )

    return routes
