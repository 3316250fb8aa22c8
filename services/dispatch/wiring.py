"""What a process of dispatch holds open: its database, and a client of registry.

Nothing here does I/O until it is used, so routes can be built around it before a loop runs.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from services.dispatch.assigner import Assigner, in_order
from services.dispatch.domain.policy import Policy
from services.dispatch.settings import Settings
from shared import outbox
from shared.address import Address
from shared.clients import service_client
from shared.contracts.dispatch import HANDS, VISITS
from shared.database import Database
from shared.kafka import KafkaSettings

TOPICS = (HANDS, VISITS)
"""Where dispatch announces."""

NO_TRANSPORTS: Mapping[str, httpx.AsyncBaseTransport] = {}


@dataclass(frozen=True)
class Wiring:
    """The open ends of one process."""

    settings: Settings
    database: Database
    registry: httpx.AsyncClient
    policy: Policy
    assigner: Assigner = field(default=in_order)

    @property
    def kafka(self) -> KafkaSettings | None:
        """The broker, or None where the pull carries everything."""
        return KafkaSettings.of(self.settings)

    async def close(self) -> None:
        """Close what is open."""
        await self.registry.aclose()
        await self.database.close()


def wire(
    settings: Settings, transports: Mapping[str, httpx.AsyncBaseTransport] = NO_TRANSPORTS
) -> Wiring:
    """Put a process's open ends together; `transports` replaces the network, by service."""
    return Wiring(
        settings=settings,
        database=Database(
            Address.of(settings.database_url, settings),
            before_commit=outbox.flush,
            pool_size=settings.database_pool,
            statement_seconds=settings.statement_seconds,
            lock_seconds=settings.lock_seconds,
            application_name="lastmetre.dispatch",
        ),
        registry=service_client(settings.registry_url, settings, transports.get("registry")),
        policy=settings.policy,
    )


@asynccontextmanager
async def connect(
    settings: Settings, *, transports: Mapping[str, httpx.AsyncBaseTransport] = NO_TRANSPORTS
) -> AsyncIterator[Wiring]:
    """Wire a process for the length of a block."""
    wiring = wire(settings, transports)
    try:
        yield wiring
    finally:
        await wiring.close()
