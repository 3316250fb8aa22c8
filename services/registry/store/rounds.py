"""Rounds and areas, as rows."""

from collections.abc import Iterable, Sequence
from uuid import UUID

import asyncpg
import msgspec
from msgspec import UNSET, UnsetType

from services.registry.domain.areas import Area
from services.registry.domain.rounds import Round
from services.registry.store import locks
from services.registry.tables import PARTITIONED
from shared.contracts.geometry import Geometry
from shared.database import Transaction
from shared.errors import RoundUnknown

_COLUMNS = (
    "id, version, campaign, number, name, state, opens_at, closes_at, offices, manual_clock,"
    " clock_at, automatic, opened_at, closed_at, sealed_at, frozen_at"
)


def _round(row: asyncpg.Record) -> Round:
    return Round(**{**row, "offices": tuple(row["offices"])})


async def load(tx: Transaction, round_id: UUID) -> Round:
    """Load one round.

    Raises:
        RoundUnknown: there is none of this id.

    """
    row = await tx.row(f"SELECT {_COLUMNS} FROM round WHERE id = $1", round_id)
    if row is None:
        raise RoundUnknown("round_id: no such round")
    return _round(row)


async def find(tx: Transaction, ids: Sequence[UUID]) -> dict[UUID, Round]:
    """Find rounds by id; the unknown are left out."""
    rows = await tx.rows(f"SELECT {_COLUMNS} FROM round WHERE id = ANY ($1)", ids)
    return {row["id"]: _round(row) for row in rows}


async def share(tx: Transaction, ids: Iterable[UUID]) -> dict[UUID, Round]:
    """Keep rounds in their state while their account is written; the unknown are left out."""
    named = list(set(ids))
    # Rounds that exist only: a file of made-up ids must not use up the server's locks.
    await locks.share_rounds(tx, await find(tx, named))
    return await find(tx, named)


async def listed(tx: Transaction, state: str | None = None) -> list[Round]:
    """List rounds, the newest first."""
    rows = await tx.rows(
        f"SELECT {_COLUMNS} FROM round WHERE $1::text IS NULL OR state = $1"
        " ORDER BY opens_at DESC, id",
        state,
    )
    return [_round(row) for row in rows]


async def scheduled(tx: Transaction) -> list[Round]:
    """List the rounds that the wall clock opens, closes or seals some day, the oldest first."""
    rows = await tx.rows(
        f"SELECT {_COLUMNS} FROM round WHERE automatic AND NOT manual_clock AND state <> 'sealed'"
        " ORDER BY opens_at, id"
    )
    return [_round(row) for row in rows]


async def add(tx: Transaction, new: Round) -> bool:
    """Store a new round and make its partitions; False when the id is taken."""
    added = await tx.value(
        f"INSERT INTO round ({_COLUMNS})"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
        " ON CONFLICT (id) DO NOTHING RETURNING id",
        new.id, new.version, new.campaign, new.number, new.name, new.state, new.opens_at,
        new.closes_at, new.offices, new.manual_clock, new.clock_at, new.automatic, new.opened_at,
        new.closed_at, new.sealed_at, new.frozen_at,
    )  # fmt: skip
    if added is None:
        return False
    for table in PARTITIONED:
        # Made apart and attached: making it in place would wait for every reader and writer.
        name = f"{table.name}__{new.id.hex}"
        await tx.do(f"CREATE TABLE {name} (LIKE {table.name} INCLUDING ALL)")
        await tx.do(f"ALTER TABLE {table.name} ATTACH PARTITION {name} FOR VALUES IN ('{new.id}')")
    return True


async def save(tx: Transaction, changed: Round) -> None:
    """Store what can change of a round."""
    await tx.do(
        "UPDATE round SET version = $2, state = $3, closes_at = $4, clock_at = $5,"
        " opened_at = $6, closed_at = $7, sealed_at = $8, frozen_at = $9 WHERE id = $1",
        changed.id, changed.version, changed.state, changed.closes_at, changed.clock_at,
        changed.opened_at, changed.closed_at, changed.sealed_at, changed.frozen_at,
    )  # fmt: skip


async def overlapping(tx: Transaction, new: Round) -> bool:
    """Say whether another round shares an office with this one in its window."""
    return bool(
        await tx.value(
            "SELECT EXISTS (SELECT FROM round WHERE id <> $1 AND offices && $2::text[]"
            " AND opens_at < $4 AND $3 < closes_at)",
            new.id,
            new.offices,
            new.opens_at,
            new.closes_at,
        )
    )


async def is_taken(tx: Transaction, new: Round) -> bool:
    """Say whether the campaign has another round of this number."""
    return bool(
        await tx.value(
            "SELECT EXISTS (SELECT FROM round WHERE id <> $1 AND campaign = $2 AND number = $3)",
            new.id,
            new.campaign,
            new.number,
        )
    )


# --- areas ---


async def known_areas(tx: Transaction) -> set[str]:
    """Read the codes of all areas."""
    return {row["code"] for row in await tx.rows("SELECT code FROM area")}


async def areas(tx: Transaction, patterns: Sequence[str], *, placed: bool = False) -> list[Area]:
    """List areas whose code matches one of the patterns, and the areas above them."""
    geometry = ", geometry::text" if placed else ""
    rows = await tx.rows(
        f"SELECT code, name, kind, parent, lat, lon{geometry} FROM area"
        " WHERE code LIKE ANY ($1::text[]) OR EXISTS ("
        "   SELECT FROM unnest($1::text[]) AS p WHERE p LIKE code || '%') ORDER BY code",
        patterns,
    )
    return [_area(row) for row in rows]


async def save_areas(tx: Transaction, given: Sequence[Area]) -> list[Area]:
    """Store areas; answer those that are new or differ."""
    rows = await tx.rows(
        """
        INSERT INTO area AS a (code, name, kind, parent, lat, lon, geometry)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::float8[],
                             $6::float8[], $7::jsonb[]) AS n (code) ORDER BY code
        ON CONFLICT (code) DO UPDATE SET name = excluded.name, kind = excluded.kind,
            parent = excluded.parent, lat = excluded.lat, lon = excluded.lon,
            geometry = coalesce(excluded.geometry, a.geometry)
        WHERE (a.name, a.kind, a.parent, a.lat, a.lon, a.geometry) IS DISTINCT FROM
              (excluded.name, excluded.kind, excluded.parent, excluded.lat, excluded.lon,
               coalesce(excluded.geometry, a.geometry))
        RETURNING a.code, a.name, a.kind, a.parent, a.lat, a.lon, a.geometry::text
        """,
        [area.code for area in given],
        [area.name for area in given],
        [area.kind for area in given],
        [area.parent for area in given],
        [area.lat for area in given],
        [area.lon for area in given],
        [_written(area.geometry) for area in given],
    )
    return [_area(row) for row in rows]


def _written(geometry: Geometry | UnsetType | None) -> str | None:
    """Write a geometry as JSON; NULL leaves the one on file, `null` takes its place."""
    return None if geometry is UNSET else msgspec.json.encode(geometry).decode()


def _area(row: asyncpg.Record) -> Area:
    found = dict(row)
    if found.get("geometry") is not None:
        found["geometry"] = msgspec.json.decode(found["geometry"], type=Geometry | None)
    return Area(**found)
