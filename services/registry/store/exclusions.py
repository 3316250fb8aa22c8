"""Exclusions, as rows: filed and revoked, never deleted."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from shared.database import Transaction


async def add(tx: Transaction, rows: Sequence[tuple[object, ...]]) -> None:
    """Store exclusions: id, round, resident, filed_for, reason, filed_by, filed_at."""
    columns = ["id", "round", "resident", "filed_for", "reason", "filed_by", "filed_at"]
    await tx.copy_in("exclusion", columns, rows)


async def find(tx: Transaction, exclusion_id: UUID) -> asyncpg.Record | None:
    """Find the round of an exclusion, and the resident who was named in it."""
    return await tx.row(
        "SELECT round, coalesce(filed_for, resident) AS named FROM exclusion WHERE id = $1",
        exclusion_id,
    )


async def revoke(tx: Transaction, exclusion_id: UUID, who: str, at: datetime) -> bool:
    """Revoke an exclusion; False when that was done before."""
    done = await tx.value(
        "UPDATE exclusion SET revoked_at = $3, revoked_by = $2"
        " WHERE id = $1 AND revoked_at IS NULL RETURNING true",
        exclusion_id, who, at,
    )  # fmt: skip
    return bool(done)


async def standing(tx: Transaction, round_id: UUID) -> list[UUID]:
    """List the residents with a standing exclusion in a round."""
    rows = await tx.rows(
        "SELECT DISTINCT resident FROM exclusion WHERE round = $1 AND revoked_at IS NULL", round_id
    )
    return [row["resident"] for row in rows]


async def page(
    tx: Transaction,
    round_id: UUID,
    patterns: Sequence[str],
    *,
    prefix: str,
    reason: str | None,
    revoked: bool,
    after: tuple[UUID, UUID] | None,
    limit: int,
) -> list[asyncpg.Record]:
    """List a round's exclusions within some areas, by resident, after (resident, exclusion).

    Where people count: where they live or, in a closed round, lived when it closed.
    """
    resident, exclusion = after or (None, None)
    return await tx.rows(
        """
        SELECT e.id, e.resident, e.reason, e.filed_by, e.filed_at, e.revoked_by, e.revoked_at,
               home.community
        FROM exclusion e
        JOIN resident r ON r.id = e.resident
        LEFT JOIN roll_state st ON st.round = $1 AND st.resident = e.resident
        CROSS JOIN LATERAL (
            SELECT coalesce(nullif(st.lived_in, ''), r.community) AS community) AS home
        WHERE e.round = $1 AND home.community LIKE ANY ($2) AND home.community LIKE $3 || '%'
            AND ($4::text IS NULL OR e.reason = $4) AND ($5 OR e.revoked_at IS NULL)
            AND ($6::uuid IS NULL OR (e.resident >= $6 AND (e.resident, e.id) > ($6, $7::uuid)))
        ORDER BY e.resident, e.id LIMIT $8
        """,
        round_id, patterns, prefix, reason, revoked, resident, exclusion, limit,
    )  # fmt: skip
