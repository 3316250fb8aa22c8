"""A town: the three services in one process, on real databases, joined by the pull.

No broker and no waiting: `await town.settle()` lets every service catch up with the others until
nothing moves. What a journey tells about the account is asserted after that.
"""

import base64
import json
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI

from services.dispatch import app as dispatch_app
from services.dispatch import worker as dispatch_worker
from services.dispatch.settings import Settings as DispatchSettings
from services.registry import app as registry_app
from services.registry.settings import Settings as RegistrySettings
from services.reporting import app as reporting_app
from services.reporting.settings import Settings as ReportingSettings
from shared.consumer import Consumer
from tests.support.issuer import Issuer
from tests.support.servers import DatabaseUrl

if TYPE_CHECKING:
    from starlette.types import ASGIApp

DISTRICT = "410171"
CHAOHE, MINGHU = "410171001", "410171002"
"""Two offices (办事处) of the district."""
LUYUAN, LANQIAO, DONGFANG = "410171001001", "410171001002", "410171002001"
"""Three communities: two of the first office, one of the second."""
AREAS = [
    {"code": DISTRICT, "name": "经开区", "kind": "district"},
    {"code": CHAOHE, "name": "潮河办事处", "kind": "office", "parent": DISTRICT},
    {"code": MINGHU, "name": "明湖办事处", "kind": "office", "parent": DISTRICT},
    {"code": LUYUAN, "name": "绿园社区", "kind": "community", "parent": CHAOHE},
    {"code": LANQIAO, "name": "蓝桥社区", "kind": "community", "parent": CHAOHE},
    {"code": DONGFANG, "name": "东方社区", "kind": "community", "parent": MINGHU},
]
OPENS = datetime(2022, 1, 14, 0, 0, tzinfo=UTC)
"""8 o'clock in Zhengzhou."""
DAY = timedelta(hours=12)

JSON = dict[str, Any]


class Switch(httpx.AsyncBaseTransport):
    """Calls from one service to another, which can be cut."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None
        self.down = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Hand a request to the other service, if it is up."""
        if self.down or self.app is None:
            raise httpx.ConnectError("the service is down")
        return await httpx.ASGITransport(self.app).handle_async_request(request)


class Signer(Protocol):
    """Whoever signs tokens that the services trust."""

    @property
    def token(self) -> Callable[..., str]:
        """Sign one: roles, `areas`, and `team` or `site`."""


def consumers(apps: Mapping[str, FastAPI]) -> dict[str, Consumer]:
    """Give the consumer of each service."""
    return {
        "registry": apps["registry"].state.wiring.consumer,
        "dispatch": dispatch_worker.consumer(apps["dispatch"].state.wiring),
        "reporting": apps["reporting"].state.wiring.consumer,
    }


@dataclass
class Town:
    """The stack and its users."""

    registry: httpx.AsyncClient
    dispatch: httpx.AsyncClient
    reporting: httpx.AsyncClient
    apps: dict[str, FastAPI]
    switches: dict[str, Switch]
    issuer: Signer

    # --- the machinery ---

    @property
    def consumers(self) -> dict[str, Consumer]:
        """The consumer of each service."""
        return consumers(self.apps)

    async def settle(self) -> None:
        """Let everybody catch up with everybody, until nothing moves."""
        await self.settle_but(None)

    async def settle_but(self, but: str | None) -> None:
        """Let everybody but one service catch up with everybody, until nothing moves."""
        consumers = [each for name, each in self.consumers.items() if name != but]
        moved = True
        while moved:
            moved = False
            for consumer in consumers:
                while await consumer.sweep():
                    moved = True
            registry, dispatch = (self.apps[name].state.wiring for name in ("registry", "dispatch"))
            moved |= bool(await registry.timekeeper.keep(datetime.now(UTC)))
            moved |= bool(await dispatch_worker.keep_house(dispatch))

    def headers(self, *roles: str, areas: Iterable[str] = (DISTRICT,), **claims: Any) -> JSON:
        """Headers of somebody with these roles and areas."""
        token = self.issuer.token(*roles, areas=areas, **claims)
        return {"Authorization": f"Bearer {token}"}

    # --- what people do ---

    async def people(self, *given: JSON) -> list[UUID]:
        """Put people on the roll; each as in the API, with whatever is not said made up."""
        rows = [
            {"id": str(uuid4()), "name": f"居民{number}",
             "address": {"community_code": LUYUAN, "building": "1", "unit": "1",
                         "door": str(number)}} | row
            for number, row in enumerate(given)
        ]  # fmt: skip
        answer = await self.sent(self.registry, "/v1/residents:batch", rows)
        assert answer["rejected"] == 0, answer
        return [UUID(row["id"]) for row in answer["rows"]]

    async def round(
        self,
        number: int = 1,
        *,
        offices: Iterable[str] = (DISTRICT,),
        opened: bool = True,
        manual_clock: bool = True,
    ) -> str:
        """Draft a round, on a manual clock if nothing else is said, on its own day; open it."""
        opens = OPENS + timedelta(days=number - 1)
        drafted = await self.sent(
            self.registry,
            "/v1/rounds",
            {
                "id": str(uuid4()), "campaign": "2022-01", "number": number,
                "name": f"第{number}轮全员核酸检测", "opens_at": opens.isoformat(),
                "closes_at": (opens + DAY).isoformat(), "offices": list(offices),
                "manual_clock": manual_clock,
            },
        )  # fmt: skip
        round_id: str = drafted["id"]
        if opened:
            await self.step(round_id, "open")
            await self.settle()
        return round_id

    async def step(self, round_id: str, name: str) -> JSON:
        """Open, close or seal a round."""
        stepped: JSON = await self.sent(self.registry, f"/v1/rounds/{round_id}:{name}")
        return stepped

    async def tick(self, round_id: str, hours: float, *, day: int = 1) -> datetime:
        """Let the round's clock show so many hours after its opening."""
        at = OPENS + timedelta(days=day - 1, hours=hours)
        await self.sent(self.registry, f"/v1/rounds/{round_id}:tick", {"clock_at": at.isoformat()})
        await self.settle()
        return at

    def result(self, round_id: str, resident: UUID, hours: float = 1, **more: Any) -> JSON:
        """Write a swab taken so many hours after the first round's opening."""
        row: JSON = {
            "result_id": str(uuid4()),
            "sample_id": str(uuid4()),
            "resident": {"id": str(resident)},
            "round_id": round_id,
            "sampled_at": (OPENS + timedelta(hours=hours)).isoformat(),
            "channel": "site",
        }
        return row | more

    def resulted(self, round_id: str, resident: UUID, outcome: str, hours: float = 1) -> JSON:
        """A swab with its outcome, released at once."""
        at = (OPENS + timedelta(hours=hours)).isoformat()
        return self.result(
            round_id, resident, hours, outcome=outcome, resulted_at=at, released_at=at
        )

    async def results(self, *rows: JSON) -> JSON:
        """Send samples and results as a site does, and let them be counted."""
        answer = await self.sent(
            self.registry, "/v1/results:batch", list(rows), self.headers("site")
        )
        await self.settle()
        told: JSON = answer
        return told

    async def sent(
        self, service: httpx.AsyncClient, path: str, body: Any = None, headers: JSON | None = None
    ) -> Any:
        """POST something that has to be taken."""
        answer = await service.post(
            path, json=body, headers=headers or self.headers("district", "office")
        )
        assert answer.is_success, answer.text
        return answer.json()

    # --- what people see ---

    async def totals(self, round_id: str) -> dict[str, dict[str, int]]:
        """Ask registry for its recount, by community."""
        answer = await self.registry.get(
            f"/v1/rounds/{round_id}/totals?max_age=0", headers=self.headers("district")
        )
        assert answer.is_success, answer.text
        communities: dict[str, dict[str, int]] = answer.json()["communities"]
        return communities

    async def coverage(self, round_id: str, by: str = "district") -> JSON:
        """Ask reporting for its figures: the total, or the rows by their code."""
        answer = await self.reporting.get(
            "/v1/coverage", params={"round": round_id, "by": by}, headers=self.headers("district")
        )
        assert answer.is_success, answer.text
        if by == "district":
            total: JSON = answer.json()["total"]
            return total
        return {row["code"]: row for row in answer.json()["rows"]}

    async def ledger(self, round_id: str) -> JSON:
        """Hold the fold against the recount, now."""
        answer = await self.reporting.get(
            "/v1/ledger", params={"round": round_id}, headers=self.headers("district")
        )
        assert answer.is_success, answer.text
        ledger: JSON = answer.json()
        return ledger

    async def expect(self, round_id: str, **figures: float) -> None:
        """Look at the district's figures once everything has settled; the ledger must balance."""
        await self.settle()
        total = await self.coverage(round_id)
        assert {name: total[name] for name in figures} == figures
        await self.assert_balanced(round_id)

    async def assert_balanced(self, round_id: str) -> None:
        """The fold is the recount, cell by cell."""
        ledger = await self.ledger(round_id)
        assert ledger["balanced"] is True, ledger


@pytest.fixture(scope="session")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys that seal identity numbers in these tests."""
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    key, index = (base64.b64encode(os.urandom(32)).decode() for _ in range(2))
    path.write_text(json.dumps({"current": "k1", "keys": {"k1": key}, "index": index}))
    return path


@dataclass(frozen=True)
class Ground:
    """What a town is built on: its databases and keys. It may be built more than once."""

    issuer: Issuer
    keys_file: Path
    token_file: Path
    databases: dict[str, str]
    settings: JSON = field(default_factory=dict)
    """Common settings that differ from the defaults."""

    def apps(self) -> tuple[dict[str, FastAPI], dict[str, Switch]]:
        """Make the three applications, and the lines between them."""
        common: JSON = {
            "jwks": str(self.issuer.jwks),
            "service_token_file": self.token_file,
            "kafka_bootstrap": "",
            # Whoever asks is taken on, also many at once: overload has tests of its own.
            "database_pool": 32,
            "waiting_seconds": 60,
            "waiting_requests": 1000,
            **self.settings,
        }
        urls = self.databases
        switches = {name: Switch() for name in ("registry", "dispatch")}
        apps = {
            "registry": registry_app.create_app(
                RegistrySettings(**common, database_url=urls["registry"], keys_file=self.keys_file),
                transports=switches,
            ),
            "dispatch": dispatch_app.create_app(
                DispatchSettings(**common, database_url=urls["dispatch"]), transports=switches
            ),
            "reporting": reporting_app.create_app(
                ReportingSettings(**common, database_url=urls["reporting"]), transports=switches
            ),
        }
        for name, switch in switches.items():
            switch.app = apps[name]
        return apps, switches

    @asynccontextmanager
    async def town(self) -> AsyncIterator[Town]:
        """Open a town, with its areas on file."""
        apps, switches = self.apps()
        async with AsyncExitStack() as stack:
            clients = {}
            for name, app in apps.items():
                await stack.enter_async_context(app.router.lifespan_context(app))
                clients[name] = await stack.enter_async_context(
                    httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://{name}")
                )
            town = Town(**clients, apps=apps, switches=switches, issuer=self.issuer)
            areas = await town.registry.put(
                "/v1/areas:batch", json=AREAS, headers=town.headers("district")
            )
            assert areas.is_success, areas.text
            yield town


@pytest.fixture
def ground(issuer: Issuer, database_url: DatabaseUrl, keys_file: Path, tmp_path: Path) -> Ground:
    """Fresh databases for a town."""
    token = tmp_path / "service.token"
    token.write_text(issuer.token("system", areas=["41"], sub="service", ttl=3600))
    services = ("registry", "dispatch", "reporting")
    return Ground(issuer, keys_file, token, {name: database_url(name) for name in services})


@pytest.fixture
async def town(ground: Ground) -> AsyncIterator[Town]:
    """A town with its areas on file."""
    async with ground.town() as town:
        yield town
