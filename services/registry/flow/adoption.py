"""After a backup was restored: all we stand for told anew, and a new life of dispatch taken in."""

from collections.abc import AsyncIterator, Sequence

from services.registry import messages
from services.registry.flow.settle import settle
from services.registry.store import account, denominators, locks, residents, rounds, sight
from shared import positions
from shared.contracts.dispatch import HandsSnapshotEnded
from shared.contracts.envelope import Event
from shared.contracts.registry import (
    ROLL,
    ROUNDS,
    RollSnapshotBegun,
    RollSnapshotEnded,
    RoundsSnapshotBegun,
    RoundsSnapshotEnded,
)
from shared.database import Transaction

BATCH = 1000
"""People whose account is settled at a time."""

MARKS = {
    ROUNDS: (RoundsSnapshotBegun, RoundsSnapshotEnded),
    ROLL: (RollSnapshotBegun, RollSnapshotEnded),
}
"""What a snapshot begins and ends with."""


async def retell(tx: Transaction) -> AsyncIterator[messages.Keyed]:
    """Tell areas, numbers from outside and rounds; every figure, from the facts; who has a need.

    The heads are held: nothing that anybody hears of moves while we read.
    """
    await sight.whole(tx)
    for keyed in messages.areas_changed(await rounds.areas(tx, ["%"], placed=True)):
        yield keyed
    for keyed in messages.denominators_changed(await denominators.everything(tx)):
        yield keyed
    for where in await rounds.listed(tx):
        yield messages.round_changed(where)
        for keyed in messages.roll_counted(where, await account.recount(tx, where)):
            yield keyed
        async for chunk in account.of_concern(tx, where):
            for keyed in messages.roll_stated(where, chunk):
                yield keyed


async def end_forgotten_hands(tx: Transaction, events: Sequence[Event[HandsSnapshotEnded]]) -> None:
    """End the hands that dispatch, restored from a backup, no longer knows of.

    It has named all others by the end of all its partitions; who is in none of them is answered for
    by nobody.
    """
    await sight.whole(tx)
    for event in events:
        if not await positions.retold(tx, "registry", event.record):
            continue
        incarnation = event.record.incarnation
        forgotten = await account.hands_of_former_lives(tx, incarnation)
        await locks.share_rounds(tx, forgotten)
        for round_id, held in forgotten.items():
            where = await rounds.load(tx, round_id)
            for start in range(0, len(held), BATCH):
                batch = held[start : start + BATCH]
                await residents.lock(tx, batch)
                await account.let_go(tx, round_id, incarnation, batch)
                await settle(tx, where, batch)
