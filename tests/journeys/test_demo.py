"""The demo's day, played in a town of its own."""

import asyncio
import io
from typing import Any

import httpx
from rich.console import Console
from starlette.types import Receive, Scope, Send

from deploy.local import demo
from deploy.local.calls import Api
from deploy.local.population import Population
from tests.support.town import Town

PEOPLE = 300


async def played(town: Town, *, deaf: str | None = None) -> tuple[int, str]:
    """Play a day while the services keep up with each other; exit code and what was shown.

    `deaf`: a service that hears nothing until somebody asks it.
    """
    asked = asyncio.Event()

    def connect(service: str, *roles: str, team: str | None = None) -> Api:
        token = town.issuer.token(*roles, areas=["410171"], team=team)
        app = town.apps[service]

        async def noted(scope: Scope, receive: Receive, send: Send) -> None:
            await app(scope, receive, send)
            if service == deaf:
                asked.set()

        return Api(f"http://{service}", lambda: token, transport=httpx.ASGITransport(noted))

    async def keep_up() -> None:
        while True:
            await town.settle_but(None if asked.is_set() else deaf)

    out = Console(file=io.StringIO(), width=120)
    working = asyncio.create_task(keep_up())
    try:
        status = await demo.play(connect, Population(PEOPLE, "410171"), out)
    finally:
        working.cancel()
    assert isinstance(out.file, io.StringIO)
    return status, out.file.getvalue()


async def test_two_days_end_balanced_and_show_who_is_left(town: Town) -> None:
    status, shown = await played(town)
    assert status == 0
    assert "balanced: true" in shown
    assert "潮河街道" in shown
    (first,) = await rounds(town)
    assert first["state"] == "closed"
    figures = await town.coverage(first["id"])
    assert figures["roll"] == PEOPLE
    assert figures["in_hand"] == 0
    assert figures["unaccounted"] > 0
    assert figures["visits_done"] > 0
    assert f"unaccounted {figures['unaccounted']}" in shown

    # The next day is the next round of the same people.
    status, shown = await played(town)
    assert status == 0
    assert "第2轮全员核酸检测, 2022-01-10" in shown
    second, _ = await rounds(town)
    assert second["number"] == 2
    assert (await town.coverage(second["id"]))["roll"] == PEOPLE


async def test_the_day_is_over_before_reporting_has_heard_of_its_round(town: Town) -> None:
    status, shown = await played(town, deaf="reporting")
    assert status == 0, shown
    assert "balanced: true" in shown


async def rounds(town: Town) -> list[dict[str, Any]]:
    """All rounds, the newest first."""
    answer = await town.registry.get("/v1/rounds", headers=town.headers("district"))
    found: list[dict[str, Any]] = answer.json()["items"]
    return found
