"""Areas, and rounds with their untested and their totals."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import asyncpg
import msgspec
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from msgspec import Meta

from services.registry.api.residents import AreaCode, Latitude, Longitude, Text
from services.registry.api.results import Time
from services.registry.domain.areas import Area
from services.registry.domain.errors import AreaUnknown
from services.registry.domain.rounds import Round
from services.registry.flow import residents, rounds, totals
from services.registry.wiring import Wiring
from shared.auth import CallerDep
from shared.bodies import decode_one, encode, json_reply, read_body
from shared.contracts.vocabulary import AreaKind, RoundState
from shared.errors import BadInput, RuleError
from shared.openapi import openapi_body, openapi_reply

CODE_LENGTHS: dict[AreaKind, int] = {"city": 4, "district": 6, "office": 9, "community": 12}
MOST_AREAS = 100_000
UNTESTED_PAGE = 1_000


class AreaIn(msgspec.Struct, frozen=True, omit_defaults=True):
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


class RoundIn(msgspec.Struct, frozen=True):
    """A round to be. `offices` are 9-digit codes, or 6-digit ones for all offices of a district."""

    id: UUID
    campaign: Text
    number: Annotated[int, Meta(ge=1, le=10_000)]
    name: Text
    opens_at: Time
    closes_at: Time
    offices: Annotated[list[AreaCode], Meta(min_length=1, max_length=1_000)]
    manual_clock: bool = False
    """For drills and replays: time is what `:tick` says, from `opens_at` on."""

    def __post_init__(self) -> None:
        if self.closes_at <= self.opens_at:
            raise RuleError("closes_at: after opens_at")


class RoundOut(msgspec.Struct, frozen=True, omit_defaults=True):
    """A round as it is now. `closes_at` of a closed round is when sampling time ended."""

    id: UUID
    campaign: str
    number: int
    name: str
    state: RoundState
    opens_at: datetime
    closes_at: datetime
    offices: list[str]
    manual_clock: bool
    clock_at: datetime | None = None
    opened_at: datetime | None = None
    closed_at: datetime | None = None
    sealed_at: datetime | None = None


class RoundList(msgspec.Struct, frozen=True):
    """Rounds, the newest first."""

    items: list[RoundOut]


class Tick(msgspec.Struct, frozen=True):
    """The time a manual clock is to show."""

    clock_at: Time


class Untested(msgspec.Struct, frozen=True, omit_defaults=True):
    """Somebody who is neither sampled nor excluded."""

    id: UUID
    community: str
    needs: list[str]
    status: str
    hand: str | None = None
    due: datetime | None = None


def _shown(where: Round) -> RoundOut:
    return RoundOut(
        where.id, where.campaign, where.number, where.name, where.state, where.opens_at,
        where.closes_at, list(where.offices), where.manual_clock, where.clock_at,
        where.opened_at, where.closed_at, where.sealed_at,
    )  # fmt: skip


def area_routes(wiring: Wiring) -> APIRouter:
    """Build the routes of areas."""
    routes = APIRouter(tags=["areas"])

    @routes.put(
        "/v1/areas:batch",
        openapi_extra=openapi_body(AreaIn),
        responses=openapi_reply(AreasStored),
    )
    async def put_areas(request: Request) -> Response:
        """Store areas; all of them or, when one is wrong, none."""
        given = decode_one(await read_body(request), list[AreaIn])
        if len({area.code for area in given}) != len(given):
            raise BadInput.at("code", "each code once")
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


def router(wiring: Wiring) -> APIRouter:
    """Build the routes of rounds."""
    routes = APIRouter(tags=["rounds"])
    recount = totals.Recount(wiring.database)

    @routes.post(
        "/v1/rounds",
        status_code=201,
        openapi_extra=openapi_body(RoundIn, list_=False),
        responses=openapi_reply(RoundOut, 201),
    )
    async def post_round(request: Request, caller: CallerDep) -> Response:
        """Draft a round. The same round again is answered as it is on file."""
        given = decode_one(await read_body(request), RoundIn)
        for office in given.offices:
            caller.require(office)
        drafted = await wiring.database.transact(
            rounds.draft,
            Round(
                id=given.id, version=1, campaign=given.campaign, number=given.number,
                name=given.name, state="draft", opens_at=given.opens_at,
                closes_at=given.closes_at, offices=tuple(given.offices),
                manual_clock=given.manual_clock,
                clock_at=given.opens_at if given.manual_clock else None,
            ),
        )  # fmt: skip
        return json_reply(_shown(drafted), 201)

    @routes.get("/v1/rounds", responses=openapi_reply(RoundList))
    async def get_rounds(state: RoundState | None = None) -> Response:
        """List rounds, the newest first."""
        found = await wiring.database.transact(rounds.listed, state)
        return json_reply(RoundList([_shown(where) for where in found]))

    @routes.get("/v1/rounds/{round_id}", responses=openapi_reply(RoundOut))
    async def get_round(round_id: UUID) -> Response:
        """Read one round."""
        return json_reply(_shown(await wiring.database.transact(rounds.load, round_id)))

    @routes.post("/v1/rounds/{round_id}:open", responses=openapi_reply(RoundOut))
    async def post_open(round_id: UUID, caller: CallerDep) -> Response:
        """Open a round: its residents enter it unaccounted."""
        return await _step(rounds.open_round, round_id, caller)

    @routes.post("/v1/rounds/{round_id}:close", responses=openapi_reply(RoundOut))
    async def post_close(round_id: UUID, caller: CallerDep) -> Response:
        """Close a round: sampling time ends; entries of that time are still taken."""
        return await _step(rounds.close_round, round_id, caller)

    @routes.post("/v1/rounds/{round_id}:seal", responses=openapi_reply(RoundOut))
    async def post_seal(round_id: UUID, caller: CallerDep) -> Response:
        """Seal a round: its account is final."""
        return await _step(rounds.seal_round, round_id, caller)

    async def _step(step: rounds.Step, round_id: UUID, caller: CallerDep) -> Response:
        where = await wiring.database.transact(rounds.load, round_id)
        for office in where.offices:
            caller.require(office)
        changed = await wiring.database.transact(step, round_id, datetime.now(UTC))
        return json_reply(_shown(changed))

    @routes.post(
        "/v1/rounds/{round_id}:tick",
        openapi_extra=openapi_body(Tick, list_=False),
        responses=openapi_reply(RoundOut),
    )
    async def post_tick(round_id: UUID, request: Request) -> Response:
        """Move a manual clock on."""
        clock_at = decode_one(await read_body(request), Tick).clock_at
        return json_reply(_shown(await wiring.database.transact(rounds.tick, round_id, clock_at)))

    @routes.get("/v1/rounds/{round_id}/totals", responses=openapi_reply(totals.Totals))
    async def get_totals(
        round_id: UUID, max_age: Annotated[float, Query(ge=0, le=3600)] = 2.0
    ) -> Response:
        """Count the account anew from its facts, at the heads that are named.

        One count runs at a time and is shared by all who ask while it is younger than `max_age`
        seconds.
        """
        return json_reply(await recount.totals(round_id, max_age))

    @routes.get("/v1/rounds/{round_id}/untested")
    async def get_untested(
        round_id: UUID, caller: CallerDep, community: Annotated[str, Query(pattern=r"^\d{12}$")]
    ) -> StreamingResponse:
        """Stream a community's untested as NDJSON, in order of their ids, page by page."""
        if not caller.covers(community):
            raise AreaUnknown("community: not within the caller's areas")
        where = await wiring.database.transact(rounds.load, round_id)

        async def lines() -> AsyncIterator[bytes]:
            after: UUID | None = None
            while True:
                page = await wiring.database.transact(
                    rounds.untested, where, community, after, UNTESTED_PAGE
                )
                if not page:
                    return
                yield b"".join(encode(_untested(row)) + b"\n" for row in page)
                after = page[-1]["id"]

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    return routes


def _untested(row: asyncpg.Record) -> Untested:
    in_hand = row["class"] == "in_hand"
    return Untested(
        id=row["id"],
        community=row["community"],
        needs=row["needs"],
        status=row["class"],
        hand=row["hand_kind"] if in_hand else None,
        due=row["hand_due"] if in_hand else None,
    )
