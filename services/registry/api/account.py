"""The account of a round: counted anew, and who is left."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated
from uuid import UUID

import asyncpg
import msgspec
from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from services.registry.flow import rounds, totals
from services.registry.wiring import Wiring
from shared.auth import CallerDep
from shared.bodies import NDJSON, encode, json_reply
from shared.openapi import openapi_reply

UNTESTED_PAGE = 1_000


class Untested(msgspec.Struct, frozen=True, omit_defaults=True):
    """Somebody who is neither sampled nor excluded."""

    id: UUID
    community: str
    needs: list[str]
    status: str
    hand: str | None = None
    due: datetime | None = None


def router(wiring: Wiring) -> APIRouter:
    """Build the routes."""
    routes = APIRouter(tags=["account"])
    recount = totals.Recount(wiring.database)

    @routes.get("/v1/rounds/{round_id}/totals", responses=openapi_reply(totals.Totals))
    async def get_totals(
        round_id: UUID,
        caller: CallerDep,
        max_age: Annotated[float, Query(ge=0, le=3600)] = 2.0,
    ) -> Response:
        """Count the account anew from its facts, at the heads that are named.

        One count runs at a time and is shared by all who ask while it is younger than `max_age`
        seconds. Communities outside the caller's areas are left out.
        """
        counted = await recount.totals(round_id, max_age)
        return json_reply(counted if caller.has("system") else counted.within(caller.covers))

    @routes.get(
        "/v1/rounds/{round_id}/untested",
        response_class=StreamingResponse,
        responses=openapi_reply(Untested, media=NDJSON),
    )
    async def get_untested(
        round_id: UUID, caller: CallerDep, community: Annotated[str, Query(pattern=r"^\d{12}$")]
    ) -> StreamingResponse:
        """Stream a community's untested as NDJSON, in order of their ids, page by page."""
        caller.require(community)
        where = await wiring.database.transact(rounds.load, round_id)

        async def lines() -> AsyncIterator[bytes]:
            after: UUID | None = None
            while True:
                page = await wiring.database.transact(
                    rounds.untested, where, community, after, UNTESTED_PAGE
                )
                if page:
                    yield b"".join(encode(_untested(row)) + b"\n" for row in page)
                if len(page) < UNTESTED_PAGE:
                    return
                after = page[-1]["id"]

        return StreamingResponse(lines(), media_type=NDJSON)

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
