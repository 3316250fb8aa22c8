"""Positions: what a consumer has applied, and the judgement of what comes next.

The row of `applied` is locked for the length of a batch, and every record is held against the
running position: at or below it was seen, one above it and chained to our last id is next,
anything further is a gap. Kafka may repeat, lose or reorder; the position does not move wrongly.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from shared.contracts.envelope import PARTITIONS, Record
from shared.database import Transaction
from shared.explaining import kind_of
from shared.outbox import NIL, Head

Partition = tuple[str, int]
"""A topic and the number of one of its partitions."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far one partition is applied. `incarnation` nil: no head of the producer seen yet."""

    topic: str
    partition: int
    pos: int
    id: UUID
    incarnation: UUID
    recorded_at: datetime | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a batch of records holds for a position: the run to apply, and why it ended."""

    run: Sequence[Record]
    gap: bool
    """A later record came before the next one: pull."""
    broken: bool
    """The next record does not follow our last one: the producer's history changed. Stop."""


def tables(metadata: sa.MetaData) -> None:
    """Add the consumer's tables to a service's metadata."""
    sa.Table(
        "applied",
        metadata,
        sa.Column("consumer", sa.Text, primary_key=True),
        sa.Column("topic", sa.Text, primary_key=True),
        sa.Column("partition", sa.SmallInteger, primary_key=True),
        sa.Column("pos", sa.BigInteger, nullable=False),
        sa.Column("id", pg.UUID, nullable=False),
        sa.Column("incarnation", pg.UUID, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True)),
        sa.Column("retold", pg.UUID, comment="the life whose snapshot was applied to its end"),
        comment="Position applied per partition; moved in the transaction of its effect",
    )
    sa.Table(
        "parked",
        metadata,
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("consumer", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("pos", sa.BigInteger, nullable=False),
        sa.Column("event_id", pg.UUID, nullable=False),
        sa.Column("incarnation", pg.UUID, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("parked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default="parked"),
        sa.Column("decided_at", sa.DateTime(timezone=True)),
        sa.Column("decided_by", sa.Text),
        sa.Column("decided_why", sa.Text),
        sa.Column("kind", sa.Text, nullable=False, server_default="refused"),
        sa.Column("mended_data", sa.LargeBinary),
        sa.Column("mended_at", sa.DateTime(timezone=True)),
        sa.Column("mended_by", sa.Text),
        sa.Column("mended_why", sa.Text),
        sa.UniqueConstraint("consumer", "topic", "partition", "incarnation", "pos"),
        comment="Records that could not be applied, whole, with what was decided about them",
    )


async def install(tx: Transaction, consumer: str, topics: Iterable[str]) -> None:
    """Make the rows before first use: a lock on an absent row locks nothing."""
    await tx.do(
        "INSERT INTO applied (consumer, topic, partition, pos, id, incarnation)"
        " SELECT $1, t, p, 0, $3, $3 FROM unnest($2::text[]) t, generate_series(0, $4 - 1) p"
        " ORDER BY t, p ON CONFLICT DO NOTHING",
        consumer, list(topics), NIL, PARTITIONS,
    )  # fmt: skip


async def lock(tx: Transaction, consumer: str, topic: str, partition: int) -> Position:
    """Lock one partition's position until the transaction ends."""
    return (await lock_all(tx, consumer, [(topic, partition)]))[topic, partition]


async def lock_all(
    tx: Transaction, consumer: str, partitions: Collection[Partition]
) -> dict[Partition, Position]:
    """Lock positions until the transaction ends, in the order of their partitions."""
    rows = await tx.rows(
        "SELECT topic, partition, pos, id, incarnation, recorded_at FROM applied"
        " WHERE consumer = $1"
        " AND (topic, partition) IN (SELECT * FROM unnest($2::text[], $3::smallint[]))"
        " ORDER BY topic, partition FOR UPDATE",
        consumer, *zip(*partitions, strict=True),
    )  # fmt: skip
    locked = {(row["topic"], row["partition"]): Position(*row) for row in rows}
    for topic, number in partitions:
        if (topic, number) not in locked:
            raise RuntimeError(f"{consumer} has no position for {topic}[{number}]: run migrate")
    return locked


async def read(tx: Transaction, consumer: str) -> list[Position]:
    """Read every position of a consumer, without locking."""
    rows = await tx.rows(
        "SELECT topic, partition, pos, id, incarnation, recorded_at FROM applied"
        " WHERE consumer = $1 ORDER BY topic, partition",
        consumer,
    )
    return [Position(*row) for row in rows]


async def advance(tx: Transaction, consumer: str, last: Sequence[Record]) -> None:
    """Move locked positions on to records that were applied or parked, one of each partition."""
    await tx.do(
        "UPDATE applied SET pos = n.pos, id = n.id, incarnation = n.incarnation,"
        " recorded_at = n.recorded_at"
        " FROM unnest($2::text[], $3::smallint[], $4::bigint[], $5::uuid[], $6::uuid[],"
        "   $7::timestamptz[]) AS n (topic, partition, pos, id, incarnation, recorded_at)"
        " WHERE consumer = $1 AND applied.topic = n.topic AND applied.partition = n.partition",
        consumer,
        *zip(*((r.topic, r.partition, r.pos, r.id, r.incarnation, r.recorded_at) for r in last),
             strict=True),
    )  # fmt: skip


async def meet(tx: Transaction, consumer: str, head: Head) -> None:
    """Learn the incarnation of a producer we have applied nothing of yet."""
    await tx.do(
        "UPDATE applied SET incarnation = $4"
        " WHERE consumer = $1 AND topic = $2 AND partition = $3 AND pos = 0 AND incarnation = $5",
        consumer, head.topic, head.partition, head.incarnation, NIL,
    )  # fmt: skip


async def rejoin(tx: Transaction, consumer: str, head: Head, first: Record) -> bool:
    """Stand just before the snapshot an adopted producer begins its new life with.

    Says whether we did: somebody else of us may have been faster.
    """
    done = await tx.value(
        "UPDATE applied SET pos = $4, id = $5, incarnation = $6"
        " WHERE consumer = $1 AND topic = $2 AND partition = $3 AND incarnation < $6 RETURNING pos",
        consumer, head.topic, head.partition, first.pos - 1, first.prev_id, head.incarnation,
    )  # fmt: skip
    return done is not None


async def retold(tx: Transaction, consumer: str, last: Record) -> bool:
    """Note that a snapshot is applied to its end; say whether it now is in all partitions.

    It is true for one of the partitions exactly: they wait for each other here.
    """
    await tx.do(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"retold:{consumer}:{last.topic}"
    )
    await tx.do(
        "UPDATE applied SET retold = $4 WHERE consumer = $1 AND topic = $2 AND partition = $3",
        consumer, last.topic, last.partition, last.incarnation,
    )  # fmt: skip
    everywhere: bool = await tx.value(
        "SELECT bool_and(retold IS NOT DISTINCT FROM $3) FROM applied"
        " WHERE consumer = $1 AND topic = $2",
        consumer, last.topic, last.incarnation,
    )  # fmt: skip
    return everywhere


async def park(tx: Transaction, consumer: str, record: Record, reason: str) -> None:
    """Set a record aside, whole; one that was re-driven once and fails now is undecided again."""
    await tx.do(
        "INSERT INTO parked (consumer, topic, partition, pos, event_id, incarnation, type,"
        " recorded_at, data, reason, kind, parked_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, now())"
        " ON CONFLICT (consumer, topic, partition, incarnation, pos) DO UPDATE"
        " SET state = 'parked', reason = excluded.reason, kind = excluded.kind,"
        " decided_at = NULL, decided_by = NULL, decided_why = NULL"
        " WHERE parked.state = 'redriven'",
        consumer, record.topic, record.partition, record.pos, record.id, record.incarnation,
        record.type, record.recorded_at, record.data, reason, kind_of(reason),
    )  # fmt: skip


async def decided(
    tx: Transaction, consumer: str, runs: Sequence[Sequence[Record]]
) -> dict[tuple[str, int, int], tuple[str, bytes | None]]:
    """Look up which of these records were set aside before.

    Args:
        tx: the transaction
        consumer: whose
        runs: records of one partition each, in order

    Returns:
        by topic, partition and position: the state and the mended data

    """
    rows = await tx.rows(
        "SELECT parked.topic, parked.partition, pos, state, mended_data"
        " FROM unnest($2::text[], $3::smallint[], $4::uuid[], $5::bigint[], $6::bigint[])"
        "   AS run (topic, partition, incarnation, first, last)"
        " JOIN parked ON consumer = $1 AND parked.topic = run.topic"
        "   AND parked.partition = run.partition AND parked.incarnation = run.incarnation"
        "   AND pos BETWEEN first AND last",
        consumer,
        *zip(*((r[0].topic, r[0].partition, r[0].incarnation, r[0].pos, r[-1].pos) for r in runs),
             strict=True),
    )  # fmt: skip
    return {(topic, n, pos): (state, mended) for topic, n, pos, state, mended in rows}


async def settle_parked(tx: Transaction, consumer: str, records: Sequence[Record]) -> None:
    """Note that records set aside before were applied, as they came, when they came again."""
    await tx.do(
        "UPDATE parked SET state = 'redriven', decided_at = now(), decided_by = 'replay',"
        " mended_data = NULL, mended_at = NULL, mended_by = NULL, mended_why = NULL"
        " FROM unnest($2::text[], $3::smallint[], $4::uuid[], $5::bigint[])"
        "   AS came (topic, partition, incarnation, pos)"
        " WHERE consumer = $1 AND parked.topic = came.topic"
        " AND parked.partition = came.partition AND parked.incarnation = came.incarnation"
        " AND parked.pos = came.pos AND state = 'parked'",
        consumer,
        *zip(*((r.topic, r.partition, r.incarnation, r.pos) for r in records), strict=True),
    )  # fmt: skip


async def parked(tx: Transaction, consumer: str) -> dict[str, int]:
    """Count the records set aside and not decided on, by topic; topics without any are left out."""
    rows = await tx.rows(
        "SELECT topic, count(*) FROM parked WHERE consumer = $1 AND state = 'parked'"
        " GROUP BY topic",
        consumer,
    )
    return dict(map(tuple, rows))


async def oldest_parked(tx: Transaction, consumer: str) -> dict[str, datetime]:
    """Tell since when the oldest undecided record of each topic has been set aside."""
    rows = await tx.rows(
        "SELECT topic, min(parked_at) FROM parked WHERE consumer = $1 AND state = 'parked'"
        " GROUP BY topic",
        consumer,
    )
    return dict(map(tuple, rows))


def judge(position: Position, records: Sequence[Record], *, pulled: bool = False) -> Verdict:
    """Hold records against the running position, each one, in the order they came.

    Kafka's records of a foreign incarnation are dropped: an old topic that outlived its database is
    not our history. Until a head told us the producer's incarnation, everything is foreign. What
    was `pulled` is the producer's own log, and there the chain alone decides: it leads from one
    life of the producer into the next.
    """
    run: list[Record] = []
    pos, last_id = position.pos, position.id
    for record in records:
        if record.pos <= pos or not (pulled or record.incarnation == position.incarnation):
            continue
        if record.pos != pos + 1:
            return Verdict(run, gap=True, broken=False)
        if record.prev_id != last_id:
            return Verdict(run, gap=False, broken=True)
        run.append(record)
        pos, last_id = record.pos, record.id
    return Verdict(run, gap=False, broken=False)


def diverged(position: Position, head: Head) -> bool:
    """Say whether a producer's head contradicts what we applied: it was restored from a backup.

    A later life that was adopted contradicts nobody: it tells everything anew.
    """
    if position.pos == 0 and position.incarnation in (NIL, head.incarnation):
        return False
    if position.incarnation != head.incarnation:
        return not reborn(position, head)
    return head.pos < position.pos or (head.pos == position.pos and head.id != position.id)


def reborn(position: Position, head: Head) -> bool:
    """Say whether a producer was adopted since: incarnations are ids that sort by time."""
    return head.snapshot_pos is not None and head.incarnation > position.incarnation != NIL
