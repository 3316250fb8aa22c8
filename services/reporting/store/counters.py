"""Counters: events move them, by signed sums and never otherwise."""

from services.reporting.messages import Moves, SampleMoves
from shared.database import Transaction


async def move(tx: Transaction, generation: int, moves: Moves) -> None:
    """Move the account's counters, in one statement and one order of locks."""
    await _move(tx, "counter", ("cell", "text"), generation, moves)


async def move_visits(tx: Transaction, generation: int, moves: Moves) -> None:
    """Move the counters of visits."""
    await _move(tx, "visit_counter", ("cell", "text"), generation, moves)


async def move_samples(tx: Transaction, generation: int, moves: SampleMoves) -> None:
    """Move the series of samples by sampling time."""
    await _move(tx, "series", ("slot", "bigint"), generation, moves)


async def _move(
    tx: Transaction,
    table: str,
    figure: tuple[str, str],
    generation: int,
    moves: Moves | SampleMoves,
) -> None:
    """Add signed deltas. The position was the guard; nothing here looks at what is there."""
    if not moves:
        return
    ordered = sorted(moves.items())
    column, its_type = figure
    await tx.do(
        f"INSERT INTO {table} AS kept (generation, round, community, {column}, n)"
        f" SELECT $1, m.* FROM unnest($2::text[], $3::text[], $4::{its_type}[], $5::bigint[]) m"
        f" ON CONFLICT (generation, round, community, {column})"
        " DO UPDATE SET n = kept.n + excluded.n",
        generation,
        [round_id for (round_id, _, _), _ in ordered],
        [community for (_, community, _), _ in ordered],
        [name for (_, _, name), _ in ordered],
        [n for _, n in ordered],
    )
