"""Cases: who has a need, is untested in an open round, and what happens about it."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from services.dispatch.api.common import OfficeQuery, Reply, RoundQuery, WiringDep
from services.dispatch.assigner import Why
from services.dispatch.domain import CaseState, Closing, Hand, office_of
from services.dispatch.flow import lists
from shared.auth import CallerDep
from shared.contracts.vocabulary import Class, HandKind, Need, VisitStatus
from shared.paging import Cursor, Limit, Page, pack_cursor, unpack_cursor

router = APIRouter(tags=["cases"])


class HandOut(Reply):
    """Who answers for the next step, and by when."""

    kind: HandKind
    due: datetime
    owner: str
    """A team, the site of a referral, an office, or whoever called the visit off."""
    reason: str | None
    awaits_answer: bool
    """A sample was taken and registry has not answered: the clock does not end this hand."""

    @classmethod
    def of(cls, hand: Hand | None) -> "HandOut | None":
        """Show a hand, if there is one."""
        if hand is None:
            return None
        return cls(
            kind=hand.kind,
            due=hand.due,
            owner=hand.owner,
            reason=hand.reason,
            awaits_answer=hand.ends_at is None,
        )


class CaseVisit(Reply):
    """The visit that is open for a case."""

    id: UUID
    status: VisitStatus
    team: str | None


class CaseOut(Reply):
    """A resident with a visit-worthy need who is, or was, untested in an open round."""

    round: str
    resident: str
    community: str
    community_name: str | None
    office: str
    state: CaseState
    reason: Closing | None
    """Why it was closed."""
    opened_at: datetime
    closed_at: datetime | None
    account_class: Class
    """Where registry last said they stand in the account."""
    needs: list[Need]
    attempts: int
    """Visits finished so far."""
    visit: CaseVisit | None
    hand: HandOut | None
    waiting_for_team: bool
    """Nobody has them in hand: a visit is planned and no team has it yet."""
    why_waiting: Why | None

    @classmethod
    def of(cls, shown: lists.Shown) -> "CaseOut":
        """Show a case."""
        person, visit, case = shown.person, shown.visit, shown.person.case
        if case is None:
            raise ValueError("not a case")
        return cls(
            round=person.round,
            resident=person.resident,
            community=person.standing.community,
            community_name=shown.community_name,
            office=office_of(person.standing.community),
            state=case.state,
            reason=case.reason,
            opened_at=case.opened_at,
            closed_at=case.closed_at,
            account_class=person.standing.klass,
            needs=list(person.standing.needs),
            attempts=person.attempts,
            visit=CaseVisit(id=visit.id, status=visit.status, team=visit.team) if visit else None,
            hand=HandOut.of(person.hand),
            waiting_for_team=visit is not None and visit.status == "planned",
            why_waiting=shown.why_waiting,
        )


@router.get("/v1/cases")
async def get_cases(
    *,
    wiring: WiringDep,
    caller: CallerDep,
    round_id: RoundQuery = None,
    office: OfficeQuery = None,
    state: Annotated[CaseState | None, Query()] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[CaseOut]:
    """List cases within the token's areas."""
    found = await wiring.database.transact(
        lists.show_cases,
        caller,
        after=unpack_cursor(cursor, tuple[str, str]) if cursor else ("", ""),
        limit=limit + 1,
        round_id=round_id,
        office=office,
        state=state,
        policy=wiring.policy,
    )
    items = [CaseOut.of(shown) for shown in found[:limit]]
    more = len(found) > limit
    return Page(
        items=items,
        next_cursor=pack_cursor(items[-1].round, items[-1].resident) if more else None,
    )
