"""Our dead letters, and what becomes of them when figures are built anew."""

from services.reporting.domain.generations import CONSUMER, Generation
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


_KEPT = (
    "event_id, type, recorded_at, data, reason, kind, parked_at, state, decided_at, decided_by,"
    " decided_why, mended_data, mended_at, mended_by, mended_why"
)


async def carry_over(tx: Transaction, begun: Generation) -> None:
    """Let a new generation know what people had decided by then.

    It leaves out what they gave up, and takes what they mended and re-drove as it was mended.
    """
    await tx.do(
        f"INSERT INTO parked (consumer, {_PLACE}, {_KEPT})"
        f" SELECT $2, {_PLACE}, {_KEPT} FROM parked WHERE consumer = $1"
        " AND (state = 'discarded' OR state = 'redriven' AND mended_data IS NOT NULL)",
        CONSUMER, begun.consumer,
    )  # fmt: skip


async def is_contradicted(tx: Transaction, built: Generation) -> bool:
    """Say whether people have decided otherwise since a generation began.

    It counts a record that they gave up, or lacks one that they mended and re-drove.
    """
    found: bool = await tx.value(
        "SELECT EXISTS (SELECT FROM parked WHERE consumer = $1 AND state = 'discarded'"
        f" AND ({_PLACE}) NOT IN (SELECT {_PLACE} FROM parked WHERE consumer = $2))"
        " OR EXISTS (SELECT FROM parked ours WHERE consumer = $1 AND state = 'redriven'"
        " AND mended_data IS NOT NULL AND NOT EXISTS (SELECT FROM parked theirs"
        " WHERE theirs.consumer = $2 AND theirs.mended_data = ours.mended_data"
        " AND (theirs.topic, theirs.partition, theirs.incarnation, theirs.pos)"
        " = (ours.topic, ours.partition, ours.incarnation, ours.pos)))",
        CONSUMER, built.consumer,
    )  # fmt: skip
    return found


async def merge(tx: Transaction, built: Generation) -> None:
    """Bring our dead letters in line with what a rebuild could and could not apply."""
    ours_and_theirs = (CONSUMER, built.consumer)
    # What the rebuild applied is parked no more.
    await tx.do(
        "UPDATE parked SET state = 'redriven', decided_at = now(), decided_by = 'rebuild',"
        " mended_data = NULL, mended_at = NULL, mended_by = NULL, mended_why = NULL"
        f" WHERE consumer = $1 AND state = 'parked' AND ({_PLACE}) NOT IN"
        f" (SELECT {_PLACE} FROM parked WHERE consumer = $2)",
        *ours_and_theirs,
    )
    # What was re-driven before and could not be applied now is parked again.
    await tx.do(
        "UPDATE parked SET state = 'parked', decided_at = NULL, decided_by = NULL,"
        " decided_why = NULL"
        f" WHERE consumer = $1 AND state = 'redriven' AND ({_PLACE}) IN"
        f" (SELECT {_PLACE} FROM parked WHERE consumer = $2 AND state = 'parked')",
        *ours_and_theirs,
    )
    await tx.do(
        f"DELETE FROM parked WHERE consumer = $2 AND ({_PLACE}) IN"
        f" (SELECT {_PLACE} FROM parked WHERE consumer = $1)",
        *ours_and_theirs,
    )
    await tx.do("UPDATE parked SET consumer = $1 WHERE consumer = $2", *ours_and_theirs)


async def let_go(tx: Transaction, consumer: str, topic: str, partition: int) -> None:
    """Let go of a partition's records that nobody decided on: its producer tells it anew."""
    await tx.do(
        "DELETE FROM parked WHERE consumer = $1 AND topic = $2 AND partition = $3"
        " AND state = 'parked'",
        consumer, topic, partition,
    )  # fmt: skip


async def drop(tx: Transaction, given_up: Generation) -> None:
    """Drop the dead letters of a generation that is given up."""
    await tx.do("DELETE FROM parked WHERE consumer = $1", given_up.consumer)
