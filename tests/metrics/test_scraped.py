"""A real Prometheus looks at a real stack: all of it, by our settings, rules and dashboards."""

import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.grafana.boards import command, operations
from deploy.grafana.panels import queries
from deploy.local.prometheus import prometheus
from deploy.local.stack import Addresses, Note
from deploy.local.supervisor import PROCESSES
from tests.journeys.test_stack import dashboard, play
from tests.metrics.conftest import Promtool
from tests.support import rules
from tests.support.stack import Up, running
from tests.support.waiting import eventually

PATIENCE = 90.0
"""Seconds for what is scraped and computed every 15."""
FIGURES = ("roll", "sampled", "resulted", "excluded", "unaccounted", "visits_open")
EVERY = {(service, role) for service, roles in PROCESSES.items() for role in roles}


@dataclass
class Watched:
    """A stack that has played a day, and the Prometheus that looks at it."""

    up: Up
    client: httpx.AsyncClient

    async def ask(self, path: str, **params: str) -> Any:
        """Ask Prometheus' API."""
        answer = await self.client.get(f"/api/v1/{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    async def values(self, query: str) -> list[float]:
        """The last values of whatever a query finds."""
        found = (await self.ask("query", query=query))["result"]
        return [float(each["value"][1]) for each in found]

    async def healthy(self) -> bool:
        """Whether every process is a target that answers."""
        targets = (await self.ask("targets", state="active"))["activeTargets"]
        well = {
            (each["labels"]["service"], each["labels"]["process"])
            for each in targets
            if each["health"] == "up"
        }
        return well == EVERY

    async def evaluated(self) -> bool:
        """Whether every rule was, without an error."""
        groups = (await self.ask("rules"))["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        assert {each["name"] for each in found} == {
            rule.get("alert") or rule["record"] for rule in rules.rules()
        }
        assert not [each["lastError"] for each in found if each.get("lastError")]
        return all(each["health"] == "ok" for each in found)

    async def shows(self, total: dict[str, Any]) -> bool:
        """Whether the dashboards' figures of the round are these."""
        shown = {figure: await self.values(f"round:lastmetre_{figure}:sum") for figure in FIGURES}
        return shown == {figure: [total[figure]] for figure in FIGURES}


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    # First the stack: it must be gone before its folder is.
    async with running(tmp_path / "state", tmp_path / "data") as up:
        await play(up)
        (tmp_path / "prometheus").mkdir()
        with prometheus(tmp_path / "prometheus") as server:
            server.follow(Note(**{**up.note, "addresses": Addresses(**up.note["addresses"])}))
            async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
                yield Watched(up, client)


async def test_everything_is_scraped_and_its_loss_is_noticed(
    watched: Watched, promtool: Promtool
) -> None:
    await eventually(watched.healthy, PATIENCE)
    await eventually(watched.evaluated, PATIENCE)

    async with httpx.AsyncClient(timeout=30) as client:
        for address in watched.up.note["operations"].values():
            metrics = (await client.get(f"{address}/metrics")).content
            promtool("check", "metrics", said=metrics)

    # One figure everywhere: on the dashboard, in the API, and in the metrics.
    total = (await (await dashboard(watched.up)).get("/v1/coverage?by=office"))["total"]
    await eventually(lambda: watched.shows(total), PATIENCE)
    (coverage,) = await watched.values("round:lastmetre_coverage:ratio")
    assert coverage == pytest.approx(total["coverage"])

    (round_id,) = {
        each["metric"]["round"]
        for each in (await watched.ask("query", query="lastmetre_round_open"))["result"]
    }
    for board in (command.BOARD, operations.BOARD):
        for query in queries(board):
            await watched.ask(
                "query", query=query.replace("$__rate_interval", "1m").replace("$round", round_id)
            )
    by_office = [query for query in queries(command.BOARD) if "office_info" in query]
    for query in by_office:
        found = partial(watched.values, query.replace("$round", round_id))
        await eventually(found, PATIENCE, hint=query)

    # Nothing is wrong with a stack that is well, but for what an hour tells.
    assert await watched.values('ALERTS{severity="page"}') == []

    await watched.up.stop(signal.SIGINT)
    down = 'ALERTS{alertname="LastmetreProcessDown"}'

    async def all_missed() -> bool:
        return len(await watched.values(down)) == len(EVERY)

    await eventually(all_missed, PATIENCE)
