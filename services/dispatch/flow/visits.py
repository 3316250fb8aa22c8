"""One visit: given to a team, begun, reported, called off."""

from collections.abc import Callable
from uuid import UUID

from services.dispatch.domain import assignment, doors
from services.dispatch.domain.errors import TeamCannotServe
from services.dispatch.domain.people import Person
from services.dispatch.domain.policy import Policy
from services.dispatch.domain.steps import Scene, Step
from services.dispatch.domain.visits import Visit, VisitReport
from services.dispatch.flow.steps import acting_team, fingerprint_of, scene_of, take, visit_for
from services.dispatch.store import people, receipts, rounds, teams, visits
from shared.auth import Caller
from shared.database import Transaction
from shared.errors import IdReused


async def assign_visit(
    tx: Transaction,
    visit_id: UUID,
    team_id: str,
    caller: Caller,
    *,
    policy: Policy,
    beyond_capacity: bool = False,
) -> Visit:
    """Give one visit to a team by hand; also one that another team has.

    A team's capacity holds for offices too, unless they say that it shall not this time.

    Raises:
        NotFound: no such visit within the caller's areas.
        Conflict: it is over, or the team cannot make it or has no room.

    """
    visit = await visit_for(tx, visit_id, caller)
    round_ = await rounds.enter(tx, visit.round)
    team = await teams.lock(tx, team_id)
    if team is None:
        raise TeamCannotServe("there is no such team", reason="unknown")
    room = 1 if beyond_capacity else await teams.room_of(tx, team)

    def give(person: Person, current: Visit, scene: Scene) -> Step:
        return assignment.assign(person, current, team, scene, room=room)

    return await _move(tx, visit, scene_of(round_, policy), give)


async def start_visit(tx: Transaction, visit_id: UUID, caller: Caller, *, policy: Policy) -> Visit:
    """Note that the team is at the door.

    Raises:
        NotFound: no such visit within the caller's areas, or never this team's.
        Conflict: it is over, or no team has it.

    """
    visit = await visit_for(tx, visit_id, caller)
    scene = scene_of(await rounds.enter(tx, visit.round), policy)

    def knock(person: Person, current: Visit, scene: Scene) -> Step:
        return doors.start(person, current, acting_team(caller), scene)

    return await _move(tx, visit, scene, knock)


async def finish_visit(
    tx: Transaction, visit_id: UUID, report: VisitReport, caller: Caller, *, policy: Policy
) -> Visit:
    """Take the report of a visit (R16); the same report again gives the first answer (R19).

    Raises:
        NotFound: no such visit within the caller's areas, or never this team's.
        Conflict: another report came before, or the report's id came with other content.

    """
    visit = await visit_for(tx, visit_id, caller)
    scene = scene_of(await rounds.enter(tx, visit.round), policy)
    fingerprint = fingerprint_of(visit_id, report)
    before = await receipts.keep_report(tx, report, visit, caller.sub, fingerprint)
    if before not in {None, fingerprint}:
        raise IdReused("report_id: came before with other content")
    if before is not None:
        return await _reload(tx, visit)

    def tell(person: Person, current: Visit, scene: Scene) -> Step:
        return doors.finish(person, current, report, acting_team(caller), scene)

    return await _move(tx, visit, scene, tell)


async def cancel_visit(tx: Transaction, visit_id: UUID, caller: Caller, *, policy: Policy) -> Visit:
    """Call a visit off; the office answers for the next step. Asked again, it is off already.

    Raises:
        NotFound: no such visit within the caller's areas.
        Conflict: it is over for another reason.

    """
    visit = await visit_for(tx, visit_id, caller)
    scene = scene_of(await rounds.enter(tx, visit.round), policy)

    def call_off(person: Person, current: Visit, scene: Scene) -> Step:
        return doors.cancel(person, current, caller.sub, scene)

    return await _move(tx, visit, scene, call_off)


async def _move(
    tx: Transaction, visit: Visit, scene: Scene, decide: Callable[[Person, Visit, Scene], Step]
) -> Visit:
    persons = await people.lock(tx, visit.round, [visit.resident])
    current = await _reload(tx, visit)
    step = decide(persons[visit.resident], current, scene)
    await take(tx, [step])
    return next((after for _, after in step.visits if after.id == visit.id), current)


async def _reload(tx: Transaction, visit: Visit) -> Visit:
    return (await visits.load(tx, visit.round, [visit.id]))[visit.id]
