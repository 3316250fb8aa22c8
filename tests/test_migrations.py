"""Schemas: one head each, in step with their tables, and safe to bring up twice."""

import importlib
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from shared import migrating
from tests.support.servers import DatabaseUrl


@pytest.fixture(params=["registry", "dispatch", "reporting"])
def service(request: pytest.FixtureRequest) -> str:
    """Each service."""
    name: str = request.param
    return name


def folder(service: str) -> Path:
    """Where a service keeps its migrations."""
    module = importlib.import_module(f"services.{service}.migrations")
    return Path(str(module.__file__)).parent


def test_there_is_one_head(service: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(folder(service)))
    assert len(ScriptDirectory.from_config(config).get_heads()) == 1


def test_upgrading_twice_is_upgrading_once_and_meets_the_tables(
    service: str, database_url: DatabaseUrl
) -> None:
    url = database_url("")
    upgrade = importlib.import_module(f"services.{service}.migrations").upgrade
    upgrade(url)
    upgrade(url)
    migrating.check(url, folder(service))
