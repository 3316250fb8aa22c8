"""What a process of the nursery does, in two parts: get ready, and then the work that is counted.

Every work is a loop of the product, called as its processes call it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import httpx
from fastapi import FastAPI

from services.dispatch import worker as dispatch_worker
from services.registry.wiring import TOPICS as REGISTRY_TOPICS
from services.reporting.flow import rebuild as rebuilding
from shared import outbox
from shared.database import Database
from shared.kafka import KafkaSettings, Publisher
from shared.relay import Relay
from tests.support.town import consumers

if TYPE_CHECKING:
    from shared.contracts.envelope import Record
    from shared.positions import Partition

Apps = Mapping[str, FastAPI]
PRODUCERS = ("registry", "dispatch")
MUCH = 1 << 30
Work = Callable[[], Awaitable[Any]]


async def call(apps: Apps, service: str, **request: Any) -> Work:
    """A request, as a client sends it."""

    async def work() -> Any:
        transport = httpx.ASGITransport(apps[service])
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{service}") as client:
            answer = await client.request(**request)
        return {"status": answer.status_code, "body": answer.text}

    return work


async def publish(apps: Apps, service: str, bootstrap: str) -> Work:
    """A relay makes room in the outbox and publishes, until everything is on the broker."""
    stop = asyncio.Event()

    class UntilPublished(Relay):
        async def _publish_round(self, publisher: Publisher) -> int:
            sent = await super()._publish_round(publisher)
            if not sent:
                stop.set()
            return sent

    database = database_of(apps[service])
    settings = KafkaSettings(bootstrap, idempotent=False)
    relay = UntilPublished(service, database, REGISTRY_TOPICS, settings)

    async def work() -> None:
        await relay.run(stop)

    return work


async def pull(apps: Apps, service: str) -> Work:
    """A consumer fetches what it has not applied from the producers, until there is no more."""
    return consumers(apps)[service].catch_up


async def take(apps: Apps, service: str) -> Work:
    """A consumer takes what Kafka delivers: all there is, a batch a partition."""
    consumer = consumers(apps)[service]
    delivered: dict[Partition, list[Record]] = {}
    for producer in PRODUCERS:
        async with database_of(apps[producer]).begin(readonly=True) as tx:
            for head in await outbox.heads(tx):
                if head.topic in consumer.topics and head.pos:
                    read = await outbox.read_after(tx, head.topic, head.partition, 0, MUCH)
                    partition = (head.topic, head.partition)
                    delivered[partition] = outbox.Pulled(read).as_records(*partition)

    async def work() -> None:
        for partition, records in delivered.items():
            await consumer.take({partition: records})

    return work


async def keep_time(apps: Apps, service: str, now: str) -> Work:
    """Registry's clock does what is due."""
    timekeeper = apps[service].state.wiring.timekeeper

    async def work() -> None:
        await timekeeper.keep(datetime.fromisoformat(now))

    return work


async def keep_house(apps: Apps, service: str) -> Work:
    """Dispatch ends hands and gives visits to teams."""

    async def work() -> None:
        await dispatch_worker.keep_house(apps[service].state.wiring)

    return work


async def rebuild(apps: Apps, service: str) -> Work:
    """Reporting builds its figures anew, and swaps them."""
    wiring = apps[service].state.wiring

    async def work() -> None:
        await rebuilding.build(wiring.database, wiring.builder)

    return work


WORKS: Mapping[str, Callable[..., Awaitable[Work]]] = {
    each.__name__: each for each in (call, publish, pull, take, keep_time, keep_house, rebuild)
}


def database_of(app: FastAPI) -> Database:
    """Give the database of an application."""
    database: Database = app.state.wiring.database
    return database


async def vacated(apps: Apps, service: str) -> str:
    """Leave a service's database, so that it can be copied; give its name."""
    database = database_of(apps[service])
    await database.close()
    return str(database.engine.url.database)
