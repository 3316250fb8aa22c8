"""Swabs on file: how they stand, and what was said of them before."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from services.registry.domain.swabs import Said, Swab
from shared.database import Transaction

_SAID = "round, named, person, sampled_at, channel, site, tube_code, recorded_at"
_EARLIER = f"""
    SELECT sample AS id, {_SAID} FROM (
        SELECT p.*, p.resident AS named, coalesce(r.merged_into, p.resident) AS person
        FROM sample_past p LEFT JOIN resident r ON r.id = p.resident
        WHERE p.sample = ANY ($1)) AS earlier ORDER BY earlier.id
"""
# An id's own row says in which round the swab stands: no need to look in them all.
_STANDING = f"""
    SELECT id, voided_by IS NOT NULL AS void, {_SAID} FROM (
        SELECT *, coalesce(filed_for, resident) AS named, resident AS person FROM sample
        WHERE id = ANY ($1) AND round = ANY ($2)) AS standing
"""


async def load(tx: Transaction, ids: Collection[UUID]) -> dict[UUID, Swab]:
    """Load swabs with their earlier versions; the unknown are left out."""
    if not ids:
        return {}
    rounds = await tx.rows("SELECT DISTINCT round FROM submission WHERE id = ANY ($1)", ids)
    standing = await tx.rows(_STANDING, ids, [row["round"] for row in rounds])
    versions: dict[UUID, list[Said]] = defaultdict(list)
    for row in (*await tx.rows(_EARLIER, ids), *standing):
        versions[row["id"]].append(_said(row))
    return {row["id"]: Swab(row["id"], versions[row["id"]], void=row["void"]) for row in standing}


async def reported(
    tx: Transaction, reports: Collection[UUID], rounds: Collection[UUID]
) -> dict[UUID, UUID]:
    """Tell which swab each of these reports is about, if it stands in one of these rounds."""
    if not reports:
        return {}
    rows = await tx.rows(
        "SELECT id, sample FROM report WHERE id = ANY ($1) AND round = ANY ($2)", reports, rounds
    )
    return dict(map(tuple, rows))


async def correct(tx: Transaction, swabs: Sequence[Swab]) -> None:
    """Let other versions of swabs stand, and keep those before; their reports follow them."""
    if not swabs:
        return
    await tx.copy_in(
        "sample_past",
        [
            "sample", "round", "resident", "sampled_at", "channel", "site", "tube_code",
            "recorded_at", "corrected_by",
        ],
        [
            (swab.id, said.round, said.named, *_taken(said), by)
            for swab in swabs
            for said, by in swab.corrections
        ],
    )  # fmt: skip
    by_round: dict[UUID, list[Swab]] = defaultdict(list)
    for swab in swabs:
        by_round[swab.was.round].append(swab)
    for round_id, group in sorted(by_round.items()):
        await _move(tx, round_id, group)
    await tx.do(
        "UPDATE submission SET digest = n.digest, round = n.round"
        " FROM unnest($1::uuid[], $2::bigint[], $3::uuid[]) AS n (id, digest, round)"
        " WHERE submission.id = n.id",
        *zip(*((s.id, s.stands.digest, s.stands.round) for s in swabs), strict=True),
    )


async def _move(tx: Transaction, round_id: UUID, swabs: Sequence[Swab]) -> None:
    await tx.do(
        """
        UPDATE sample SET round = n.round, resident = n.person,
            filed_for = nullif(n.named, n.person), sampled_at = n.sampled_at,
            channel = n.channel, site = n.site, tube_code = n.tube_code,
            recorded_at = n.recorded_at
        FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::timestamptz[],
                    $7::text[], $8::text[], $9::text[], $10::timestamptz[])
            AS n (id, round, named, person, sampled_at, channel, site, tube_code, recorded_at)
        WHERE sample.round = $1 AND sample.id = n.id
        """,
        round_id, *zip(*(_row(swab) for swab in swabs), strict=True),
    )  # fmt: skip
    moved = [(swab.id, swab.stands.round) for swab in swabs if swab.stands.round != round_id]
    if moved:
        await tx.do(
            "UPDATE report SET round = n.round FROM unnest($2::uuid[], $3::uuid[]) AS n (id, round)"
            " WHERE report.round = $1 AND report.sample = n.id",
            round_id, *zip(*moved, strict=True),
        )  # fmt: skip


def _row(swab: Swab) -> tuple[Any, ...]:
    said = swab.stands
    return (swab.id, said.round, said.named, said.person, *_taken(said))


def _taken(said: Said) -> tuple[Any, ...]:
    return said.sampled_at, said.channel, said.site, said.tube_code, said.recorded_at


def _said(row: asyncpg.Record) -> Said:
    return Said(
        row["round"], row["named"], row["person"], row["sampled_at"], row["channel"], row["site"],
        row["tube_code"], row["recorded_at"],
    )  # fmt: skip
