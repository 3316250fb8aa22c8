"""Samples, reports and the ids under which they came."""

from collections.abc import Iterable, Sequence
from uuid import UUID

import asyncpg

from services.registry.domain.batch import Known, Submission
from shared.database import Transaction

_SUBMISSION = ["id", "kind", "digest", "round"]


async def claim(tx: Transaction, wanted: Sequence[Submission]) -> set[UUID]:
    """Claim ids for what is new; answer those that were free. Taken in order of the ids."""
    if not wanted:
        return set()
    in_order = sorted(wanted, key=lambda wish: wish[0].int)
    ids = {wish[0] for wish in in_order}
    try:
        # Nearly always all are free: a third of the work of asking for each.
        async with tx.savepoint():
            await tx.copy_in("submission", _SUBMISSION, in_order)
    except asyncpg.UniqueViolationError:
        return ids - await _claim_each(tx, in_order)
    return ids


async def _claim_each(tx: Transaction, in_order: Sequence[Submission]) -> set[UUID]:
    """Claim what is free; answer what is taken."""
    await tx.do(
        "CREATE TEMP TABLE IF NOT EXISTS claimed"
        " (id uuid, kind char(1), digest bigint, round uuid) ON COMMIT DELETE ROWS"
    )
    await tx.copy_in("claimed", _SUBMISSION, in_order)
    taken = await tx.rows(
        "WITH asked AS (DELETE FROM claimed RETURNING *), free AS ("
        "   INSERT INTO submission (id, kind, digest, round)"
        "   SELECT id, kind, digest, round FROM asked ORDER BY id"
        "   ON CONFLICT DO NOTHING RETURNING id)"
        " SELECT id FROM asked WHERE id NOT IN (SELECT id FROM free)"
    )
    return {row["id"] for row in taken}


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
    """Store swabs: round, id, resident, sampled_at, channel, site, tube_code, recorded_at.

    The last column, filed_for, is the record that was named, if another one stands for it.
    """
    columns = [
        "round", "id", "resident", "sampled_at", "channel", "site", "tube_code", "recorded_at",
        "filed_for",
    ]  # fmt: skip
    await tx.copy_in("sample", columns, rows)


async def add_reports(tx: Transaction, rows: Sequence[tuple[object, ...]]) -> None:
    """Store reports: round, id, sample, outcome, its times (3), and what it corrects."""
    columns = [
        "round", "id", "sample", "outcome", "resulted_at", "released_at", "recorded_at",
        "corrects",
    ]  # fmt: skip
    await tx.copy_in("report", columns, rows)


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


async def of_person(tx: Transaction, records: Sequence[UUID]) -> list[asyncpg.Record]:
    """Read what was said of a person's swabs, by all their records, the newest first.

    An outcome is shown once it is released (R10), with the swab as it stands: not with a void one,
    nor with a version that was corrected, which may have become somebody else's swab.
    """
    return await tx.rows(
        """
        SELECT s.id AS sample_id, s.round AS round_id, s.sampled_at, s.channel, s.site,
               s.tube_code, s.void, s.corrected_by, p.id AS result_id, p.outcome, p.resulted_at,
               p.released_at
        FROM (
            SELECT id, round, sampled_at, channel, site, tube_code, recorded_at,
                   voided_by IS NOT NULL AS void, NULL::uuid AS corrected_by
            FROM sample WHERE resident = ANY ($1)
            UNION ALL
            SELECT sample, round, sampled_at, channel, site, tube_code, recorded_at, false,
                   corrected_by
            FROM sample_past WHERE resident = ANY ($1)) AS s
        LEFT JOIN LATERAL (
            SELECT * FROM report WHERE round = s.round AND sample = s.id
                AND superseded_by IS NULL AND released_at IS NOT NULL
                AND NOT s.void AND s.corrected_by IS NULL
            ORDER BY released_at DESC, id DESC LIMIT 1) AS p ON true
        ORDER BY s.sampled_at DESC, s.id, s.recorded_at DESC
        """,
        records,
    )
