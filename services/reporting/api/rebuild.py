"""Rebuilding the counters: asked for here, done by a worker."""

from datetime import datetime
from typing import Literal

from fastapi import APIRouter

from services.reporting.api.answers import Answer
from services.reporting.flow import rebuild
from services.reporting.flow.rebuild import Progress
from services.reporting.wiring import Wiring
from shared.auth import CallerDep


class GenerationAnswer(Answer):
    """One life of the counters."""

    id: int
    state: Literal["building", "current", "retired"]
    started_at: datetime
    swapped_at: datetime | None
    """When it became the one that is read."""
    applied: int
    """Events counted in it."""
    target: int
    """Events counted in the current one."""


class RebuildAnswer(Answer):
    """All lives of the counters, newest first."""

    generations: list[GenerationAnswer]


def router(wiring: Wiring) -> APIRouter:
    """Build the routes of rebuilding."""
    routes = APIRouter(tags=["rebuild"])

    @routes.get("/v1/rebuild")
    async def get_rebuild() -> RebuildAnswer:
        """Tell how far a rebuild is."""
        async with wiring.database.snapshot() as tx:
            return RebuildAnswer(generations=list(map(_answer, await rebuild.progress(tx))))

    @routes.post("/v1/rebuild", status_code=202)
    async def post_rebuild(caller: CallerDep) -> GenerationAnswer:
        """Build all counters anew beside the old ones; they are swapped once they are level."""
        return _answer(await wiring.database.transact(rebuild.begin, caller))

    return routes


def _answer(progress: Progress) -> GenerationAnswer:
    generation = progress.generation
    return GenerationAnswer(
        id=generation.id,
        state=generation.state,
        started_at=generation.started_at,
        swapped_at=generation.swapped_at,
        applied=progress.applied,
        target=progress.target,
    )
