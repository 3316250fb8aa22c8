"""A producer was restored from an older backup and adopted: it tells everything anew.

What a partition told before is forgotten where its snapshot begins, and the figures that follow are
taken as they are: they were counted from the producer's facts. A rebuild comes by here too, if the
backup held what it has counted so far.
"""

from collections.abc import Sequence
from typing import Any

from services.reporting import messages
from services.reporting.domain.generations import consumer_of
from services.reporting.store import counters, deltas, generations, parked, partitions
from shared.contracts.dispatch import VisitsCounted, VisitsSnapshotBegun
from shared.contracts.envelope import Event
from shared.contracts.registry import RollCounted, RollSnapshotBegun, RoundsSnapshotBegun
from shared.database import Transaction


async def forget_rounds(
    tx: Transaction, events: Sequence[Event[RoundsSnapshotBegun]], into: int | None = None
) -> None:
    """Areas, numbers from outside and rounds of these partitions are told anew."""
    generation = await generations.fed(tx, into)
    for event in events:
        await partitions.forget_rounds(tx, generation, event.record.partition)
    await _unpark(tx, events, into)


async def forget_roll(
    tx: Transaction, events: Sequence[Event[RollSnapshotBegun]], into: int | None = None
) -> None:
    """The account of the communities of these partitions is told anew."""
    generation = await generations.fed(tx, into)
    for event in events:
        await partitions.forget_roll(tx, generation, event.record.partition)
    await deltas.forget(tx, generation, [event.record for event in events])
    await _unpark(tx, events, into)


async def take_counts(
    tx: Transaction, events: Sequence[Event[RollCounted]], into: int | None = None
) -> None:
    """Take figures as registry counted them; no cut before them can be told."""
    generation = await generations.fed(tx, into)
    told = [event.data for event in events]
    await counters.move(tx, generation, messages.counted(told))
    await counters.move_slots(tx, generation, messages.counted_slots(told))
    await deltas.forget(tx, generation, [event.record for event in events])


async def forget_visits(
    tx: Transaction, events: Sequence[Event[VisitsSnapshotBegun]], into: int | None = None
) -> None:
    """The visits of the communities of these partitions are told anew."""
    generation = await generations.fed(tx, into)
    for event in events:
        await partitions.forget_visits(tx, generation, event.record.partition)
    await _unpark(tx, events, into)


async def take_visits(
    tx: Transaction, events: Sequence[Event[VisitsCounted]], into: int | None = None
) -> None:
    """Take figures of visits as dispatch counted them."""
    generation = await generations.fed(tx, into)
    told = [event.data for event in events]
    await counters.move_visits(tx, generation, messages.counted_visits(told))
    await counters.move_slots(tx, generation, messages.counted_waiting(told))


async def _unpark(tx: Transaction, events: Sequence[Event[Any]], into: int | None) -> None:
    """Let go of what was set aside of these partitions: it is in what they tell, or never was."""
    consumer = consumer_of(into)
    for event in events:
        await parked.let_go(tx, consumer, event.record.topic, event.record.partition)
