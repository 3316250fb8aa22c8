"""What is known of a resident's samples."""

from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from fastapi import APIRouter, Response

from services.registry.domain.errors import ResidentUnknown
from services.registry.flow import lookup
from services.registry.wiring import Wiring
from shared.auth import CallerDep
from shared.bodies import json_reply
from shared.openapi import openapi_reply


class KnownResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """A swab and, once the laboratory released it, its outcome (R10).

    `valid_until` counts from the sampling time (R14).
    """

    sample_id: UUID
    round_id: UUID
    sampled_at: datetime
    channel: str
    valid_until: datetime
    site: str | None = None
    tube_code: str | None = None
    result_id: UUID | None = None
    outcome: str | None = None
    resulted_at: datetime | None = None
    released_at: datetime | None = None
    void: bool = False


class KnownResults(msgspec.Struct, frozen=True):
    """A resident's swabs, the newest first."""

    items: list[KnownResult]


def router(wiring: Wiring) -> APIRouter:
    """Build the routes."""
    routes = APIRouter(tags=["results"])
    validity = timedelta(hours=wiring.settings.validity_hours)

    @routes.get("/v1/residents/{resident_id}/results", responses=openapi_reply(KnownResults))
    async def get_results(resident_id: UUID, caller: CallerDep) -> Response:
        """Read a resident's swabs and released outcomes."""
        found = await wiring.database.transact(lookup.residents, wiring.vault, [resident_id])
        if not found or not caller.covers(found[0].community):
            raise ResidentUnknown("id: no such resident in the caller's areas")
        rows = await wiring.database.transact(lookup.history, resident_id)
        return json_reply(
            KnownResults([KnownResult(valid_until=r["sampled_at"] + validity, **r) for r in rows])
        )

    return routes
