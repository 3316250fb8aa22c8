"""The relay: copies the outbox to Kafka, in order, one leader per service.

Leadership is a session lock on a connection of its own. A zombie that lost it may repeat records;
consumers drop what they have seen, so that is harmless. The checkpoint moves once per round of
sending: after a crash the last round is sent again.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby

import structlog
from prometheus_client import Counter, Gauge

from shared import outbox, tracing
from shared.consumer import Backoff, wait_for
from shared.contracts.envelope import Record
from shared.database import Database, SessionLock, Transaction
from shared.errors import TransientError
from shared.kafka import KafkaSettings, Publisher
from shared.telemetry import OUTBOX_BYTES, OUTBOX_OLDEST, OUTBOX_SECONDS, OUTBOX_UNPUBLISHED

PER_PARTITION = 200
"""Records of one partition read and sent in one round."""
BYTES_PER_PARTITION = 1_000_000
"""Bytes of data likewise; the last record may exceed it."""
LINGER_SECONDS = 0.05
"""Pause between rounds, so that each carries what came meanwhile: a transaction of every consumer
costs as much for one record as for fifty. Longer while the outbox stays idle, none while it is
full."""
MOST_IDLE = 4
FULL_ROUND = 100
"""Records of a round after which there is no pause."""
SEGMENT_SECONDS = 60.0

PUBLISHED = Counter(
    "lastmetre_outbox_published_total", "Records of the outbox sent to Kafka.", ["topic"]
)
LEADER = Gauge("lastmetre_relay_leader", "1 while this relay is the one that publishes.")

log = structlog.get_logger(__name__)


class Relay:
    """Publishes one service's outbox while it holds the service's relay lock.

    Without Kafka it has nothing to publish to, and only makes room in the outbox.
    """

    def __init__(
        self, service: str, database: Database, topics: Sequence[str], kafka: KafkaSettings | None
    ) -> None:
        self._service = service
        self._database = database
        self._topics = topics
        self._kafka = kafka
        self._segments_due = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Stand for leader, publish while it is, begin again after every fault, until stopped."""
        pause = Backoff()
        while not stop.is_set():
            try:
                async with self._database.session_lock(f"relay:{self._service}") as leader:
                    LEADER.set(bool(leader))
                    if leader:
                        await self._lead(stop, pause, leader)
            except TransientError as error:
                log.warning("relay_interrupted", why=str(error))
            await pause.wait(stop)
        LEADER.set(0)

    async def _lead(self, stop: asyncio.Event, pause: Backoff, leader: SessionLock) -> None:
        # First of all: writers need room in the outbox, with the broker or without.
        await self._make_room()
        if self._kafka is None:
            await wait_for(stop, SEGMENT_SECONDS)
            return
        publisher = Publisher(self._kafka, self._service)
        try:
            await publisher.connect(self._topics)
            log.info("relay_leads", service=self._service)
            pause.reset()
            idle = 1
            while leader and not stop.is_set():
                await self._make_room()
                sent = await self._publish_round(publisher)
                idle = 1 if sent else min(idle + 1, MOST_IDLE)
                if sent < FULL_ROUND:
                    await wait_for(stop, LINGER_SECONDS * idle)
        finally:
            await publisher.close()

    async def _make_room(self) -> None:
        """Make segments ahead of the writers, once in a while."""
        if time.monotonic() < self._segments_due:
            return
        for topic in self._topics:
            await self._database.transact(outbox.make_segments, topic)
            size = await self._database.transact(outbox.size, topic)
            OUTBOX_BYTES.labels(self._service, topic).set(size)
        self._segments_due = time.monotonic() + SEGMENT_SECONDS

    async def _publish_round(self, publisher: Publisher) -> int:
        """Send what is next and move the checkpoint; say how many records that were."""
        records = await self._unpublished()
        if not records:
            return 0
        runs = [
            list(run)
            for _, run in groupby(records, key=lambda record: (record.topic, record.partition))
        ]
        sent = await asyncio.gather(*map(publisher.publish, runs), return_exceptions=True)
        for failure in sent:
            if failure is not None:
                raise failure
        await self._database.transact(_checkpoint, [run[-1] for run in runs])
        now = datetime.now(UTC)
        for run in runs:
            PUBLISHED.labels(run[0].topic).inc(len(run))
            tracing.published(run)
            seconds = OUTBOX_SECONDS.labels(self._service, run[0].topic)
            for record in run:
                # The database's clock and ours may differ by more than the way took.
                seconds.observe(max(0.0, (now - record.recorded_at).total_seconds()))
        return len(records)

    async def _unpublished(self) -> list[Record]:
        async with self._database.begin(readonly=True) as tx:
            rows = await tx.rows(
                """
                SELECT o.topic, o.partition, o.pos, o.id, o.prev_id, o.incarnation, o.type,
                       o.recorded_at, o.data, o.traceparent
                FROM outbox_published p
                JOIN outbox_head h USING (topic, partition)
                CROSS JOIN LATERAL (
                    SELECT *, sum(octet_length(data)) OVER (ORDER BY pos) - octet_length(data)
                        AS ahead
                    FROM (SELECT * FROM outbox o
                          WHERE o.topic = p.topic AND o.partition = p.partition AND o.pos > p.pos
                          ORDER BY o.pos LIMIT $1) AS next
                ) AS o
                WHERE h.pos > p.pos AND o.ahead < $2
                ORDER BY o.topic, o.partition, o.pos
                """,
                PER_PARTITION, BYTES_PER_PARTITION,
            )  # fmt: skip
        return [Record(*row) for row in rows]

    async def gauge(self) -> None:
        """Measure what is not on Kafka yet; the broker's absence is when it matters most."""
        try:
            async with self._database.begin(readonly=True) as tx:
                topics = await outbox.unpublished(tx)
        except TransientError:
            return  # readiness says why
        for each in topics:
            OUTBOX_UNPUBLISHED.labels(self._service, each.topic).set(each.unpublished)
            OUTBOX_OLDEST.labels(self._service, each.topic).set(each.oldest_seconds)


async def _checkpoint(tx: Transaction, last: Sequence[Record]) -> None:
    await tx.do(
        """
        UPDATE outbox_published p SET pos = greatest(p.pos, n.pos)
        FROM unnest($1::text[], $2::smallint[], $3::bigint[]) AS n (topic, partition, pos)
        WHERE p.topic = n.topic AND p.partition = n.partition
        """,
        [record.topic for record in last],
        [record.partition for record in last],
        [record.pos for record in last],
    )
