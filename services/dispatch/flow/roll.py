"""What registry says of people: where they stand on the roll, and whether a swab was recorded."""

from collections.abc import Sequence

from services.dispatch import messages
from services.dispatch.domain import roll
from services.dispatch.domain.policy import Policy
from services.dispatch.domain.roll import Told, VisitAnswer
from services.dispatch.domain.steps import Scene
from services.dispatch.flow.steps import scene_of, take
from services.dispatch.store import people, rounds, visits
from shared.contracts.envelope import Event
from shared.contracts.registry import RollChanged, VisitsAnswered
from shared.database import Transaction


async def settle(tx: Transaction, events: Sequence[Event[RollChanged]], *, policy: Policy) -> None:
    """Open a case for whoever is untested and cannot come; close it when they are not (R15)."""
    life = await people.our_life(tx)
    by_round = messages.by_round(events)
    entered = {round_id: await rounds.enter(tx, round_id) for round_id in by_round}
    for round_id, groups in by_round.items():
        held = await people.held_without_case(tx, round_id)
        told = messages.newest(groups, worthy=policy.worthy, held=held, life=life)
        await _settle_round(tx, told, scene_of(entered[round_id], policy))


async def _settle_round(tx: Transaction, told: dict[str, Told], scene: Scene) -> None:
    if not told:
        return
    persons = await people.meet(tx, scene.round.id, told)
    await take(
        tx,
        (roll.settle(person, told[person.resident], scene) for person in persons.values()),
    )


async def take_answers(
    tx: Transaction, events: Sequence[Event[VisitsAnswered]], *, policy: Policy
) -> None:
    """Complete finished visits whose sample registry recorded, escalate those it refused."""
    by_round = messages.answers(events)
    entered = {round_id: await rounds.enter(tx, round_id) for round_id in by_round}
    for round_id, answers in by_round.items():
        await _take_answers(tx, answers, scene_of(entered[round_id], policy))


async def _take_answers(tx: Transaction, answers: list[VisitAnswer], scene: Scene) -> None:
    """Take answers one per person at a time: each is decided on what the one before it left."""
    now: dict[str, VisitAnswer] = {}
    later = [told for told in answers if now.setdefault(told.resident, told) is not told]
    persons = await people.lock(tx, scene.round.id, now)
    made = await visits.load(tx, scene.round.id, (told.visit for told in now.values()))
    await take(
        tx,
        (
            roll.answer(person, made[now[person.resident].visit], now[person.resident], scene)
            for person in persons.values()
            if now[person.resident].visit in made
        ),
    )
    if later:
        await _take_answers(tx, later, scene)
