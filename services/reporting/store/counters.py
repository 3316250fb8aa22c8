"""Counters: events move them, by signed sums and never otherwise."""

from collections.abc import Mapping
from typing import TypeAlias

from services.reporting.domain.series import SAMPLED_AT
from services.reporting.messages import Moves, SlotMoves
from shared.database import Transaction

_Columns: TypeAlias = Mapping[str, str]
"""Types of columns by their names."""

_PLACE: _Columns = {"round": "text", "community": "text"}


async def move(tx: Transaction, generation: int, moves: Moves) -> None:
    """Move the account's counters, in one statement and one order of locks."""
    await _move(tx, "counter", {**_PLACE, "cell": "text"}, generation, moves)


async def move_visits(tx: Transaction, generation: int, moves: Moves) -> None:
    """Move the counters of visits."""
    await _move(tx, "visit_counter", {**_PLACE, "cell": "text"}, generation, moves)


async def move_slots(tx: Transaction, generation: int, moves: SlotMoves) -> None:
    """Move what is counted along time; the sampled have a table of their own, being so many."""
    series: dict[tuple[str, str, int], int] = {}
    others: SlotMoves = {}
    for key, n in moves.items():
        round_id, community, cell, slot = key
        if cell == SAMPLED_AT:
            series[round_id, community, slot] = n
        else:
            others[key] = n
    await _move(tx, "series", {**_PLACE, "slot": "bigint"}, generation, series)
    columns = {**_PLACE, "cell": "text", "slot": "bigint"}
    await _move(tx, "slot_counter", columns, generation, others)


async def _move(
    tx: Transaction,
    table: str,
    key: _Columns,
    generation: int,
    moves: Moves | SlotMoves | dict[tuple[str, str, int], int],
) -> None:
    """Add signed deltas. The position was the guard; nothing here looks at what is there."""
    if not moves:
        return
    ordered = sorted(moves.items())
    names = ", ".join(key)
    columns = [*key.values(), "bigint"]
    arrays = ", ".join(f"${place}::{type_}[]" for place, type_ in enumerate(columns, 2))
    await tx.do(
        f"INSERT INTO {table} AS kept (generation, {names}, n)"
        f" SELECT $1, m.* FROM unnest({arrays}) m"
        f" ON CONFLICT (generation, {names}) DO UPDATE SET n = kept.n + excluded.n",
        generation,
        *map(list, zip(*(moved for moved, _ in ordered), strict=True)),
        [n for _, n in ordered],
    )
