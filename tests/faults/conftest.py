"""Fixtures of the fault tests."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from deploy.local.servers import Postgres
from tests.faults.networks import Network, a_network
from tests.faults.nursery import Nursery
from tests.faults.sweep import Sweeper, connected
from tests.support.town import Ground


@pytest.fixture
async def sweeper(ground: Ground, postgres: Postgres, tmp_path: Path) -> AsyncIterator[Sweeper]:
    """Somebody who kills processes on copies of this test's databases."""
    admin = await connected(postgres, "postgres")
    with Nursery(ground, tmp_path / "mortal.log") as nursery:
        yield Sweeper(postgres, admin, nursery)
    await admin.close()


@pytest.fixture
def network() -> Iterator[Network]:
    """A network of this test's own, beyond which servers can be started."""
    with a_network() as made:
        yield made
