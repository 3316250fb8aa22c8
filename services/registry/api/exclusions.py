"""Exclusions: a stated reason not to be tested."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import Meta

from services.registry.domain.answers import RowStatus
from services.registry.domain.entries import Exclusion
from services.registry.flow import exclusions
from services.registry.wiring import Wiring
from shared.auth import CallerDep
from shared.bodies import decode_one, json_reply, read_body
from shared.openapi import openapi_body, openapi_reply

ReasonCode = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{1,39}$")]


class Person(msgspec.Struct, frozen=True):
    """The resident."""

    id: UUID


class ExclusionIn(msgspec.Struct, frozen=True):
    """An exclusion to file, such as `vaccinated_48h`, `under_3`, `recovered`."""

    id: UUID
    round_id: UUID
    resident: Person
    reason: ReasonCode


class ExclusionAnswer(msgspec.Struct, frozen=True):
    """What became of it: `duplicate` when it was filed, or revoked, before."""

    id: UUID
    status: RowStatus


def router(wiring: Wiring) -> APIRouter:
    """Build the routes."""
    routes = APIRouter(tags=["exclusions"])

    @routes.post(
        "/v1/exclusions",
        openapi_extra=openapi_body(ExclusionIn, list_=False),
        responses=openapi_reply(ExclusionAnswer),
    )
    async def post_exclusion(request: Request, caller: CallerDep) -> Response:
        """File an exclusion, also before the round opens. A sample outranks it."""
        given = decode_one(await read_body(request), ExclusionIn)
        filed = Exclusion(given.id, given.round_id, given.resident.id, given.reason, caller.sub)
        status = await wiring.database.transact(
            exclusions.exclude, filed, caller.covers, datetime.now(UTC)
        )
        return json_reply(ExclusionAnswer(filed.id, status))

    @routes.post("/v1/exclusions/{exclusion_id}:revoke", responses=openapi_reply(ExclusionAnswer))
    async def post_revoke(exclusion_id: UUID, caller: CallerDep) -> Response:
        """Revoke an exclusion: the person is untested again, unless the facts say otherwise."""
        status = await wiring.database.transact(
            exclusions.revoke, exclusion_id, caller.sub, caller.covers, datetime.now(UTC)
        )
        return json_reply(ExclusionAnswer(exclusion_id, status))

    return routes
