"""What was folded from one partition of a topic: forgotten where a producer tells it anew."""

from services.reporting.domain.work import DUE, WAITING
from shared.contracts.envelope import partition_of
from shared.database import Transaction

_DISTRICT = 6
"""Digits of the code that chooses the partition of areas and of numbers from outside."""


async def forget_rounds(tx: Transaction, generation: int, partition: int) -> None:
    """Forget the rounds of a partition, and the areas and numbers of its districts."""
    await _forget(tx, "round", "id", generation, partition)
    await _forget(tx, "area", f"left(code, {_DISTRICT})", generation, partition)
    await _forget(tx, "denominator", f"left(code, {_DISTRICT})", generation, partition)


async def forget_roll(tx: Transaction, generation: int, partition: int) -> None:
    """Forget the account of a partition's communities, in all rounds, and how it came about."""
    await _forget(tx, "counter", "community", generation, partition)
    await _forget(tx, "series", "community", generation, partition)
    await _forget(tx, "slot_counter", "community", generation, partition, f"cell LIKE '{DUE}%'")
    for table in ("delta", "delta_floor"):
        await tx.do(
            f"DELETE FROM {table} WHERE generation = $1 AND partition = $2", generation, partition
        )


async def forget_visits(tx: Transaction, generation: int, partition: int) -> None:
    """Forget the visits of a partition's communities, in all rounds."""
    await _forget(tx, "visit_counter", "community", generation, partition)
    await _forget(tx, "slot_counter", "community", generation, partition, f"cell = '{WAITING}'")


async def _forget(
    tx: Transaction, table: str, key: str, generation: int, partition: int, only: str = "true"
) -> None:
    """Delete the rows whose key is of a partition. What it is, only the contract can tell."""
    rows = await tx.rows(
        f"SELECT DISTINCT {key} FROM {table} WHERE generation = $1 AND {only}", generation
    )
    keys = [row[0] for row in rows if partition_of(row[0]) == partition]
    await tx.do(
        f"DELETE FROM {table} WHERE generation = $1 AND {key} = ANY ($2) AND {only}",
        generation, keys,
    )  # fmt: skip
