"""Three databases for all days of a process; each day begins with empty tables."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local.servers import OWNER, Postgres
from services.registry.vault import Vault
from tests.whole.days import Days


@pytest.fixture(scope="session")
def days(postgres: Postgres, template: Callable[[str], str], keys_file: Path) -> Iterator[Days]:
    """Registry, dispatch and reporting, and the books beside them."""
    urls = {}
    for service in ("registry", "dispatch", "reporting"):
        name = f"days_{service}"
        postgres.execute(
            f"CREATE DATABASE {name} TEMPLATE {template(service)} STRATEGY file_copy OWNER {OWNER}"
        )
        urls[service] = postgres.url(name)
    days = Days(**urls, vault=Vault(keys_file))
    yield days
    days.close()
    for service in urls:
        postgres.execute(f"DROP DATABASE days_{service} WITH (FORCE)")
