"""Rounds and areas: cases open and close with the round, hands end with its clock."""

from collections.abc import Sequence

from services.dispatch import messages
from services.dispatch.domain import clock
from services.dispatch.domain.policy import Policy
from services.dispatch.domain.steps import Scene
from services.dispatch.flow.steps import BATCH, end_hands_past, scene_of, take
from services.dispatch.store import areas, people, rounds
from shared.contracts.envelope import Event
from shared.contracts.registry import AreasChanged, RoundChanged, RoundTicked
from shared.database import Transaction


async def learn_areas(tx: Transaction, events: Sequence[Event[AreasChanged]]) -> None:
    """Keep the names of offices and communities."""
    await areas.save(tx, messages.areas(events))


async def follow_rounds(
    tx: Transaction, events: Sequence[Event[RoundChanged]], *, policy: Policy
) -> None:
    """Follow rounds as they are made, open and close. Cases open and close with them.

    All of it may come in one batch, of a round whose day we slept through: step by step.
    """
    for told in sorted(map(messages.round_of, events), key=lambda told: told.id):
        known = await rounds.hold(tx, told.id)
        if not told.is_newer_than(known):
            continue
        current = told.ticked(known.clock_at) if known.clock_at else told
        await rounds.save(tx, current)
        if (known.state, known.closes_at) != (current.state, current.closes_at):
            opens = known.state != "open" and current.state == "open"
            concerned = people.everybody if opens else people.in_play
            await review(tx, await concerned(tx, told.id), scene_of(current, policy))


async def review(tx: Transaction, residents: Sequence[str], scene: Scene) -> None:
    """Review people batch by batch: a city's cases at once would be hundreds of megabytes."""
    for start in range(0, len(residents), BATCH):
        persons = await people.lock(tx, scene.round.id, residents[start : start + BATCH])
        await take(tx, (clock.review(person, scene) for person in persons.values()))


async def tick(tx: Transaction, events: Sequence[Event[RoundTicked]], *, policy: Policy) -> None:
    """Move manual clocks on; hands that are past their time end with it."""
    clocks = {event.data.round: event.data.clock_at for event in events}
    for round_id, clock_at in sorted(clocks.items()):
        known = await rounds.hold(tx, round_id)
        current = known.ticked(clock_at)
        await rounds.save(tx, current)
        await end_hands_past(tx, scene_of(current, policy), limit=None)


async def end_hands(tx: Transaction, round_id: str, *, policy: Policy) -> int:
    """End hands that are past their time, by the round's clock; say how many."""
    scene = scene_of(await rounds.enter(tx, round_id), policy)
    return await end_hands_past(tx, scene, limit=BATCH)
