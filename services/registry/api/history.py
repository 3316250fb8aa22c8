"""What is known of a resident's samples."""

from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import msgspec
from fastapi import APIRouter, Response

from services.registry.flow import lookup
from services.registry.wiring import Wiring
from shared.auth import CallerDep
from shared.bodies import json_reply
from shared.openapi import openapi_reply


class KnownResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """A swab and, once the laboratory released it, its outcome (R10).

    `valid_until` counts from the sampling time (R14). It is left out, as the outcome is, when the
    swab is `void`, and when a row corrected what was said of it here (`corrected_by`).
    """

    sample_id: UUID
    round_id: UUID
    sampled_at: datetime
    channel: str
    valid_until: datetime | None = None
    site: str | None = None
    tube_code: str | None = None
    result_id: UUID | None = None
    outcome: str | None = None
    resulted_at: datetime | None = None
    released_at: datetime | None = None
    void: bool = False
    corrected_by: UUID | None = None


class KnownResults(msgspec.Struct, frozen=True):
    """A resident's swabs, the newest first; what was corrected later is among them."""

    items: list[KnownResult]


def router(wiring: Wiring) -> APIRouter:
    """Build the routes."""
    routes = APIRouter(tags=["results"])
    validity = timedelta(hours=wiring.settings.validity_hours)

    @routes.get("/v1/residents/{resident_id}/results", responses=openapi_reply(KnownResults))
    async def get_results(resident_id: UUID, caller: CallerDep) -> Response:
        """Read a resident's swabs and released outcomes, by whichever of their records."""
        rows = await wiring.database.transact(lookup.history, caller, resident_id)
        return json_reply(KnownResults([_known(row, validity) for row in rows]))

    return routes


def _known(row: asyncpg.Record, validity: timedelta) -> KnownResult:
    stands = not row["void"] and row["corrected_by"] is None
    return KnownResult(**row, valid_until=row["sampled_at"] + validity if stands else None)
