"""Days on the real servers: every process, PostgreSQL on disk, and a broker or none."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.stack import START, Up, lastmetre, outcome, running
from tests.support.waiting import eventually

RESIDENTS = "300"
NOBODY_LISTENS = "127.0.0.1:9"


@dataclass
class Dashboard:
    """Somebody who polls reporting."""

    url: str
    token: str

    async def get(self, path: str) -> dict[str, Any]:
        """Ask for JSON."""
        async with httpx.AsyncClient(timeout=30) as client:
            answer = await client.get(
                self.url + path, headers={"Authorization": f"Bearer {self.token}"}
            )
        answer.raise_for_status()
        content: dict[str, Any] = answer.json()
        return content

    async def figures(self) -> list[dict[str, Any]]:
        """All figures of the newest round, by community."""
        rows: list[dict[str, Any]] = (await self.get("/v1/coverage?by=community"))["rows"]
        return rows

    async def balanced(self) -> bool:
        """Whether the ledger says so."""
        return bool((await self.get("/v1/ledger"))["balanced"])


async def dashboard(up: Up) -> Dashboard:
    """Look at a stack with a token of the command's."""
    _, token = await outcome(
        await lastmetre(up.state, "token", "--role", "district", "--area", "41")
    )
    return Dashboard(up.note["addresses"]["reporting"], token.strip())


async def play(up: Up, residents: str = RESIDENTS) -> str:
    """Play a day against a stack that is up; what it showed at the end."""
    addresses = up.note["addresses"]
    attach = ",".join(addresses[name] for name in ("registry", "dispatch", "reporting"))
    status, said = await outcome(
        await lastmetre(up.state, "demo", "--attach", attach, "--residents", residents)
    )
    assert status == 0, said
    return said


async def applied(up: Up, process: str, source: str) -> float:
    """How many events a process applied that came by Kafka, or by the pull."""
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{up.note['operations'][process]}/metrics")
    return sum(
        sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == "lastmetre_consumer_applied_total" and sample.labels["source"] == source
    )


async def test_a_day_is_kept_through_ctrl_c_although_the_broker_forgot_everything(
    tmp_path: Path,
) -> None:
    state, data = tmp_path / "state", tmp_path / "data"
    async with running(state, data) as up:
        assert "balanced: true" in await play(up)
        for process in ("registry worker", "dispatch worker", "reporting worker"):
            assert await applied(up, process, "kafka") > 0, process
        before = await (await dashboard(up)).figures()
        assert sum(row["sampled"] for row in before) > 0

    async with running(state, data) as up:
        after = await dashboard(up)
        await eventually(after.balanced, START)
        assert await after.figures() == before
        # And it goes on: the next day is the next round.
        assert "balanced: true" in await play(up)
        assert await after.figures() != before


async def test_with_the_broker_down_all_day_the_figures_still_move(
    tmp_path: Path,
) -> None:
    async with running(tmp_path / "state", tmp_path / "data", "--kafka", NOBODY_LISTENS) as up:
        assert "balanced: true" in await play(up)
        assert await applied(up, "reporting worker", "kafka") == 0
        assert await applied(up, "reporting worker", "pull") > 0
        assert await (await dashboard(up)).balanced()
