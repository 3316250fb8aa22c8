"""One transaction per use case: what is retried, what is a fault of the moment, what is lost.

Everything here happens on a real server, also its faults.
"""

import asyncio
import struct
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY

from shared.contracts.registry import ROLL
from shared.database import AlreadyWritten, Database, Transaction
from shared.errors import TransientError
from shared.outbox import install
from tests.shared.exchange import lay_out, number, opened
from tests.support.servers import DatabaseUrl
from tests.support.waiting import eventually


@pytest.fixture
async def database(database_url: DatabaseUrl) -> AsyncIterator[Database]:
    """A database with two accounts in it."""
    async with opened(database_url("")) as database:
        async with database.begin() as tx:
            await tx.do("CREATE TABLE account (name text PRIMARY KEY, n int NOT NULL)")
            await tx.do("INSERT INTO account VALUES ('east', 0), ('west', 0)")
        yield database


@pytest.fixture
async def single(database: Database) -> AsyncIterator[Database]:
    """The same database behind a pool of one connection, which is never waited for long."""
    url = database.engine.url.render_as_string(hide_password=False)
    small = Database(url, pool_size=1, pool_timeout=0.05, application_name="single")
    yield small
    await small.close()


async def balance(database: Database) -> dict[str, int]:
    async with database.begin(readonly=True) as tx:
        return {row["name"]: row["n"] for row in await tx.rows("SELECT name, n FROM account")}


async def end_sessions(database: Database, application: str) -> None:
    """Let the server end the sessions of an application, as a restart would."""
    async with database.begin() as tx:
        ended = await tx.value(
            "WITH ours AS MATERIALIZED"
            " (SELECT pid FROM pg_stat_activity WHERE application_name = $1)"
            " SELECT count(*) FROM ours WHERE pg_terminate_backend(pid, 10000)",
            application,
        )
    assert ended == 1


SOCKET = ".s.PGSQL.5432"


def message(kind: bytes, severity: str, code: str) -> bytes:
    """Build what the server says unasked: a notice (N) or an error (E)."""
    words = f"S{severity}\0V{severity}\0C{code}\0Mas another server process crashed\0\0".encode()
    return kind + struct.pack(">i", len(words) + 4) + words


LAST_WORDS = message(b"N", "WARNING", "57P02") + message(b"E", "FATAL", "57P02")
"""Of a backend that leaves because another one crashed; it closes the connection after that."""


@dataclass
class Line:
    """A line to the server on which its last words can come before it hangs up."""

    server: Path
    clients: list[asyncio.StreamWriter] = field(default_factory=list)

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry what is said, both ways."""
        self.clients.append(writer)
        answers, questions = await asyncio.open_unix_connection(self.server)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._carry(reader, questions))
            group.create_task(self._carry(answers, writer))

    async def _carry(self, heard: asyncio.StreamReader, said: asyncio.StreamWriter) -> None:
        while words := await heard.read(65_536):
            said.write(words)
        said.close()


# --- patience ---


async def test_who_runs_or_waits_too_long_is_told_to_stop_by_the_server(
    database: Database,
) -> None:
    url = database.engine.url.render_as_string(hide_password=False)
    hasty = Database(url, pool_size=1, statement_seconds=2, lock_seconds=0.2)

    async def run(sql: str) -> None:
        async with hasty.begin() as tx:
            await tx.do(sql)

    try:
        with pytest.raises(TransientError, match="QueryCanceled"):
            await run("SELECT pg_sleep(60)")
        async with database.begin() as tx:
            await tx.do("SELECT * FROM account FOR UPDATE")
            with pytest.raises(TransientError, match="LockNotAvailable"):
                await run("SELECT * FROM account FOR UPDATE")
        await run("SELECT 1")
    finally:
        await hasty.close()


# --- one transaction ---


async def test_sqlalchemy_raw_sql_and_copy_are_one_transaction(database: Database) -> None:
    class Torn(Exception):
        pass

    async def tear(tx: Transaction) -> None:
        await tx.execute(sa.text("UPDATE account SET n = 1 WHERE name = 'east'"))
        await tx.do("UPDATE account SET n = 1 WHERE name = 'west'")
        await tx.copy_in("account", ("name", "n"), [("north", 1)])
        assert await tx.value("SELECT sum(n) FROM account") == 3
        raise Torn

    with pytest.raises(Torn):
        await database.transact(tear)
    assert await balance(database) == {"east": 0, "west": 0}


async def test_a_snapshot_sees_one_moment_and_writes_nothing(database: Database) -> None:
    async with database.snapshot() as tx:
        assert await tx.value("SELECT sum(n) FROM account") == 0
        async with database.begin() as other:
            await other.do("UPDATE account SET n = 5")
        assert await tx.value("SELECT sum(n) FROM account") == 0
    with pytest.raises(TransientError):
        async with database.snapshot() as tx:
            await tx.do("UPDATE account SET n = 6")


async def test_callbacks_wait_for_the_commit(database: Database) -> None:
    told: list[str] = []

    async def tell(tx: Transaction) -> None:
        tx.after_commit(lambda: told.append("committed"))
        await tx.do("UPDATE account SET n = 1")
        assert told == []

    async def fail(tx: Transaction) -> None:
        await tell(tx)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await database.transact(fail)
    assert told == []
    await database.transact(tell)
    assert told == ["committed"]


async def test_a_database_without_an_outbox_announces_nothing(database: Database) -> None:
    async def announce(tx: Transaction) -> None:
        await tx.do("UPDATE account SET n = 1")
        tx.announce(number(1), key="1")

    with pytest.raises(RuntimeError, match="no outbox"):
        await database.transact(announce)
    assert await balance(database) == {"east": 0, "west": 0}


async def test_what_a_failed_try_announced_is_not_announced(database_url: DatabaseUrl) -> None:
    async with opened(database_url(""), announces=True) as database:
        await lay_out(database)
        await database.transact(install, [ROLL])
        tries = 0

        async def announce(tx: Transaction) -> None:
            nonlocal tries
            tries += 1
            tx.announce(number(tries), key="1")
            if tries == 1:
                raise asyncpg.SerializationError("somebody came between")

        await database.transact(announce)
        async with database.begin() as tx:
            found = await tx.rows("SELECT pos, convert_from(data, 'UTF8') FROM outbox")
    assert [tuple(row) for row in found] == [(1, '{"round":"round","communities":{},"results":2}')]


# --- run again ---


async def test_two_that_lock_in_opposite_order_both_commit(database: Database) -> None:
    both_hold_one = asyncio.Barrier(2)
    tries = {"east": 0, "west": 0}
    told: list[str] = []

    async def move(tx: Transaction, first: str, second: str) -> None:
        tx.after_commit(lambda: told.append(first))
        await tx.do("UPDATE account SET n = n + 1 WHERE name = $1", first)
        tries[first] += 1
        if tries[first] == 1:
            await both_hold_one.wait()
        await tx.do("UPDATE account SET n = n + 10 WHERE name = $1", second)

    await asyncio.gather(
        database.transact(move, "east", "west"), database.transact(move, "west", "east")
    )
    assert await balance(database) == {"east": 11, "west": 11}
    assert sum(tries.values()) > 2
    assert sorted(told) == ["east", "west"]


@pytest.mark.parametrize("way", ["raw", "sqlalchemy"])
async def test_a_key_that_somebody_else_took_meanwhile_is_found_by_the_second_run(
    database: Database, way: str
) -> None:
    answers: list[int] = []

    async def open_account(tx: Transaction) -> str:
        found = await tx.value("SELECT count(*) FROM account WHERE name = 'north'")
        answers.append(found)
        if found:
            return "there already"
        async with database.begin() as somebody:
            await somebody.do("INSERT INTO account VALUES ('north', 0)")
        if way == "raw":
            await tx.do("INSERT INTO account VALUES ('north', 1)")
        else:
            await tx.execute(sa.text("INSERT INTO account VALUES ('north', 1)"))
        return "opened"

    assert await database.transact(open_account) == "there already"
    assert answers == [0, 1]


async def test_a_key_that_stands_in_the_way_every_time_is_no_fault_of_the_moment(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.database.ATTEMPTS", 3)
    tries = 0

    async def insist(tx: Transaction) -> None:
        nonlocal tries
        tries += 1
        await tx.do("INSERT INTO account VALUES ('east', 1)")

    with pytest.raises(AlreadyWritten):
        await database.transact(insist)
    assert tries == 3


async def test_deadlocks_that_do_not_end_are_told_as_transient(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.database.ATTEMPTS", 2)

    async def lose(tx: Transaction) -> None:
        await tx.do("DO $$ BEGIN RAISE deadlock_detected; END $$")

    with pytest.raises(TransientError, match="did not end"):
        await database.transact(lose)


# --- faults of the moment ---


async def test_an_empty_pool_is_told_and_not_waited_for(single: Database) -> None:
    refused = REGISTRY.get_sample_value("lastmetre_database_pool_refused_total") or 0
    async with single.begin():
        assert single.pool() == (1, 1, 0)
        waiting = asyncio.create_task(single.ping())
        await asyncio.sleep(0)  # it begins
        assert single.pool() == (1, 1, 1)
        with pytest.raises(TransientError):
            await waiting
        assert REGISTRY.get_sample_value("lastmetre_database_pool_refused_total") == refused + 1
        with pytest.raises(TransientError):
            await single.ping()
    await single.ping()


async def test_a_server_that_is_not_there(tmp_path_factory: pytest.TempPathFactory) -> None:
    nowhere = tmp_path_factory.mktemp("nobody")
    async with opened(f"postgresql+asyncpg://user@/db?host={nowhere}") as database:
        with pytest.raises(TransientError):
            await database.ping()
        with pytest.raises(TransientError):
            async with database.session_lock("chore"):
                pass


@pytest.mark.parametrize("way", ["raw", "sqlalchemy"])
async def test_a_connection_lost_within_a_transaction(
    database: Database, single: Database, way: str
) -> None:
    told: list[str] = []

    async def lose(tx: Transaction) -> None:
        tx.after_commit(lambda: told.append("committed"))
        await tx.do("UPDATE account SET n = 1")
        await end_sessions(database, "single")
        if way == "raw":
            await tx.do("UPDATE account SET n = 2")
        else:
            await tx.execute(sa.text("UPDATE account SET n = 2"))

    with pytest.raises(TransientError):
        await single.transact(lose)
    assert told == []
    await single.ping()
    assert await balance(single) == {"east": 0, "west": 0}


async def test_a_connection_lost_before_the_commit(database: Database, single: Database) -> None:
    told: list[str] = []

    async def lose(tx: Transaction) -> None:
        tx.after_commit(lambda: told.append("committed"))
        await tx.do("UPDATE account SET n = 1")
        await end_sessions(database, "single")

    with pytest.raises(TransientError):
        await single.transact(lose)
    assert told == []
    assert await balance(single) == {"east": 0, "west": 0}


async def test_a_connection_lost_while_nobody_used_it(database: Database, single: Database) -> None:
    async with single.begin() as tx:
        raw = tx.raw
    await end_sessions(database, "single")
    await eventually(raw.is_closed)
    await single.ping()


async def test_a_rollback_that_was_cut_short_leaves_nothing_behind(
    database: Database, single: Database
) -> None:
    async def dawdle(tx: Transaction) -> None:
        await tx.do("SELECT pg_sleep(60)")

    async def asleep() -> bool:
        async with database.begin() as tx:
            return bool(
                await tx.value(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE application_name = 'single' AND wait_event = 'PgSleep'"
                )
            )

    task = asyncio.create_task(single.transact(dawdle))
    await eventually(asleep)
    task.cancel()
    asyncio.get_running_loop().call_soon(task.cancel)  # while it rolls back
    with pytest.raises(asyncio.CancelledError):
        await task
    async with single.begin() as tx:
        await tx.do("UPDATE account SET n = n + 3")
    assert await balance(single) == {"east": 3, "west": 3}


async def test_a_wrong_call_is_not_mistaken_for_a_lost_connection(database: Database) -> None:
    async def misuse(tx: Transaction) -> None:
        await tx.rows("SELECT $1::int", 1, 2, 3)

    with pytest.raises(asyncpg.InterfaceError):
        await database.transact(misuse)


# --- locks of sessions ---


async def test_a_session_lock_is_for_one_at_a_time(database: Database, single: Database) -> None:
    async with database.session_lock("chore") as mine:
        assert mine
        async with single.session_lock("chore") as theirs:
            assert not theirs
        async with single.session_lock("another chore") as other:
            assert other
    async with single.session_lock("chore") as theirs:
        assert theirs


async def test_a_session_lock_is_given_back_when_its_work_fails(
    database: Database, single: Database
) -> None:
    with pytest.raises(ValueError, match="work"):
        async with database.session_lock("chore"):
            raise ValueError("work")
    async with single.session_lock("chore") as theirs:
        assert theirs


async def test_a_session_lock_is_given_back_when_whoever_holds_it_is_stopped(
    database: Database, single: Database
) -> None:
    """Giving it back is cut short: its session ends, and the stop is still told as a stop."""

    async def stop_within() -> None:
        async with database.session_lock("chore"):
            current = asyncio.current_task()
            assert current is not None
            current.cancel()

    async def free() -> bool:
        async with single.session_lock("chore") as theirs:
            return bool(theirs)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(stop_within())
    await eventually(free)


async def test_a_session_lock_is_lost_with_its_connection(
    database: Database, single: Database
) -> None:
    async with AsyncExitStack() as stack:
        mine = await stack.enter_async_context(single.session_lock("chore"))
        assert mine
        await end_sessions(database, "single")
        await eventually(lambda: not mine)
        async with database.session_lock("chore") as theirs:
            assert theirs
    await single.ping()


async def test_a_connection_whose_server_spoke_its_last_words_is_a_fault_of_the_moment(
    database: Database,
) -> None:
    url = database.engine.url
    line = Line(Path(str(url.query["host"])) / SOCKET)
    with tempfile.TemporaryDirectory() as folder:
        async with await asyncio.start_unix_server(line.connect, Path(folder) / SOCKET):
            single = Database(
                url.set(query={"host": folder}).render_as_string(hide_password=False), pool_size=1
            )
            heard = asyncio.Event()
            async with single.begin(readonly=True) as tx:
                tx.raw.add_log_listener(lambda *_: heard.set())
            (client,) = line.clients
            client.write(LAST_WORDS)
            await heard.wait()
            with pytest.raises(TransientError, match="InternalClientError"):
                await single.ping()
            # Nobody is given that one again.
            await single.ping()
            assert len(line.clients) == 2
            await single.close()
