"""The relay on a real broker: everything, in order, at least once, whatever happens to either.

Readers are of another make (librdkafka), so that the wire is what the interfaces promise and not
what our two ends agree on.
"""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from confluent_kafka import OFFSET_BEGINNING, TopicPartition
from confluent_kafka import Consumer as Reader
from confluent_kafka.admin import AdminClient

from deploy.local.servers import Broker, free_ports
from shared import consumer, kafka, outbox, relay
from shared.contracts.envelope import PARTITIONS, Record
from shared.contracts.registry import RollChanged
from shared.database import Transaction
from shared.errors import TransientError
from shared.kafka import KafkaSettings
from shared.relay import Relay
from tests.shared.exchange import KEYS, Producer, following, producing
from tests.support.counting import Tell
from tests.support.issuer import Issuer
from tests.support.servers import DatabaseUrl
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
MANY = 5_000
"""Numbers that take a relay many rounds."""
APPLIED_TOTAL = "lastmetre_consumer_applied_total"


class Number(RollChanged, frozen=True, omit_defaults=True):
    """A number on a topic of this test's own: the broker is everybody's."""

    topic: ClassVar[str] = ""


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"tests.relay{uuid4().hex[:12]}.v1"
    monkeypatch.setattr(Number, "topic", name)
    return name


@pytest.fixture
async def producer(
    database_url: DatabaseUrl, issuer: Issuer, topic: str
) -> AsyncIterator[Producer]:
    async with producing(database_url(""), issuer, (topic,)) as producer:
        yield producer


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a broker that is gone gives up soon."""
    monkeypatch.setattr(kafka, "CALL_LIMIT", 8.0)
    monkeypatch.setattr(consumer, "STALE_SECONDS", 0.5)
    monkeypatch.setattr(consumer, "SWEEP_SECONDS", 0.2)


async def announce(producer: Producer, *numbers: int, partition: int = 0, size: int = 0) -> None:
    async with producer.database.begin() as tx:
        for n in numbers:
            tx.announce(Number("x" * size, {}, results=n), key=KEYS[partition])


def relay_of(producer: Producer, bootstrap: str) -> Relay:
    return Relay(
        "producer", producer.database, producer.topics, KafkaSettings(bootstrap, idempotent=False)
    )


@asynccontextmanager
async def running(*runners: Relay) -> AsyncIterator[list[asyncio.Event]]:
    """Run relays; each can be stopped by its event, all are at the end."""
    stops = [asyncio.Event() for _ in runners]
    async with asyncio.TaskGroup() as tasks:
        for runner, stop in zip(runners, stops, strict=True):
            tasks.create_task(runner.run(stop))
        try:
            yield stops
        finally:
            for stop in stops:
                stop.set()


async def all_published(producer: Producer) -> None:
    """Wait until the checkpoint is at every head."""

    async def caught_up() -> bool:
        async with producer.database.begin(readonly=True) as tx:
            behind = await tx.value(
                "SELECT count(*) FROM outbox_head h JOIN outbox_published p"
                " USING (topic, partition) WHERE h.pos <> p.pos"
            )
        return not behind

    await eventually(caught_up, within=60)


async def leader(producer: Producer) -> int | None:
    """The PostgreSQL backend that holds the relay's lock."""
    async with producer.database.begin(readonly=True) as tx:
        found: int | None = await tx.value(
            "SELECT pid FROM pg_locks JOIN pg_database d ON d.oid = database"
            " WHERE datname = current_database() AND locktype = 'advisory' AND granted"
        )
    return found


async def take_its_lock(producer: Producer) -> None:
    """End the session by which the leading relay leads."""
    backend = await leader(producer)
    async with producer.database.begin() as tx:
        assert await tx.value("SELECT pg_terminate_backend($1, 10000)", backend)


async def finish(producer: Producer) -> None:
    """Publish what there is, and a last record behind it in each partition.

    The embedded broker tells the end of a log right only where the last batch has one record.
    """
    await all_published(producer)
    async with producer.database.begin() as tx:
        used = await tx.rows("SELECT partition FROM outbox_head WHERE pos > 0")
    for row in used:
        await announce(producer, 0, partition=row["partition"])
    await all_published(producer)


def read(bootstrap: str, topic: str) -> dict[int, list[tuple[dict[str, str], bytes]]]:
    """Read a finished topic by partition, but for the last records: headers and value of each."""
    reader = Reader({"bootstrap.servers": bootstrap, "group.id": uuid4().hex})
    try:
        ends: dict[int, int] = {
            partition: reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[1]
            for partition in range(PARTITIONS)
        }
        reader.assign(
            [TopicPartition(topic, number, OFFSET_BEGINNING) for number, end in ends.items() if end]
        )
        found: dict[int, list[tuple[dict[str, str], bytes]]] = {number: [] for number in ends}
        for _ in range(sum(ends.values())):
            message: Any = reader.poll(10)
            assert message is not None
            assert message.error() is None, message.error()
            headers = {name: value.decode() for name, value in message.headers()}
            found[message.partition()].append((headers, message.value()))
        return {number: messages[:-1] for number, messages in found.items()}
    finally:
        reader.close()


async def positions_on(bootstrap: str, topic: str, partition: int = 0) -> list[int]:
    """Positions of one partition as they lie on the broker, repeats and all."""
    found = await asyncio.to_thread(read, bootstrap, topic)
    return [int(headers["pos"]) for headers, _ in found[partition]]


async def partitions_on(bootstrap: str, topic: str) -> int:
    """How many partitions a topic has; none if the broker does not know it."""
    # All topics: a broker may create one that is asked for by name.
    found = await asyncio.to_thread(
        AdminClient({"bootstrap.servers": bootstrap}).list_topics, timeout=10
    )
    return len(found.topics[topic].partitions) if topic in found.topics else 0


async def test_what_was_announced_is_on_the_topic_as_promised(
    producer: Producer, topic: str, broker: Broker
) -> None:
    await announce(producer, 1, 2)
    await announce(producer, 3, partition=4)
    async with running(relay_of(producer, broker.bootstrap)):
        await all_published(producer)
        await announce(producer, 5)
        await finish(producer)
    assert await partitions_on(broker.bootstrap, topic) == PARTITIONS

    found = await asyncio.to_thread(read, broker.bootstrap, topic)
    for partition in (0, 4):
        *records, _ = await producer.records(partition, topic)
        assert [value for _, value in found[partition]] == [record.data for record in records]
        for (headers, _), record in zip(found[partition], records, strict=True):
            assert datetime.fromisoformat(headers.pop("ce_time")) == record.recorded_at
            assert headers == {
                "ce_specversion": "1.0",
                "ce_id": str(record.id),
                "ce_source": "/lastmetre/producer",
                "ce_type": "lastmetre.registry.roll_changed.v1",
                "content-type": "application/json",
                "pos": str(record.pos),
                "incarnation": str(record.incarnation),
                "prev": str(record.prev_id),
            }
    assert sum(map(len, found.values())) == 4


async def test_many_rounds_keep_the_order(
    producer: Producer, topic: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "PER_PARTITION", 7)
    monkeypatch.setattr(relay, "BYTES_PER_PARTITION", 300)
    await announce(producer, *range(1, 41))
    await announce(producer, *range(1, 4), size=400, partition=2)
    async with running(relay_of(producer, broker.bootstrap)):
        await finish(producer)
    assert await positions_on(broker.bootstrap, topic) == list(range(1, 41))
    assert await positions_on(broker.bootstrap, topic, 2) == [1, 2, 3]


async def test_a_round_that_was_sent_but_not_noted_is_sent_again_and_no_more(
    producer: Producer, topic: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = relay._checkpoint  # noqa: SLF001 - the moment between sending and noting
    failures = iter([TransientError("power cut")])

    async def note(tx: Transaction, last: list[Record]) -> None:
        if last[0].pos > 3 and (failure := next(failures, None)):
            raise failure
        await noted(tx, last)

    monkeypatch.setattr(relay, "_checkpoint", note)
    await announce(producer, 1, 2, 3)
    async with running(relay_of(producer, broker.bootstrap)):
        await all_published(producer)
        await announce(producer, 4, 5)
        await finish(producer)
    assert await positions_on(broker.bootstrap, topic) == [1, 2, 3, 4, 5, 4, 5]


async def test_a_second_relay_waits_until_the_first_is_gone(
    producer: Producer, topic: str, broker: Broker
) -> None:
    first, second = (relay_of(producer, broker.bootstrap) for _ in range(2))
    async with running(first, second) as (stop_first, _):
        await announce(producer, 1)
        await all_published(producer)
        stop_first.set()
        await announce(producer, 2)
        await finish(producer)
    assert await positions_on(broker.bootstrap, topic) == [1, 2]


async def test_a_relay_whose_lock_is_lost_stands_again(
    producer: Producer, topic: str, broker: Broker
) -> None:
    async with running(relay_of(producer, broker.bootstrap)):
        await announce(producer, 1)
        await all_published(producer)
        await take_its_lock(producer)
        await eventually(lambda: leader(producer))
        await announce(producer, 2)
        await finish(producer)
    assert await positions_on(broker.bootstrap, topic) == [1, 2]


@contextmanager
def relaying(url: str, topic: str, bootstrap: str) -> Iterator[subprocess.Popen[bytes]]:
    """A relay in a process of its own."""
    words = [sys.executable, "-m", "tests.shared.relaying", url, topic, bootstrap]
    process = subprocess.Popen(words, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_a_relay_that_stood_still_while_another_led_repeats_and_leaves_out_nothing(
    database_url: DatabaseUrl, issuer: Issuer, topic: str, broker: Broker, tell: Tell
) -> None:
    url = database_url("")
    async with (
        producing(url, issuer, (topic,)) as producer,
        following(database_url(""), producer) as (follower,),
    ):
        await follower.consumer.sweep()  # it learns whom it follows; from now on it has Kafka alone
        producer.line.down = True

        async def published() -> int:
            async with producer.database.begin(readonly=True) as tx:
                found: int = await tx.value("SELECT pos FROM outbox_published WHERE partition = 0")
            return found

        with relaying(url, topic, broker.bootstrap) as zombie:
            await eventually(lambda: leader(producer))
            await announce(producer, *range(1, MANY + 1))
            await eventually(published)
            zombie.send_signal(signal.SIGSTOP)
            assert await published() < MANY  # it is in the middle of something
            await take_its_lock(producer)

            async with running(relay_of(producer, broker.bootstrap)):
                await all_published(producer)
                zombie.send_signal(signal.SIGCONT)
                await announce(producer, *range(MANY + 1, MANY + 11))
                await all_published(producer)
            # The other one has left: it stands again, and leads.
            await announce(producer, *range(MANY + 11, MANY + 21))
            await finish(producer)

        on_kafka = await positions_on(broker.bootstrap, topic)
        told = 0
        for position in on_kafka:
            assert position <= told + 1
            told = max(told, position)
        assert told == MANY + 20
        tell(f"{MANY + 20:,} positions, {len(on_kafka) - told:,} of them repeated")

        records = {record.pos: record for record in await producer.records(topic=topic)}
        await follower.consumer.take({(topic, 0): [records[position] for position in on_kafka]})
        assert await follower.numbers() == list(range(1, told + 1))


async def test_what_no_broker_takes_is_left_out_and_holds_up_nothing(
    producer: Producer, topic: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "MAX_BATCH", 500)
    await announce(producer, 1)
    await announce(producer, 2, size=600)
    await announce(producer, 3)
    await announce(producer, 1, size=600, partition=2)
    async with running(relay_of(producer, broker.bootstrap)):
        await finish(producer)
    assert await positions_on(broker.bootstrap, topic) == [1, 3]
    assert await positions_on(broker.bootstrap, topic, 2) == []


@pytest.mark.parametrize("broker_is", ["down", "not there at all"])
async def test_room_is_made_in_the_outbox_without_a_broker(
    database_url: DatabaseUrl,
    issuer: Issuer,
    topic: str,
    monkeypatch: pytest.MonkeyPatch,
    quick: None,
    broker_is: str,
) -> None:
    del quick
    monkeypatch.setattr(outbox, "SEGMENT", 4)
    async with producing(database_url(""), issuer, (topic,)) as producer:
        await announce(producer, *range(1, 12))
        nobody = KafkaSettings(f"127.0.0.1:{free_ports(1)[0]}")
        settings = nobody if broker_is == "down" else None
        async with running(Relay("producer", producer.database, producer.topics, settings)):

            async def room() -> bool:
                async with producer.database.begin() as tx:
                    name = f"outbox__{topic.replace('.', '_')}__4"
                    return await tx.value("SELECT to_regclass($1)", name) is not None

            await eventually(room)
        await announce(producer, 12)
