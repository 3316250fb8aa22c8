"""What was counted lately, by five seconds, by all workers."""

from collections.abc import Mapping
from datetime import datetime

from services.reporting.domain.throughput import Counted
from shared.database import Transaction


async def save(tx: Transaction, counted: Mapping[datetime, Counted]) -> None:
    """Add what one worker counted to what the others did."""
    ordered = sorted(counted.items())
    await tx.do(
        "INSERT INTO throughput AS kept (at, results, changes)"
        " SELECT * FROM unnest($1::timestamptz[], $2::bigint[], $3::bigint[])"
        " ON CONFLICT (at) DO UPDATE SET"
        " results = kept.results + excluded.results, changes = kept.changes + excluded.changes",
        [at for at, _ in ordered],
        [int(each.results) for _, each in ordered],
        [int(each.changes) for _, each in ordered],
    )


async def since(tx: Transaction, time: datetime) -> dict[datetime, Counted]:
    """Read what was counted since a time."""
    rows = await tx.rows("SELECT at, results, changes FROM throughput WHERE at >= $1", time)
    return {at: Counted(results, changes) for at, results, changes in rows}


async def trim(tx: Transaction, before: datetime) -> None:
    """Drop what nobody looks at any more."""
    await tx.do("DELETE FROM throughput WHERE at < $1", before)
