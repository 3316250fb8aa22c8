"""Merges of records, and the facts that go with them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import asyncpg

from services.registry.domain.merging import Gain, Merge
from services.registry.domain.residents import NeedSpan
from shared.database import Transaction

_COLUMNS = (
    "id, absorbed, kept, merged_by, merged_at, alive, closed_rounds, alive_rounds, undone_by,"
    " undone_at"
)


async def add(tx: Transaction, merge: Merge) -> bool:
    """Store a merge; False when the id is taken."""
    added = await tx.value(
        f"INSERT INTO merge ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
        " ON CONFLICT (id) DO NOTHING RETURNING id",
        merge.id, merge.absorbed, merge.kept, merge.merged_by, merge.merged_at, merge.alive,
        list(merge.closed_rounds), list(merge.alive_rounds), merge.undone_by, merge.undone_at,
    )  # fmt: skip
    if added is None:
        return False
    await tx.copy_in(
        "merge_need",
        ["merge", "code", "since", "until", "had", "had_since", "had_until"],
        [
            (
                merge.id, gain.became.code, gain.became.since, gain.became.until,
                gain.was is not None, gain.was and gain.was.since, gain.was and gain.was.until,
            )
            for gain in merge.gained
        ],
    )  # fmt: skip
    return True


async def save(tx: Transaction, merge: Merge) -> None:
    """Store what can change of a merge."""
    await tx.do(
        "UPDATE merge SET undone_by = $2, undone_at = $3 WHERE id = $1",
        merge.id, merge.undone_by, merge.undone_at,
    )  # fmt: skip


async def find(tx: Transaction, merge_id: UUID) -> Merge | None:
    """Find a merge by its id."""
    rows = await tx.rows(f"SELECT {_COLUMNS} FROM merge WHERE id = $1", merge_id)
    found = await _merges(tx, rows)
    return found[0] if found else None


async def page(
    tx: Transaction,
    patterns: Sequence[str],
    *,
    resident: UUID | None,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> list[Merge]:
    """List merges of records that both live within some areas, the newest first."""
    at, merge_id = after or (None, None)
    rows = await tx.rows(
        f"SELECT {', '.join(f'm.{name}' for name in _COLUMNS.split(', '))} FROM merge m"
        " JOIN resident a ON a.id = m.absorbed JOIN resident k ON k.id = m.kept"
        " WHERE a.community LIKE ANY ($1) AND k.community LIKE ANY ($1)"
        "   AND ($2::uuid IS NULL OR $2 IN (m.absorbed, m.kept))"
        "   AND ($3::timestamptz IS NULL OR (m.merged_at, m.id) < ($3, $4))"
        " ORDER BY m.merged_at DESC, m.id DESC LIMIT $5",
        patterns, resident, at, merge_id, limit,
    )  # fmt: skip
    return await _merges(tx, rows)


async def has_absorbed(tx: Transaction, resident: UUID) -> bool:
    """Say whether other records were merged into this one."""
    return bool(
        await tx.value("SELECT EXISTS (SELECT FROM resident WHERE merged_into = $1)", resident)
    )


# --- the facts that go with a record ---


async def refile(tx: Transaction, rounds: Sequence[UUID], absorbed: UUID, kept: UUID) -> None:
    """File the facts of some rounds under the record that is kept, and note whose they were."""
    for table in ("sample", "exclusion"):
        await tx.do(
            f"UPDATE {table} SET resident = $3, filed_for = resident"
            " WHERE round = ANY ($1) AND resident = $2",
            rounds, absorbed, kept,
        )  # fmt: skip


async def put_back(tx: Transaction, rounds: Sequence[UUID], absorbed: UUID, kept: UUID) -> None:
    """File facts under the record they named, also those that came after the merge."""
    for table in ("sample", "exclusion"):
        await tx.do(
            f"UPDATE {table} SET resident = filed_for, filed_for = NULL"
            " WHERE round = ANY ($1) AND resident = $3 AND filed_for = $2",
            rounds, absorbed, kept,
        )  # fmt: skip


async def leave_frozen(tx: Transaction, closed: Sequence[UUID], resident: UUID) -> list[UUID]:
    """Take a record off the frozen membership of closed rounds; answer which had it alive."""
    rows = await tx.rows(
        "UPDATE roll_state SET alive = false"
        " WHERE round = ANY ($1) AND resident = $2 AND alive RETURNING round",
        closed, resident,
    )  # fmt: skip
    return [row["round"] for row in rows]


async def revive(tx: Transaction, closed: Sequence[UUID], resident: UUID) -> None:
    """Put a record back on the frozen membership of closed rounds."""
    await tx.do(
        "UPDATE roll_state SET alive = true WHERE round = ANY ($1) AND resident = $2",
        closed, resident,
    )  # fmt: skip


async def _merges(tx: Transaction, rows: Iterable[asyncpg.Record]) -> list[Merge]:
    merges = [Merge(**row) for row in rows]
    gained: dict[UUID, tuple[Gain, ...]] = {merge.id: () for merge in merges}
    for need in await tx.rows(
        "SELECT * FROM merge_need WHERE merge = ANY ($1) ORDER BY merge, code", list(gained)
    ):
        was = NeedSpan(need["code"], need["had_since"], need["had_until"]) if need["had"] else None
        became = NeedSpan(need["code"], need["since"], need["until"])
        gained[need["merge"]] = (*gained[need["merge"]], Gain(became, was))
    return [replace(merge, gained=gained[merge.id]) for merge in merges]
