"""A town of registry alone: most of its stories need nobody else, and are told in half the time."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
import pytest

from services.registry import app as registry_app
from services.registry.settings import Settings
from shared.contracts.envelope import registered
from shared.contracts.registry import MESSAGES, ROLL
from tests.registry.folding import Fold
from tests.support import town as whole
from tests.support.issuer import Issuer
from tests.support.servers import DatabaseUrl

TYPES = registered(MESSAGES)

whole_town = whole.town
"""The three services, for stories that cross over."""


class Registry(whole.Town):
    """Registry alone: what it announces is folded here instead of by reporting."""

    async def settle(self) -> None:
        """Do what is due by the clock; there is nobody else to wait for."""
        await self.apps["registry"].state.wiring.timekeeper.keep(datetime.now(UTC))

    async def assert_balanced(self, round_id: str) -> None:
        """The fold is the recount, cell by cell."""
        fold = Fold()
        async with self.apps["registry"].state.wiring.database.begin() as tx:
            rows = await tx.rows(
                "SELECT type, data FROM outbox WHERE topic = $1 ORDER BY partition, pos", ROLL
            )
        for row in rows:
            fold.take(msgspec.json.decode(row["data"], type=TYPES[row["type"]]))
        fold.hold()
        assert fold.figures(round_id) == await self.totals(round_id)


@pytest.fixture
async def town(
    issuer: Issuer, database_url: DatabaseUrl, keys_file: Path, tmp_path: Path
) -> AsyncIterator[Registry]:
    """Registry with its areas on file; nobody else is there."""
    token = tmp_path / "service.token"
    token.write_text(issuer.token("system", areas=["41"], sub="service"))
    settings = Settings(
        jwks=str(issuer.jwks), service_token_file=token, kafka_bootstrap="",
        database_url=database_url("registry"), keys_file=keys_file,
        database_pool=32, waiting_seconds=60, waiting_requests=1000,
    )  # fmt: skip
    app = registry_app.create_app(settings, transports={"dispatch": whole.Switch()})
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://registry") as client,
    ):
        town = Registry(
            registry=client, dispatch=client, reporting=client, apps={"registry": app},
            switches={}, issuer=issuer,
        )  # fmt: skip
        answer = await client.put(
            "/v1/areas:batch", json=whole.AREAS, headers=town.headers("district")
        )
        assert answer.is_success, answer.text
        yield town
