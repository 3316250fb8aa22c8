"""Visits as rows."""

import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg

from services.dispatch import tables
from services.dispatch.domain.steps import Step
from services.dispatch.domain.visits import Sample, Visit
from services.dispatch.store.batches import as_json, assigned
from shared.contracts.cells import SLOT_SECONDS
from shared.database import Transaction

# The first two are the key.
_COLUMNS: Final = [column.name for column in tables.visit.c]
_LIST: Final = ", ".join(_COLUMNS)
# Named as on a visit; the others are the sample's.
_PLAIN: Final = [name for name in _COLUMNS if name not in {"sample", "sampled_at", "tube_code"}]

_UPSERT: Final = f"""
INSERT INTO visit ({_LIST})
SELECT {_LIST} FROM json_populate_recordset(NULL::visit, $1::json)
ON CONFLICT (round, id) DO UPDATE SET {assigned(_COLUMNS[2:], "excluded")}
"""


def new_id() -> UUID:
    """Make an id whose order is that of time, to a quarter of a microsecond (UUID version 7).

    Visits page in this order, and new ones go to the end of their index.
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = rest * 4096 // 1_000_000
    return UUID(
        int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | secrets.randbits(62)
    )


async def load(tx: Transaction, round_id: str, ids: Iterable[UUID]) -> dict[UUID, Visit]:
    """Load visits of one round by id."""
    rows = await tx.rows(
        f"SELECT {_LIST} FROM visit WHERE round = $1 AND id = ANY($2)", round_id, list(ids)
    )
    return {row["id"]: _visit(row) for row in rows}


async def find(
    tx: Transaction, visit_id: UUID, areas: Sequence[str], team: str | None = None
) -> Visit | None:
    """Find a visit within areas, and only among those a team has or had, if one is named."""
    row = await tx.row(
        f"SELECT {_LIST} FROM visit WHERE id = $1 AND community LIKE ANY($2)"
        " AND ($3::text IS NULL OR $3 = ANY(teams))",
        visit_id, areas, team,
    )  # fmt: skip
    return None if row is None else _visit(row)


async def listed(
    tx: Transaction,
    *,
    areas: Sequence[str],
    after: UUID,
    limit: int,
    round_id: str | None = None,
    office: str | None = None,
    team: str | None = None,
    only: str | None = None,
    status: str | None = None,
) -> list[Visit]:
    """List visits by id, which is the order they were planned in.

    `team` has it now, `only` has it or had it once.
    """
    rows = await tx.rows(
        f"""
        SELECT {_LIST} FROM visit
        WHERE community LIKE ANY($1) AND id > $2
          AND ($4::text IS NULL OR round = $4)
          AND ($5::text IS NULL OR community LIKE $5 || '%')
          AND ($6::text IS NULL OR team = $6)
          AND ($7::text IS NULL OR status = $7)
          AND ($8::text IS NULL OR $8 = ANY(teams))
        ORDER BY id LIMIT $3
        """,
        areas, after, limit, round_id, office, team, status, only,
    )  # fmt: skip
    return [_visit(row) for row in rows]


async def save(tx: Transaction, steps: Sequence[Step]) -> None:
    """Store the visits that steps of one round moved, all of them at once."""
    moved = [pair for step in steps for pair in step.visits]
    if moved:
        # New visits last: where one replaces another, the open one is unique at every row (R15).
        moved.sort(key=lambda pair: pair[0] is None)
        await tx.do(_UPSERT, as_json([_row(after) for _, after in moved]))


async def unanswered(tx: Transaction) -> list[Visit]:
    """List visits whose sample awaits registry's answer."""
    rows = await tx.rows(f"SELECT {_LIST} FROM visit WHERE answer = 'awaited' ORDER BY round, id")
    return [_visit(row) for row in rows]


async def counted(tx: Transaction) -> dict[str, dict[str, dict[str, int]]]:
    """Count visits by round, community, and status, outcome, or need of who waits."""
    rows = await tx.rows(
        "SELECT round, community, 'status.' || status AS cell, count(*) AS n FROM visit"
        " GROUP BY 1, 2, 3 UNION ALL"
        " SELECT round, community, 'outcome.' || outcome, count(*) FROM visit"
        " WHERE outcome IS NOT NULL GROUP BY 1, 2, 3 UNION ALL"
        " SELECT round, community, 'waiting.' || need, count(*) FROM visit, unnest(needs) AS need"
        " WHERE status = 'planned' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    )
    return _nested(rows)


async def waiting_since(tx: Transaction) -> dict[str, dict[str, dict[int, int]]]:
    """Count visits that wait by round, community, and slot of since when."""
    rows = await tx.rows(
        f"SELECT round, community, floor(extract(epoch FROM planned_at) / {SLOT_SECONDS})::bigint,"
        " count(*) FROM visit WHERE status = 'planned' AND needs IS NOT NULL"
        " GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    )
    return _nested(rows)


def _nested(rows: Iterable[asyncpg.Record]) -> dict[str, dict[str, dict[Any, int]]]:
    found: dict[str, dict[str, dict[Any, int]]] = {}
    for round_id, community, counted, n in rows:
        found.setdefault(round_id, {}).setdefault(community, {})[counted] = n
    return found


def _visit(row: asyncpg.Record) -> Visit:
    plain = {column: row[column] for column in _PLAIN} | {
        "teams": tuple(row["teams"]),
        "needs": None if row["needs"] is None else tuple(row["needs"]),
    }
    sample = None
    if row["sample"] is not None:
        sample = Sample(row["sample"], row["sampled_at"], row["tube_code"])
    return Visit(**plain, sample=sample)


def _row(visit: Visit) -> dict[str, Any]:
    sample = visit.sample
    return {column: getattr(visit, column) for column in _PLAIN} | {
        "sample": sample and sample.id,
        "sampled_at": sample and sample.sampled_at,
        "tube_code": sample and sample.tube_code,
    }
