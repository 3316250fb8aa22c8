"""Denominators from outside: how many people a census or a police list counts in an area (R3)."""

from datetime import date
from typing import Annotated

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import Meta

from services.registry.api.rows import EARLIEST, LATEST, AreaCode, BatchAnswer, answered
from services.registry.domain.denominators import Denominator
from services.registry.flow import denominators
from services.registry.wiring import Wiring
from shared.auth import CallerDep
from shared.bodies import Given, decode_rows, json_reply, read_body
from shared.errors import RuleError
from shared.openapi import openapi_body, openapi_reply
from shared.paging import Cursor, Limit, pack_cursor, unpack_cursor

MOST_PEOPLE = 10_000_000_000
SourceCode = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{1,39}$")]


class DenominatorIn(Given, frozen=True):
    """People of a district (6 digits), office (9) or community (12), by one source."""

    code: AreaCode
    source: SourceCode
    """Who counted: `census`, `police_list`, …"""
    people: Annotated[int, Meta(ge=0, le=MOST_PEOPLE)]
    as_of: date
    """The day on which that many lived there."""

    def __post_init__(self) -> None:
        if not EARLIEST.date() <= self.as_of <= LATEST.date():
            raise RuleError("as_of: between the years 1900 and 2200")


class DenominatorList(msgspec.Struct, frozen=True):
    """A page of numbers, in order of code and source."""

    items: list[DenominatorIn]
    next_cursor: str | None = None


def router(wiring: Wiring) -> APIRouter:
    """Build the routes of denominators."""
    routes = APIRouter(tags=["denominators"])

    @routes.put(
        "/v1/denominators:batch",
        openapi_extra=openapi_body(DenominatorIn),
        responses=openapi_reply(BatchAnswer),
    )
    async def put_denominators(request: Request, caller: CallerDep) -> Response:
        """Store how many people others say there are; the last number of a source holds.

        Coverage against it is shown beside ours, and flagged above 100 %, never capped (R3). `ref`
        is the row's number from 0; `changed` names what differed from the number on file.
        """
        body = await read_body(request)
        rows = decode_rows(body, request.headers.get("content-type"), DenominatorIn)
        given = [
            (ordinal, Denominator(row.code, row.source, row.people, row.as_of))
            for ordinal, row in rows.numbered()
        ]
        answers = await wiring.database.transact(denominators.note, given, caller.covers)
        return json_reply(answered(rows, answers, lambda _: None))

    @routes.get("/v1/denominators", responses=openapi_reply(DenominatorList))
    async def get_denominators(
        caller: CallerDep, limit: Limit = 100, cursor: Cursor = None
    ) -> Response:
        """List the numbers of the caller's areas."""
        after = unpack_cursor(cursor, tuple[AreaCode, SourceCode]) if cursor else ("", "")
        found = await wiring.database.transact(
            denominators.page, caller.area_patterns, after, limit
        )
        return json_reply(
            DenominatorList(
                [DenominatorIn(each.code, each.source, each.people, each.as_of) for each in found],
                pack_cursor(*found[-1].key) if len(found) == limit else None,
            )
        )

    return routes
