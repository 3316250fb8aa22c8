"""reporting on a real PostgreSQL, with the other services' HTTP in memory."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from services.reporting.app import create_app
from services.reporting.settings import Settings
from services.reporting.wiring import Wiring
from shared.contracts.registry import Area, AreasChanged, RoundChanged, RoundOpened
from shared.contracts.vocabulary import RoundState
from shared.database import Database
from tests.reporting.producers import World, rolls
from tests.support.issuer import Issuer
from tests.support.servers import DatabaseUrl

QIANCHENG, CHAOHE = "410171001", "410171002"
"""Two offices (办事处); their communities are in different partitions or not, as it comes."""
FIRST, SECOND = f"{QIANCHENG}001", f"{QIANCHENG}002"
THIRD = f"{CHAOHE}001"


@dataclass
class Desk:
    """reporting as its users meet it."""

    world: World
    wiring: Wiring
    client: httpx.AsyncClient
    issuer: Issuer

    @property
    def database(self) -> Database:
        return self.wiring.database

    def read_as(self, *roles: str, areas: tuple[str, ...] = ("410171",)) -> dict[str, str]:
        """Headers of somebody with these roles and areas."""
        return self.issuer.headers(*roles, areas=areas)

    async def open_round(
        self, sizes: dict[str, int], *, state: RoundState = "open", number: int = 1
    ) -> str:
        """Announce a round over both offices with so many people per community, and take it in."""
        round_id = str(uuid4())
        self.world.registry.announce(round_message(round_id, state, number), round_id)
        for communities in rolls(sizes).values():
            self.world.registry.announce(
                RoundOpened(round_id, communities), communities[0].community
            )
        await self.wiring.consumer.catch_up()
        return round_id

    async def get(self, path: str, **params: str) -> httpx.Response:
        """Ask as the district."""
        return await self.client.get(path, params=params, headers=self.read_as("district"))


def round_message(
    round_id: str,
    state: RoundState = "open",
    number: int = 1,
    version: int = 1,
    offices: Sequence[str] = (QIANCHENG, CHAOHE),
) -> RoundChanged:
    """A round of one day in January 2022, the fourth month of nobody's calendar."""
    return RoundChanged(
        round=round_id,
        version=version,
        campaign="zhengzhou-2022",
        number=number,
        name=f"第{number}轮全员核酸检测",
        state=state,
        opens_at=datetime(2022, 1, number, tzinfo=UTC),
        closes_at=datetime(2022, 1, number + 1, tzinfo=UTC),
        offices=list(offices),
    )


@pytest.fixture
def world() -> World:
    world = World()
    world.registry.announce(
        AreasChanged(
            [
                Area("410171", "经济技术开发区", "district"),
                Area(QIANCHENG, "前程街道", "office", "410171"),
                Area(CHAOHE, "潮河街道", "office", "410171"),
                Area(FIRST, "韩庄社区", "community", QIANCHENG),
                Area(SECOND, "蝶湖社区", "community", QIANCHENG),
                Area(THIRD, "滨河社区", "community", CHAOHE),
            ]
        ),
        "410171",
    )
    return world


@pytest.fixture
async def desk(world: World, database_url: DatabaseUrl, issuer: Issuer) -> AsyncIterator[Desk]:
    async with opened(world, database_url, issuer) as desk:
        yield desk


@asynccontextmanager
async def opened(
    world: World, database_url: DatabaseUrl, issuer: Issuer, **given: Any
) -> AsyncIterator[Desk]:
    """Open reporting, with some settings of one's own."""
    settings = Settings(
        jwks=str(issuer.jwks),
        service_token_file=None,
        kafka_bootstrap="",
        database_url=database_url("reporting"),
        waiting_seconds=60,
        **given,
    )
    app = create_app(
        settings,
        transports={"registry": world.registry.transport, "dispatch": world.dispatch.transport},
    )
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://reporting") as client,
    ):
        yield Desk(world, app.state.wiring, client, issuer)
