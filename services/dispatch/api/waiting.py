"""Who waits for a team, and why: counted, so that an office sees where it lacks people."""

from datetime import UTC, datetime

from fastapi import APIRouter

from services.dispatch.api.common import OfficeQuery, Reply, RoundQuery, WiringDep
from services.dispatch.assigner import Why
from services.dispatch.flow import lists
from shared.auth import CallerDep

router = APIRouter(tags=["visits"])


class WaitingRow(Reply):
    """Planned visits of one office in one round that have no team, for one reason."""

    round: str
    office: str
    office_name: str | None
    why_waiting: Why | None
    """None: a team is free, and they are about to have it."""
    visits: int
    since: datetime
    """When the one that waits longest began to, by the round's clock."""


class Waiting(Reply):
    """Everybody who waits for a team, counted. Each of them is unaccounted, but for revisits."""

    as_of: datetime
    visits: int
    rows: list[WaitingRow]


@router.get("/v1/waiting")
async def get_waiting(
    wiring: WiringDep,
    caller: CallerDep,
    round_id: RoundQuery = None,
    office: OfficeQuery = None,
) -> Waiting:
    """Count visits that wait for a team by office and reason, within the token's areas."""
    as_of = datetime.now(UTC)
    found = await wiring.database.transact(
        lists.show_waiting, caller, round_id=round_id, office=office, policy=wiring.policy
    )
    return Waiting(
        as_of=as_of,
        visits=sum(each.visits for each in found),
        rows=[
            WaitingRow(
                round=each.round,
                office=each.office,
                office_name=each.office_name,
                why_waiting=each.why,
                visits=each.visits,
                since=each.since,
            )
            for each in found
        ],
    )
