"""The outbox: what a service announces, minted in the transaction that made it true.

As its last step a writing transaction locks the head row of each partition it touches, advances it
and inserts one row per message. The lock is held to commit, so positions are dense and in commit
order, and each row names its predecessor: a chain that a consumer can check without trusting the
broker. The outbox is the log of record; Kafka carries copies, and whoever missed one pulls it here.
"""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

import msgspec
import sqlalchemy as sa
from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.dialects import postgresql as pg

from shared.bodies import Given, decode_one, read_body
from shared.contracts.envelope import PARTITIONS, Record, partition_of
from shared.database import Database, Transaction
from shared.errors import NotFound
from shared.examples import Example, Examples
from shared.openapi import openapi_body, openapi_reply

SEGMENT = 200_000
"""Positions per segment of a topic's table: its indexes stay small, and a whole one could be put
away at once. None is while the campaign lasts (docs/decisions/0025-the-outbox-is-kept.md)."""
AHEAD = 2
"""Segments that stand ready beyond the one being written."""
NIL = UUID(int=0)

_encoder = msgspec.json.Encoder()


def tables(metadata: sa.MetaData) -> None:
    """Add the outbox's tables to a service's metadata."""
    sa.Table(
        "outbox_head",
        metadata,
        sa.Column("topic", sa.Text, primary_key=True),
        sa.Column("partition", sa.SmallInteger, primary_key=True),
        sa.Column("pos", sa.BigInteger, nullable=False),
        sa.Column("id", pg.UUID, nullable=False),
        sa.Column("incarnation", pg.UUID, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True)),
        sa.Column("snapshot_pos", sa.BigInteger, comment="where this life's snapshot begins"),
        sa.Column("adopted_from", pg.UUID, comment="the life before this one"),
        comment="Last position minted per partition; the row lock that orders its writers",
    )
    sa.Table(
        "outbox_published",
        metadata,
        sa.Column("topic", sa.Text, primary_key=True),
        sa.Column("partition", sa.SmallInteger, primary_key=True),
        sa.Column("pos", sa.BigInteger, nullable=False),
        comment="Where the relay is; apart from the heads, so that it never waits for a writer",
    )
    sa.Table(
        "outbox_consumer",
        metadata,
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("topic", sa.Text, primary_key=True),
        sa.Column("partition", sa.SmallInteger, primary_key=True),
        sa.Column("pos", sa.BigInteger, nullable=False),
        sa.Column("reported_at", sa.DateTime(timezone=True), nullable=False),
        comment="How far each consumer says it is; retention waits for the last of them",
    )
    sa.Table(
        "outbox",
        metadata,
        sa.Column("topic", sa.Text, primary_key=True),
        sa.Column("partition", sa.SmallInteger, primary_key=True),
        sa.Column("pos", sa.BigInteger, primary_key=True),
        sa.Column("id", pg.UUID, nullable=False),
        sa.Column("prev_id", pg.UUID, nullable=False),
        sa.Column("incarnation", pg.UUID, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("traceparent", sa.Text, comment="of what announced it, if that was traced"),
        postgresql_partition_by="LIST (topic)",
        comment="The log of record: every message ever announced, in order, chained",
    )


async def install(tx: Transaction, topics: Iterable[str]) -> None:
    """Make heads, checkpoints and the first segments of topics that have none yet."""
    incarnation = await tx.value(
        "SELECT coalesce((SELECT incarnation FROM outbox_head LIMIT 1), uuidv7())"
    )
    for topic in topics:
        await tx.do(
            f"CREATE TABLE IF NOT EXISTS {_table(topic)} PARTITION OF outbox"
            f" FOR VALUES IN ('{topic}') PARTITION BY RANGE (pos)"
        )
        await tx.do(
            "INSERT INTO outbox_head (topic, partition, pos, id, incarnation)"
            " SELECT $1, p, 0, $2, $3 FROM generate_series(0, $4 - 1) p ON CONFLICT DO NOTHING",
            topic, NIL, incarnation, PARTITIONS,
        )  # fmt: skip
        await tx.do(
            "INSERT INTO outbox_published (topic, partition, pos)"
            " SELECT $1, p, 0 FROM generate_series(0, $2 - 1) p ON CONFLICT DO NOTHING",
            topic, PARTITIONS,
        )  # fmt: skip
        await make_segments(tx, topic)


async def make_segments(tx: Transaction, topic: str) -> None:
    """Make the segment a topic writes to and the next ones, where they are missing."""
    await tx.do("SELECT pg_advisory_xact_lock(hashtextextended('outbox.segments', 0))")
    top = await tx.value("SELECT max(pos) FROM outbox_head WHERE topic = $1", topic)
    current = (top + 1) // SEGMENT
    for number in range(current, current + AHEAD + 1):
        name = f"{_table(topic)}__{number}"
        if await tx.value("SELECT to_regclass($1)", name) is None:
            # Made apart and attached: making it in place would wait for every reader and writer.
            await tx.do(f"CREATE TABLE {name} (LIKE {_table(topic)} INCLUDING ALL)")
            # Compressing costs more than it saves: the relay reads each row once, soon.
            await tx.do(f"ALTER TABLE {name} ALTER COLUMN data SET STORAGE EXTERNAL")
            await tx.do(
                f"ALTER TABLE {_table(topic)} ATTACH PARTITION {name}"
                f" FOR VALUES FROM ({number * SEGMENT}) TO ({(number + 1) * SEGMENT})"
            )


async def size(tx: Transaction, topic: str) -> int:
    """Tell how many bytes a topic takes on disk, with its indexes."""
    taken: int = await tx.value(
        "SELECT sum(pg_total_relation_size(relid))::bigint FROM pg_partition_tree($1)",
        _table(topic),
    )
    return taken


async def flush(tx: Transaction) -> None:
    """Write what a transaction announced. The last locks it takes (see the lock order in docs)."""
    by_partition: dict[tuple[str, int], list[Any]] = {}
    for message, key in tx.announced:
        by_partition.setdefault((message.topic, partition_of(key)), []).append(message)
    heads = await tx.rows(
        "SELECT topic, partition, pos, id, incarnation FROM outbox_head"
        " WHERE (topic, partition) IN (SELECT * FROM unnest($1::text[], $2::int[]))"
        " ORDER BY topic, partition FOR UPDATE",
        *zip(*by_partition, strict=True),
    )
    rows: list[tuple[object, ...]] = []
    advanced: list[tuple[object, ...]] = []
    for topic, partition, start, last_id, incarnation in heads:
        pos, prev = start, last_id
        for message in by_partition[topic, partition]:
            pos, event_id = pos + 1, uuid4()
            data = _encoder.encode(message)
            rows.append((topic, partition, pos, event_id, prev, incarnation, message.type, data))
            prev = event_id
        advanced.append((topic, partition, pos, prev))
    if len(advanced) != len(by_partition):
        raise RuntimeError(f"no outbox heads for {set(by_partition)}")
    await tx.do(
        """
        WITH minted AS (
            INSERT INTO outbox
                (topic, partition, pos, id, prev_id, incarnation, type, data, recorded_at,
                 traceparent)
            SELECT *, clock_timestamp(), $13::text FROM unnest(
                $1::text[], $2::smallint[], $3::bigint[], $4::uuid[], $5::uuid[], $6::uuid[],
                $7::text[], $8::bytea[])
        )
        UPDATE outbox_head head SET pos = n.pos, id = n.id, recorded_at = clock_timestamp()
        FROM unnest($9::text[], $10::smallint[], $11::bigint[], $12::uuid[])
            AS n (topic, partition, pos, id)
        WHERE head.topic = n.topic AND head.partition = n.partition
        """,
        *zip(*rows, strict=True),
        *zip(*advanced, strict=True),
        tx.traceparent,
    )


# --- the pull: what a producer serves to whoever is behind ---


class Head(msgspec.Struct, frozen=True, omit_defaults=True):
    """The last position minted in one partition, and the id of its event.

    `snapshot_pos` is set once the producer was adopted: there it tells anew all that it stands for,
    for those who had followed its former life, `adopted_from`, further than its backup went.
    """

    topic: str
    partition: int
    pos: int
    id: UUID
    incarnation: UUID
    recorded_at: datetime | None
    snapshot_pos: int | None = None
    adopted_from: UUID | None = None


class Heads(msgspec.Struct, frozen=True):
    """Every head of one producer, read in one snapshot."""

    heads: list[Head]


class Unpublished(msgspec.Struct, frozen=True):
    """What of one topic is not on Kafka yet: how many records, and how old the oldest is."""

    topic: str
    unpublished: int
    oldest_seconds: float


class Backlog(msgspec.Struct, frozen=True):
    """What the relay of one producer has still to publish, by topic."""

    topics: list[Unpublished]


class PulledRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A record as the pull carries it. `data` is base64, so that a damaged one still travels."""

    pos: int
    id: UUID
    prev_id: UUID
    incarnation: UUID
    type: str
    recorded_at: datetime
    data: bytes
    traceparent: str | None = None


class Pulled(msgspec.Struct, frozen=True):
    """Records of one partition after a position, in order; empty when there are none."""

    records: list[PulledRecord]

    def as_records(self, topic: str, partition: int) -> list[Record]:
        """Give them the shape that Kafka's records have too."""
        return [
            Record(
                topic, partition, r.pos, r.id, r.prev_id, r.incarnation, r.type, r.recorded_at,
                r.data, r.traceparent,
            )
            for r in self.records
        ]  # fmt: skip


async def heads(tx: Transaction) -> list[Head]:
    """Read every head."""
    rows = await tx.rows(
        "SELECT topic, partition, pos, id, incarnation, recorded_at, snapshot_pos, adopted_from"
        " FROM outbox_head ORDER BY topic, partition"
    )
    return [Head(*row) for row in rows]


async def unpublished(tx: Transaction) -> list[Unpublished]:
    """Tell what is not on Kafka yet; the broker's absence is when it matters most."""
    rows = await tx.rows(
        """
        SELECT topic, sum(h.pos - p.pos)::bigint, greatest(0, coalesce(
            extract(epoch FROM clock_timestamp() - min(next.recorded_at)), 0))::float8
        FROM outbox_head h JOIN outbox_published p USING (topic, partition)
        LEFT JOIN LATERAL (
            SELECT o.recorded_at FROM outbox o
            WHERE o.topic = p.topic AND o.partition = p.partition AND o.pos = p.pos + 1
                AND h.pos > p.pos
        ) AS next ON true
        GROUP BY topic ORDER BY topic
        """
    )
    return [Unpublished(*row) for row in rows]


async def read_after(
    tx: Transaction, topic: str, partition: int, after: int, limit_bytes: int
) -> list[PulledRecord]:
    """Read records after a position: as many as fit, and always at least one if there is one."""
    rows = await tx.rows(
        """
        SELECT pos, id, prev_id, incarnation, type, recorded_at, data, traceparent FROM (
            SELECT *, sum(octet_length(data)) OVER (ORDER BY pos) - octet_length(data) AS ahead
            FROM (SELECT * FROM outbox WHERE topic = $1 AND partition = $2 AND pos > $3
                  ORDER BY pos LIMIT 1000) AS next
        ) AS sized WHERE ahead < $4 ORDER BY pos
        """,
        topic, partition, after, limit_bytes,
    )  # fmt: skip
    return [PulledRecord(*row) for row in rows]


class ConsumerPosition(msgspec.Struct, frozen=True):
    """How far a consumer applied one partition."""

    topic: str
    partition: Annotated[int, msgspec.Meta(ge=0, lt=PARTITIONS)]
    pos: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


async def report(tx: Transaction, name: str, positions: Sequence[ConsumerPosition]) -> None:
    """Note how far a consumer is: what nobody needs any more could be put away."""
    await tx.do(
        """
        INSERT INTO outbox_consumer (name, topic, partition, pos, reported_at)
        SELECT $1, topic, partition, pos, now()
        FROM unnest($2::text[], $3::smallint[], $4::bigint[]) AS p (topic, partition, pos)
        ORDER BY topic, partition
        ON CONFLICT (name, topic, partition)
            DO UPDATE SET pos = excluded.pos, reported_at = excluded.reported_at
        """,
        name,
        [p.topic for p in positions],
        [p.partition for p in positions],
        [p.pos for p in positions],
    )


class ReportedPosition(Given, frozen=True):
    """One consumer's report, as the API takes it."""

    positions: list[ConsumerPosition]


ROUTES = {
    ("GET", "/v1/outbox/heads"): {"system", "admin"},
    ("GET", "/v1/outbox/unpublished"): {"supervisor", "district", "system", "admin"},
    ("GET", "/v1/outbox/{topic}/{partition}"): {"system", "admin"},
    ("PUT", "/v1/outbox/consumers/{name}"): {"system"},
}
"""Who may pull, and see how far the relay is: merge it into a producing service's access table."""


def examples(topic: str, type_name: str, data: bytes) -> Examples:
    """Give an example of each route of a producer.

    Args:
        topic: it announces on
        type_name: of an event of that topic
        data: of that event

    """
    event = {
        "pos": 1,
        "id": "0b0e1f4e-3c53-4d86-9f0e-7d1c2f6a8b90",
        "incarnation": "017e5560-7c00-7d31-84cd-33f2eeef9c28",
        "recorded_at": "2022-01-14T00:00:07.604339Z",
    }
    record = {
        **event, "prev_id": "00000000-0000-0000-0000-000000000000", "type": type_name,
        "data": b64encode(data).decode(),
    }  # fmt: skip
    return {
        ("GET", "/v1/outbox/heads"): Example(
            reply={"heads": [{"topic": topic, "partition": 9, **event}]},
            gives={"topic": "/heads/0/topic", "partition": "/heads/0/partition"},
        ),
        ("GET", "/v1/outbox/unpublished"): Example(
            reply={"topics": [{"topic": topic, "unpublished": 3, "oldest_seconds": 0.021}]},
        ),
        ("GET", "/v1/outbox/{topic}/{partition}"): Example(
            path={"topic": topic, "partition": 9},
            query={"after": 0, "bytes": 4_000_000},
            reply={"records": [record]},
        ),
        ("PUT", "/v1/outbox/consumers/{name}"): Example(
            path={"name": "reporting"},
            body={"positions": [{"topic": topic, "partition": 9, "pos": 1}]},
        ),
    }


def router(database: Database, topics: Sequence[str]) -> APIRouter:
    """Build the routes by which consumers catch up without Kafka."""
    routes = APIRouter(tags=["outbox"])

    @routes.get("/v1/outbox/heads", responses=openapi_reply(Heads))
    async def get_heads() -> Response:
        """Last position of every partition this service announces on."""
        async with database.begin(readonly=True) as tx:
            return _json(Heads(await heads(tx)))

    @routes.get("/v1/outbox/unpublished", responses=openapi_reply(Backlog))
    async def get_unpublished() -> Response:
        """What is announced and not on Kafka yet, by topic. Consumers can pull it all the same."""
        async with database.begin(readonly=True) as tx:
            return _json(Backlog(await unpublished(tx)))

    @routes.get("/v1/outbox/{topic}/{partition}", responses=openapi_reply(Pulled))
    async def get_records(
        topic: str,
        partition: int,
        after: Annotated[int, Query(ge=0, lt=2**63)],
        limit_bytes: Annotated[int, Query(alias="bytes", ge=1, le=16_000_000)] = 4_000_000,
    ) -> Response:
        """Read the records of one partition after a position, in order, data in base64."""
        if topic not in topics or not 0 <= partition < PARTITIONS:
            raise NotFound("this service announces on no such topic and partition")
        async with database.begin(readonly=True) as tx:
            return _json(Pulled(await read_after(tx, topic, partition, after, limit_bytes)))

    @routes.put(
        "/v1/outbox/consumers/{name}",
        status_code=204,
        openapi_extra=openapi_body(ReportedPosition, list_=False),
    )
    async def put_consumer(name: str, request: Request) -> None:
        """Report how far a consumer is."""
        reported = decode_one(await read_body(request), ReportedPosition)
        await database.transact(report, name, reported.positions)

    return routes


def _json(value: msgspec.Struct) -> Response:
    return Response(_encoder.encode(value), media_type="application/json")


def _table(topic: str) -> str:
    return "outbox__" + topic.replace(".", "_")
