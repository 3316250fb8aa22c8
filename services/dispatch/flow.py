"""START HERE. What dispatch does, in the order of a testing day.

Every use case is one transaction: enter the round, lock the persons, decide, save, announce. What
the topics bring comes in batches and is decided set by set; people and teams come one at a time.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

import msgspec

from services.dispatch import domain, messages, store
from services.dispatch.assigner import Assigner, Crew, Waiting, Why, why_waiting
from services.dispatch.domain import (
    CaseState,
    Person,
    Policy,
    Round,
    Scene,
    Step,
    Team,
    TeamCannotServe,
    Told,
    Visit,
    VisitAnswer,
    VisitReport,
)
from shared import outbox
from shared.auth import Caller
from shared.contracts.dispatch import HANDS
from shared.contracts.envelope import Event
from shared.contracts.registry import (
    AreasChanged,
    RollChanged,
    RoundChanged,
    RoundTicked,
    VisitsAnswered,
)
from shared.contracts.vocabulary import HandKind, VisitStatus
from shared.database import Transaction
from shared.errors import IdReused, NotFound

BATCH = 2_000
"""Visits assigned, or hands ended, in one transaction at most."""


# --- the ground: areas and rounds ---


async def learn_areas(tx: Transaction, events: Sequence[Event[AreasChanged]]) -> None:
    """Keep the names of offices and communities."""
    await store.save_areas(tx, messages.areas(events))


async def follow_rounds(
    tx: Transaction, events: Sequence[Event[RoundChanged]], *, policy: Policy
) -> None:
    """Follow rounds as they are made, open and close. Cases open and close with them."""
    for told in sorted(map(messages.round_of, events), key=lambda told: told.id):
        known = await store.hold_round(tx, told.id)
        if not told.is_newer_than(known):
            continue
        current = told.ticked(known.clock_at) if known.clock_at else told
        await store.save_round(tx, current)
        if (known.state, known.closes_at) != (current.state, current.closes_at):
            scene = _scene(current, policy)
            persons = await store.lock_persons(
                tx, current.id, await store.residents_of(tx, current.id)
            )
            await _take(tx, (domain.review(person, scene) for person in persons.values()))


async def tick(tx: Transaction, events: Sequence[Event[RoundTicked]], *, policy: Policy) -> None:
    """Move manual clocks on; hands that are past their time end with it."""
    clocks = {event.data.round: event.data.clock_at for event in events}
    for round_id, clock_at in sorted(clocks.items()):
        known = await store.hold_round(tx, round_id)
        current = known.ticked(clock_at)
        await store.save_round(tx, current)
        await _end_hands(tx, _scene(current, policy), limit=None)


# --- what registry says of people ---


async def settle(tx: Transaction, events: Sequence[Event[RollChanged]], *, policy: Policy) -> None:
    """Open a case for whoever is untested and cannot come; close it when they are not (R15)."""
    life = await store.our_life(tx)
    by_round = messages.by_round(events)
    rounds = {round_id: await store.enter_round(tx, round_id) for round_id in by_round}
    for round_id, groups in by_round.items():
        held = await store.held_without_case(tx, round_id)
        told = messages.newest(groups, worthy=policy.worthy, held=held, life=life)
        await _settle_round(tx, told, _scene(rounds[round_id], policy))


async def _settle_round(tx: Transaction, told: dict[str, Told], scene: Scene) -> None:
    if not told:
        return
    persons = await store.meet_persons(tx, scene.round.id, told)
    await _take(
        tx,
        (domain.settle(person, told[person.resident], scene) for person in persons.values()),
    )


async def take_answers(
    tx: Transaction, events: Sequence[Event[VisitsAnswered]], *, policy: Policy
) -> None:
    """Complete finished visits whose sample registry recorded, escalate those it refused."""
    by_round = messages.answers(events)
    rounds = {round_id: await store.enter_round(tx, round_id) for round_id in by_round}
    for round_id, answers in by_round.items():
        await _take_answers(tx, answers, _scene(rounds[round_id], policy))


async def _take_answers(tx: Transaction, answers: Iterable[VisitAnswer], scene: Scene) -> None:
    by_visit = {answer.visit: answer for answer in answers}
    found = await store.load_visits(tx, scene.round.id, by_visit)
    residents = {visit.resident for visit in found.values()}
    persons = await store.lock_persons(tx, scene.round.id, residents)
    # Read again under the locks: a visit may have been reported between the two statements.
    visits = await store.load_visits(tx, scene.round.id, by_visit)
    await _take(
        tx,
        (
            domain.answer(persons[visit.resident], visit, by_visit[visit.id], scene)
            for visit in visits.values()
            if visit.resident in persons
        ),
    )


# --- who goes there ---


async def put_team(tx: Transaction, team: Team, caller: Caller, *, policy: Policy) -> Team:
    """Set up or change a team; when it drops out, what it had in hand waits for another.

    Raises:
        Forbidden: it works, or worked, outside the caller's areas.

    """
    for area in team.areas:
        caller.require(area)
    await _hold_rounds_of(tx, team.id)
    known = await store.lock_team(tx, team.id)
    for area in known.areas if known else ():
        caller.require(area)
    await store.save_team(tx, team)
    for round_id, residents in (await store.held_by_team(tx, team.id)).items():
        scene = _scene(await store.enter_round(tx, round_id), policy)
        persons = await store.lock_persons(tx, round_id, residents)
        move = domain.rebook if team.active else domain.release
        await _take(tx, (move(person, team, scene) for person in persons.values()))
    return team


async def _hold_rounds_of(tx: Transaction, team_id: str) -> None:
    """Enter the rounds a team works in before locking the team, as the lock order wants it."""
    for round_id in await store.held_by_team(tx, team_id):
        await store.enter_round(tx, round_id)


async def assign_waiting(
    tx: Transaction, round_id: str, assigner: Assigner, *, policy: Policy
) -> int:
    """Give planned visits to teams on shift that have room; say how many."""
    scene = _scene(await store.enter_round(tx, round_id), policy)
    if not scene.round.runs(scene.now):
        return 0
    crews = [crew for crew in await store.crews(tx, round_id, scene.now, lock=True) if crew.room]
    waiting = await _waiting_for(tx, crews, scene)
    plan = assigner(waiting, crews, policy)
    persons = await store.lock_persons(
        tx, round_id, (visit.resident for visit in waiting if visit.id in plan)
    )
    return await _take(
        tx,
        (
            domain.assign(person, person.visit, plan[person.visit.id], scene)
            for person in persons.values()
            # Under the lock it may have been assigned, cancelled or replaced meanwhile.
            if person.visit and person.visit.id in plan and person.visit.status == "planned"
        ),
    )


async def _waiting_for(tx: Transaction, crews: Sequence[Crew], scene: Scene) -> list[Waiting]:
    patterns: dict[bool, list[str]] = {
        quarantined: sorted(
            {
                f"{area}%"
                for crew in crews
                if crew.team.takes(quarantined, scene.policy)
                for area in crew.team.areas
            }
        )
        for quarantined in (False, True)
    }
    room = min(BATCH, sum(crew.room for crew in crews))
    if not room:
        return []
    return await store.waiting_visits(tx, scene.round.id, patterns[False], patterns[True], room)


async def assign_visit(
    tx: Transaction, visit_id: UUID, team_id: str, caller: Caller, *, policy: Policy
) -> Visit:
    """Give one visit to a team by hand; also one that another team has.

    Raises:
        NotFound: no such visit within the caller's areas.
        Conflict: it is over, or the team cannot make it.

    """
    visit = await _visit_for(tx, visit_id, caller)
    round_ = await store.enter_round(tx, visit.round)
    team = await store.lock_team(tx, team_id, share=True)
    if team is None:
        raise TeamCannotServe("there is no such team", reason="unknown")

    def give(person: Person, current: Visit, scene: Scene) -> Step:
        return domain.assign(person, current, team, scene)

    return await _move(tx, visit, _scene(round_, policy), give)


async def start_visit(tx: Transaction, visit_id: UUID, caller: Caller, *, policy: Policy) -> Visit:
    """Note that the team is at the door.

    Raises:
        NotFound: no such visit within the caller's areas, or never this team's.
        Conflict: it is over, or no team has it.

    """
    visit = await _visit_for(tx, visit_id, caller)
    scene = _scene(await store.enter_round(tx, visit.round), policy)

    def knock(person: Person, current: Visit, scene: Scene) -> Step:
        return domain.start(person, current, acting_team(caller), scene)

    return await _move(tx, visit, scene, knock)


async def finish_visit(
    tx: Transaction, visit_id: UUID, report: VisitReport, caller: Caller, *, policy: Policy
) -> Visit:
    """Take the report of a visit (R16); the same report again gives the first answer (R19).

    Raises:
        NotFound: no such visit within the caller's areas, or never this team's.
        Conflict: another report came before, or the report's id came with other content.

    """
    visit = await _visit_for(tx, visit_id, caller)
    scene = _scene(await store.enter_round(tx, visit.round), policy)
    fingerprint = _fingerprint(visit_id, report)
    before = await store.keep_report(tx, report.id, visit, fingerprint)
    if before is not None:
        if before != (visit.id, fingerprint):
            raise IdReused("report_id: came before with other content")
        return await _reload(tx, visit)

    def tell(person: Person, current: Visit, scene: Scene) -> Step:
        return domain.finish(person, current, report, acting_team(caller), scene)

    return await _move(tx, visit, scene, tell)


async def cancel_visit(tx: Transaction, visit_id: UUID, caller: Caller, *, policy: Policy) -> Visit:
    """Call a visit off; the office answers for the next step.

    Raises:
        NotFound: no such visit within the caller's areas.
        Conflict: it is over already.

    """
    visit = await _visit_for(tx, visit_id, caller)
    scene = _scene(await store.enter_round(tx, visit.round), policy)

    def call_off(person: Person, current: Visit, scene: Scene) -> Step:
        return domain.cancel(person, current, caller.sub, scene)

    return await _move(tx, visit, scene, call_off)


# --- the clock ---


async def end_hands(tx: Transaction, round_id: str, *, policy: Policy) -> int:
    """End hands that are past their time, by the round's clock; say how many."""
    scene = _scene(await store.enter_round(tx, round_id), policy)
    return await _end_hands(tx, scene, limit=BATCH)


async def _end_hands(tx: Transaction, scene: Scene, limit: int | None) -> int:
    residents = await store.hands_past(tx, scene.round.id, scene.now, limit)
    persons = await store.lock_persons(tx, scene.round.id, residents)
    return await _take(tx, (domain.expire(person, scene) for person in persons.values()))


# --- what is shown ---


@dataclass(frozen=True, slots=True)
class Shown:
    """A person, one of their visits, and what a list says beside it."""

    person: Person
    visit: Visit | None
    community_name: str | None
    why_waiting: Why | None = None
    """Why a planned visit has no team yet; None also when it is about to have one."""


async def show_cases(
    tx: Transaction,
    caller: Caller,
    *,
    after: tuple[str, str],
    limit: int,
    round_id: str | None,
    office: str | None,
    state: CaseState | None,
    policy: Policy,
) -> list[Shown]:
    """List cases within the caller's areas, by round and resident."""
    persons = await store.list_cases(
        tx,
        areas=caller.area_patterns,
        after=after,
        limit=limit,
        round_id=round_id,
        office=office,
        state=state,
    )
    return await _show(tx, [(person, person.visit) for person in persons], policy)


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
    visits = await store.list_visits(
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
    return await _show(tx, await store.with_persons(tx, visits), policy)


async def show_visit(
    tx: Transaction, visit_id: UUID, caller: Caller, *, policy: Policy
) -> tuple[Shown, Visit]:
    """Show one visit.

    Raises:
        NotFound: no such visit within the caller's areas, or never this team's.

    """
    visit = await _visit_for(tx, visit_id, caller)
    return (await _show(tx, await store.with_persons(tx, [visit]), policy))[0], visit


async def show_worklist(
    tx: Transaction, team_id: str, caller: Caller, *, policy: Policy
) -> tuple[Team, list[Shown]]:
    """List whom a team has to visit, in the order of its tour, as far as the caller may see.

    Raises:
        NotFound: no such team, or another's worklist.

    """
    team = await find_team(tx, team_id, caller)
    persons = await store.worklist(tx, team.id, caller.area_patterns)
    return team, await _show(tx, [(person, person.visit) for person in persons], policy)


async def find_team(tx: Transaction, team_id: str, caller: Caller) -> Team:
    """Find a team that works within the caller's areas; a team finds itself only.

    Raises:
        NotFound: there is none.

    """
    own = acting_team(caller)
    found = await store.list_teams(tx, caller.area_patterns, only=team_id, limit=1)
    if not found or own not in {None, team_id}:
        raise NotFound("no such team within the token's areas")
    return found[0]


async def show_teams(tx: Transaction, caller: Caller, *, after: str, limit: int) -> list[Team]:
    """List teams that work within the caller's areas; a team sees itself."""
    return await store.list_teams(
        tx, caller.area_patterns, after=after, limit=limit, only=acting_team(caller)
    )


async def hand_totals(
    tx: Transaction, round_id: str
) -> tuple[list[outbox.Head], dict[HandKind, int]]:
    """Count open hands by kind, with the heads of what was announced of them (R22)."""
    heads = [head for head in await outbox.heads(tx) if head.topic == HANDS]
    return heads, await store.hand_totals(tx, round_id)


async def _show(
    tx: Transaction, pairs: Sequence[tuple[Person, Visit | None]], policy: Policy
) -> list[Shown]:
    codes = {person.standing.community for person, _ in pairs}
    codes |= {visit.community for _, visit in pairs if visit}
    names = await store.area_names(tx, codes)
    waiting = {visit.round for _, visit in pairs if visit and visit.status == "planned"}
    crews = await _crews_of(tx, waiting)

    def show(person: Person, visit: Visit | None) -> Shown:
        why: Why | None = None
        if visit and visit.status == "planned":
            at_work = crews[visit.round]
            why = "round_over"
            if at_work is not None:
                why = why_waiting(visit.community, visit.quarantined, at_work, policy)
        place = visit.community if visit else person.standing.community
        return Shown(person, visit, names.get(place), why)

    return [show(person, visit) for person, visit in pairs]


async def _crews_of(tx: Transaction, round_ids: Iterable[str]) -> dict[str, list[Crew] | None]:
    """List the teams on shift by round; None where no work is handed out any more."""
    crews: dict[str, list[Crew] | None] = {}
    for round_id, round_ in (await store.read_rounds(tx, round_ids)).items():
        now = round_.time(datetime.now(UTC))
        crews[round_id] = await store.crews(tx, round_id, now) if round_.runs(now) else None
    return crews


# --- common to all ---


def acting_team(caller: Caller) -> str | None:
    """Name the team a caller acts as; None for those who act for an office.

    A team's token without a team acts as none that exists.
    """
    if caller.has("office", "supervisor", "district", "system", "admin"):
        return None
    return caller.team or ""


def _scene(round_: Round, policy: Policy) -> Scene:
    return Scene(round_, round_.time(datetime.now(UTC)), policy, store.new_id)


async def _take(tx: Transaction, decided: Iterable[Step | None]) -> int:
    """Save and announce what was decided; say how many steps changed anything."""
    steps = [step for step in decided if step and (step.after != step.before or step.visits)]
    await store.save(tx, steps)
    messages.announce(tx, steps)
    return len(steps)


async def _visit_for(tx: Transaction, visit_id: UUID, caller: Caller) -> Visit:
    """Find a visit the caller may act on: round and resident of a visit never change."""
    visit = await store.find_visit(tx, visit_id, caller.area_patterns, acting_team(caller))
    if visit is None:
        raise NotFound("no such visit within the token's areas")
    return visit


async def _move(
    tx: Transaction, visit: Visit, scene: Scene, decide: Callable[[Person, Visit, Scene], Step]
) -> Visit:
    persons = await store.lock_persons(tx, visit.round, [visit.resident])
    current = await _reload(tx, visit)
    step = decide(persons[visit.resident], current, scene)
    await _take(tx, [step])
    return next((after for _, after in step.visits if after.id == visit.id), current)


async def _reload(tx: Transaction, visit: Visit) -> Visit:
    return (await store.load_visits(tx, visit.round, [visit.id]))[visit.id]


def _fingerprint(visit_id: UUID, report: VisitReport) -> bytes:
    content = replace(report, at=report.at and report.at.astimezone(UTC))
    return hashlib.sha256(msgspec.json.encode((visit_id, content))).digest()
