"""Teams (小组), who is in them, when and where they work, and their worklists."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import Field, StrictBool, StringConstraints, model_validator

from services.dispatch import clients
from services.dispatch.api.cases import HandOut
from services.dispatch.api.common import Body, Reply, TeamId, WiringDep
from services.dispatch.domain.teams import Member, MemberRole, Team
from services.dispatch.flow import lists, teams
from shared.auth import CallerDep
from shared.contracts.vocabulary import Need, VisitStatus
from shared.moments import Moment
from shared.paging import Cursor, Limit, Page, pack_cursor, unpack_cursor

router = APIRouter(tags=["teams"])

AreaCode = Annotated[str, StringConstraints(pattern="^[0-9]{2,12}$")]


class MemberBody(Body):
    """Somebody in a team, by id, and what they may do."""

    id: str = Field(min_length=1, max_length=64)
    role: MemberRole


class ShiftBody(Body):
    """When a team works. In rounds with a manual clock, by that clock."""

    starts: Moment
    until: Moment

    @model_validator(mode="after")
    def _in_order(self) -> "ShiftBody":
        if self.until <= self.starts:
            raise ValueError("until is after starts")
        return self


class TeamIn(Body):
    """A team, whole."""

    name: str = Field(min_length=1, max_length=100)
    """What the team is called; never a person's name."""
    areas: list[AreaCode] = Field(min_length=1, max_length=100)
    """Codes of offices or communities it works in, or starts of such codes."""
    members: list[MemberBody] = Field(default=[], max_length=100)
    shift: ShiftBody
    capacity: int = Field(40, ge=0, le=10_000, strict=True)
    """Visits it can take in one shift."""
    active: StrictBool = True
    """False: it dropped out; what it had in hand waits for another team."""
    serves_quarantine: StrictBool = False
    """It is one of those for quarantined homes, where the policy wants separate teams (R17)."""

    @model_validator(mode="after")
    def _each_once(self) -> "TeamIn":
        if len({member.id for member in self.members}) != len(self.members):
            raise ValueError("members are named once")
        return self

    def team(self, team_id: str) -> Team:
        """Read it."""
        return Team(
            id=team_id,
            name=self.name,
            areas=tuple(sorted(set(self.areas))),
            members=tuple(Member(member.id, member.role) for member in self.members),
            shift_from=self.shift.starts,
            shift_until=self.shift.until,
            capacity=self.capacity,
            active=self.active,
            serves_quarantine=self.serves_quarantine,
        )


class TeamOut(TeamIn):
    """A team as it is."""

    id: str

    @classmethod
    def of(cls, team: Team) -> "TeamOut":
        """Show a team."""
        return cls(
            id=team.id,
            name=team.name,
            areas=list(team.areas),
            members=[MemberBody(id=member.id, role=member.role) for member in team.members],
            shift=ShiftBody(starts=team.shift_from, until=team.shift_until),
            capacity=team.capacity,
            active=team.active,
            serves_quarantine=team.serves_quarantine,
        )


class Stop(Reply):
    """One door of a team's tour, in its order."""

    visit: UUID
    round: str
    resident: str
    status: VisitStatus
    attempt: int
    priority: int
    quarantined: bool
    needs: list[Need]
    community: str
    community_name: str | None
    assigned_at: datetime | None
    started_at: datetime | None
    hand: HandOut | None
    contact: dict[str, Any] | None
    """Name, phone and address as registry shows them to this caller; None: not shown."""


class Worklist(Reply):
    """Whom a team has to visit."""

    team: TeamOut
    contacts: clients.ContactState
    """`unavailable`: registry does not answer; `refused`: it does not show them to this caller.

    The list is whole in any case; names and doors are missing.
    """
    items: list[Stop]


@router.put("/v1/teams/{team_id}")
async def put_team(team_id: TeamId, body: TeamIn, wiring: WiringDep, caller: CallerDep) -> TeamOut:
    """Set up or change a team, whole."""
    return TeamOut.of(
        await wiring.database.transact(
            teams.put_team, body.team(team_id), caller, policy=wiring.policy
        )
    )


@router.get("/v1/teams")
async def get_teams(
    wiring: WiringDep, caller: CallerDep, limit: Limit = 100, cursor: Cursor = None
) -> Page[TeamOut]:
    """List teams that work within the token's areas; a team sees itself."""
    found = await wiring.database.transact(
        lists.show_teams,
        caller,
        after=unpack_cursor(cursor, tuple[str])[0] if cursor else "",
        limit=limit + 1,
    )
    items = [TeamOut.of(team) for team in found[:limit]]
    more = len(found) > limit
    return Page(items=items, next_cursor=pack_cursor(items[-1].id) if more else None)


@router.get("/v1/teams/{team_id}/worklist")
async def get_worklist(
    team_id: TeamId, request: Request, wiring: WiringDep, caller: CallerDep
) -> Worklist:
    """Show a team's tour: those missed before first, quarantined homes last (R17).

    Names, phones and addresses are asked of registry and kept nowhere. Without registry the list
    is still answered, and says that they are missing.
    """
    team, stops = await wiring.database.transact(
        lists.show_worklist, team_id, caller, policy=wiring.policy
    )
    # No transaction is open while another service is waited for.
    contacts = await clients.contacts(
        wiring.registry,
        [shown.person.resident for shown in stops],
        request.headers["authorization"],
    )
    return Worklist(
        team=TeamOut.of(team),
        contacts=contacts.state,
        items=[_stop(shown, contacts.by_resident) for shown in stops],
    )


def _stop(shown: lists.Shown, contacts: Mapping[str, clients.Contact]) -> Stop:
    person, visit = shown.person, shown.visit
    if visit is None:
        raise ValueError("a stop of a tour is a visit")
    return Stop(
        visit=visit.id,
        round=person.round,
        resident=person.resident,
        status=visit.status,
        attempt=visit.attempt,
        priority=visit.priority,
        quarantined=visit.quarantined,
        needs=list(person.standing.needs),
        community=visit.community,
        community_name=shown.community_name,
        assigned_at=visit.assigned_at,
        started_at=visit.started_at,
        hand=HandOut.of(person.hand),
        contact=contacts.get(person.resident),
    )
