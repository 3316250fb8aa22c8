"""Merges: two records that are one person, and back."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query, Request, Response

from services.registry.domain.merging import Merge
from services.registry.flow import merging
from services.registry.wiring import Wiring
from shared.auth import CallerDep
from shared.bodies import Given, decode_one, json_reply, read_body
from shared.contracts.vocabulary import Need
from shared.errors import BadInput
from shared.openapi import openapi_body, openapi_reply
from shared.paging import Cursor, Limit, pack_cursor, unpack_cursor


class MergeIn(Given, frozen=True):
    """Under which id a merge is asked for, and which record is kept.

    Keep the record that has been on file longer: rounds that are closed know only that one.
    """

    id: UUID
    into: UUID


class MergeOut(msgspec.Struct, frozen=True, omit_defaults=True):
    """A merge of two records, and who undid it, if anybody did."""

    id: UUID
    absorbed: UUID
    into: UUID
    merged_by: str
    merged_at: datetime
    gained_needs: list[Need]
    """Needs that the kept record has, or has for longer, by the absorbed one."""
    undone_by: str | None = None
    undone_at: datetime | None = None


class MergePage(msgspec.Struct, frozen=True):
    """A page of merges, the newest first."""

    items: list[MergeOut]
    next_cursor: str | None = None


def _shown(merge: Merge) -> MergeOut:
    return MergeOut(
        merge.id, merge.absorbed, merge.kept, merge.merged_by, merge.merged_at,
        [gain.became.code for gain in merge.gained], merge.undone_by, merge.undone_at,
    )  # fmt: skip


def router(wiring: Wiring) -> APIRouter:
    """Build the routes."""
    routes = APIRouter(tags=["merges"])

    @routes.post(
        "/v1/residents/{resident_id}:merge",
        openapi_extra=openapi_body(MergeIn, list_=False),
        responses=openapi_reply(MergeOut),
    )
    async def post_merge(resident_id: UUID, request: Request, caller: CallerDep) -> Response:
        """Merge a record into another one of the same person, which is kept.

        From now on both ids and both documents are the kept record's. Rounds that are sealed stay
        as they are; in all others its samples, exclusions and needs are those of both.
        """
        given = decode_one(await read_body(request), MergeIn)
        if given.into == resident_id:
            raise BadInput.at("into", "must be another resident than the one of the path")
        asked = Merge(given.id, resident_id, given.into, caller.sub, datetime.now(UTC))
        made = await wiring.database.transact(merging.merge, wiring.vault, asked, caller)
        return json_reply(_shown(made))

    @routes.post("/v1/merges/{merge_id}:undo", responses=openapi_reply(MergeOut))
    async def post_undo(merge_id: UUID, caller: CallerDep) -> Response:
        """Undo a merge: what named either record is its own again, unless its round is sealed."""
        undone = await wiring.database.transact(
            merging.undo, wiring.vault, merge_id, caller, datetime.now(UTC)
        )
        return json_reply(_shown(undone))

    @routes.get("/v1/merges/{merge_id}", responses=openapi_reply(MergeOut))
    async def get_merge(merge_id: UUID, caller: CallerDep) -> Response:
        """Read one merge of two residents who live within the caller's areas."""
        found = await wiring.database.transact(merging.load, merge_id, caller.covers)
        return json_reply(_shown(found))

    @routes.get("/v1/merges", responses=openapi_reply(MergePage))
    async def get_merges(
        caller: CallerDep,
        resident: Annotated[UUID | None, Query(description="merged, or merged into")] = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Response:
        """List merges of residents within the caller's areas, the newest first."""
        found = await wiring.database.transact(
            merging.page,
            caller.area_patterns,
            resident=resident,
            after=unpack_cursor(cursor, tuple[datetime, UUID]) if cursor else None,
            limit=limit,
        )
        following = pack_cursor(found[-1].merged_at, found[-1].id) if len(found) == limit else None
        return json_reply(MergePage([_shown(merge) for merge in found], following))

    return routes
