"""What is to be done: visits by state, who waits for a team, hands by kind and what is past due."""

from datetime import UTC, datetime

from fastapi import APIRouter, Response

from services.reporting.api.answers import (
    NOT_MODIFIED,
    Answer,
    AsOfAnswer,
    IfNoneMatch,
    RoundAnswer,
    RoundParameter,
    headers_of,
    heading_of,
    same,
    tag_of,
)
from services.reporting.domain.areas import ByArea
from services.reporting.flow import figures
from services.reporting.wiring import Wiring
from shared.auth import CallerDep
from shared.contracts.cells import slot_of
from shared.contracts.vocabulary import HandKind, Need, VisitOutcome, VisitStatus


class WaitingAnswer(Answer):
    """Planned visits, which wait for a team."""

    visits: int
    since: datetime | None
    """Beginning of the five minutes in which the one that waits longest began to."""
    by_need: dict[Need, int] | None
    """Of their residents, who may have several needs: these overlap. Null: not counted yet."""


class DueAnswer(Answer):
    """People in one kind of hand. Null: not counted yet, until the figures are built anew."""

    people: int
    past_due: int | None
    """Whose five minutes of due time are over, by the round's clock."""
    first_due: datetime | None
    """Beginning of the five minutes in which the earliest is, or was, due."""


class WorkRow(Answer):
    """What is to be done in one area."""

    code: str
    name: str
    visits: dict[VisitStatus, int]
    """Visits by where they are in their life, in the community that they were made in."""
    outcomes: dict[VisitOutcome, int]
    """What happened at doors (R16); outcomes that did not happen are left out."""
    waiting: WaitingAnswer
    hands: dict[HandKind, DueAnswer]
    """They sum to `in_hand` of coverage."""


class WorkAnswer(Answer):
    """What is to be done: one row per area, and everything in the token's areas."""

    round: RoundAnswer
    by: ByArea
    areas: list[str]
    as_of: AsOfAnswer
    rows: list[WorkRow]
    total: WorkRow


def router(wiring: Wiring) -> APIRouter:
    """Build the route."""
    routes = APIRouter(tags=["coverage"])

    @routes.get("/v1/coverage/work", response_model=WorkAnswer, responses=NOT_MODIFIED)
    async def get_work(
        *,
        caller: CallerDep,
        response: Response,
        round_id: RoundParameter = None,
        by: ByArea = "office",
        if_none_match: IfNoneMatch = None,
    ) -> WorkAnswer | Response:
        """Read visits by state, who waits for a team, and hands by kind with what is past due.

        What was due becomes past due as time goes by, also while nobody does anything.
        """
        async with wiring.database.snapshot() as tx:
            edition = await figures.edition(tx, round_id, caller.areas)
            now = edition.view.round.time(datetime.now(UTC))
            tag = tag_of(edition, "work", by, slot_of(now))
            if same(if_none_match, tag):
                return Response(status_code=304, headers=headers_of(edition, tag))
            rows, total = await figures.work(tx, edition.view, by, now)
        response.headers.update(headers_of(edition, tag))
        return WorkAnswer(
            **heading_of(edition, caller.areas),
            by=by,
            rows=[WorkRow.model_validate(row) for row in rows],
            total=WorkRow.model_validate(total),
        )

    return routes
