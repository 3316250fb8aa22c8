"""Visits: home-visit tasks from planned to finished, and what happened at the door (R16)."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field, StrictBool

from services.dispatch.api.common import (
    Body,
    OfficeQuery,
    Reply,
    RoundQuery,
    TeamQuery,
    WiringDep,
)
from services.dispatch.assigner import Why
from services.dispatch.domain.rounds import NIL
from services.dispatch.domain.visits import Answer, Cancelling, Referral, Sample, Visit, VisitReport
from services.dispatch.flow import lists, visits
from shared.auth import CallerDep
from shared.contracts.vocabulary import Need, VisitOutcome, VisitStatus
from shared.moments import Moment
from shared.paging import Cursor, Limit, Page, pack_cursor, unpack_cursor

router = APIRouter(tags=["visits"])


class SampleOut(Reply):
    """The swab taken at the door, and registry's answer to it."""

    sample_id: str
    sampled_at: datetime
    tube_code: str | None
    answer: Answer
    refusal: str | None
    """Problem type, if registry refused the sample; the person is escalated then."""


class VisitOut(Reply):
    """One dispatched visit for one resident in one round."""

    id: UUID
    round: str
    resident: str
    community: str
    office: str
    status: VisitStatus
    attempt: int
    priority: int
    """How often they were missed before; more comes first."""
    quarantined: bool
    """Served last in the tour, or by a separate team (R17)."""
    team: str | None
    planned_at: datetime
    assigned_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    cancelled_because: Cancelling | None
    outcome: VisitOutcome | None
    report_id: UUID | None
    sample: SampleOut | None

    @classmethod
    def of(cls, visit: Visit) -> "VisitOut":
        """Show a visit."""
        return cls(**_members(visit))


class VisitShown(VisitOut):
    """A visit with what belongs to it: why they are visited, and why nobody goes yet."""

    community_name: str | None
    needs: list[Need]
    waiting_for_team: bool
    why_waiting: Why | None

    @classmethod
    def shown(cls, shown: lists.Shown, visit: Visit) -> "VisitShown":
        """Show a visit of a list."""
        return cls(
            **_members(visit),
            community_name=shown.community_name,
            needs=list(shown.person.standing.needs),
            waiting_for_team=visit.status == "planned",
            why_waiting=shown.why_waiting,
        )


def _members(visit: Visit) -> dict[str, object]:
    sample = visit.sample
    return {
        "id": visit.id,
        "round": visit.round,
        "resident": visit.resident,
        "community": visit.community,
        "office": visit.office,
        "status": visit.status,
        "attempt": visit.attempt,
        "priority": visit.priority,
        "quarantined": visit.quarantined,
        "team": visit.team,
        "planned_at": visit.planned_at,
        "assigned_at": visit.assigned_at,
        "started_at": visit.started_at,
        "ended_at": visit.ended_at,
        "cancelled_because": visit.reason,
        "outcome": visit.outcome,
        "report_id": visit.report,
        "sample": sample
        and SampleOut(
            sample_id=sample.id,
            sampled_at=sample.sampled_at,
            tube_code=sample.tube_code,
            answer=visit.answer or "awaited",
            refusal=visit.refusal,
        ),
    }


class AssignIn(Body):
    """Which team is to go."""

    team: str = Field(min_length=1, max_length=64)
    beyond_capacity: StrictBool = False
    """Send it although it has all the visits its shift holds."""


class SampleIn(Body):
    """The swab; its id was made by the team's device, and registry records it under that id."""

    sample_id: UUID
    sampled_at: Moment
    tube_code: str | None = Field(None, min_length=1, max_length=64)


class ReferralIn(Body):
    """Where the person was sent, and by when they are to be tested there."""

    site: str = Field(min_length=1, max_length=64)
    until: Moment


class ReportIn(Body):
    """What happened at the door. `report_id` is made by the client; sending it again is safe."""

    report_id: UUID
    outcome: VisitOutcome
    at: Moment | None = None
    """When; by default now, by the round's clock."""
    sample: SampleIn | None = None
    """Comes with the outcome `sampled`, and only with it."""
    referral: ReferralIn | None = None
    """Comes with the outcome `referred`, and only with it."""

    def report(self) -> VisitReport:
        """Read it, with times in UTC: the same moment said otherwise is the same report."""
        sample, referral = self.sample, self.referral
        return VisitReport(
            id=self.report_id,
            outcome=self.outcome,
            at=self.at and self.at.astimezone(UTC),
            sample=Sample(
                str(sample.sample_id), sample.sampled_at.astimezone(UTC), sample.tube_code
            )
            if sample
            else None,
            referral=Referral(referral.site, referral.until.astimezone(UTC)) if referral else None,
        )


@router.get("/v1/visits")
async def get_visits(
    *,
    wiring: WiringDep,
    caller: CallerDep,
    round_id: RoundQuery = None,
    office: OfficeQuery = None,
    team: TeamQuery = None,
    status: Annotated[VisitStatus | None, Query()] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[VisitShown]:
    """List visits within the token's areas, in the order they were planned; a team's, its own."""
    found = await wiring.database.transact(
        lists.show_visits,
        caller,
        after=unpack_cursor(cursor, tuple[UUID])[0] if cursor else NIL,
        limit=limit + 1,
        round_id=round_id,
        office=office,
        team=team,
        status=status,
        policy=wiring.policy,
    )
    items = [VisitShown.shown(shown, shown.visit) for shown in found[:limit] if shown.visit]
    more = len(found) > limit
    return Page(items=items, next_cursor=pack_cursor(items[-1].id) if more else None)


@router.get("/v1/visits/{visit_id}")
async def get_visit(visit_id: UUID, wiring: WiringDep, caller: CallerDep) -> VisitShown:
    """Show one visit."""
    shown, visit = await wiring.database.transact(
        lists.show_visit, visit_id, caller, policy=wiring.policy
    )
    return VisitShown.shown(shown, visit)


@router.post("/v1/visits/{visit_id}:assign")
async def post_assign(
    visit_id: UUID, body: AssignIn, wiring: WiringDep, caller: CallerDep
) -> VisitOut:
    """Give a visit to a team by hand, or to another team. By itself the assigner does it.

    The team has to be on shift there and to have room; only the room may be set aside.
    """
    return VisitOut.of(
        await wiring.database.transact(
            visits.assign_visit,
            visit_id,
            body.team,
            caller,
            policy=wiring.policy,
            beyond_capacity=body.beyond_capacity,
        )
    )


@router.post("/v1/visits/{visit_id}:start")
async def post_start(visit_id: UUID, wiring: WiringDep, caller: CallerDep) -> VisitOut:
    """The team is at the door. Sending it again changes nothing."""
    return VisitOut.of(
        await wiring.database.transact(visits.start_visit, visit_id, caller, policy=wiring.policy)
    )


@router.post("/v1/visits/{visit_id}:finish")
async def post_finish(
    visit_id: UUID, body: ReportIn, wiring: WiringDep, caller: CallerDep
) -> VisitOut:
    """Tell what happened at the door (R16).

    The same report again is answered like the first time; a visit that was cancelled meanwhile
    keeps its status, and takes outcome and sample. A team that had the visit before another has it
    reports a swab, or adds an attempt: the visit is the other's to finish (R19).
    """
    return VisitOut.of(
        await wiring.database.transact(
            visits.finish_visit, visit_id, body.report(), caller, policy=wiring.policy
        )
    )


@router.post("/v1/visits/{visit_id}:cancel")
async def post_cancel(visit_id: UUID, wiring: WiringDep, caller: CallerDep) -> VisitOut:
    """Call a visit off. The caller answers for the next step, as an escalation."""
    return VisitOut.of(
        await wiring.database.transact(visits.cancel_visit, visit_id, caller, policy=wiring.policy)
    )
