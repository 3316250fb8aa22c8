"""Teams: who works where and when, and which visits they are given."""

from collections.abc import Sequence

from services.dispatch.assigner import Assigner, Crew, Waiting
from services.dispatch.domain import assignment
from services.dispatch.domain.policy import Policy
from services.dispatch.domain.steps import Scene
from services.dispatch.domain.teams import Team
from services.dispatch.flow.steps import BATCH, scene_of, take
from services.dispatch.store import people, rounds, teams, waiting
from shared.auth import Caller
from shared.database import Transaction


async def put_team(tx: Transaction, team: Team, caller: Caller, *, policy: Policy) -> Team:
    """Set up or change a team; what it cannot make any more waits for another.

    Raises:
        Forbidden: it works, or worked, outside the caller's areas.

    """
    for area in team.areas:
        caller.require(area)
    await _hold_rounds_of(tx, team.id)
    known = await teams.lock(tx, team.id)
    for area in known.areas if known else ():
        caller.require(area)
    await teams.save(tx, team)
    for round_id, residents in (await teams.held_by(tx, team.id)).items():
        scene = scene_of(await rounds.enter(tx, round_id), policy)
        persons = await people.lock(tx, round_id, residents)
        await take(tx, (assignment.regroup(person, team, scene) for person in persons.values()))
    return team


async def _hold_rounds_of(tx: Transaction, team_id: str) -> None:
    """Enter the rounds a team works in before locking the team, as the lock order wants it."""
    for round_id in await teams.held_by(tx, team_id):
        await rounds.enter(tx, round_id)


async def assign_waiting(
    tx: Transaction, round_id: str, assigner: Assigner, *, policy: Policy
) -> int:
    """Give planned visits to teams on shift that have room; say how many."""
    scene = scene_of(await rounds.enter(tx, round_id), policy)
    if not scene.round.runs(scene.now) or not await waiting.anybody(tx, round_id):
        return 0
    crews = [crew for crew in await teams.crews(tx, scene.now, lock=True) if crew.room]
    visits = await _waiting_for(tx, crews, scene)
    plan = assigner(visits, crews, policy)
    persons = await people.lock(
        tx, round_id, (visit.resident for visit in visits if visit.id in plan)
    )
    return await take(
        tx,
        (
            assignment.assign(person, person.visit, plan[person.visit.id], scene)
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
    return await waiting.visits(tx, scene.round.id, patterns[False], patterns[True], room)
