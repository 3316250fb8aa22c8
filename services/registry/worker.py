"""The worker applies what dispatch says; the relay publishes what registry says."""

import asyncio

from services.registry.settings import Settings
from services.registry.wiring import TOPICS, connect
from shared.http import Ops
from shared.kafka import KafkaSettings
from shared.relay import Relay


async def work(settings: Settings, ops: Ops, stop: asyncio.Event) -> None:
    """Follow dispatch until told to stop."""
    async with connect(settings) as wiring:
        ops.checks["database"] = wiring.database.ping
        await wiring.consumer.run(stop)


async def relay(settings: Settings, ops: Ops, stop: asyncio.Event) -> None:
    """Keep registry's outbox roomy and, with a broker, published, until told to stop."""
    async with connect(settings) as wiring:
        ops.checks["database"] = wiring.database.ping
        publisher = Relay("registry", wiring.database, TOPICS, KafkaSettings.of(settings))
        ops.gauges.append(publisher.gauge)
        await publisher.run(stop)
