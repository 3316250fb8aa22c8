"""Rounds: drafted, opened, closed, sealed; and their clock."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import Meta

from services.registry.api.rows import AreaCode, Text, Time, check_times
from services.registry.domain.rounds import Round
from services.registry.flow import rounds
from services.registry.wiring import Wiring
from shared.auth import Caller, CallerDep
from shared.bodies import Given, decode_one, json_reply, read_body
from shared.contracts.vocabulary import RoundState
from shared.errors import RuleError
from shared.openapi import openapi_body, openapi_reply


class RoundIn(Given, frozen=True):
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
    automatic: bool = True
    """Opens, closes and is sealed by its clock, if nobody does so by hand before."""

    def __post_init__(self) -> None:
        check_times(opens_at=self.opens_at, closes_at=self.closes_at)
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
    automatic: bool
    clock_at: datetime | None = None
    opened_at: datetime | None = None
    closed_at: datetime | None = None
    sealed_at: datetime | None = None


class RoundList(msgspec.Struct, frozen=True):
    """Rounds, the newest first."""

    items: list[RoundOut]


class Tick(Given, frozen=True):
    """The time a manual clock is to show."""

    clock_at: Time

    def __post_init__(self) -> None:
        check_times(clock_at=self.clock_at)


def _shown(where: Round) -> RoundOut:
    return RoundOut(
        where.id, where.campaign, where.number, where.name, where.state, where.opens_at,
        where.closes_at, list(where.offices), where.manual_clock, where.automatic,
        where.clock_at, where.opened_at, where.closed_at, where.sealed_at,
    )  # fmt: skip


def router(wiring: Wiring) -> APIRouter:
    """Build the routes of rounds."""
    routes = APIRouter(tags=["rounds"])
    _drafting(routes, wiring)
    _reading(routes, wiring)
    _stepping(routes, wiring)
    return routes


def _drafting(routes: APIRouter, wiring: Wiring) -> None:
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
                automatic=given.automatic,
            ),
        )  # fmt: skip
        return json_reply(_shown(drafted), 201)


def _reading(routes: APIRouter, wiring: Wiring) -> None:
    @routes.get("/v1/rounds", responses=openapi_reply(RoundList))
    async def get_rounds(state: RoundState | None = None) -> Response:
        """List rounds, the newest first."""
        found = await wiring.database.transact(rounds.listed, state)
        return json_reply(RoundList([_shown(where) for where in found]))

    @routes.get("/v1/rounds/{round_id}", responses=openapi_reply(RoundOut))
    async def get_round(round_id: UUID) -> Response:
        """Read one round."""
        return json_reply(_shown(await wiring.database.transact(rounds.load, round_id)))


def _stepping(routes: APIRouter, wiring: Wiring) -> None:
    @routes.post("/v1/rounds/{round_id}:open", responses=openapi_reply(RoundOut))
    async def post_open(round_id: UUID, caller: CallerDep) -> Response:
        """Open a round: its residents enter it unaccounted. What is open is answered as it is."""
        await require_all(round_id, caller)
        opened = await wiring.database.transact(
            rounds.open_round, wiring.vault, round_id, datetime.now(UTC)
        )
        return json_reply(_shown(opened))

    @routes.post("/v1/rounds/{round_id}:close", responses=openapi_reply(RoundOut))
    async def post_close(round_id: UUID, caller: CallerDep) -> Response:
        """Close a round: sampling time ends; entries of that time are still taken."""
        await require_all(round_id, caller)
        closed = await wiring.database.transact(
            rounds.close_round, wiring.vault, round_id, datetime.now(UTC)
        )
        return json_reply(_shown(closed))

    @routes.post("/v1/rounds/{round_id}:seal", responses=openapi_reply(RoundOut))
    async def post_seal(round_id: UUID, caller: CallerDep) -> Response:
        """Seal a round: its account is final."""
        await require_all(round_id, caller)
        sealed = await wiring.database.transact(rounds.seal_round, round_id, datetime.now(UTC))
        return json_reply(_shown(sealed))

    @routes.post(
        "/v1/rounds/{round_id}:tick",
        openapi_extra=openapi_body(Tick, list_=False),
        responses=openapi_reply(RoundOut),
    )
    async def post_tick(round_id: UUID, request: Request, caller: CallerDep) -> Response:
        """Move a manual clock on. What is due by then has happened when this is answered.

        Needs have begun and ended, and an `automatic` round has been opened, closed or sealed.
        """
        clock_at = decode_one(await read_body(request), Tick).clock_at
        await require_all(round_id, caller)
        ticked = await wiring.timekeeper.tick(round_id, clock_at, datetime.now(UTC))
        return json_reply(_shown(ticked))

    async def require_all(round_id: UUID, caller: Caller) -> None:
        """A round is moved by whoever answers for all of its offices."""
        for office in (await wiring.database.transact(rounds.load, round_id)).offices:
            caller.require(office)
