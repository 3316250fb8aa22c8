"""The schema's history, and the way to its newest version."""

import asyncio
from pathlib import Path

from services.reporting.store import generations
from shared import migrating
from shared.address import Address

HERE = Path(__file__).parent


def upgrade(place: str | Address) -> None:
    """Bring reporting's database to the newest schema, with its first rows."""
    migrating.upgrade(place, HERE, generations.install)


async def await_schema(place: str | Address, stop: asyncio.Event) -> None:
    """Wait until a database of reporting is as new as this code."""
    await migrating.await_schema(place, HERE, stop)
