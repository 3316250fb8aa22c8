"""The sweep: a loop is killed before its first statement, its second, … until it completes.

After a death a fresh process does the same once more, as a client repeats its request with the
same ids, as Kafka delivers again, as a worker is started again. Then everything must be as if
nobody had died: every row of the database, the chain of the outbox, and the answer. Where the dead
process has left every row as it was, the fresh one is the undisturbed run, which has been seen, and
is not lived again: most points lie before a first commit, and cost half of the others by that.
"""

import re
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any

import asyncpg

from deploy.local.servers import OWNER, USER, Postgres
from tests.faults.nursery import Ended, Nursery, Task
from tests.faults.state import Eye, State, breaks, close_gaps, rows
from tests.support.waiting import eventually

_JOURNAL = re.compile(r"audit_log")
_ENTRY = re.compile(r'"(seq|hash|prev)": [^,}]+')
"""Where it is noted what was asked for: who asks twice is noted twice."""

ALONE = """
    SELECT count(*) = 1 FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend'
"""


@dataclass
class Sweeper:
    """Sweeps loops over copies of a town's databases; knows what it has tried."""

    postgres: Postgres
    admin: "asyncpg.Connection[Any]"
    nursery: Nursery
    serial: Iterator[int] = field(default_factory=count)
    points: dict[str, int] = field(default_factory=dict)
    recovered: int = 0
    """After so many deaths a fresh process did the work once more."""

    async def sweep(
        self,
        subject: str,
        work: str,
        service: str,
        database: str,
        *,
        refused_again: bool = False,
        chained: bool = True,
        check: Callable[[], None] | None = None,
        **settings: Any,
    ) -> Ended:
        """Kill a work at every statement; return how an undisturbed run of it ended.

        Args:
            subject: what it is called in the summary
            work: of `works.WORKS`
            service: that does it
            database: its database, as it was before; nobody else may be connected
            refused_again: the work once done cannot be asked for again, and that is said
            chained: the outbox begins at its first position
            check: what must hold, besides, after every recovery
            settings: of the work

        """
        async with self._kept(database) as before, self._copy(before) as copy:
            task = Task(work, service, {service: copy}, settings)
            eye = Eye(*await self._rows(copy), str(settings))
            first = self.nursery.run(task)
            expected = eye.state(await self._rows(copy))
            again = self.nursery.run(task)
            assert not unlike(eye.state(await self._rows(copy)), expected), f"{subject}: repeated"
            answers = [seen(eye, first), seen(eye, again)]
            for status in [first] if refused_again else [first, again]:
                assert status.answer is None or status.answer["status"] < 300, (subject, status)
            await self._renew(copy, before)
            untouched = sorted(await self._rows(copy))
            tried = 0
            complete = False
            while not complete:
                tried += 1
                at = f"{subject}: killed before statement {tried} of {first.statements}"
                dead = self.nursery.run(replace(task, fatal=tried))
                assert dead.killed, at
                complete = dead.complete
                left = sorted(await self._left(copy))
                if check is None and left == untouched:
                    assert not complete or answers[0] == answers[1], at
                    continue
                told = self.nursery.run(task)
                # Whoever had it done, and was not told, is told now.
                assert seen(eye, told) in (answers[1:] if complete else answers), (at, told)
                assert not (odd := unlike(eye.state(await self._rows(copy)), expected)), (at, odd)
                if chained:
                    assert not (broken := await self._breaks(copy)), (at, broken)
                if check is not None:
                    check()
                await self._renew(copy, before)
                self.recovered += 1
        self.points[subject] = tried
        return first

    def told(self) -> str:
        """Say what was tried."""
        loops = ", ".join(f"{subject} {points}" for subject, points in self.points.items())
        return (
            f"{sum(self.points.values()):,} statement kills over {len(self.points)} loops,"
            f" {self.recovered:,} of them made whole by the next life: {loops}"
        )

    @asynccontextmanager
    async def _kept(self, database: str) -> AsyncIterator[str]:
        name = f"kept_{database}_{next(self.serial)}"
        await self._renew(name, database)
        async with self._connected(name) as connection:
            await close_gaps(connection)
        try:
            yield name
        finally:
            await self.admin.execute(f'DROP DATABASE "{name}"')

    @asynccontextmanager
    async def _copy(self, database: str) -> AsyncIterator[str]:
        name = f"copy_{database}"
        await self._renew(name, database)
        try:
            yield name
        finally:
            await self.admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    async def _renew(self, name: str, template: str) -> None:
        await self.admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await self.admin.execute(
            f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy OWNER {OWNER}'
        )

    async def _left(self, name: str) -> list[str]:
        """Read what a dead process has left, once the server has noticed that it is gone."""
        async with self._connected(name) as connection:
            await close_gaps(connection)
            await eventually(partial(connection.fetchval, ALONE), hint="its connections are closed")
            return await rows(connection)

    async def _rows(self, name: str) -> list[str]:
        async with self._connected(name) as connection:
            return await rows(connection)

    async def _breaks(self, name: str) -> Collection[Any]:
        async with self._connected(name) as connection:
            return await breaks(connection)

    @asynccontextmanager
    async def _connected(self, name: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
        # As the superuser, from whom no policy hides a row.
        connection = await connected(self.postgres, name, USER)
        try:
            yield connection
        finally:
            await connection.close()


async def connected(
    postgres: Postgres, database: str, user: str = OWNER
) -> "asyncpg.Connection[Any]":
    """Connect to a database."""
    return await asyncpg.connect(postgres.url(database, user).replace("+asyncpg", "", 1))


def unlike(one: State, other: State) -> Mapping[str, State]:
    """Tell the rows that are in one state only; of journals, how often does not matter."""
    one, other = map(_once_noted, (one, other))
    return {name: rows for name, rows in {"more": one - other, "less": other - one}.items() if rows}


def _once_noted(state: State) -> State:
    journal = {_ENTRY.sub("", row): 1 for row in state if _JOURNAL.match(row)}
    return State(journal) + State({row: n for row, n in state.items() if not _JOURNAL.match(row)})


def seen(eye: Eye, ended: Ended) -> str:
    """Tell an answer without what differs from run to run."""
    return eye.seen(str(ended.answer))
