"""What everybody was told last, of each round."""

from datetime import datetime

import msgspec

from services.reporting.domain.publishing import Release
from shared.database import Transaction


async def save(tx: Transaction, made: Release) -> None:
    """Keep a release in the place of the one before; of two made at once the later one holds."""
    await tx.do(
        "INSERT INTO release AS kept (round, made_at, release) VALUES ($1, $2, $3::jsonb)"
        " ON CONFLICT (round) DO UPDATE SET made_at = excluded.made_at, release = excluded.release"
        " WHERE kept.made_at < excluded.made_at",
        made.round, made.made_at, msgspec.json.encode(made).decode(),
    )  # fmt: skip


async def made_at(tx: Transaction) -> datetime | None:
    """Tell when the last one was made."""
    found: datetime | None = await tx.value("SELECT max(made_at) FROM release")
    return found


async def last(tx: Transaction) -> Release | None:
    """Read the last one."""
    return _read(
        await tx.value("SELECT release::text FROM release ORDER BY made_at DESC, round LIMIT 1")
    )


async def of(tx: Transaction, round_id: str) -> Release | None:
    """Read the last one of a round."""
    return _read(await tx.value("SELECT release::text FROM release WHERE round = $1", round_id))


def _read(found: str | None) -> Release | None:
    return None if found is None else msgspec.json.decode(found, type=Release)
