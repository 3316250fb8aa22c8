"""The generated client does what a machine of somebody else's would do with it."""

import importlib
import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import httpx
import pytest

from deploy.client import DOCUMENTS, PACKAGE, SERVICES, generate
from tests.support.town import LUYUAN, OPENS, Town


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The package, made anew and imported."""
    folder = tmp_path_factory.mktemp("client")
    generate(folder)
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module(PACKAGE)
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
            del sys.modules[name]


def part(client: ModuleType, name: str) -> Any:
    return importlib.import_module(f"{client.__name__}.{name}")


def connected(client: ModuleType, service: str, town: Town, *roles: str) -> Any:
    """Somebody's client of one service, over the way the test's own requests go."""
    signed = town.headers(*roles)["Authorization"].removeprefix("Bearer ")
    made = part(client, service).AuthenticatedClient(base_url="http://service", token=signed)
    transport = httpx.ASGITransport(town.apps[service])
    headers = {"Authorization": f"Bearer {signed}"}
    return made.set_async_httpx_client(
        httpx.AsyncClient(transport=transport, base_url="http://service", headers=headers)
    )


async def test_somebody_is_put_on_the_roll_sampled_and_seen_in_coverage(
    client: ModuleType, town: Town
) -> None:
    """A day by the generated functions and models alone."""
    district = connected(client, "registry", town, "district", "office")
    models = part(client, "registry.models")
    residents = part(client, "registry.api.residents.post_residents")
    resident, round_id = uuid4(), uuid4()
    address = models.AddressIn(community_code=LUYUAN, building="1", unit="1", door="101")
    sent = [models.ResidentIn(name="李四", address=address, id=resident)]
    answer = await residents.asyncio(client=district, body=sent)
    assert [row.status.value for row in answer.rows] == ["accepted"]

    rounds = part(client, "registry.api.rounds.post_round")
    draft = models.RoundIn(
        id=round_id, campaign="2022-01", number=1, name="第1轮全员核酸检测", opens_at=OPENS,
        closes_at=OPENS + timedelta(hours=12), offices=["410171"], manual_clock=True,
    )  # fmt: skip
    assert (await rounds.asyncio(client=district, body=draft)).state.value == "draft"
    opening = part(client, "registry.api.rounds.post_open")
    assert (await opening.asyncio(round_id, client=district)).state.value == "open"

    swab = models.Result(
        result_id=uuid4(), sample_id=uuid4(), resident=models.Who(id=resident),
        round_id=round_id, sampled_at=OPENS + timedelta(hours=1), channel=models.ResultChannel.SITE,
    )  # fmt: skip
    site = connected(client, "registry", town, "site")
    results = part(client, "registry.api.results.post_result")
    early = await results.asyncio_detailed(client=site, body=swab)
    assert early.status_code == 422
    assert early.parsed.rows[0].reason.type_ == "/problems/from-the-future"
    ticking = part(client, "registry.api.rounds.post_tick")
    tick = models.Tick(clock_at=OPENS + timedelta(hours=2))
    await ticking.asyncio(round_id, client=district, body=tick)
    for status in ("accepted", "duplicate"):
        told = await results.asyncio(client=site, body=swab)
        assert [row.status.value for row in told.rows] == [status]
    await town.settle()

    reader = connected(client, "reporting", town, "district")
    coverage = part(client, "reporting.api.coverage.get_coverage")
    told = await coverage.asyncio(client=reader, round_=str(round_id))
    assert (told.total.roll, told.total.sampled, told.total.coverage) == (1, 1, 1.0)
    assert told.rows[0].name == "潮河办事处"

    refused = await coverage.asyncio_detailed(client=reader, round_="no-such-round")
    assert refused.status_code == 404
    assert refused.parsed.type_ == "/problems/round-unknown"


def test_there_is_a_function_for_every_operation(client: ModuleType) -> None:
    for service in SERVICES:
        folder = Path(part(client, service).__file__).parent
        functions = {each.stem for each in folder.glob("api/*/*.py")} - {"__init__"}
        document = json.loads((DOCUMENTS / f"{service}.json").read_text(encoding="utf-8"))
        assert functions == {
            operation["operationId"]
            for methods in document["paths"].values()
            for operation in methods.values()
        }
