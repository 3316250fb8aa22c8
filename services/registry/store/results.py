"""Samples, reports and the ids under which they came."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from services.registry.domain.batch import Known, Submission, Target
from shared.database import Transaction


async def claim(tx: Transaction, wanted: Sequence[Submission]) -> set[UUID]:
    """Claim ids for what is new; answer those that were free. Taken in order of the ids."""
    if not wanted:
        return set()
    await tx.do(
        "CREATE TEMP TABLE IF NOT EXISTS claimed"
        " (id uuid, kind char(1), digest bigint, round uuid) ON COMMIT DELETE ROWS"
    )
    await tx.copy_in("claimed", ["id", "kind", "digest", "round"], wanted)
    rows = await tx.rows(
        "WITH asked AS (DELETE FROM claimed RETURNING *)"
        " INSERT INTO submission (id, kind, digest, round)"
        " SELECT id, kind, digest, round FROM asked ORDER BY id"
        " ON CONFLICT DO NOTHING RETURNING id"
    )
    return {row["id"] for row in rows}


async def known(tx: Transaction, ids: Iterable[UUID]) -> Known:
    """Look ids up that came before: their kind and digest."""
    wanted = list(ids)
    if not wanted:
        return {}
    rows = await tx.rows("SELECT id, kind, digest FROM submission WHERE id = ANY ($1)", wanted)
    return {row["id"]: (row["kind"], row["digest"]) for row in rows}


async def release(tx: Transaction, ids: Sequence[UUID]) -> None:
    """Give ids back that this transaction claimed: their rows were refused after all."""
    if ids:
        await tx.do("DELETE FROM submission WHERE id = ANY ($1)", ids)


async def add_samples(tx: Transaction, rows: Sequence[tuple[object, ...]]) -> None:
    """Store swabs: round, id, resident, sampled_at, channel, site, tube_code, recorded_at."""
    columns = [
        "round", "id", "resident", "sampled_at", "channel", "site", "tube_code", "recorded_at",
    ]  # fmt: skip
    await tx.copy_in("sample", columns, rows)


async def add_reports(tx: Transaction, rows: Sequence[tuple[object, ...]]) -> None:
    """Store reports: round, id, sample, outcome, its times (3), and what it corrects."""
    columns = [
        "round", "id", "sample", "outcome", "resulted_at", "released_at", "recorded_at",
        "corrects",
    ]  # fmt: skip
    await tx.copy_in("report", columns, rows)


async def correctable(tx: Transaction, round_id: UUID, ids: Sequence[UUID]) -> dict[UUID, Target]:
    """Look up what corrections name."""
    rows = await tx.rows(
        "SELECT id AS named, id, resident, true AS is_sample FROM sample"
        "   WHERE round = $1 AND id = ANY ($2)"
        " UNION ALL SELECT p.id, s.id, s.resident, false FROM report p"
        "   JOIN sample s ON s.round = p.round AND s.id = p.sample"
        "   WHERE p.round = $1 AND p.id = ANY ($2)",
        round_id, ids,
    )  # fmt: skip
    return {row["named"]: Target(row["id"], row["resident"], row["is_sample"]) for row in rows}


async def supersede(
    tx: Transaction, round_id: UUID, corrected: Sequence[tuple[UUID, UUID]]
) -> None:
    """Mark reports, or whole samples, as outranked by a later row: (what, by which row)."""
    what, by = zip(*corrected, strict=True)
    await tx.do(
        "UPDATE report SET superseded_by = n.by"
        " FROM unnest($2::uuid[], $3::uuid[]) AS n (what, by)"
        " WHERE report.round = $1 AND report.id = n.what AND report.superseded_by IS NULL",
        round_id, what, by,
    )  # fmt: skip
    await tx.do(
        "UPDATE sample SET voided_by = n.by"
        " FROM unnest($2::uuid[], $3::uuid[]) AS n (what, by)"
        " WHERE sample.round = $1 AND sample.id = n.what AND sample.voided_by IS NULL",
        round_id, what, by,
    )  # fmt: skip


async def of_resident(tx: Transaction, resident: UUID) -> list[asyncpg.Record]:
    """Read a resident's samples with the released outcome of each, the newest first (R10)."""
    return await tx.rows(
        """
        SELECT s.id AS sample_id, s.round AS round_id, s.sampled_at, s.channel, s.site,
               s.tube_code, s.voided_by IS NOT NULL AS void, p.id AS result_id, p.outcome,
               p.resulted_at, p.released_at
        FROM sample s LEFT JOIN LATERAL (
            SELECT * FROM report WHERE round = s.round AND sample = s.id
                AND superseded_by IS NULL AND released_at IS NOT NULL
            ORDER BY released_at DESC, id DESC LIMIT 1) AS p ON true
        WHERE s.resident = $1 ORDER BY s.sampled_at DESC, s.id
        """,
        resident,
    )


# --- exclusions ---


async def add_exclusion(tx: Transaction, row: tuple[UUID, UUID, UUID, str, str, datetime]) -> None:
    """Store an exclusion: id, round, resident, reason, filed_by, filed_at."""
    await tx.do(
        "INSERT INTO exclusion (id, round, resident, reason, filed_by, filed_at)"
        " VALUES ($1, $2, $3, $4, $5, $6)",
        *row,
    )


async def find_exclusion(tx: Transaction, exclusion_id: UUID) -> asyncpg.Record | None:
    """Find an exclusion with its resident and round."""
    return await tx.row("SELECT * FROM exclusion WHERE id = $1", exclusion_id)


async def revoke(tx: Transaction, exclusion_id: UUID, who: str, at: datetime) -> bool:
    """Revoke an exclusion; False when that was done before."""
    done = await tx.value(
        "UPDATE exclusion SET revoked_at = $3, revoked_by = $2"
        " WHERE id = $1 AND revoked_at IS NULL RETURNING true",
        exclusion_id, who, at,
    )  # fmt: skip
    return bool(done)


async def excluded(tx: Transaction, round_id: UUID) -> list[UUID]:
    """List the residents with a standing exclusion in a round."""
    rows = await tx.rows(
        "SELECT DISTINCT resident FROM exclusion WHERE round = $1 AND revoked_at IS NULL", round_id
    )
    return [row["resident"] for row in rows]
