"""The two ends of a topic, as relay and worker hold them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import uuid4

from shared.contracts.envelope import Record
from shared.errors import TransientError
from shared.kafka import KafkaSettings, Publisher, Subscriber
from tests.support.waiting import eventually


def records(topic: str, first: int, last: int, partition: int = 7) -> list[Record]:
    return [
        Record(
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
        for pos in range(first, last + 1)
    ]


@asynccontextmanager
async def publishing(settings: KafkaSettings, topic: str) -> AsyncIterator[Publisher]:
    publisher = Publisher(settings, "registry")
    await publisher.connect([topic])
    try:
        yield publisher
    finally:
        await publisher.close()


@asynccontextmanager
async def subscribed(settings: KafkaSettings, topic: str) -> AsyncIterator[Subscriber]:
    subscriber = Subscriber(settings, f"group-{topic}", [topic])
    await subscriber.connect()
    try:
        yield subscriber
    finally:
        await subscriber.close()


async def read(subscriber: Subscriber, count: int) -> list[Record]:
    """Read on until there are so many."""
    found: list[Record] = []

    async def enough() -> bool:
        for some in (await subscriber.poll()).values():
            found.extend(some)
        return len(found) >= count

    await eventually(enough, 60)
    return found


async def told(settings: KafkaSettings, topic: str, sent: Sequence[Record]) -> None:
    """Say it as the relay does: with a new client after every fault, from where it was."""

    async def done() -> bool:
        try:
            async with publishing(settings, topic) as publisher:
                await publisher.publish(sent)
        except TransientError:
            return False
        return True

    await eventually(done, 60)
