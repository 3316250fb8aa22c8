"""How far we and the producers are, as rows."""

from datetime import datetime

import msgspec

from services.reporting.domain.evidence import Head
from services.reporting.domain.freshness import Applied, Producer
from services.reporting.domain.generations import CONSUMER
from shared import positions
from shared.contracts.registry import ROLL
from shared.database import Transaction


async def applied(tx: Transaction, consumer: str = CONSUMER) -> list[Applied]:
    """Read how far we are."""
    return [
        Applied(position.topic, position.partition, position.pos, position.recorded_at)
        for position in await positions.read(tx, consumer)
    ]


async def roll_heads(tx: Transaction) -> dict[int, Head]:
    """Read how far we are on the roll, and in which life of registry's database."""
    return {
        position.partition: Head(position.pos, str(position.incarnation))
        for position in await positions.read(tx, CONSUMER)
        if position.topic == ROLL
    }


async def save_producer(tx: Transaction, told: Producer, now: datetime) -> None:
    """Note what a producer said; an answer to an older question is passed over.

    What was asked later than it is now was asked before the clock was set back, and is replaced.
    """
    await tx.do(
        "INSERT INTO producer AS kept (name, asked_at, heads, hands_as_of)"
        " VALUES ($1, $2, $3::jsonb, $4) ON CONFLICT (name) DO UPDATE SET"
        " asked_at = excluded.asked_at, heads = excluded.heads, hands_as_of = excluded.hands_as_of"
        " WHERE kept.asked_at < excluded.asked_at OR kept.asked_at > $5",
        told.name, told.asked_at, msgspec.json.encode(told.heads).decode(), told.hands_as_of, now,
    )  # fmt: skip


async def producers(tx: Transaction) -> dict[str, Producer]:
    """Read what the producers said last."""
    rows = await tx.rows("SELECT name, asked_at, heads, hands_as_of FROM producer")
    return {row["name"]: Producer(**row) for row in rows}
