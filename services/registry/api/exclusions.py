"""Exclusions: a stated reason not to be tested."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import asyncpg
import msgspec
from fastapi import APIRouter, Query, Request, Response
from msgspec import Meta

from services.registry.api.rows import BatchAnswer, answered
from services.registry.domain.answers import RowAnswer, RowStatus
from services.registry.domain.exclusions import Exclusion
from services.registry.flow import exclusions
from services.registry.wiring import Wiring
from shared.auth import Caller, CallerDep
from shared.bodies import ROW_LIMIT, Given, Rows, decode_one, decode_rows, json_reply, read_body
from shared.openapi import openapi_body, openapi_reply
from shared.paging import Cursor, Limit, pack_cursor, unpack_cursor

REASON = r"^[a-z][a-z0-9_]{1,39}$"
ReasonCode = Annotated[str, Meta(pattern=REASON)]


class Person(Given, frozen=True):
    """The resident."""

    id: UUID


class ExclusionIn(Given, frozen=True):
    """An exclusion to file, such as `vaccinated_48h`, `under_3`, `recovered`."""

    id: UUID
    round_id: UUID
    resident: Person
    reason: ReasonCode


class ExclusionAnswer(msgspec.Struct, frozen=True):
    """What became of it: `duplicate` when it was filed, or revoked, before."""

    id: UUID
    status: RowStatus


class ExclusionOut(msgspec.Struct, frozen=True, omit_defaults=True):
    """An exclusion on file. It counts unless it was revoked or a sample outranks it."""

    id: UUID
    resident: Person
    community: str
    """Where they live; in a closed round, where they lived when it closed."""
    reason: str
    filed_by: str
    filed_at: datetime
    revoked_by: str | None = None
    revoked_at: datetime | None = None


class ExclusionPage(msgspec.Struct, frozen=True):
    """A page of exclusions, by resident."""

    items: list[ExclusionOut]
    next_cursor: str | None = None


def router(wiring: Wiring) -> APIRouter:
    """Build the routes."""
    routes = APIRouter(tags=["exclusions"])
    _filing(routes, wiring)
    _reading(routes, wiring)
    return routes


def _filing(routes: APIRouter, wiring: Wiring) -> None:
    async def file(rows: Rows[ExclusionIn], caller: Caller) -> list[RowAnswer]:
        filed = [
            Exclusion(n, row.id, row.round_id, row.resident.id, row.reason, caller.sub)
            for n, row in rows.numbered()
        ]
        return await wiring.database.transact(
            exclusions.exclude, filed, caller.covers, datetime.now(UTC)
        )

    @routes.post(
        "/v1/exclusions:batch",
        openapi_extra=openapi_body(ExclusionIn),
        responses=openapi_reply(BatchAnswer),
    )
    async def post_exclusions(request: Request, caller: CallerDep) -> Response:
        """File up to 10,000 exclusions; each row is answered for itself (R21).

        Send a batch again whenever its answer was lost: what was accepted is `duplicate` then.
        """
        rows = decode_rows(
            await read_body(request), request.headers.get("content-type"), ExclusionIn, ROW_LIMIT,
            ref="id",
        )  # fmt: skip
        return json_reply(answered(rows, await file(rows, caller), lambda row: row.id))

    @routes.post(
        "/v1/exclusions",
        openapi_extra=openapi_body(ExclusionIn, list_=False),
        responses=openapi_reply(ExclusionAnswer),
    )
    async def post_exclusion(request: Request, caller: CallerDep) -> Response:
        """File an exclusion, also before the round opens. A sample outranks it."""
        row = decode_one(await read_body(request), ExclusionIn)
        (answer,) = await file(Rows(1, [row], range(1)), caller)
        if answer.reason:
            raise answer.reason
        return json_reply(ExclusionAnswer(row.id, answer.status))

    @routes.post("/v1/exclusions/{exclusion_id}:revoke", responses=openapi_reply(ExclusionAnswer))
    async def post_revoke(exclusion_id: UUID, caller: CallerDep) -> Response:
        """Revoke an exclusion: the person is untested again, unless the facts say otherwise."""
        status = await wiring.database.transact(
            exclusions.revoke, exclusion_id, caller.sub, caller.covers, datetime.now(UTC)
        )
        return json_reply(ExclusionAnswer(exclusion_id, status))


def _reading(routes: APIRouter, wiring: Wiring) -> None:
    @routes.get("/v1/rounds/{round_id}/exclusions", responses=openapi_reply(ExclusionPage))
    async def get_exclusions(
        round_id: UUID,
        caller: CallerDep,
        community: Annotated[str, Query(pattern=r"^(\d{12})?$")] = "",
        reason: Annotated[str | None, Query(pattern=REASON)] = None,
        revoked: Annotated[bool, Query(description="also those that were revoked")] = False,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Response:
        """List who is excluded from a round and why, within the caller's areas (R2)."""
        found = await wiring.database.transact(
            exclusions.page,
            round_id,
            caller.area_patterns,
            prefix=community,
            reason=reason,
            revoked=revoked,
            after=unpack_cursor(cursor, tuple[UUID, UUID]) if cursor else None,
            limit=limit,
        )
        last = found[-1] if len(found) == limit else None
        following = pack_cursor(last["resident"], last["id"]) if last else None
        return json_reply(ExclusionPage([_shown(row) for row in found], following))


def _shown(row: asyncpg.Record) -> ExclusionOut:
    return ExclusionOut(**{**row, "resident": Person(row["resident"])})
