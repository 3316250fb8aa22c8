"""What is shown: lists of cases, visits and teams, worklists, and figures to compare."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from services.dispatch.assigner import Crew, Why, why_waiting
from services.dispatch.domain.areas import office_of
from services.dispatch.domain.cases import CaseState
from services.dispatch.domain.people import Person
from services.dispatch.domain.policy import Policy
from services.dispatch.domain.teams import Team
from services.dispatch.domain.visits import Visit
from services.dispatch.flow.cases import find_case
from services.dispatch.flow.steps import acting_team, visit_for
from services.dispatch.store import areas, cases, people, rounds, teams, totals, visits, waiting
from shared import outbox
from shared.auth import Caller
from shared.contracts.dispatch import HANDS
from shared.contracts.vocabulary import HandKind, VisitStatus
from shared.database import Transaction
from shared.errors import NotFound


@dataclass(frozen=True, slots=True)
class Shown:
    """A person, one of their visits, and what a list says beside it."""

    person: Person
    visit: Visit | None
    community_name: str | None
    why_waiting: Why | None = None
    """Why a planned visit has no team yet; None also when it is about to have one."""


@dataclass(frozen=True, slots=True)
class WaitingAt:
    """How many of an office wait for a team in a round, for one reason, and since when."""

    round: str
    office: str
    office_name: str | None
    why: Why | None
    """None: a team is free, and they are about to have it."""
    visits: int
    since: datetime


async def show_cases(
    tx: Transaction,
    caller: Caller,
    *,
    after: tuple[str, str],
    limit: int,
    round_id: str | None,
    office: str | None,
    state: CaseState | None,
    hand: HandKind | None,
    owner: str | None,
    past_due: bool | None,
    policy: Policy,
) -> list[Shown]:
    """List cases within the caller's areas, by round and resident."""
    persons = await cases.listed(
        tx,
        areas=caller.area_patterns,
        after=after,
        limit=limit,
        round_id=round_id,
        office=office,
        state=state,
        hand=hand,
        owner=owner,
        past_due=past_due,
    )
    return await _show(tx, [(person, person.visit) for person in persons], policy)


async def show_case(
    tx: Transaction, round_id: str, resident: str, caller: Caller, *, policy: Policy
) -> Shown:
    """Show one case.

    Raises:
        NotFound: no such case within the caller's areas.

    """
    person = await find_case(tx, round_id, resident, caller)
    return (await _show(tx, [(person, person.visit)], policy))[0]


async def show_visits(
    tx: Transaction,
    caller: Caller,
    *,
    after: UUID,
    limit: int,
    round_id: str | None,
    office: str | None,
    team: str | None,
    status: VisitStatus | None,
    policy: Policy,
) -> list[Shown]:
    """List visits within the caller's areas in the order they were planned; a team's, its own."""
    found = await visits.listed(
        tx,
        areas=caller.area_patterns,
        after=after,
        limit=limit,
        round_id=round_id,
        office=office,
        team=team,
        only=acting_team(caller),
        status=status,
    )
    return await _show(tx, await people.beside(tx, found), policy)


async def show_visit(
    tx: Transaction, visit_id: UUID, caller: Caller, *, policy: Policy
) -> tuple[Shown, Visit]:
    """Show one visit.

    Raises:
        NotFound: no such visit within the caller's areas, or never this team's.

    """
    visit = await visit_for(tx, visit_id, caller)
    return (await _show(tx, await people.beside(tx, [visit]), policy))[0], visit


async def show_waiting(
    tx: Transaction,
    caller: Caller,
    *,
    round_id: str | None,
    office: str | None,
    policy: Policy,
) -> list[WaitingAt]:
    """Count who waits for a team, by round, office and why, within the caller's areas."""
    groups = await waiting.groups(tx, areas=caller.area_patterns, round_id=round_id, office=office)
    at_work = await _at_work(tx, {group.round for group in groups})
    names = await areas.names(tx, {office_of(group.community) for group in groups})
    found: dict[tuple[str, str, str], WaitingAt] = {}
    for group in groups:
        why = _why(at_work[group.round], group.community, group.quarantined, policy)
        code = office_of(group.community)
        key = group.round, code, why or ""
        known = found.get(key)
        found[key] = WaitingAt(
            group.round,
            code,
            names.get(code),
            why,
            group.visits + (known.visits if known else 0),
            min(group.since, known.since) if known else group.since,
        )
    return [found[key] for key in sorted(found)]


async def show_worklist(
    tx: Transaction, team_id: str, caller: Caller, *, policy: Policy
) -> tuple[Team, list[Shown]]:
    """List whom a team has to visit, in the order of its tour, as far as the caller may see.

    Raises:
        NotFound: no such team, or another's worklist.

    """
    team = await find_team(tx, team_id, caller)
    persons = await teams.worklist(tx, team.id, caller.area_patterns)
    return team, await _show(tx, [(person, person.visit) for person in persons], policy)


async def find_team(tx: Transaction, team_id: str, caller: Caller) -> Team:
    """Find a team that works within the caller's areas; a team finds itself only.

    Raises:
        NotFound: there is none.

    """
    own = acting_team(caller)
    found = await teams.listed(tx, caller.area_patterns, only=team_id, limit=1)
    if not found or own not in {None, team_id}:
        raise NotFound("no such team within the token's areas")
    return found[0]


async def show_teams(tx: Transaction, caller: Caller, *, after: str, limit: int) -> list[Team]:
    """List teams that work within the caller's areas; a team sees itself."""
    return await teams.listed(
        tx, caller.area_patterns, after=after, limit=limit, only=acting_team(caller)
    )


async def hand_totals(
    tx: Transaction, round_id: str
) -> tuple[list[outbox.Head], dict[HandKind, int]]:
    """Count open hands by kind, with the heads of what was announced of them (R22)."""
    heads = [head for head in await outbox.heads(tx) if head.topic == HANDS]
    return heads, await totals.hands(tx, round_id)


async def _show(
    tx: Transaction, pairs: Sequence[tuple[Person, Visit | None]], policy: Policy
) -> list[Shown]:
    codes = {person.standing.community for person, _ in pairs}
    codes |= {visit.community for _, visit in pairs if visit}
    names = await areas.names(tx, codes)
    at_work = await _at_work(
        tx, {visit.round for _, visit in pairs if visit and visit.status == "planned"}
    )

    def show(person: Person, visit: Visit | None) -> Shown:
        why: Why | None = None
        if visit and visit.status == "planned":
            why = _why(at_work[visit.round], visit.community, visit.quarantined, policy)
        place = visit.community if visit else person.standing.community
        return Shown(person, visit, names.get(place), why)

    return [show(person, visit) for person, visit in pairs]


@dataclass(frozen=True, slots=True)
class _AtWork:
    """Teams by a round's clock: those on shift with their room, and those that are not."""

    crews: list[Crew]
    resting: list[Team]


async def _at_work(tx: Transaction, round_ids: Iterable[str]) -> dict[str, _AtWork | None]:
    """Look who is at work, by round; None where no work is handed out any more."""
    found: dict[str, _AtWork | None] = {}
    for round_id, round_ in (await rounds.read(tx, round_ids)).items():
        now = round_.time(datetime.now(UTC))
        found[round_id] = (
            _AtWork(await teams.crews(tx, now), await teams.resting(tx, now))
            if round_.runs(now)
            else None
        )
    return found


def _why(at_work: _AtWork | None, community: str, quarantined: bool, policy: Policy) -> Why | None:
    if at_work is None:
        return "round_over"
    return why_waiting(community, quarantined, at_work.crews, at_work.resting, policy)
