"""A clock on the wall that jumps: what services and their databases read is moved by so much."""

import sys
from collections.abc import Iterable
from datetime import datetime, timedelta, tzinfo
from typing import Any

import pytest
from sqlalchemy import make_url

from deploy.local.servers import Postgres

_READERS = ("services.", "shared.", "tests.support.town")
"""Modules that look at the clock; the town's plays the workers."""
_IN_FRONT_OF_POSTGRES_OWN = """
CREATE SCHEMA wall;
CREATE TABLE wall.ahead AS SELECT interval '0' AS by;
GRANT USAGE ON SCHEMA wall TO PUBLIC;
GRANT SELECT ON wall.ahead TO PUBLIC;
CREATE FUNCTION wall.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql
    AS 'SELECT pg_catalog.clock_timestamp() + by FROM wall.ahead';
CREATE FUNCTION wall.now() RETURNS timestamptz VOLATILE LANGUAGE sql
    AS 'SELECT pg_catalog.now() + by FROM wall.ahead';
"""


class _OursOrPython(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, datetime)


class WallClock:
    """The clock of the machine that everything runs on. `jump(2)`: it is two hours ahead.

    Databases are told before anybody is connected to them; services once they are up, since their
    models are made of the real `datetime`.
    """

    def __init__(self, postgres: Postgres, urls: Iterable[str]) -> None:
        self._postgres = postgres
        self._databases = [str(make_url(url).database) for url in urls]
        self.ahead = timedelta()
        for name in self._databases:
            postgres.execute(_IN_FRONT_OF_POSTGRES_OWN, database=name)
            postgres.execute(f'ALTER DATABASE "{name}" SET search_path = public, wall, pg_catalog')

    def jump(self, hours: float) -> None:
        """Show the right time and so many hours more, from now on."""
        self.ahead = timedelta(hours=hours)
        for name in self._databases:
            shown = f"UPDATE wall.ahead SET by = interval '{hours} hours'"  # noqa: S608 - a number
            self._postgres.execute(shown, database=name)

    def hang_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have every module of the services read this clock."""
        clock = self

        class Shown(datetime, metaclass=_OursOrPython):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Any:
                return datetime.now(tz) + clock.ahead

        for name, module in list(sys.modules.items()):
            if name.startswith(_READERS) and vars(module).get("datetime") is datetime:
                monkeypatch.setattr(module, "datetime", Shown)
