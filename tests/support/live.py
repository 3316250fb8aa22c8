"""A town on a stack of real processes: the same stories, but things take their time."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.support.stack import START, Up
from tests.support.town import AREAS, Town
from tests.support.waiting import eventually


@dataclass
class Command:
    """Signs tokens as users of a stack have them signed: by `lastmetre token`."""

    environment: dict[str, str]
    signed: dict[tuple[str, ...], str] = field(default_factory=dict)

    def token(self, *roles: str, areas: Iterable[str], **claims: str) -> str:
        """Have one signed, once for each kind."""
        words = [word for role in roles for word in ("--role", role)]
        words += [word for area in areas for word in ("--area", area)]
        words += [word for name, value in claims.items() for word in (f"--{name}", value)]
        kind = tuple(words)
        if kind not in self.signed:
            command = [str(Path(sys.executable).with_name("lastmetre")), "token", *words]
            said = subprocess.run(command, check=True, capture_output=True, env=self.environment)
            self.signed[kind] = said.stdout.decode().strip()
        return self.signed[kind]


class LiveTown(Town):
    """A town whose services settle by themselves, a moment later."""

    async def settle(self) -> None:
        """Do nothing: the workers are at it."""

    async def expect(self, round_id: str, **figures: float) -> None:
        """Wait for the district's figures; then the ledger must come to balance at them."""

        async def seen() -> bool:
            answer = await self.reporting.get(
                "/v1/coverage", params={"round": round_id}, headers=self.headers("district")
            )
            if not answer.is_success:
                return False  # not heard of the round yet
            total = answer.json()["total"]
            return {name: total[name] for name in figures} == figures

        async def balanced() -> bool:
            return (await self.ledger(round_id))["balanced"] is True

        await eventually(seen, START, hint=str(figures))
        await eventually(balanced, START)
        assert await seen()


@asynccontextmanager
async def live(up: Up) -> AsyncIterator[Town]:
    """Meet a running stack as its users do, with the areas of the stories on file."""
    async with AsyncExitStack() as stack:
        clients = {
            service: await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=30))
            for service, url in up.note["addresses"].items()
        }
        town = LiveTown(**clients, apps={}, switches={}, issuer=Command(up.environment))
        areas = await town.registry.put(
            "/v1/areas:batch", json=AREAS, headers=town.headers("district")
        )
        assert areas.is_success, areas.text
        yield town
