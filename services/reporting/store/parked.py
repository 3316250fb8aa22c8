"""Our dead letters, and what becomes of them when figures are built anew."""

from collections.abc import Collection

from services.reporting.domain.generations import CONSUMER, Generation, Place
from shared.database import Transaction

_PLACE = "topic, partition, incarnation, pos"


async def decisions(tx: Transaction) -> str:
    """Tell apart the states of our dead letters: re-driving moves figures without a position."""
    found: str = await tx.value(
        "SELECT concat(count(*) FILTER (WHERE state = 'parked'), '/', max(decided_at))"
        " FROM parked WHERE consumer = $1",
        CONSUMER,
    )
    return found


async def undecided(tx: Transaction) -> int:
    """Count our dead letters that nobody decided on."""
    found: int = await tx.value(
        "SELECT count(*) FROM parked WHERE consumer = $1 AND state = 'parked'", CONSUMER
    )
    return found


async def carry_over(tx: Transaction, begun: Generation) -> None:
    """Let a new generation know what people had given up by then: it leaves that out."""
    await tx.do(
        "INSERT INTO parked (consumer, topic, partition, pos, event_id, incarnation, type,"
        " recorded_at, data, reason, parked_at, state, decided_at, decided_by)"
        " SELECT $2, topic, partition, pos, event_id, incarnation, type,"
        " recorded_at, data, reason, parked_at, state, decided_at, decided_by"
        " FROM parked WHERE consumer = $1 AND state = 'discarded'",
        CONSUMER, begun.consumer,
    )  # fmt: skip


async def discarded(tx: Transaction, building: Generation) -> Collection[Place]:
    """List the records that people had given up when a generation began."""
    rows = await tx.rows(
        f"SELECT {_PLACE} FROM parked WHERE consumer = $1 AND state = 'discarded'",
        building.consumer,
    )
    return {(topic, partition, incarnation, pos) for topic, partition, incarnation, pos in rows}


async def counts_discarded(tx: Transaction, built: Generation) -> bool:
    """Say whether a generation counts a record that people have given up since it began."""
    found: bool = await tx.value(
        "SELECT EXISTS (SELECT FROM parked WHERE consumer = $1 AND state = 'discarded'"
        f" AND ({_PLACE}) NOT IN (SELECT {_PLACE} FROM parked WHERE consumer = $2))",
        CONSUMER, built.consumer,
    )  # fmt: skip
    return found


async def merge(tx: Transaction, built: Generation) -> None:
    """Bring our dead letters in line with what a rebuild could and could not apply."""
    ours_and_theirs = (CONSUMER, built.consumer)
    # What the rebuild applied is parked no more.
    await tx.do(
        "UPDATE parked SET state = 'redriven', decided_at = now(), decided_by = 'rebuild'"
        f" WHERE consumer = $1 AND state = 'parked' AND ({_PLACE}) NOT IN"
        f" (SELECT {_PLACE} FROM parked WHERE consumer = $2)",
        *ours_and_theirs,
    )
    # What was re-driven before and could not be applied now is parked again.
    await tx.do(
        "UPDATE parked SET state = 'parked', decided_at = NULL, decided_by = NULL"
        f" WHERE consumer = $1 AND state = 'redriven' AND ({_PLACE}) IN"
        f" (SELECT {_PLACE} FROM parked WHERE consumer = $2)",
        *ours_and_theirs,
    )
    await tx.do(
        f"DELETE FROM parked WHERE consumer = $2 AND ({_PLACE}) IN"
        f" (SELECT {_PLACE} FROM parked WHERE consumer = $1)",
        *ours_and_theirs,
    )
    await tx.do("UPDATE parked SET consumer = $1 WHERE consumer = $2", *ours_and_theirs)


async def drop(tx: Transaction, given_up: Generation) -> None:
    """Drop the dead letters of a generation that is given up."""
    await tx.do("DELETE FROM parked WHERE consumer = $1", given_up.consumer)
