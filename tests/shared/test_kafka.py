"""The only module that knows Kafka, against a broker: what is published comes back as it was."""

from datetime import UTC, datetime
from uuid import uuid4

from deploy.local.servers import Broker
from shared.contracts.envelope import Record
from shared.kafka import KafkaSettings, Publisher, Subscriber
from tests.support.waiting import eventually


def record(topic: str, partition: int, pos: int) -> Record:
    return Record(
        topic=topic,
        partition=partition,
        pos=pos,
        id=uuid4(),
        prev_id=uuid4(),
        incarnation=uuid4(),
        type="lastmetre.registry.roll_changed.v1",
        recorded_at=datetime(2022, 1, 14, 8, 0, tzinfo=UTC),
        data=b'["R1"]',
    )


async def test_what_the_relay_sends_a_consumer_reads_in_order(broker: Broker) -> None:
    settings = KafkaSettings(broker.bootstrap, idempotent=False)
    topic = f"registry.{uuid4().hex}.v1"
    sent = {(topic, part): [record(topic, part, pos) for pos in (1, 2, 3)] for part in (0, 11)}
    publisher = Publisher(settings, "registry")
    await publisher.connect([topic])
    for records in sent.values():
        await publisher.publish(records)
    await publisher.close()

    subscriber = Subscriber(settings, f"group-{topic}", [topic])
    await subscriber.connect()
    read: dict[tuple[str, int], list[Record]] = {}

    async def all_read() -> bool:
        for place, records in (await subscriber.poll()).items():
            read.setdefault(place, []).extend(records)
        return sum(map(len, read.values())) >= 6

    await eventually(all_read, 60)
    await subscriber.close()
    assert read == sent
