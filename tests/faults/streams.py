"""Numbers on their way through a broker: announced, published by a relay, and written down.

Whatever happens to the broker, the follower has each number once, in order; what differs is who
brought it, Kafka or the pull.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from shared.contracts.registry import ROLL
from shared.kafka import KafkaSettings
from shared.relay import Relay
from tests.shared.exchange import Follower, Producer, following, producing
from tests.support.counting import Tell, watch
from tests.support.issuer import Issuer
from tests.support.servers import DatabaseUrl
from tests.support.waiting import eventually

PATIENCE = 60.0


@dataclass
class Stream:
    """A producer with its relay, and who follows it; `announced` is what was said so far."""

    producer: Producer
    follower: Follower
    relay: Relay
    announced: list[int] = field(default_factory=list)

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Have the follower run for the length of a block."""
        async with _until_the_end(self.follower.consumer.run):
            yield

    async def say(self) -> None:
        """Announce the next number."""
        self.announced.append(len(self.announced) + 1)
        await self.producer.announce(self.announced[-1])

    async def all_applied(self) -> bool:
        """Whether the follower wrote down what was announced, all of it once."""
        return await self.follower.numbers() == self.announced

    async def applied(self) -> float:
        """Wait until everything is; the seconds that it took."""
        seconds = watch()
        await eventually(self.all_applied, PATIENCE)
        return seconds()

    async def carried_by_kafka(self) -> float:
        """Say numbers until Kafka brings one; the seconds that it took."""
        seconds, before = watch(), brought("kafka")

        async def one_more() -> bool:
            await self.say()
            await eventually(self.all_applied, PATIENCE)
            return brought("kafka") > before

        await eventually(one_more, PATIENCE)
        return seconds()

    async def unpublished(self) -> float:
        """Records that are not on Kafka yet, as the relay's metrics tell."""
        await self.relay.gauge()
        return metric("lastmetre_outbox_unpublished", service="producer")

    async def all_published(self) -> bool:
        """Whether Kafka has everything."""
        return await self.unpublished() == 0


def metric(name: str, **labels: str) -> float:
    """What this process tells of the stream's topic."""
    return REGISTRY.get_sample_value(name, {"topic": ROLL, **labels}) or 0.0


def brought(source: str) -> float:
    """How many numbers came by Kafka, or by the pull."""
    return metric("lastmetre_consumer_applied_total", service="follower", source=source)


@asynccontextmanager
async def _until_the_end(
    run: Callable[[asyncio.Event], Coroutine[Any, Any, None]],
) -> AsyncIterator[None]:
    """Run something beside a block, and have it leave in good order at its end."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run(stop))
        try:
            yield
        finally:
            stop.set()


@asynccontextmanager
async def streaming(
    database_url: DatabaseUrl, issuer: Issuer, kafka: KafkaSettings
) -> AsyncIterator[Stream]:
    """Publish a stream for the length of a block, on a broker that nobody else uses."""
    async with (
        producing(database_url(""), issuer) as producer,
        following(database_url(""), producer, kafka=kafka) as (follower,),
    ):
        relay = Relay("producer", producer.database, producer.topics, kafka)
        async with _until_the_end(relay.run):
            yield Stream(producer, follower, relay)


async def assert_the_pull_carries_on(
    stream: Stream, begin: Callable[[], object], end: Callable[[], object], tell: Tell
) -> None:
    """Take the broker out of reach and give it back: nothing is lost, nothing comes twice."""
    await stream.carried_by_kafka()
    await eventually(stream.all_published, PATIENCE)

    begin()
    pulled = brought("pull")
    with capture_logs() as logged:
        await stream.say()
        taken_over = await stream.applied()
        assert brought("pull") > pulled
        assert await stream.unpublished() == 1
        assert metric("lastmetre_outbox_oldest_unpublished_seconds", service="producer") > 0
        await eventually(
            lambda: (
                metric("lastmetre_consumer_lag_positions", service="follower", partition="0") == 0
            )
        )
        await eventually(
            lambda: "relay_interrupted" in {each["event"] for each in logged}, PATIENCE
        )

    end()
    carried = await stream.carried_by_kafka()
    await eventually(stream.all_published, PATIENCE)
    await stream.applied()
    assert metric("lastmetre_outbox_oldest_unpublished_seconds", service="producer") == 0
    tell(f"pulled after {taken_over:.1f} s; by Kafka again {carried:.1f} s after it was back")
