"""The API process: routes over one wiring."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI

from services.reporting.api import coverage, ledger, rebuild
from services.reporting.api.access import ACCESS
from services.reporting.api.examples import EXAMPLES
from services.reporting.settings import Settings
from services.reporting.wiring import wire
from services.reporting.worker import HANDLERS
from shared import audit, http, parked
from shared.admission import Limits
from shared.auth import KeySet, Verifier

DESCRIPTION = """
Who is still missing, per office and community, live, and the proof that the account adds up.
Figures are limited to the areas of the token. Every answer says as of when it is.
"""


def create_app(
    settings: Settings, *, transports: Mapping[str, httpx.AsyncBaseTransport] | None = None
) -> FastAPI:
    """Make the application.

    Args:
        settings: of reporting
        transports: by service, for calls within one process and for tests

    """
    wiring = wire(settings, HANDLERS, transports)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await wiring.close()

    app = http.create_app(
        service=settings.service,
        title="Lastmetre reporting",
        description=DESCRIPTION,
        routers=[
            coverage.router(wiring),
            ledger.router(wiring),
            rebuild.router(wiring),
            parked.router(wiring.database, wiring.consumer, settings.service),
            audit.router(wiring.database),
        ],
        access=ACCESS,
        examples=EXAMPLES,
        limits=Limits.of(settings),
        verifier=Verifier(KeySet(settings.jwks), audience=settings.token_audience),
        lifespan=lifespan,
    )
    app.state.wiring = wiring
    app.state.ops.checks["database"] = wiring.database.ping
    app.state.ops.gauges.append(audit.gauge(wiring.database, "reporting"))
    return app
