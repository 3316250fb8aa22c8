"""What a process of the nursery does, in two parts: get ready, and then the work that is counted.

Every work is a loop of the product, called as its processes call it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
from fastapi import FastAPI

from services.registry.wiring import TOPICS as REGISTRY_TOPICS
from shared.database import Database
from shared.kafka import KafkaSettings, Publisher
from shared.relay import Relay

Apps = Mapping[str, FastAPI]
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


WORKS: Mapping[str, Callable[..., Awaitable[Work]]] = {
    each.__name__: each for each in (call, publish)
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
