"""The API process: routes over one wiring."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI

from services.reporting.api import coverage, ledger, rebuild, webhooks, work
from services.reporting.api.access import ACCESS, LETTERS, PAGES
from services.reporting.api.examples import EXAMPLES
from services.reporting.api.page import letters, public, signing
from services.reporting.api.page import routes as page
from services.reporting.api.page.live import Channels
from services.reporting.api.page.serving import pages
from services.reporting.api.page.views.question import PATHS
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
    verifier = Verifier(KeySet(settings.jwks), audience=settings.token_audience)
    ops = http.Ops()
    channels = Channels(lambda: ops.draining, settings.look_seconds)

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
            work.router(wiring),
            ledger.router(wiring),
            rebuild.router(wiring),
            webhooks.router(wiring),
            parked.router(wiring.database, wiring.consumer, settings.service),
            audit.router(wiring.database),
            page.router(wiring, channels),
            letters.router(wiring),
            public.router(wiring),
            signing.router(wiring, verifier),
        ],
        access={**ACCESS, **PAGES},
        examples=EXAMPLES,
        limits=Limits.of(settings),
        verifier=verifier,
        lifespan=lifespan,
        ops=ops,
        pages=pages(*PATHS.values(), *LETTERS, public.PUBLIC_PATH),
    )
    app.state.wiring = wiring
    ops.checks["database"] = wiring.database.ping
    ops.gauges.append(audit.gauge(wiring.database, "reporting"))
    return app
