"""Kafka, the transport: the only module that knows aiokafka.

At least once, and that is all it is asked for: positions make the effect exact. Every call that can
hang has a time limit, and a client that exceeded one is thrown away.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self
from uuid import UUID

import aiokafka.client
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from aiokafka.protocol.metadata import MetadataRequest

from shared.contracts.envelope import PARTITIONS, SOURCE, Record
from shared.errors import TransientError
from shared.settings import ServiceSettings

CALL_LIMIT = 15.0
"""Seconds after which a call to the broker counts as failed and its client is thrown away."""
BRIEF_LIMIT = 3.0
"""Seconds likewise for what is not worth waiting for: committing offsets, taking leave."""
MAX_REQUEST = 4_000_000
MAX_BATCH = 1_000_000
"""Bytes before compression; brokers take 1 MiB unless told otherwise."""

_CREATED = (0, TopicAlreadyExistsError.errno)
"""No error, or somebody else was faster."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Where the broker is and what it can do. The embedded one cannot do idempotence."""

    bootstrap: str
    idempotent: bool = True
    replication: int = -1
    """Copies of a topic that we create; -1 leaves it to the broker."""

    @classmethod
    def of(cls, settings: ServiceSettings) -> Self | None:
        """Tell where a service's broker is; None when the pull is to carry everything."""
        if not settings.kafka_bootstrap:
            return None
        return cls(settings.kafka_bootstrap, settings.kafka_idempotent)


# No topic may come into being by being asked about: the broker, wiped while we are connected, would
# make it with a number of partitions of its own. aiokafka has no setting for this.
aiokafka.client.MetadataRequest = partial(MetadataRequest, allow_auto_topic_creation=False)


async def _create_topics(settings: KafkaSettings, topics: Sequence[str]) -> None:
    """Create those topics that are missing, and partitions that are, up to our number of them."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    try:
        await admin.start()
        existing = {
            topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()
        }
        missing = [
            # An empty assignment, not none: with none aiokafka refuses a replication of -1.
            NewTopic(topic, PARTITIONS, settings.replication, replica_assignments={})
            for topic in topics
            if topic not in existing
        ]
        if missing:
            created = await admin.create_topics(missing)
            for _, code, *_ in created.topic_errors:
                if code not in _CREATED:
                    raise for_code(code)
        narrow = {
            topic: NewPartitions(PARTITIONS)
            for topic in topics
            if existing.get(topic, PARTITIONS) < PARTITIONS
        }
        if narrow:
            await admin.create_partitions(narrow)
    finally:
        await admin.close()


class Publisher:
    """Sends records, each partition's in one batch; used by the relay alone."""

    def __init__(self, settings: KafkaSettings, service: str) -> None:
        self._settings = settings
        self._source = SOURCE.format(service=service).encode()
        self._producer: Any = None

    async def connect(self, topics: Sequence[str]) -> None:
        """Connect, and create the topics that are missing: a wiped broker has none.

        Raises:
            TransientError: the broker is not there.

        """
        try:
            await _limited(_create_topics(self._settings, topics))
            self._producer = AIOKafkaProducer(
                bootstrap_servers=self._settings.bootstrap,
                acks="all",
                enable_idempotence=self._settings.idempotent,
                compression_type="lz4",
                max_request_size=MAX_REQUEST,
                max_batch_size=MAX_BATCH,
                request_timeout_ms=int(CALL_LIMIT * 1000),
                metadata_max_age_ms=30_000,
            )
            await _limited(self._producer.start())
        except (KafkaError, OSError, TimeoutError) as error:
            await self.close()
            raise TransientError(f"broker: {type(error).__name__}") from error

    async def publish(self, records: Sequence[Record]) -> None:
        """Send records of one partition, in order, and wait until the broker has them all.

        Raises:
            TransientError: not all were acknowledged; sending them again is harmless.

        """
        try:
            await _limited(self._send(records))
        except (KafkaError, OSError, TimeoutError) as error:
            raise TransientError(f"broker: {type(error).__name__}") from error

    async def _send(self, records: Sequence[Record]) -> None:
        topic, partition = records[0].topic, records[0].partition
        batch = self._producer.create_batch()
        for record in records:
            if len(record.data) > MAX_BATCH:
                # No broker would take it, and nothing behind it. Whoever misses it pulls it.
                log.error("record_too_large_for_kafka", topic=topic, pos=record.pos)
            elif self._append(batch, record) is None:
                await self._deliver(batch, topic, partition)
                batch = self._producer.create_batch()
                self._append(batch, record)  # the first one always fits
        await self._deliver(batch, topic, partition)

    async def _deliver(self, batch: Any, topic: str, partition: int) -> None:
        if batch.record_count() == 0:
            return
        batch.close()
        await (await self._producer.send_batch(batch, topic, partition=partition))

    def _append(self, batch: Any, record: Record) -> Any:
        return batch.append(
            key=None, value=record.data, timestamp=None, headers=_headers(record, self._source)
        )

    async def close(self) -> None:
        """Let go of the broker, whatever state the client is in."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                await asyncio.wait_for(producer.stop(), BRIEF_LIMIT)


class Subscriber(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Reads records as one member of a standard consumer group."""

    def __init__(self, settings: KafkaSettings, group: str, topics: Sequence[str]) -> None:
        self._settings = settings
        self._group = group
        self._topics = topics
        self._consumer: Any = None
        self._fresh: set[TopicPartition] = set()

    async def connect(self) -> None:
        """Join the group.

        Raises:
            TransientError: the broker is not there.

        """
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.bootstrap,
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=10_000,
            heartbeat_interval_ms=3_000,
            rebalance_timeout_ms=60_000,
            metadata_max_age_ms=30_000,
            fetch_max_bytes=16_000_000,
            max_partition_fetch_bytes=4_000_000,
        )
        self._consumer.subscribe(self._topics, listener=self)
        try:
            # Whoever comes first: a broker may create a topic that is merely asked for, with a
            # number of partitions of its own.
            await _limited(_create_topics(self._settings, self._topics))
            await _limited(self._consumer.start())
            log.info("kafka_joined", group=self._group)
        except (KafkaError, OSError, TimeoutError) as error:
            await self.close()
            raise TransientError(f"broker: {type(error).__name__}") from error

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Forget partitions that moved away."""
        self._fresh -= set(revoked)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Remember new partitions: seeking belongs in the poll loop, errors here are swallowed."""
        self._fresh |= set(assigned)

    async def poll(self, wait_ms: int = 250) -> Mapping[tuple[str, int], list[Record]]:
        """Fetch what has come, by partition, waiting a little while there is nothing.

        Raises:
            TransientError: the broker is not there any more.

        """
        try:
            await self._rewind_if_wiped()
            fetched = await _limited(self._consumer.getmany(timeout_ms=wait_ms))
        except (KafkaError, OSError, TimeoutError) as error:
            raise TransientError(f"broker: {type(error).__name__}") from error
        return {
            (tp.topic, tp.partition): [
                record for record in map(_record, messages) if record is not None
            ]
            for tp, messages in fetched.items()
        }

    async def _rewind_if_wiped(self) -> None:
        """Seek to the beginning where our offset lies beyond the end of a log that was wiped.

        The embedded broker tells an end that is up to a batch too low: then all is read again, and
        dropped.
        """
        fresh, self._fresh = self._fresh, set()
        if not fresh:
            return
        ends = await _limited(self._consumer.end_offsets(list(fresh)))
        for tp, end in ends.items():
            if tp not in self._consumer.assignment():
                continue
            if await _limited(self._consumer.position(tp)) > end:
                await _limited(self._consumer.seek_to_beginning(tp))

    async def commit(self) -> None:
        """Commit offsets, for the broker's own lag metrics only.

        Raises:
            TransientError: the broker took no answer of ours in time: it was wiped and does not
                know the topic, or it hangs.

        """
        try:
            await asyncio.wait_for(self._consumer.commit(), BRIEF_LIMIT)
        except TimeoutError as error:
            raise TransientError("broker: offsets cannot be committed") from error
        except (KafkaError, OSError):
            return  # between two generations of the group there is nothing to commit to

    async def close(self) -> None:
        """Leave the group, whatever state the client is in."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                await asyncio.wait_for(consumer.stop(), BRIEF_LIMIT)


def _headers(record: Record, source: bytes) -> list[tuple[str, bytes]]:
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", str(record.id).encode()),
        ("ce_source", source),
        ("ce_type", record.type.encode()),
        ("ce_time", record.recorded_at.astimezone(UTC).isoformat().encode()),
        ("content-type", b"application/json"),
        ("pos", str(record.pos).encode()),
        ("incarnation", str(record.incarnation).encode()),
        ("prev", str(record.prev_id).encode()),
    ]


def _record(message: Any) -> Record | None:
    """Read a record back; None for one whose headers are damaged: its position will be missed."""
    try:
        headers = {name: (value or b"").decode() for name, value in message.headers}
        return Record(
            topic=message.topic,
            partition=message.partition,
            pos=int(headers["pos"]),
            id=UUID(headers["ce_id"]),
            prev_id=UUID(headers["prev"]),
            incarnation=UUID(headers["incarnation"]),
            type=headers["ce_type"],
            recorded_at=_instant(headers["ce_time"]),
            data=message.value or b"",
        )
    except (KeyError, ValueError):
        log.warning("record_unreadable", topic=message.topic, offset=message.offset)
        return None


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError("a time without an offset")
    return instant


async def _limited(call: Any) -> Any:
    return await asyncio.wait_for(call, CALL_LIMIT)
