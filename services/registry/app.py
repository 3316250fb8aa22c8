"""registry's HTTP application."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI

from services.registry.api import (
    account,
    areas,
    denominators,
    exclusions,
    history,
    keys,
    lookup,
    merging,
    residents,
    results,
    rounds,
)
from services.registry.api.access import ACCESS
from services.registry.api.examples import EXAMPLES
from services.registry.flow.adoption import MARKS, retell
from services.registry.settings import Settings
from services.registry.wiring import TOPICS, wire
from shared import adoption, audit, outbox, parked
from shared.admission import Limits
from shared.auth import KeySet, Verifier
from shared.http import create_app as front_door

DESCRIPTION = """
Residents, rounds, samples and results; the only authority of the account: for each resident in a
round, whether they are sampled, excluded, in somebody's hands, or unaccounted.
"""


def create_app(
    settings: Settings, *, transports: Mapping[str, httpx.AsyncBaseTransport] | None = None
) -> FastAPI:
    """Make the application; it connects when it is started, and lets go when it is stopped."""
    wiring = wire(settings, transports)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.ops.checks["database"] = wiring.database.ping
        app.state.ops.gauges += [audit.gauge(wiring.database, "registry"), wiring.vault.gauge]
        yield
        await wiring.close()

    app = front_door(
        service="registry",
        title="Lastmetre registry",
        description=DESCRIPTION,
        routers=[
            areas.router(wiring),
            denominators.router(wiring),
            residents.router(wiring),
            merging.router(wiring),
            lookup.router(wiring),
            rounds.router(wiring),
            account.router(wiring),
            results.router(wiring),
            history.router(wiring),
            exclusions.router(wiring),
            keys.router(wiring),
            outbox.router(wiring.database, TOPICS),
            adoption.router(wiring.database, MARKS, retell, wiring.consumer.silent().catch_up),
            parked.router(wiring.database, wiring.consumer, "registry"),
            audit.router(wiring.database),
        ],
        access=ACCESS,
        examples=EXAMPLES,
        limits=Limits.of(settings),
        gathered=results.GATHERED,
        verifier=Verifier(KeySet(settings.jwks), audience=settings.token_audience),
        lifespan=lifespan,
    )
    app.state.wiring = wiring
    return app
