"""`shared.kafka` on Apache Kafka, the idempotent producer on."""

import asyncio
from uuid import uuid4

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from deploy.local.kafka import Kafka
from shared.contracts.envelope import PARTITIONS
from shared.kafka import KafkaSettings
from tests.kafka import outsider
from tests.kafka.ends import publishing, read, records, subscribed, told
from tests.support.counting import Tell, watch
from tests.support.waiting import eventually


@pytest.fixture
def topic() -> str:
    return f"registry.{uuid4().hex}.v1"


@pytest.fixture
def settings(one_broker: Kafka) -> KafkaSettings:
    return KafkaSettings(one_broker.bootstrap)


async def test_what_the_relay_sends_a_consumer_reads_in_order(
    settings: KafkaSettings, topic: str
) -> None:
    sent = records(topic, 1, 300) + records(topic, 1, 300, partition=0)
    async with publishing(settings, topic) as publisher:
        for start in range(0, len(sent), 100):
            await publisher.publish(sent[start : start + 100])
    described = outsider.topics(settings.bootstrap)[topic]
    assert len(described.partitions) == PARTITIONS

    async with subscribed(settings, topic) as subscriber:
        found = await read(subscriber, len(sent))
        await subscriber.commit()
    assert sorted(found, key=lambda record: -record.partition) == sent

    # The next member of the group begins where this one ended.
    more = records(topic, 301, 302)
    await told(settings, topic, more)
    async with subscribed(settings, topic) as subscriber:
        assert await read(subscriber, len(more)) == more


async def test_an_offset_beyond_the_end_leads_back_to_the_beginning(
    settings: KafkaSettings, topic: str, tell: Tell
) -> None:
    sent = records(topic, 1, 3)
    await told(settings, topic, sent)
    beyond = ConsumerGroupTopicPartitions(f"group-{topic}", [TopicPartition(topic, 7, 1_000)])
    admin = AdminClient({"bootstrap.servers": settings.bootstrap})
    for altered in admin.alter_consumer_group_offsets([beyond]).values():
        await asyncio.to_thread(altered.result, outsider.SECONDS)
    seconds = watch()
    async with subscribed(settings, topic) as subscriber:
        assert await read(subscriber, len(sent)) == sent
    tell(f"read from the beginning {seconds():.1f} s after it came")


async def test_a_topic_that_was_deleted_under_both_is_made_anew(
    settings: KafkaSettings, topic: str, tell: Tell
) -> None:
    async with (
        publishing(settings, topic) as publisher,
        subscribed(settings, topic) as subscriber,
    ):
        before = records(topic, 1, 2)
        await publisher.publish(before)
        assert await read(subscriber, len(before)) == before
        admin = AdminClient({"bootstrap.servers": settings.bootstrap})
        for deleted in admin.delete_topics([topic]).values():
            await asyncio.to_thread(deleted.result, outsider.SECONDS)
        await eventually(lambda: topic not in outsider.topics(settings.bootstrap))
        deleted_for = watch()
        after = records(topic, 3, 4)
        await told(settings, topic, after)
    async with subscribed(settings, topic) as subscriber:
        assert await read(subscriber, len(after)) == after
    tell(f"made anew and read {deleted_for():.1f} s after it was gone")


async def test_what_was_acknowledged_outlives_a_kill_of_the_broker(
    one_broker: Kafka, settings: KafkaSettings, topic: str
) -> None:
    before, after = records(topic, 1, 50), records(topic, 51, 100)
    async with (
        publishing(settings, topic) as publisher,
        subscribed(settings, topic) as subscriber,
    ):
        await publisher.publish(before)
        one_broker.kill(1)
        # Not from a thread of the loop's: a broker lives no longer than the thread that started it.
        one_broker.start(1)
        await told(settings, topic, after)
        # The reader finds its way back by itself.
        assert await read(subscriber, 100) == before + after
