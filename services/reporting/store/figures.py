"""Figures: sums of counters over areas, now and at a cut; zeros are left out."""

from collections.abc import Iterable, Mapping
from typing import Any

import asyncpg

from services.reporting.domain.rounds import View
from services.reporting.domain.series import SAMPLED_AT
from services.reporting.domain.work import DUE, Along
from services.reporting.store.areas import within
from shared.database import Transaction


async def cells_by_area(tx: Transaction, view: View, width: int) -> dict[str, dict[str, int]]:
    """Sum the account's cells by areas of one level, without those by need."""
    return await _by_area(tx, "counter", view, width)


async def visits_by_area(tx: Transaction, view: View, width: int) -> dict[str, dict[str, int]]:
    """Sum the cells of visits by areas of one level."""
    return await _by_area(tx, "visit_counter", view, width)


async def _by_area(
    tx: Transaction, table: str, view: View, width: int
) -> dict[str, dict[str, int]]:
    rows = await tx.rows(
        f"SELECT left(community, $3) AS code, cell, sum(n)::bigint FROM {table}"
        " WHERE generation = $1 AND round = $2 AND community LIKE ANY ($4)"
        " AND NOT starts_with(cell, 'need.') GROUP BY 1, 2 HAVING sum(n) <> 0 ORDER BY 1",
        view.generation, view.round.id, width, within(view.areas),
    )  # fmt: skip
    return _nested(rows)


async def cells_of_scope(tx: Transaction, view: View) -> dict[str, int]:
    """Sum every cell of the account, those by need too, over the caller's areas."""
    rows = await tx.rows(
        "SELECT cell, sum(n)::bigint FROM counter WHERE generation = $1 AND round = $2"
        " AND community LIKE ANY ($3) GROUP BY 1 HAVING sum(n) <> 0",
        view.generation, view.round.id, within(view.areas),
    )  # fmt: skip
    return dict(map(tuple, rows))


async def series_by_area(
    tx: Transaction, view: View, width: int, *, slots: int
) -> dict[str, dict[int, int]]:
    """Sum samples by areas and steps of so many slots; the key is a step's first slot."""
    rows = await tx.rows(
        "SELECT left(community, $3) AS code, slot / $5 * $5 AS step, sum(n)::bigint FROM series"
        " WHERE generation = $1 AND round = $2 AND community LIKE ANY ($4)"
        " GROUP BY 1, 2 HAVING sum(n) <> 0 ORDER BY 1, 2",
        view.generation, view.round.id, width, within(view.areas), slots,
    )  # fmt: skip
    return _nested(rows)


async def sampled_before(tx: Transaction, view: View, width: int, slot: int) -> dict[str, int]:
    """Sum samples by areas of one level, up to the beginning of a slot of sampling time."""
    rows = await tx.rows(
        "SELECT left(community, $3) AS code, sum(n)::bigint FROM series"
        " WHERE generation = $1 AND round = $2 AND community LIKE ANY ($4) AND slot < $5"
        " GROUP BY 1",
        view.generation, view.round.id, width, within(view.areas), slot,
    )  # fmt: skip
    return dict(map(tuple, rows))


async def along_by_area(
    tx: Transaction, view: View, width: int, over: int
) -> dict[str, dict[str, Along]]:
    """Sum what is counted along time by areas of one level; slots before `over` are past."""
    rows = await tx.rows(
        """
        SELECT code, cell, coalesce(sum(n) FILTER (WHERE slot < $5), 0)::bigint AS past,
            min(slot) FILTER (WHERE n > 0) AS first
        FROM (
            SELECT left(community, $3) AS code, cell, slot, sum(n)::bigint AS n FROM slot_counter
            WHERE generation = $1 AND round = $2 AND community LIKE ANY ($4)
            GROUP BY 1, 2, 3 HAVING sum(n) <> 0
        ) AS slots GROUP BY code, cell
        """,
        view.generation, view.round.id, width, within(view.areas), over,
    )  # fmt: skip
    found: dict[str, dict[str, Along]] = {}
    for code, cell, past, first in rows:
        found.setdefault(code, {})[cell] = Along(past, first)
    return found


async def at_cut(
    tx: Transaction, generation: int, round_id: str, cut: Mapping[int, int]
) -> dict[str, dict[str, int]]:
    """Tell the counters at exactly a cut: what they are now, less what later positions did.

    What is told along time is among them, as cells `sampled_at.SLOT` and `due.KIND.SLOT`.
    """
    rows = await tx.rows(
        """
        SELECT community, cell, sum(n)::bigint FROM (
            SELECT community, cell, n FROM counter WHERE generation = $1 AND round = $2
            UNION ALL
            SELECT community, $5 || '.' || slot, n FROM series WHERE generation = $1 AND round = $2
            UNION ALL
            SELECT community, cell || '.' || slot, n FROM slot_counter
            WHERE generation = $1 AND round = $2 AND starts_with(cell, $6)
            UNION ALL
            SELECT community.key, cell.key, -cell.value::bigint
            FROM unnest($3::smallint[], $4::bigint[]) AS cut (partition, pos)
            JOIN delta ON delta.generation = $1 AND delta.partition = cut.partition
                AND delta.pos > cut.pos AND delta.round = $2,
                jsonb_each(delta.moved) community, jsonb_each_text(community.value) cell
        ) AS figures GROUP BY 1, 2 HAVING sum(n) <> 0
        """,
        generation, round_id, list(cut.keys()), list(cut.values()), SAMPLED_AT, DUE,
    )  # fmt: skip
    return _nested(rows)


def _nested(rows: Iterable[asyncpg.Record]) -> dict[str, dict[Any, int]]:
    """Figures by place and by what they count."""
    found: dict[str, dict[Any, int]] = {}
    for code, counted, n in rows:
        found.setdefault(code, {})[counted] = n
    return found
