"""Cases: who has a need, is untested in an open round, and what happens about it."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field

from services.dispatch.api.common import (
    Body,
    OfficeQuery,
    Reply,
    ResidentId,
    RoundId,
    RoundQuery,
    WiringDep,
)
from services.dispatch.assigner import Why
from services.dispatch.domain.cases import CaseState, Closing
from services.dispatch.domain.decisions import Decision, Verb
from services.dispatch.domain.hands import Hand
from services.dispatch.domain.visits import Referral
from services.dispatch.flow import cases, lists
from services.dispatch.wiring import Wiring
from shared.auth import Caller, CallerDep
from shared.contracts.vocabulary import Class, HandKind, Need, VisitStatus
from shared.moments import Moment
from shared.paging import Cursor, Limit, Page, pack_cursor, unpack_cursor

router = APIRouter(tags=["cases"])


class HandOut(Reply):
    """Who answers for the next step, and by when."""

    kind: HandKind
    due: datetime
    owner: str
    """A team, the site of a referral, an office, or who called the visit off or took it over."""
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


class DecisionIn(Body):
    """A decision about a case; its `id` is made by the client, and sending it again is safe."""

    id: UUID

    def decision(self, verb: Verb) -> Decision:
        """Read it."""
        return Decision(self.id, verb)


class ReferIn(DecisionIn):
    """Where the person is to be tested, and by when (督促到点检测)."""

    site: str = Field(min_length=1, max_length=64)
    until: Moment

    def decision(self, verb: Verb) -> Decision:
        """Read it, with the time in UTC: the same moment said otherwise is the same decision."""
        return Decision(self.id, verb, Referral(self.site, self.until.astimezone(UTC)))


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
            office=person.office,
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
    hand: Annotated[HandKind | None, Query(description="in a hand of this kind")] = None,
    owner: Annotated[
        str | None, Query(min_length=1, max_length=200, description="whose hand it is")
    ] = None,
    past_due: Annotated[
        bool | None, Query(description="whether the hand is past due, by the round's clock")
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[CaseOut]:
    """List cases within the token's areas.

    `hand=escalation` is what offices have to settle. What is past due is not there for long: the
    clock ends it, but for a started visit in its hour of grace and a swab that awaits its answer.
    """
    found = await wiring.database.transact(
        lists.show_cases,
        caller,
        after=unpack_cursor(cursor, tuple[str, str]) if cursor else ("", ""),
        limit=limit + 1,
        round_id=round_id,
        office=office,
        state=state,
        hand=hand,
        owner=owner,
        past_due=past_due,
        policy=wiring.policy,
    )
    items = [CaseOut.of(shown) for shown in found[:limit]]
    more = len(found) > limit
    return Page(
        items=items,
        next_cursor=pack_cursor(items[-1].round, items[-1].resident) if more else None,
    )


@router.get("/v1/cases/{round_id}/{resident_id}")
async def get_case(
    round_id: RoundId, resident_id: ResidentId, wiring: WiringDep, caller: CallerDep
) -> CaseOut:
    """Show one case."""
    return CaseOut.of(
        await wiring.database.transact(
            lists.show_case, round_id, resident_id, caller, policy=wiring.policy
        )
    )


@router.post("/v1/cases/{round_id}/{resident_id}:take")
async def post_take(
    round_id: RoundId,
    resident_id: ResidentId,
    body: DecisionIn,
    wiring: WiringDep,
    caller: CallerDep,
) -> CaseOut:
    """Take over an escalation, a referral or a revisit: the caller owns it; its time stays."""
    return await _decided(wiring, round_id, resident_id, body.decision("take"), caller)


@router.post("/v1/cases/{round_id}/{resident_id}:revisit")
async def post_revisit(
    round_id: RoundId,
    resident_id: ResidentId,
    body: DecisionIn,
    wiring: WiringDep,
    caller: CallerDep,
) -> CaseOut:
    """Settle an escalation or a referral with a new visit, now, without waiting for its time."""
    return await _decided(wiring, round_id, resident_id, body.decision("revisit"), caller)


@router.post("/v1/cases/{round_id}/{resident_id}:refer")
async def post_refer(
    round_id: RoundId, resident_id: ResidentId, body: ReferIn, wiring: WiringDep, caller: CallerDep
) -> CaseOut:
    """Settle a case that no team has in hand with a referral to a site.

    A visit that waits for a team is called off with it; after `until` a new one is planned.
    """
    return await _decided(wiring, round_id, resident_id, body.decision("refer"), caller)


async def _decided(
    wiring: Wiring, round_id: str, resident_id: str, decision: Decision, caller: Caller
) -> CaseOut:
    await wiring.database.transact(
        cases.decide, round_id, resident_id, decision, caller, policy=wiring.policy
    )
    return CaseOut.of(
        await wiring.database.transact(
            lists.show_case, round_id, resident_id, caller, policy=wiring.policy
        )
    )
