"""dispatch's schema: `python -m services.dispatch migrate`."""

import asyncio
from pathlib import Path

from shared import migrating, outbox, positions
from shared.address import Address
from shared.contracts.dispatch import HANDS, VISITS
from shared.contracts.registry import ROLL, ROUNDS
from shared.database import Transaction

HERE = Path(__file__).parent


async def install(tx: Transaction) -> None:
    """Make the heads dispatch announces from and the positions it follows registry at."""
    await outbox.install(tx, (HANDS, VISITS))
    await positions.install(tx, "dispatch", (ROUNDS, ROLL))


def upgrade(place: str | Address) -> None:
    """Bring a database of dispatch to the newest schema; safe to run again and at once."""
    migrating.upgrade(place, HERE, install)


async def await_schema(place: str | Address, stop: asyncio.Event) -> None:
    """Wait until a database of dispatch is as new as this code."""
    await migrating.await_schema(place, HERE, stop)
