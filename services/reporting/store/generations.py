"""Lives of the counters: one is read, another may be built beside it and swapped in."""

from typing import Literal

from services.reporting.domain.generations import (
    ALONG_TIME,
    CONSUMER,
    FOLD,
    Generation,
    RebuildRunning,
)
from services.reporting.store import parked
from shared import positions
from shared.contracts.dispatch import VISITS
from shared.contracts.registry import ROLL, ROUNDS
from shared.database import Transaction

TOPICS = (ROUNDS, ROLL, VISITS)

FOLDED = (
    "counter", "visit_counter", "series", "slot_counter", "delta", "delta_floor", "area",
    "denominator", "round",
)  # fmt: skip
"""Tables that carry a generation."""

Swap = Literal["swapped", "behind", "outdated"]
"""What became of a swap: done; the live events are ahead; or what was built counts a record that
people have given up since it began."""

_COLUMNS = "id, state, started_at, swapped_at"


async def install(tx: Transaction) -> None:
    """Make the rows that are there from the start: positions, and the first generation."""
    await positions.install(tx, CONSUMER, TOPICS)
    await tx.do(
        "INSERT INTO generation (state, started_at, swapped_at, fold)"
        " SELECT 'current', now(), now(), $1"
        " WHERE NOT EXISTS (SELECT FROM generation WHERE state = 'current')",
        FOLD,
    )


async def current(tx: Transaction) -> int:
    """Tell which generation is read, and fed by the live events."""
    found: int = await tx.value("SELECT id FROM generation WHERE state = 'current'")
    return found


async def counts_along_time(tx: Transaction, generation: int) -> bool:
    """Tell whether a generation counts what is due and who waits, from its first event on."""
    fold: int = await tx.value("SELECT fold FROM generation WHERE id = $1", generation)
    return fold >= ALONG_TIME


async def fed(tx: Transaction, into: int | None) -> int:
    """Tell which generation events go `into`: live ones, with None, into the current one."""
    return await current(tx) if into is None else into


async def listed(tx: Transaction) -> list[Generation]:
    """List the lives of the counters, newest first."""
    rows = await tx.rows(f"SELECT {_COLUMNS} FROM generation ORDER BY id DESC")
    return [Generation(*row) for row in rows]


async def building(tx: Transaction) -> Generation | None:
    """Find the generation that is being built."""
    row = await tx.row(f"SELECT {_COLUMNS} FROM generation WHERE state = 'building'")
    return Generation(*row) if row else None


async def begin(tx: Transaction) -> Generation:
    """Begin a new life of the counters, from position zero.

    Raises:
        RebuildRunning: one is being built already.

    """
    row = await tx.row(
        "INSERT INTO generation (state, started_at, fold) VALUES ('building', now(), $1)"
        " ON CONFLICT (state) WHERE state IN ('building', 'current') DO NOTHING"
        f" RETURNING {_COLUMNS}",
        FOLD,
    )
    if row is None:
        raise RebuildRunning
    begun = Generation(*row)
    await positions.install(tx, begun.consumer, TOPICS)
    await parked.carry_over(tx, begun)
    return begun


async def begin_anew(tx: Transaction, building: Generation) -> None:
    """Give up a generation that is being built, and begin another one in its place."""
    await tx.do("UPDATE generation SET state = 'retired' WHERE id = $1", building.id)
    await _drop_positions(tx, building)
    await parked.drop(tx, building)
    await begin(tx)


async def swap(tx: Transaction, built: Generation) -> Swap:
    """Make a built generation the current one, unless it is behind or counts what it must not."""
    await _lock_positions(tx, built)
    if await _is_behind(tx, built):
        return "behind"
    if await parked.is_contradicted(tx, built):
        return "outdated"
    await _take_over_positions(tx, built)
    await _drop_positions(tx, built)
    await parked.merge(tx, built)
    await tx.do("UPDATE generation SET state = 'retired' WHERE state = 'current'")
    await tx.do(
        "UPDATE generation SET state = 'current', swapped_at = now() WHERE id = $1", built.id
    )
    return "swapped"


async def _lock_positions(tx: Transaction, built: Generation) -> None:
    """Lock both lives' positions in one order: no event and no decision comes between them."""
    await tx.do(
        "SELECT FROM applied WHERE consumer IN ($1, $2)"
        " ORDER BY consumer, topic, partition FOR UPDATE",
        CONSUMER, built.consumer,
    )  # fmt: skip


async def _is_behind(tx: Transaction, built: Generation) -> bool:
    behind: bool = await tx.value(
        "SELECT EXISTS (SELECT FROM applied live JOIN applied built USING (topic, partition)"
        " WHERE live.consumer = $1 AND built.consumer = $2 AND built.pos < live.pos)",
        CONSUMER, built.consumer,
    )  # fmt: skip
    return behind


async def _take_over_positions(tx: Transaction, built: Generation) -> None:
    """Update our rows, never replace them: a worker may be waiting for their locks."""
    await tx.do(
        "UPDATE applied live SET pos = built.pos, id = built.id, incarnation = built.incarnation,"
        " recorded_at = built.recorded_at FROM applied built"
        " WHERE live.consumer = $1 AND built.consumer = $2"
        " AND (live.topic, live.partition) = (built.topic, built.partition)",
        CONSUMER, built.consumer,
    )  # fmt: skip


async def _drop_positions(tx: Transaction, of: Generation) -> None:
    await tx.do("DELETE FROM applied WHERE consumer = $1", of.consumer)


async def drop_retired(tx: Transaction) -> None:
    """Drop the figures of lives that nobody reads any more."""
    for table in FOLDED:
        await tx.do(
            f"DELETE FROM {table} WHERE generation IN"
            " (SELECT id FROM generation WHERE state = 'retired')"
        )
    await tx.do("DELETE FROM generation WHERE state = 'retired'")
