"""What each recent position moved, so that counters can be told as of any of them."""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from services.reporting.messages import Moves
from shared.contracts.envelope import Record
from shared.database import Transaction


async def keep(
    tx: Transaction, generation: int, deltas: Iterable[tuple[Record, str, Moves]]
) -> None:
    """Keep what recent positions did to one round, so that counters can be told as of any."""
    rows = [
        (record.partition, record.pos, round_id, record.recorded_at, _as_json(moves))
        for record, round_id, moves in deltas
    ]
    if not rows:
        return
    await tx.do(
        "INSERT INTO delta (generation, partition, pos, round, recorded_at, moved)"
        " SELECT $1, d.* FROM unnest($2::smallint[], $3::bigint[], $4::text[],"
        " $5::timestamptz[], $6::jsonb[]) d",
        generation,
        *map(list, zip(*rows, strict=True)),
    )


def _as_json(moves: Moves) -> str:
    nested: dict[str, dict[str, int]] = {}
    for (_, community, cell), n in moves.items():
        nested.setdefault(community, {})[cell] = n
    return msgspec.json.encode(nested).decode()


async def forget(tx: Transaction, generation: int, records: Iterable[Record]) -> None:
    """Note positions whose deltas were never kept: they were old when they came."""
    tops: dict[int, int] = {}
    for record in records:
        tops[record.partition] = max(record.pos, tops.get(record.partition, 0))
    if not tops:
        return
    await tx.do(
        "INSERT INTO delta_floor AS kept (generation, partition, pos)"
        " SELECT $1, f.* FROM unnest($2::smallint[], $3::bigint[]) f"
        " ON CONFLICT (generation, partition) DO UPDATE SET pos = greatest(kept.pos, excluded.pos)",
        generation, list(tops.keys()), list(tops.values()),
    )  # fmt: skip


async def trim(tx: Transaction, before: datetime) -> None:
    """Drop deltas recorded before a time, and note how far that goes."""
    await tx.do(
        """
        WITH dropped AS (
            DELETE FROM delta WHERE recorded_at < $1 RETURNING generation, partition, pos)
        INSERT INTO delta_floor AS kept (generation, partition, pos)
        SELECT generation, partition, max(pos) FROM dropped GROUP BY 1, 2 ORDER BY 1, 2
        ON CONFLICT (generation, partition) DO UPDATE SET pos = greatest(kept.pos, excluded.pos)
        """,
        before,
    )


async def floor(tx: Transaction, generation: int) -> dict[int, int]:
    """Up to which position deltas are forgotten, by partition."""
    rows = await tx.rows("SELECT partition, pos FROM delta_floor WHERE generation = $1", generation)
    return dict(map(tuple, rows))
