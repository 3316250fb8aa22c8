"""Fixtures of the fault tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local.servers import USER, Postgres
from tests.faults.nursery import Nursery
from tests.faults.sweep import Sweeper, connected
from tests.support.town import Ground


@pytest.fixture
async def sweeper(ground: Ground, postgres: Postgres, tmp_path: Path) -> AsyncIterator[Sweeper]:
    """Somebody who kills processes on copies of this test's databases."""
    # A superuser may send away whoever is on a database that is to be copied, itself included.
    admin = await connected(postgres, "postgres", USER)
    with Nursery(ground, tmp_path / "mortal.log") as nursery:
        yield Sweeper(postgres, admin, nursery)
    await admin.close()
