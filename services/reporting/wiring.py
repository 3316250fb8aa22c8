"""What reporting's processes are made of: database, clients of the others, the consumer."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import httpx

from services.reporting.clients import Peers
from services.reporting.domain.generations import CONSUMER, Generation
from services.reporting.flow.account import Fold
from services.reporting.settings import Settings
from shared.address import Address
from shared.clients import ServiceClient, service_client
from shared.consumer import Consumer, Source
from shared.contracts.dispatch import VISITS
from shared.contracts.envelope import Message
from shared.contracts.registry import ROLL, ROUNDS
from shared.database import Database
from shared.kafka import KafkaSettings

Folds = Mapping[type[Message], Fold]
"""Which flow folds which type of event."""


@dataclass(frozen=True)
class Wiring:
    """Opened once per process and closed with it; nothing is connected before it is used."""

    settings: Settings
    database: Database
    registry: ServiceClient
    dispatch: ServiceClient
    folds: Folds
    consumer: Consumer

    @property
    def peers(self) -> Peers:
        """The services that figures are held against."""
        return Peers(self.registry, self.dispatch)

    def builder(self, generation: Generation) -> Consumer:
        """Make the consumer of a rebuild: the same events, by the pull, into another generation."""
        handlers = {
            message: partial(fold, into=generation.id) for message, fold in self.folds.items()
        }
        return Consumer(
            generation.consumer,
            self.database,
            _sources(self.registry, self.dispatch),
            handlers,
            gauged=False,  # `GET /v1/rebuild` tells how far it is
        )

    async def close(self) -> None:
        """Let go of everything."""
        await self.registry.aclose()
        await self.dispatch.aclose()
        await self.database.close()


def wire(
    settings: Settings,
    folds: Folds,
    transports: Mapping[str, httpx.AsyncBaseTransport] | None = None,
) -> Wiring:
    """Put the parts of a process together.

    Args:
        settings: of reporting
        folds: the table of subscriptions
        transports: by service, for calls within one process and for tests

    """
    transports = transports or {}
    database = Database(
        Address.of(settings.database_url, settings),
        pool_size=settings.database_pool,
        statement_seconds=settings.statement_seconds,
        lock_seconds=settings.lock_seconds,
        application_name="lastmetre reporting",
    )
    registry = service_client(settings.registry_url, settings, transports.get("registry"))
    dispatch = service_client(settings.dispatch_url, settings, transports.get("dispatch"))
    kafka = KafkaSettings.of(settings)
    consumer = Consumer(CONSUMER, database, _sources(registry, dispatch), folds, kafka)
    return Wiring(settings, database, registry, dispatch, folds, consumer)


@asynccontextmanager
async def connect(
    settings: Settings,
    folds: Folds,
    transports: Mapping[str, httpx.AsyncBaseTransport] | None = None,
) -> AsyncIterator[Wiring]:
    """Open a wiring for the length of a block."""
    wiring = wire(settings, folds, transports)
    try:
        yield wiring
    finally:
        await wiring.close()


def _sources(registry: ServiceClient, dispatch: ServiceClient) -> Sequence[Source]:
    return [Source(registry, [ROUNDS, ROLL]), Source(dispatch, [VISITS])]
