"""The worker applies what dispatch says, and does what is due by the clock; the relay publishes."""

import asyncio
from datetime import UTC, datetime

import structlog

from services.registry.settings import Settings
from services.registry.wiring import TOPICS, Wiring, connect
from shared.consumer import wait_for
from shared.errors import TransientError
from shared.http import Ops
from shared.kafka import KafkaSettings
from shared.relay import Relay

log = structlog.get_logger(__name__)


async def work(settings: Settings, ops: Ops, stop: asyncio.Event) -> None:
    """Follow dispatch and keep the time until told to stop."""
    async with connect(settings) as wiring, asyncio.TaskGroup() as tasks:
        ops.checks["database"] = wiring.database.ping
        ops.gauges.append(wiring.vault.gauge)
        tasks.create_task(wiring.consumer.run(stop))
        tasks.create_task(_keep_time_until(stop, wiring))


async def _keep_time_until(stop: asyncio.Event, wiring: Wiring) -> None:
    while not stop.is_set():
        try:
            await wiring.timekeeper.keep(datetime.now(UTC))
        except TransientError as error:
            log.warning("clock_interrupted", why=str(error))
        await wait_for(stop, wiring.settings.clock_seconds)


async def relay(settings: Settings, ops: Ops, stop: asyncio.Event) -> None:
    """Keep registry's outbox roomy and, with a broker, published, until told to stop."""
    async with connect(settings) as wiring:
        ops.checks["database"] = wiring.database.ping
        publisher = Relay("registry", wiring.database, TOPICS, KafkaSettings.of(settings))
        ops.gauges += [publisher.gauge, wiring.vault.gauge]
        await publisher.run(stop)
