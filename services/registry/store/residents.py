"""Residents, as rows. Whoever changes a resident, or their account, locks their row first."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from services.registry.domain.documents import Document
from services.registry.domain.residents import NeedSpan, Resident
from services.registry.store import plans
from services.registry.vault import Vault
from shared.database import Transaction

Documents = dict[tuple[str, bytes], Document]
"""Documents by type and blind index: how a stored one is recognised without being decrypted."""

_COLUMNS = (
    "id", "community", "since", "noted_at", "needs", "needs_turn_at", "alive", "merged_into",
    "name", "sex", "birth_date", "document_type", "document_index", "document_number", "phone",
    "household", "building", "unit", "door", "lat", "lon",
)  # fmt: skip


class OnFile(NamedTuple):
    """The record that stands for a person, and where they live."""

    id: UUID
    community: str


async def lock(tx: Transaction, named: Iterable[UUID]) -> dict[UUID, OnFile]:
    """Lock residents' rows in order of their ids; answer who stands for those on file.

    That is themselves or, where two records were found to be one person, the one that was kept;
    that row is locked then too. Locked out of order, but merges are few and deadlocks are retried.
    """
    rows = await _locked(tx, list(set(named)))
    absorbed = {one: into for one, _, into in rows if into}
    kept = await _locked(tx, list(set(absorbed.values()))) if absorbed else []
    found = {one: OnFile(one, community) for one, community, _ in (*rows, *kept)}
    return {one: found[absorbed.get(one, one)] for one, _, _ in rows} if absorbed else found


async def _locked(tx: Transaction, ids: Sequence[UUID]) -> list[asyncpg.Record]:
    return await tx.rows(
        "SELECT id, community, merged_into FROM resident WHERE id = ANY ($1)"
        " ORDER BY id FOR NO KEY UPDATE",
        ids,
    )


async def identify(
    tx: Transaction, vault: Vault, documents: Iterable[Document]
) -> dict[Document, UUID]:
    """Find residents by their documents; the unknown are left out."""
    wanted = {(doc.type, vault.index(doc)): doc for doc in documents}
    if not wanted:
        return {}
    rows = await tx.rows(
        "SELECT r.id, r.document_type, r.document_index FROM resident r"
        " JOIN unnest($1::text[], $2::bytea[]) AS n (type, index)"
        "   ON r.document_type = n.type AND r.document_index = n.index",
        *zip(*wanted, strict=True),
    )
    return {wanted[row["document_type"], row["document_index"]]: row["id"] for row in rows}


async def load_for_change(
    tx: Transaction, vault: Vault, ids: Iterable[UUID], documents: Iterable[Document]
) -> list[Resident]:
    """Lock and load the residents that a batch is about, by id or document.

    With records that were absorbed come those that were kept instead.
    """
    await plans.by_index(tx)
    by_index: Documents = {(doc.type, vault.index(doc)): doc for doc in documents}
    types, indexes = zip(*by_index, strict=True) if by_index else ((), ())
    found = await tx.rows(
        "SELECT id FROM resident WHERE id = ANY ($1) UNION"
        " SELECT r.id FROM resident r JOIN unnest($2::text[], $3::bytea[]) AS n (type, index)"
        "   ON r.document_type = n.type AND r.document_index = n.index",
        list(ids), types, indexes,
    )  # fmt: skip
    if not found:
        return []
    rows = await _loaded(tx, [row["id"] for row in found])
    absent = {row["merged_into"] for row in rows if row["merged_into"]} - {r["id"] for r in rows}
    if absent:
        rows += await _loaded(tx, sorted(absent))
    spans = await _needs(tx, [row["id"] for row in rows])
    return [_resident(row, spans.get(row["id"], ()), by_index, vault) for row in rows]


async def _loaded(tx: Transaction, ids: Sequence[UUID]) -> list[asyncpg.Record]:
    return await tx.rows(
        f"SELECT {', '.join(_COLUMNS)} FROM resident WHERE id = ANY ($1)"
        " ORDER BY id FOR NO KEY UPDATE",
        ids,
    )


async def as_once_filed(tx: Transaction, loaded: Sequence[Resident]) -> list[Resident]:
    """Show records that were absorbed as they were before that: alive, if they were."""
    absorbed = [resident.id for resident in loaded if resident.merged_into]
    if not absorbed:
        return list(loaded)
    rows = await tx.rows(
        "SELECT absorbed, alive FROM merge WHERE absorbed = ANY ($1) AND undone_at IS NULL",
        absorbed,
    )
    alive: dict[UUID, bool] = dict(map(tuple, rows))
    return [r.but(alive=alive.get(r.id, r.alive)) for r in loaded]


async def find(tx: Transaction, vault: Vault, ids: Iterable[UUID]) -> list[Resident]:
    """Load residents by id, without locking; the unknown are left out."""
    rows = await tx.rows(
        f"SELECT {', '.join(_COLUMNS)} FROM resident WHERE id = ANY ($1) ORDER BY id",
        list(ids),
    )
    spans = await _needs(tx, [row["id"] for row in rows])
    return [_resident(row, spans.get(row["id"], ()), {}, vault) for row in rows]


async def kept(tx: Transaction, ids: Iterable[UUID]) -> dict[UUID, UUID]:
    """Tell which record stands for each of some residents; the unknown are left out."""
    rows = await tx.rows(
        "SELECT id, coalesce(merged_into, id) FROM resident WHERE id = ANY ($1)", list(ids)
    )
    return dict(map(tuple, rows))


async def communities(tx: Transaction, ids: Sequence[UUID]) -> list[str]:
    """Read where residents live, in no order."""
    rows = await tx.rows("SELECT community FROM resident WHERE id = ANY ($1)", ids)
    return [row["community"] for row in rows]


async def by_phone(
    tx: Transaction, patterns: Sequence[str], phone: str, limit: int = 100
) -> list[UUID]:
    """Find whom a phone number belongs to, within some areas, by either record of a person."""
    rows = await tx.rows(
        "SELECT DISTINCT kept.id FROM resident r"
        " JOIN resident kept ON kept.id = coalesce(r.merged_into, r.id)"
        " WHERE r.phone = $2 AND kept.community LIKE ANY ($1) ORDER BY kept.id LIMIT $3",
        patterns, phone, limit,
    )  # fmt: skip
    return [row["id"] for row in rows]


async def one_person(tx: Transaction, resident: UUID) -> list[UUID]:
    """List the records of one person: the one that is kept, and those merged into it."""
    rows = await tx.rows(
        "WITH kept AS (SELECT coalesce(merged_into, id) AS id FROM resident WHERE id = $1)"
        " SELECT r.id FROM resident r, kept WHERE r.id = kept.id"
        " UNION SELECT r.id FROM resident r, kept WHERE r.merged_into = kept.id",
        resident,
    )
    return [row["id"] for row in rows]


async def page(
    tx: Transaction,
    patterns: Sequence[str],
    *,
    prefix: str,
    need: str | None,
    household: UUID | None,
    after: UUID | None,
    limit: int,
) -> list[UUID]:
    """List ids of residents within some areas, under a prefix, with a need, after a resident.

    Records that were merged into others are left out.
    """
    # What is not asked for is not in the statement, so that its plan uses the index of what is.
    asked: list[tuple[str, object]] = [
        ("community LIKE ANY ({})", patterns),
        # Not LIKE: behind the wall of `sight`, an index is asked for what cannot leak only.
        ("community BETWEEN rpad({0}, 12, '0') AND rpad({0}, 12, '9')", prefix or None),
        ("{} = ANY (needs)", need), ("household = {}", household), ("id > {}", after),
    ]  # fmt: skip
    given = [(condition, value) for condition, value in asked if value is not None]
    where = " AND ".join(condition.format(f"${n}") for n, (condition, _) in enumerate(given, 2))
    rows = await tx.rows(
        f"SELECT id FROM resident WHERE merged_into IS NULL AND {where} ORDER BY id LIMIT $1",
        limit, *(value for _, value in given),
    )  # fmt: skip
    return [row["id"] for row in rows]


async def add(tx: Transaction, vault: Vault, new: Sequence[Resident], now: datetime) -> None:
    """Store new residents."""
    if not new:
        return
    await _stage(tx, vault, new)
    columns = ", ".join(_COLUMNS)
    await tx.do(
        f"INSERT INTO resident ({columns}, created_at) SELECT {columns}, $1 FROM changed_resident",
        now,
    )
    await tx.do("TRUNCATE changed_resident")
    await _save_needs(tx, new)


async def save(tx: Transaction, vault: Vault, changed: Sequence[tuple[Resident, Resident]]) -> None:
    """Store changed residents (before, after)."""
    if not changed:
        return
    await _stage(tx, vault, [new for _, new in changed])
    assigned = ", ".join(f"{name} = n.{name}" for name in _COLUMNS[1:])
    await tx.do(f"UPDATE resident r SET {assigned} FROM changed_resident n WHERE r.id = n.id")
    await tx.do("TRUNCATE changed_resident")
    await _save_needs(tx, [new for old, new in changed if old.needs != new.needs])


async def _stage(tx: Transaction, vault: Vault, residents: Sequence[Resident]) -> None:
    """COPY residents to where a statement takes them from: COPY into a guarded table is refused."""
    await tx.do(
        "CREATE TEMP TABLE IF NOT EXISTS changed_resident (LIKE resident) ON COMMIT DELETE ROWS"
    )
    await tx.do("ALTER TABLE changed_resident ALTER COLUMN created_at DROP NOT NULL")
    await tx.copy_in("changed_resident", _COLUMNS, [_row(r, vault) for r in residents])


async def due(
    tx: Transaction,
    clocks: Mapping[str, datetime],
    now: datetime,
    offices: Collection[str] | None,
    limit: int,
) -> list[UUID]:
    """List residents whose needs turn by the clock of their office, the longest due first.

    Args:
        tx: the transaction
        clocks: the time of offices that have one of their own
        now: the time of all others
        offices: where to look; everywhere, if not said
        limit: how many at most

    """
    # By the latest clock first, which the index answers; then by the one that holds for each.
    rows = await tx.rows(
        """
        SELECT r.id
        FROM resident r
        LEFT JOIN unnest($1::text[], $2::timestamptz[]) AS c (office, at)
            ON c.office = left(r.community, 9)
        WHERE r.needs_turn_at <= $3 AND r.needs_turn_at <= coalesce(c.at, $4)
            AND ($5::text[] IS NULL OR left(r.community, 9) = ANY ($5))
        ORDER BY r.needs_turn_at LIMIT $6
        """,
        list(clocks), list(clocks.values()), max([now, *clocks.values()]), now,
        None if offices is None else list(offices), limit,
    )  # fmt: skip
    return [row["id"] for row in rows]


async def make_due(tx: Transaction, offices: Sequence[str], at: datetime) -> None:
    """Make the needs of some offices' people due, if any of them begins or ends."""
    await tx.do(
        """
        WITH bounded AS (
            SELECT id FROM resident
            WHERE left(community, 9) = ANY ($1) AND id IN (
                SELECT resident FROM resident_need
                WHERE since IS NOT NULL OR until IS NOT NULL)
            ORDER BY id FOR NO KEY UPDATE)
        UPDATE resident SET needs_turn_at = $2 FROM bounded WHERE resident.id = bounded.id
        """,
        offices, at,
    )  # fmt: skip


async def leave_behind(tx: Transaction, left: Sequence[Resident]) -> None:
    """Store where residents lived until now, in the order in which they left."""
    await tx.copy_in(
        "residence_past",
        ["resident", "community", "since", "noted_at"],
        [(r.id, r.community, r.since, r.noted_at) for r in left],
    )


async def _save_needs(tx: Transaction, residents: Sequence[Resident]) -> None:
    if not residents:
        return
    await tx.do("DELETE FROM resident_need WHERE resident = ANY ($1)", [r.id for r in residents])
    rows = [(r.id, n.code, n.since, n.until) for r in residents for n in r.needs]
    await tx.copy_in("resident_need", ["resident", "code", "since", "until"], rows)


async def _needs(tx: Transaction, ids: Sequence[UUID]) -> dict[UUID, tuple[NeedSpan, ...]]:
    spans: dict[UUID, tuple[NeedSpan, ...]] = {}
    for row in await tx.rows(
        "SELECT resident, code, since, until FROM resident_need WHERE resident = ANY ($1)"
        " ORDER BY resident, code",
        ids,
    ):
        span = NeedSpan(row["code"], row["since"], row["until"])
        spans[row["resident"]] = (*spans.get(row["resident"], ()), span)
    return spans


def _row(resident: Resident, vault: Vault) -> tuple[Any, ...]:
    document = resident.document
    return (
        resident.id,
        resident.community,
        resident.since,
        resident.noted_at,
        resident.held,
        resident.turns_at,
        resident.alive,
        resident.merged_into,
        resident.name,
        resident.sex,
        resident.birth_date,
        document.type if document else None,
        vault.index(document) if document else None,
        vault.seal(document) if document else None,
        resident.phone,
        resident.household,
        resident.building,
        resident.unit,
        resident.door,
        resident.lat,
        resident.lon,
    )


def _resident(
    row: asyncpg.Record, needs: tuple[NeedSpan, ...], known: Documents, vault: Vault
) -> Resident:
    document = None
    if row["document_type"] is not None:
        document = known.get((row["document_type"], row["document_index"])) or Document(
            row["document_type"], vault.reveal(row["document_type"], row["document_number"])
        )
    plain = {name: row[name] for name in ("id", "name", "community", "building", "unit", "door",
             "lat", "lon", "sex", "birth_date", "phone", "since", "noted_at", "alive",
             "merged_into")}  # fmt: skip
    return Resident(
        **plain,
        document=document,
        needs=needs,
        held=tuple(row["needs"]),
        turns_at=row["needs_turn_at"],
    )
