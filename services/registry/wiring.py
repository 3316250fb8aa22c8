"""What registry's processes are made of: database, keys, the client of dispatch, the consumer."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import httpx

from services.registry.flow import adoption, field
from services.registry.flow.clock import Timekeeper
from services.registry.settings import Settings
from services.registry.vault import Vault
from shared import outbox
from shared.address import Address
from shared.clients import ServiceClient, service_client
from shared.consumer import Consumer, Handlers, Source
from shared.contracts.dispatch import (
    HANDS,
    VISITS,
    HandsChanged,
    HandsSnapshotEnded,
    VisitsChanged,
    VisitsRetold,
)
from shared.contracts.registry import ROLL, ROUNDS
from shared.database import Database
from shared.kafka import KafkaSettings

TOPICS = (ROUNDS, ROLL)
"""What registry announces on."""
FOLLOWED = (HANDS, VISITS)
"""What it follows."""


@dataclass(frozen=True)
class Wiring:
    """Opened once per process and closed with it; nothing is connected before it is used."""

    settings: Settings
    database: Database
    vault: Vault
    timekeeper: Timekeeper
    dispatch: ServiceClient
    consumer: Consumer

    async def close(self) -> None:
        """Let go of everything."""
        await self.dispatch.aclose()
        await self.database.close()


def handlers(vault: Vault) -> Handlers:
    """List what registry does about each thing dispatch says."""
    return {
        HandsChanged: field.take_hands,
        VisitsChanged: partial(field.take_visits, vault),
        VisitsRetold: partial(field.take_visits, vault),
        HandsSnapshotEnded: adoption.end_forgotten_hands,
    }


def wire(
    settings: Settings, transports: Mapping[str, httpx.AsyncBaseTransport] | None = None
) -> Wiring:
    """Put the parts of a process together.

    Args:
        settings: of registry
        transports: by service, for calls within one process and for tests

    """
    database = Database(
        Address.of(settings.database_url, settings),
        before_commit=outbox.flush,
        pool_size=settings.database_pool,
        statement_seconds=settings.statement_seconds,
        lock_seconds=settings.lock_seconds,
        application_name="lastmetre registry",
    )
    vault = Vault(settings.keys_file)
    dispatch = service_client(settings.dispatch_url, settings, (transports or {}).get("dispatch"))
    consumer = Consumer(
        "registry",
        database,
        [Source(dispatch, FOLLOWED)],
        handlers(vault),
        KafkaSettings.of(settings),
    )
    timekeeper = Timekeeper(database, vault, timedelta(hours=settings.seal_hours))
    return Wiring(settings, database, vault, timekeeper, dispatch, consumer)


@asynccontextmanager
async def connect(settings: Settings) -> AsyncIterator[Wiring]:
    """Open a wiring for the length of a block."""
    wiring = wire(settings)
    try:
        yield wiring
    finally:
        await wiring.close()
