"""Events become figures: `count[after] += 1; count[before] -= 1`, and nothing is ever recounted.

Each use case takes the events of one partition that came in a row, and a generation to fold them
`into`: None is the current one, which live events feed; a rebuild names its own.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

from services.reporting import messages, metrics
from services.reporting.domain.throughput import COUNTED, Counted
from services.reporting.store import areas, counters, deltas, denominators, generations, rounds
from shared.contracts.dispatch import VisitsChanged
from shared.contracts.envelope import Event
from shared.contracts.registry import (
    AreasChanged,
    DenominatorsChanged,
    RollMoved,
    RoundChanged,
    RoundOpened,
    RoundTicked,
)
from shared.database import Transaction

KEEP = timedelta(hours=1)
"""How young an event must be for its single delta to be kept: cuts are minutes old at most."""


M = TypeVar("M", RollMoved, RoundOpened)


class Fold(Protocol):
    """What an event type does to the figures of a generation."""

    async def __call__(
        self, tx: Transaction, events: Sequence[Event[Any]], into: int | None = None
    ) -> None:
        """Fold events that came in a row."""


async def name_areas(
    tx: Transaction, events: Sequence[Event[AreasChanged]], into: int | None = None
) -> None:
    """Areas were added or renamed: rows get names."""
    generation = await generations.fed(tx, into)
    await areas.save(tx, generation, [each for event in events for each in event.data.areas])


async def take_denominators(
    tx: Transaction, events: Sequence[Event[DenominatorsChanged]], into: int | None = None
) -> None:
    """Others say how many people there are: coverage is shown against that too (R3)."""
    generation = await generations.fed(tx, into)
    given = [each for event in events for each in event.data.denominators]
    await denominators.save(tx, generation, given)


async def follow_rounds(
    tx: Transaction, events: Sequence[Event[RoundChanged]], into: int | None = None
) -> None:
    """A round was made, opened, closed or sealed; the newest version of it holds."""
    generation = await generations.fed(tx, into)
    for event in events:
        await rounds.save(tx, generation, event.data, event.record.recorded_at)


async def follow_clocks(
    tx: Transaction, events: Sequence[Event[RoundTicked]], into: int | None = None
) -> None:
    """The manual clock of a round moved on."""
    generation = await generations.fed(tx, into)
    for event in events:
        await rounds.tick(tx, generation, event.data)


async def enter_rolls(
    tx: Transaction, events: Sequence[Event[RoundOpened]], into: int | None = None
) -> None:
    """A round opened: everybody of these communities is on its roll, unaccounted."""
    generation = await generations.fed(tx, into)
    young, old = _apart(events)
    moved = [(event.record, event.data.round, messages.opened(event.data)) for event in young]
    parts = [*(moves for _, _, moves in moved), *(messages.opened(event.data) for event in old)]
    await counters.move(tx, generation, messages.merged(parts))
    await deltas.keep(tx, generation, moved)
    await deltas.forget(tx, generation, [event.record for event in old])


async def settle_changes(
    tx: Transaction, events: Sequence[Event[RollMoved]], into: int | None = None
) -> None:
    """People moved in the account: each figure moves by as much as they did (R1, R2, R4, R5).

    Signed sums, one statement for all events: the order within does not matter, the position has
    seen to it that each comes once, and a figure below zero would be shown, not hidden.
    """
    generation = await generations.fed(tx, into)
    young, old = _apart(events)
    moved = [messages.settled([event.data]) for event in young]
    parts = [*moved, messages.settled(event.data for event in old)]
    await counters.move(tx, generation, messages.merged(cells for cells, _ in parts))
    await counters.move_slots(tx, generation, messages.merged(slots for _, slots in parts))
    single = [
        (event.record, event.data.round, cells | messages.as_cells(slots))
        for event, (cells, slots) in zip(young, moved, strict=True)
    ]
    await deltas.keep(tx, generation, single)
    await deltas.forget(tx, generation, [event.record for event in old])
    if into is None:
        accepted = [(event.record.recorded_at, event.data.results) for event in events]
        changes = sum(sum(map(len, event.data.communities.values())) for event in events)
        tx.after_commit(lambda: _counted(accepted, changes, datetime.now(UTC)))


def _counted(accepted: Sequence[tuple[datetime, int]], changes: int, now: datetime) -> None:
    metrics.FRESHNESS.counted(accepted, now)
    COUNTED.add(Counted(sum(results for _, results in accepted), changes), now)


async def follow_visits(
    tx: Transaction, events: Sequence[Event[VisitsChanged]], into: int | None = None
) -> None:
    """Visits moved on; they are counted by status and, at the door, by outcome (R16).

    Those that wait for a team are counted by need and by since when.
    """
    generation = await generations.fed(tx, into)
    cells, slots = messages.visits(event.data for event in events)
    await counters.move_visits(tx, generation, cells)
    await counters.move_slots(tx, generation, slots)


def _apart(events: Sequence[Event[M]]) -> tuple[list[Event[M]], list[Event[M]]]:
    """Tell young events from old ones.

    What a young one did is kept by position, so that the figures can be told as of any of them. Old
    ones, of a rebuild or a long silence, are not worth it: no cut will lie before them.
    """
    horizon = datetime.now(UTC) - KEEP
    young = [event for event in events if event.record.recorded_at >= horizon]
    old = [event for event in events if event.record.recorded_at < horizon]
    return young, old
