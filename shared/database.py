"""PostgreSQL: one pool per process, one transaction per use case.

    await database.transact(flow.finish_visit, visit_id, report)

`transact` opens a transaction, runs the use case, writes what it announced as the last statements,
commits, and only then returns: an answer never runs ahead of its commit. Bulk work takes `tx.raw`,
the asyncpg connection of the same transaction, for COPY and set-based SQL.
"""

import asyncio
import random
import weakref
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Concatenate, Literal, NamedTuple, ParamSpec, TypeVar, cast

import asyncpg
import structlog
from prometheus_client import REGISTRY, Counter
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import CursorResult, Executable, event, exc, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from shared import tracing
from shared.address import Address
from shared.contracts.envelope import Message
from shared.errors import PermanentError, TransientError

if TYPE_CHECKING:
    from sqlalchemy.pool import QueuePool

P = ParamSpec("P")
T = TypeVar("T")
Isolation = Literal["read_committed", "repeatable_read"]

ATTEMPTS = 6
RETRIED = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.UniqueViolationError,
)
"""Another transaction came between: what we read has changed, so the use case runs again."""
TRANSIENT = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.LockNotAvailableError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    # What asyncpg says of a connection on which the server spoke out of turn: a backend does that
    # leaves because another one crashed, and it closes the connection only a moment later.
    asyncpg.InternalClientError,
    exc.TimeoutError,
)
"""Faults of the moment: the server restarts or is a standby now, the disk is full, the pool is
empty. Retried or 503."""
CONNECT_SECONDS = 5.0
GRACE_SECONDS = 2.0
"""How much longer than the server we wait for its own word that a statement took too long, and how
long for a rollback: a server that hangs gives neither, and its connection is thrown away."""

POOL_REFUSED = Counter(
    "lastmetre_database_pool_refused_total",
    "Times that no connection came free in the time that a use case may wait for one.",
)

log = structlog.get_logger(__name__)


class AlreadyWritten(PermanentError):
    """A unique key stands in the way, and stood there every time the use case ran."""


class Transaction:
    """One PostgreSQL transaction and what it will announce when it commits."""

    def __init__(self, connection: AsyncConnection, raw: "asyncpg.Connection[Any]") -> None:
        self.connection = connection
        self.raw = raw
        self.announced: list[tuple[Message, str]] = []
        self.traceparent: str | None = None
        self._after_commit: list[Callable[[], None]] = []

    async def execute(
        self,
        statement: Executable,
        parameters: Mapping[str, object] | Sequence[Mapping[str, object]] | None = None,
    ) -> CursorResult[Any]:
        """Run a SQLAlchemy statement; its errors are asyncpg's, as those of raw SQL are."""
        try:
            return cast("CursorResult[Any]", await self.connection.execute(statement, parameters))
        except exc.DBAPIError as error:
            cause = error.orig.__cause__ if error.orig is not None else None
            raise cause or error from error

    async def rows(self, sql: str, *args: object) -> list[asyncpg.Record]:
        """Run SQL with $1-style parameters and fetch every row."""
        return await self.raw.fetch(sql, *args)

    async def row(self, sql: str, *args: object) -> asyncpg.Record | None:
        """Run SQL with $1-style parameters and fetch the first row, if there is one."""
        return await self.raw.fetchrow(sql, *args)

    async def value(self, sql: str, *args: object) -> Any:  # noqa: ANN401 - whatever was selected
        """Run SQL with $1-style parameters and fetch the first column of the first row."""
        return await self.raw.fetchval(sql, *args)

    async def do(self, sql: str, *args: object) -> str:
        """Run SQL with $1-style parameters and return PostgreSQL's command tag."""
        return await self.raw.execute(sql, *args)

    async def copy_in(
        self, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]
    ) -> None:
        """COPY rows into a table; the cheapest way in, by a factor of ten."""
        await self.raw.copy_records_to_table(table, columns=columns, records=rows)

    def savepoint(self) -> AbstractAsyncContextManager[object]:
        """Begin a part of the transaction that is undone alone when it raises."""
        return self.raw.transaction()

    def announce(self, message: Message, *, key: str) -> None:
        """Announce a message when this transaction commits; `key` chooses its partition."""
        self.announced.append((message, key))
        if tracing.on():
            self.traceparent = self.traceparent or tracing.current()

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call back once the transaction is durable; never after a rollback or before a retry."""
        self._after_commit.append(callback)

    def is_transient(self, error: BaseException) -> bool:
        """Say whether an error is a fault of the moment, to be retried, and no refusal."""
        if isinstance(error, asyncpg.InterfaceError):
            # asyncpg says the same of a lost connection and of a wrong call.
            return self.raw.is_closed()
        return isinstance(error, (TransientError, *RETRIED, *TRANSIENT))

    def committed(self) -> None:
        """Run what waited for the commit."""
        for callback in self._after_commit:
            callback()


class Database:
    """A pool of connections to one service's database.

    `before_commit` writes a transaction's announcements (`outbox.flush`); a service without an
    outbox leaves it out and may announce nothing.
    """

    def __init__(
        self,
        place: str | Address,
        *,
        before_commit: Callable[[Transaction], Awaitable[None]] | None = None,
        pool_size: int = 8,
        pool_timeout: float = 2.0,
        statement_seconds: float = 60.0,
        lock_seconds: float = 10.0,
        application_name: str = "lastmetre",
    ) -> None:
        # AUTOCOMMIT for SQLAlchemy: transactions are begun on the raw connection, so that COPY,
        # raw SQL and SQLAlchemy statements are in the same one whichever comes first.
        address = Address.at(place)
        self.engine = create_async_engine(
            address.url,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=pool_timeout,
            pool_pre_ping=False,
            isolation_level="AUTOCOMMIT",
            connect_args={
                "async_creator_fn": address.connect,
                "timeout": CONNECT_SECONDS,
                "command_timeout": statement_seconds + GRACE_SECONDS if statement_seconds else None,
                "server_settings": {
                    "application_name": application_name,
                    "timezone": "UTC",
                    # The server's own guard, also over sessions whose process is gone or hangs: who
                    # runs, waits for a lock or idles in a transaction for so long is told to stop.
                    "statement_timeout": _milliseconds(statement_seconds),
                    "idle_in_transaction_session_timeout": _milliseconds(statement_seconds),
                    "lock_timeout": _milliseconds(lock_seconds),
                    # Of one that is gone without a word: its session lock keeps the next leader
                    # waiting until the server looks whether somebody is still there.
                    "client_connection_check_interval": "1000",
                    "tcp_keepalives_idle": "10",
                    "tcp_keepalives_interval": "5",
                    "tcp_keepalives_count": "3",
                    # A plan made at dawn, when a round's tables are empty, reads them whole; kept,
                    # it does so until somebody analyses them. Planning anew costs a millisecond.
                    "plan_cache_mode": "force_custom_plan",
                },
            },
        )
        event.listen(self.engine.sync_engine, "checkout", _discard_if_closed)
        self._borrowers = 0
        POOLS.databases.add(self)
        self._before_commit = before_commit

    @asynccontextmanager
    async def begin(
        self, isolation: Isolation = "read_committed", *, readonly: bool = False
    ) -> AsyncIterator[Transaction]:
        """Open a transaction that commits when the block ends and rolls back when it raises.

        Raises:
            TransientError: the database is not there, or the pool stayed empty.

        """
        async with self._borrow() as connection:
            raw = await _raw(connection)
            tx = Transaction(connection, raw)
            async with _transaction(raw, isolation, readonly=readonly):
                yield tx
                await self._flush(tx)
        tx.committed()

    def snapshot(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a read-only REPEATABLE READ transaction: every statement sees the same moment."""
        return self.begin("repeatable_read", readonly=True)

    async def transact(
        self,
        use_case: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a use case in a transaction of its own; deadlocks run it again from the start.

        Raises:
            TransientError: the database is not there, or deadlocks did not end.
            AlreadyWritten: a unique key was violated every time.

        """
        attempt = 0
        while True:
            attempt += 1
            try:
                async with self.begin() as tx:
                    return await use_case(tx, *args, **kwargs)
            except RETRIED as error:
                log.warning("transaction_retried", why=type(error).__name__, attempt=attempt)
                if attempt == ATTEMPTS:
                    raise _gave_up(error) from error
                await asyncio.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311 - jitter

    @asynccontextmanager
    async def session_lock(self, key: str) -> AsyncIterator["SessionLock"]:
        """Try for a session advisory lock by name; true while we have it. Holds no row lock.

        Raises:
            TransientError: the database is not there, or the pool stayed empty.

        """
        async with self._borrow() as connection:
            raw = await _raw(connection)
            held = await _answered(raw, "SELECT pg_try_advisory_lock(hashtextextended($1, 0))", key)
            lock = SessionLock(raw, held=held)
            try:
                yield lock
            finally:
                if lock:
                    await _answered(raw, "SELECT pg_advisory_unlock(hashtextextended($1, 0))", key)

    async def ping(self) -> None:
        """Ask the database for a sign of life, for readiness.

        Raises:
            TransientError: it gives none.

        """
        async with self.begin(readonly=True) as tx:
            await tx.execute(text("SELECT 1"))

    def pool(self) -> "Pool":
        """How it is with the connections at this moment."""
        pool = cast("QueuePool", self.engine.sync_engine.pool)
        lent = pool.checkedout()
        return Pool(pool.size(), lent, max(0, self._borrowers - lent))

    async def close(self) -> None:
        """Close every connection."""
        POOLS.databases.discard(self)
        await self.engine.dispose()

    @asynccontextmanager
    async def _borrow(self) -> AsyncIterator[AsyncConnection]:
        """Borrow a connection from the pool, and tell faults of the moment as such."""
        raw: asyncpg.Connection[Any] | None = None
        self._borrowers += 1
        try:
            async with self.engine.connect() as connection:
                raw = await _raw(connection)
                try:
                    yield connection
                except (TimeoutError, asyncio.CancelledError, asyncpg.InternalClientError):
                    # It may still be at what it was asked; nobody else finds it so.
                    raw.terminate()
                    raise
                finally:
                    if not raw.is_closed() and raw.is_in_transaction():
                        # Its rollback was cut short; nobody else may find it so.
                        raw.terminate()
        except exc.DBAPIError as error:
            # Inside the block statements raise asyncpg's errors; only connecting raises these.
            raise TransientError(f"database: {type(error.orig).__name__}") from error
        except TRANSIENT as error:
            if isinstance(error, exc.TimeoutError):
                POOL_REFUSED.inc()
            raise TransientError(f"database: {type(error).__name__}") from error
        except asyncpg.InterfaceError as error:
            # asyncpg says the same of a lost connection and of a wrong call.
            if raw is not None and not raw.is_closed():
                raise
            raise TransientError("database: connection lost") from error
        finally:
            self._borrowers -= 1

    async def _flush(self, tx: Transaction) -> None:
        if not tx.announced:
            return
        if self._before_commit is None:
            raise RuntimeError("this database has no outbox to announce through")
        await self._before_commit(tx)


class Pool(NamedTuple):
    """Connections that a process may hold, those that are lent, and who waits for one."""

    size: int
    in_use: int
    waiting: int


class _Pools(Collector):
    """Tells of the pools when somebody asks; nothing is counted on the way of a transaction."""

    def __init__(self) -> None:
        self.databases: weakref.WeakSet[Database] = weakref.WeakSet()

    def collect(self) -> Iterator[Metric]:
        """Render them: of all databases that are open, and a process has one."""
        pools = [database.pool() for database in self.databases]
        for name, tells in (
            ("size", "Connections that this process may hold to its database."),
            ("in_use", "Connections that a transaction or a session lock has now."),
            ("waiting", "Use cases that wait for a connection."),
        ):
            value = sum(getattr(pool, name) for pool in pools)
            yield GaugeMetricFamily(f"lastmetre_database_pool_{name}", tells, value=value)


POOLS = _Pools()
REGISTRY.register(POOLS)


class SessionLock:
    """The answer to a try for a session lock: true while it is ours.

    It is lost with its connection, and whoever works long under it looks again now and then.
    """

    def __init__(self, raw: "asyncpg.Connection[Any]", *, held: bool) -> None:
        self._raw = raw
        self._held = held

    def __bool__(self) -> bool:
        return self._held and not self._raw.is_closed()


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


@asynccontextmanager
async def _transaction(
    raw: "asyncpg.Connection[Any]", isolation: Isolation, *, readonly: bool
) -> AsyncIterator[None]:
    """Begin, and commit or roll back; a rollback that is not answered ends the connection."""
    impatience: asyncio.TimerHandle | None = None
    try:
        async with raw.transaction(isolation=isolation, readonly=readonly):
            try:
                yield
            except BaseException:
                loop = asyncio.get_running_loop()
                impatience = loop.call_later(GRACE_SECONDS, raw.terminate)
                raise
    finally:
        if impatience is not None:
            impatience.cancel()


def _gave_up(error: BaseException) -> TransientError | AlreadyWritten:
    if isinstance(error, asyncpg.UniqueViolationError):
        return AlreadyWritten("database: a unique key stands in the way")
    return TransientError("database: deadlocks did not end")


async def _answered(raw: "asyncpg.Connection[Any]", sql: str, key: str) -> bool:
    """Ask for a lock or give it back; without an answer its session ends, and with it the lock."""
    try:
        return bool(await raw.fetchval(sql, key))
    except BaseException:
        raw.terminate()
        raise


def _discard_if_closed(connection: Any, *_: object) -> None:  # noqa: ANN401 - SQLAlchemy's adapter
    """Keep connections that were lost while in the pool, or in raw SQL, from being given out."""
    if connection.driver_connection.is_closed():
        raise exc.DisconnectionError


async def _raw(connection: AsyncConnection) -> "asyncpg.Connection[Any]":
    pooled = await connection.get_raw_connection()
    return cast("asyncpg.Connection[Any]", pooled.driver_connection)
