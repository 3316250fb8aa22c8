"""dispatch's API."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI

from services.dispatch import worker
from services.dispatch.api import cases, hands, teams, visits, waiting
from services.dispatch.api.access import ACCESS
from services.dispatch.api.examples import EXAMPLES
from services.dispatch.flow.adoption import MARKS, retell
from services.dispatch.settings import Settings
from services.dispatch.wiring import NO_TRANSPORTS, TOPICS, wire
from shared import adoption, audit, http, outbox, parked
from shared.admission import Limits
from shared.auth import KeySet, Verifier

DESCRIPTION = """
dispatch owns everything that moves: cases, visits, teams, and in whose hands people are.

It knows residents by id, need and place only; names, phones and addresses are registry's.
"""


def create_app(
    settings: Settings, *, transports: Mapping[str, httpx.AsyncBaseTransport] = NO_TRANSPORTS
) -> FastAPI:
    """Wire the service and put its routes behind the front door."""
    wiring = wire(settings, transports)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.ops.checks["database"] = wiring.database.ping
        app.state.ops.gauges.append(audit.gauge(wiring.database, "dispatch"))
        yield
        await wiring.close()

    app = http.create_app(
        service="dispatch",
        title="Lastmetre: dispatch",
        description=DESCRIPTION,
        routers=[
            cases.router,
            waiting.router,
            visits.router,
            teams.router,
            hands.router,
            outbox.router(wiring.database, TOPICS),
            adoption.router(
                wiring.database, MARKS, retell, worker.consumer(wiring).silent().catch_up
            ),
            parked.router(wiring.database, worker.consumer(wiring), "dispatch"),
            audit.router(wiring.database),
        ],
        access=ACCESS,
        examples=EXAMPLES,
        limits=Limits.of(settings),
        verifier=Verifier(KeySet(settings.jwks), audience=settings.token_audience),
        lifespan=lifespan,
    )
    app.state.wiring = wiring
    return app
