"""Fixtures: the embedded servers, one of each per test process, and a database per test.

A service's schema is migrated once into a template database; each test gets a copy of its files,
which takes milliseconds in memory.
"""

import importlib
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local import folders, servers

DatabaseUrl = Callable[[str], str]
"""Give the SQLAlchemy URL of a fresh database of a service, migrated; `""` for an empty one."""

_ENOUGH_MEMORY = 1 << 30  # bytes; containers often have a /dev/shm of 64 MB

_serial = itertools.count(1)


def _base() -> Path:
    memory = Path("/dev/shm")  # noqa: S108 - a scratch folder is made in it, closed to others
    if memory.is_dir() and shutil.disk_usage(memory).free > _ENOUGH_MEMORY:
        return memory
    return Path(tempfile.gettempdir())


@pytest.fixture(scope="session")
def postgres() -> Iterator[servers.Postgres]:
    """A PostgreSQL server of this test process."""
    with (
        folders.scratch(_base()) as home,
        servers.postgres(
            home.path / "postgres", durable=False, keep_open=(home.descriptor,)
        ) as server,
    ):
        yield server


@pytest.fixture(scope="session")
def broker() -> Iterator[servers.Broker]:
    """A Kafka-compatible broker of this test process. Use topics or groups of your own."""
    with folders.scratch(Path(tempfile.gettempdir())) as home, servers.broker(home.path) as server:
        yield server


@pytest.fixture(scope="session")
def template(postgres: servers.Postgres) -> Callable[[str], str]:
    """Give the name of a service's template database; migrate it at the first call."""
    made: dict[str, str] = {"": "template0"}

    def make(service: str) -> str:
        if service not in made:
            name = f"template_{service}"
            postgres.create_databases(name)
            importlib.import_module(f"services.{service}.migrations").upgrade(postgres.url(name))
            made[service] = name
        return made[service]

    return make


@pytest.fixture
def database_url(
    postgres: servers.Postgres, template: Callable[[str], str]
) -> Iterator[DatabaseUrl]:
    """Make databases for one test; each call makes another one."""
    made: list[str] = []

    def make(service: str) -> str:
        name = f"{service or 'empty'}_{next(_serial)}"
        postgres.execute(
            f'CREATE DATABASE "{name}" TEMPLATE {template(service)} STRATEGY file_copy'
            f" OWNER {servers.OWNER}"
        )
        made.append(name)
        return postgres.url(name)

    yield make
    if made:
        # Forced: a test that failed may have left connections, and its failure is the news.
        postgres.execute(*(f'DROP DATABASE "{name}" WITH (FORCE)' for name in made))
