"""After a backup was restored: all we stand for told anew, and a new life of registry taken in.

Between its beginning and the end of all its partitions a snapshot is taken as any news of the roll:
whom it names stands as it says. Then those it did not name are let go of.
"""

from collections.abc import AsyncIterator, Sequence

from services.dispatch import messages
from services.dispatch.domain import roll
from services.dispatch.domain.policy import Policy
from services.dispatch.domain.rounds import Round
from services.dispatch.flow.rounds import review
from services.dispatch.flow.steps import BATCH, scene_of, take
from services.dispatch.store import people, rounds, visits
from shared import positions
from shared.contracts.dispatch import (
    HANDS,
    VISITS,
    HandsSnapshotBegun,
    HandsSnapshotEnded,
    VisitsSnapshotBegun,
    VisitsSnapshotEnded,
)
from shared.contracts.envelope import Event, partition_of
from shared.contracts.registry import RollSnapshotEnded, RollStated, RoundsSnapshotEnded
from shared.database import Transaction

MARKS = {
    HANDS: (HandsSnapshotBegun, HandsSnapshotEnded),
    VISITS: (VisitsSnapshotBegun, VisitsSnapshotEnded),
}
"""What a snapshot begins and ends with."""


async def retell(tx: Transaction) -> AsyncIterator[messages.Keyed]:
    """Tell open hands, figures of visits, and swabs that registry has not answered yet."""
    async for round_id, persons in people.in_hands(tx):
        for keyed in messages.open_hands(round_id, persons):
            yield keyed
    waiting = await visits.waiting_since(tx)
    for round_id, counts in (await visits.counted(tx)).items():
        for keyed in messages.visits_counted(round_id, counts, waiting.get(round_id, {})):
            yield keyed
    for keyed in messages.visits_retold(await visits.unanswered(tx)):
        yield keyed


async def take_states(
    tx: Transaction, events: Sequence[Event[RollStated]], *, policy: Policy
) -> None:
    """Let everybody stand as registry says, whatever it had said in its former life."""
    by_round = messages.stated(events, worthy=policy.worthy, life=await people.our_life(tx))
    entered = {round_id: await rounds.enter(tx, round_id) for round_id in by_round}
    for round_id, (told, concern) in by_round.items():
        met = await people.meet(tx, round_id, told)
        persons = [each for each in met.values() if not each.is_new or each.resident in concern]
        scene = scene_of(entered[round_id], policy)
        await take(tx, (roll.settle(each, told[each.resident], scene) for each in persons))


async def forget_rounds(
    tx: Transaction, events: Sequence[Event[RoundsSnapshotEnded]], *, policy: Policy
) -> None:
    """Let go of rounds that registry no longer knows; told of again, they begin anew."""
    for event in events:
        life, partition = event.record.incarnation, event.record.partition
        for round_id in await rounds.of_former_lives(tx, life):
            if partition_of(round_id) == partition:
                await rounds.hold(tx, round_id)
                stub = Round(round_id, incarnation=life)
                await rounds.save(tx, stub)
                await review(tx, await people.in_play(tx, round_id), scene_of(stub, policy))


async def forget_people(
    tx: Transaction, events: Sequence[Event[RollSnapshotEnded]], *, policy: Policy
) -> None:
    """Once all partitions are told, let go of whom none of them named.

    And ask again for answers that may have been given between backup and adoption, to nobody.
    """
    for event in events:
        if not await positions.retold(tx, "dispatch", event.record):
            continue
        life = event.record.incarnation
        unnamed = await people.of_former_lives(tx, life)
        for round_id, residents in unnamed.items():
            scene = scene_of(await rounds.enter(tx, round_id), policy)
            for start in range(0, len(residents), BATCH):
                persons = await people.lock(tx, round_id, residents[start : start + BATCH])
                await take(tx, (roll.unknown(each, life, scene) for each in persons.values()))
        for message, key in messages.visits_retold(await visits.unanswered(tx)):
            tx.announce(message, key=key)
