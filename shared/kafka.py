"""Kafka, the transport: the only module that knows aiokafka.

At least once, and that is all it is asked for: positions make the effect exact. Every call that can
hang has a time limit, and a client that exceeded one is thrown away.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import aiokafka.client
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAlreadyExistsError, for_code
from aiokafka.protocol.metadata import MetadataRequest

from shared.contracts.envelope import PARTITIONS, SOURCE, Record
from shared.errors import TransientError
from shared.files import Stamp, read_secret, stamp, trust
from shared.settings import ServiceSettings

CALL_LIMIT = 15.0
"""Seconds after which a call to the broker counts as failed and its client is thrown away."""
BRIEF_LIMIT = 3.0
"""Seconds likewise for what is not worth waiting for: committing offsets, taking leave."""
MAX_REQUEST = 4_000_000
MAX_BATCH = 1_000_000
"""Bytes before compression; brokers take 1 MiB unless told otherwise."""

_HOSTS = "bootstrap_servers"
_CREATED = (0, TopicAlreadyExistsError.errno)
"""No error, or somebody else was faster."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Security:
    """How a broker is talked to: in the open, by TLS, as a user, or both (see the settings)."""

    protocol: str = "plaintext"
    mechanism: str = "SCRAM-SHA-512"
    username: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @classmethod
    def of(cls, settings: ServiceSettings) -> Self:
        """Read it off a service's settings."""
        return cls(
            settings.kafka_security,
            settings.kafka_sasl_mechanism,
            settings.kafka_sasl_username,
            settings.kafka_sasl_password_file,
            settings.kafka_ca_file,
            settings.kafka_cert_file,
            settings.kafka_key_file,
        )

    def options(self) -> dict[str, Any]:
        """Read the files, and say it in aiokafka's words.

        Raises:
            TransientError: a file cannot be read.

        """
        options: dict[str, Any] = {"security_protocol": self.protocol.upper()}
        if self.protocol.endswith("ssl"):
            options["ssl_context"] = trust(self.ca_file, self.cert_file, self.key_file)
        if self.password_file is not None and self.protocol.startswith("sasl_"):
            options["sasl_mechanism"] = self.mechanism
            options["sasl_plain_username"] = self.username
            options["sasl_plain_password"] = read_secret(
                self.password_file, "the password for the broker"
            )
        return options

    def stamp(self) -> Stamp:
        """Take the stamps of the files that were read."""
        files = (self.password_file, self.ca_file, self.cert_file, self.key_file)
        return stamp(path for path in files if path is not None)


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Where the broker is and what it can do. The embedded one cannot do idempotence."""

    bootstrap: str
    idempotent: bool = True
    replication: int = -1
    """Copies of a topic that we create; -1 leaves it to the broker."""
    security: Security = Security()

    @classmethod
    def of(cls, settings: ServiceSettings) -> Self | None:
        """Tell where a service's broker is; None when the pull is to carry everything."""
        if not settings.kafka_bootstrap:
            return None
        return cls(
            settings.kafka_bootstrap,
            settings.kafka_idempotent,
            security=Security.of(settings),
        )


# No topic may come into being by being asked about: the broker, wiped while we are connected, would
# make it with a number of partitions of its own. aiokafka has no setting for this.
aiokafka.client.MetadataRequest = partial(MetadataRequest, allow_auto_topic_creation=False)


class _Access:
    """How clients of ours come to the broker, with the secrets as they are at this moment.

    Raises:
        TransientError: a secret cannot be read.

    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._security = settings.security
        # Taken first: what is replaced while we read is noticed later.
        self._stamp = settings.security.stamp()
        self.options = {_HOSTS: settings.bootstrap, **settings.security.options()}

    def check(self) -> None:
        """Look whether the secrets are still the same: aiokafka keeps those that it was given.

        Raises:
            TransientError: they are not; whoever connects anew has the new ones.

        """
        now = self._security.stamp()
        # A file that is gone is being replaced; until then we have what we were given.
        if None not in now and now != self._stamp:
            raise TransientError("broker: our secrets were replaced, we connect anew")

    async def failed(self, error: Exception) -> TransientError:
        """Say why there is no connection: aiokafka says of all reasons that there is none.

        So we knock at a broker's door ourselves.
        """
        reason = type(error).__name__
        if isinstance(error, KafkaConnectionError):
            host, port, _ = collect_hosts(self.options[_HOSTS])[0]
            reason = await self._knock(host, port)
        return TransientError(f"broker: {reason}")

    async def _knock(self, host: str, port: int) -> str:
        options = {name: value for name, value in self.options.items() if name != _HOSTS}
        try:
            door = await asyncio.wait_for(create_conn(host, port, **options), BRIEF_LIMIT)
        except ssl.SSLCertVerificationError as error:
            return f"certificate of {host}:{port} refused: {error.verify_message}"
        except ssl.SSLError as error:
            return f"no TLS with {host}:{port}: {error.reason}"
        except KafkaConnectionError:
            return f"{host}:{port} hangs up on us: it may want TLS, or a certificate"
        except (KafkaError, OSError, TimeoutError) as error:
            # Of these only the names: a broker's own words are not ours to vouch for.
            return type(error).__name__
        door.close()
        return f"{host}:{port} opens and answers nothing: it may want a user, or is starting"


async def _create_topics(access: _Access, replication: int, topics: Sequence[str]) -> None:
    """Create those topics that are missing, and partitions that are, up to our number of them."""
    admin = AIOKafkaAdminClient(**access.options)
    try:
        await admin.start()
        existing = {
            topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()
        }
        missing = [
            # An empty assignment, not none: with none aiokafka refuses a replication of -1.
            NewTopic(topic, PARTITIONS, replication, replica_assignments={})
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
        self._access: _Access | None = None
        self._producer: Any = None

    async def connect(self, topics: Sequence[str]) -> None:
        """Connect, and create the topics that are missing: a wiped broker has none.

        Raises:
            TransientError: the broker is not there, or we and it do not trust each other.

        """
        access = self._access = _Access(self._settings)
        try:
            await _limited(_create_topics(access, self._settings.replication, topics))
            self._producer = AIOKafkaProducer(
                **access.options,
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
            raise await access.failed(error) from error

    async def publish(self, records: Sequence[Record]) -> None:
        """Send records of one partition, in order, and wait until the broker has them all.

        Raises:
            TransientError: not all were acknowledged; sending them again is harmless.

        """
        if self._access is not None:
            self._access.check()
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
        self._access: _Access | None = None
        self._consumer: Any = None
        self._fresh: set[TopicPartition] = set()

    async def connect(self) -> None:
        """Join the group.

        Raises:
            TransientError: the broker is not there, or we and it do not trust each other.

        """
        access = self._access = _Access(self._settings)
        self._consumer = AIOKafkaConsumer(
            **access.options,
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
            await _limited(_create_topics(access, self._settings.replication, self._topics))
            await _limited(self._consumer.start())
            log.info("kafka_joined", group=self._group)
        except (KafkaError, OSError, TimeoutError) as error:
            await self.close()
            raise await access.failed(error) from error

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
        if self._access is not None:
            self._access.check()
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
    headers = [
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
    if record.traceparent is not None:
        headers.append(("traceparent", record.traceparent.encode()))
    return headers


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
            traceparent=headers.get("traceparent"),
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
