"""`lastmetre up`: the whole stack as one family of processes.

    supervisor ─┬─ PostgreSQL, broker                  (not with --postgres, --kafka)
                ├─ registry  api, worker, relay        (forked from here)
                ├─ dispatch  api, worker, relay
                ├─ reporting api, worker
                └─ the guest, if any: the demo

The supervisor imports the services once and forks: eight interpreters that each import them would
take eight times as long. For that it stays a plain process, without threads and event loops, which
forking would break. Its loop looks after the children five times a second: one that died is started
again, with growing pauses; if PostgreSQL dies, everything stops, for nothing works without it.

Who stops it raises `Stop` in the main thread, wherever it is; the stack unwinds in the reverse of
its order of starting. If it is killed instead, the kernel stops the children (`lifeline`).
"""

import gc
import importlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import asyncpg

from deploy.local import children, folders, servers
from deploy.local.children import Child
from deploy.local.credentials import Credentials
from deploy.local.errors import StackError
from deploy.local.stack import SERVICES, Addresses, Note
from deploy.local.stopping import Stop, stoppable
from deploy.local.tokens import development_issuer

if TYPE_CHECKING:
    from shared.process import Program
    from shared.settings import ServiceSettings

Guest = Callable[[Addresses], int]
"""What runs against the stack; returns its exit code."""

Tell = Callable[[str], None]
"""Says a sentence to whoever started the supervisor."""

PROCESSES: Mapping[str, Sequence[str]] = {
    "registry": ("api", "worker", "relay"),
    "dispatch": ("api", "worker", "relay"),
    "reporting": ("api", "worker"),
}
"""Every process of every service. reporting announces nothing, so it has no relay."""

# Nothing new comes in; what was accepted goes out; it is applied.
_STOPPING_ORDER = ("api", "relay", "worker")

_LOOK_AROUND = 0.2  # seconds between two looks at the children
_PATIENCE = 60.0  # seconds for a process to become ready
_DRAIN = 12.0  # seconds for a process to leave; a little more than it gives itself
_LONGEST_PAUSE = 10.0  # seconds before a process that keeps dying is started again
# Seconds after which a process counts as healthy again. What is killed from outside now and then,
# as the kernel does where memory is short, should not be taken for what cannot start.
_STEADY = 10.0


_SCHEMES = {"postgresql", "postgres", "postgresql+asyncpg"}
_INTERRUPTED = 130  # as shells say of Ctrl-C


@dataclass(frozen=True)
class Options:
    """What `lastmetre up` was asked for. Ports of 0 mean any free one."""

    data: Path | None = None
    ports: Mapping[str, int] = field(default_factory=dict)
    postgres: str | None = None
    kafka: str | None = None

    def check(self) -> None:
        """Raise `StackError` for what cannot work."""
        if self.postgres and not self.data:
            raise StackError(
                "--postgres needs --data: the databases outlive us, so the keys that open what is"
                " encrypted in them have to be kept as well"
            )
        if self.postgres and urlsplit(self.postgres).scheme not in _SCHEMES:
            raise StackError("--postgres takes an address like postgresql://user@host")
        if self.postgres and _secret(self.postgres):
            raise StackError(
                "--postgres takes no password: everybody on this machine can read command lines."
                " Put it into a file and name that in LASTMETRE_DATABASE_PASSWORD_FILE"
            )
        for service, port in self.ports.items():
            if not servers.port_is_free(port):
                raise StackError(f"127.0.0.1:{port} is taken; choose another --{service}-port")


def run(
    options: Options,
    *,
    guest: Guest | None = None,
    stay: bool = True,
    announce: Callable[[Note], None],
    tell: Tell,
) -> int:
    """Run the stack until somebody stops it, or until the guest has finished and `stay` is false.

    `announce` is called when everything is ready. Returns the guest's exit code (130 if it could
    not finish), or 0.

    Raises:
        StackError: it cannot start, or cannot go on.

    """
    options.check()
    status = _INTERRUPTED if guest else 0
    with ExitStack() as unwinding:
        unwinding.enter_context(suppress(Stop))
        unwinding.enter_context(stoppable())
        stack = unwinding.enter_context(_started(options, tell))
        note = stack.note()
        if stay:
            note.post()
            unwinding.callback(note.withdraw)
        announce(note)
        if guest is not None:
            status = stack.entertain(guest, note.addresses)
        if stay:
            stack.watch()
    return status


class _Stack:
    """The running family."""

    def __init__(self, options: Options, home: Path, tell: Tell) -> None:
        self.options = options
        self.tell = tell
        self.home = home
        self.logs = home / "logs"
        self.credentials = Credentials(home, development_issuer())
        self.migrations: list[Child] = []
        self.children: list[Child] = []
        self.postgres: servers.Postgres | None = None
        self.broker: servers.Broker | None = None

    # Starting

    @contextmanager
    def database_server(self, keep_open: Sequence[int]) -> Iterator[Callable[[str], str]]:
        """Start PostgreSQL, or take the one given; yield how to address a database on it."""
        if self.options.postgres:
            yield _databases_at(self.options.postgres)
            return
        with servers.postgres(
            self.home / "postgres", durable=self.options.data is not None, keep_open=keep_open
        ) as self.postgres:
            self.postgres.create_databases(*SERVICES)
            yield self.postgres.url

    @contextmanager
    def message_broker(self) -> Iterator[str]:
        """Start the broker, or take the one given; yield its address."""
        if self.options.kafka:
            yield self.options.kafka
            return
        self.broker = servers.start_broker(self.logs)
        bootstrap = self.broker.bootstrap
        try:
            yield bootstrap
        finally:
            self.broker.stop()

    @contextmanager
    def services(self, database: Callable[[str], str], bootstrap: str) -> Iterator[None]:
        """Migrate the databases, then start every process and wait until all are ready."""
        self._plan(database, bootstrap)
        try:
            self._migrate()
            for child in self.children:
                child.start()
            self._await_ready()
            yield
        finally:
            self._stop_services()

    def _plan(self, database: Callable[[str], str], bootstrap: str) -> None:
        ports = _ports(self.options.ports)
        common = {
            **os.environ,
            "LASTMETRE_KAFKA_BOOTSTRAP": bootstrap,
            # The embedded broker knows no idempotent producer; positions make up for it.
            "LASTMETRE_KAFKA_IDEMPOTENT": "true" if self.options.kafka else "false",
            "LASTMETRE_JWKS": str(self.credentials.jwks),
            "LASTMETRE_REGISTRY_KEYS_FILE": str(self.credentials.keys),
            "LASTMETRE_REGISTRY_URL": f"http://127.0.0.1:{ports['registry', 'api']}",
            "LASTMETRE_DISPATCH_URL": f"http://127.0.0.1:{ports['dispatch', 'api']}",
        }
        for service, roles in PROCESSES.items():
            environment = {
                **common,
                f"LASTMETRE_{service.upper()}_DATABASE_URL": database(service),
                "LASTMETRE_SERVICE_TOKEN_FILE": str(self.credentials.token(service)),
            }
            migration = _Work(service, ("migrate",), environment)
            self.migrations.append(
                Child(service, "migrate", self._log(service, "migrate"), migration)
            )
            for role in roles:
                port = ports[service, role]
                work = _Work(service, (role, "--port", str(port)), environment)
                self.children.append(Child(service, role, self._log(service, role), work, port))

    def _log(self, service: str, role: str) -> Path:
        """Where a process writes; what it wrote in the run before is kept beside it."""
        log = self.logs / f"{service}-{role}.log"
        if log.exists():
            log.replace(log.with_suffix(".log.old"))
        return log

    def _migrate(self) -> None:
        """Bring all databases to their newest schema, at the same time."""
        for migration in self.migrations:
            migration.start()
        for migration in self.migrations:
            if migration.wait() != 0:
                raise StackError(f"{migration.name} failed\n{migration.last_words()}")

    def _await_ready(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        waiting = list(self.children)
        while waiting:
            for child in self.children:
                if child.reap() is not None:
                    raise StackError(f"{child.name} did not start\n{child.last_words()}")
            waiting = [child for child in waiting if not child.ready()]
            if waiting and time.monotonic() > deadline:
                names = ", ".join(child.name for child in waiting)
                raise StackError(f"not ready after {_PATIENCE:g} s: {names}; see {self.logs}")
            if waiting:
                time.sleep(0.05)

    # Running

    def note(self) -> Note:
        """What others need to know of this stack."""
        apis = {child.service: child.url for child in self.children if child.role == "api"}
        return Note(
            pid=os.getpid(),
            addresses=Addresses(**apis),
            data=str(self.home),
            operations={child.name: child.url for child in self.children},
        )

    def entertain(self, guest: Guest, addresses: Addresses) -> int:
        """Run the guest beside the services; return its exit code."""
        pid = children.fork(lambda: guest(addresses), None, name="guest")
        try:
            while True:
                status = children.exit_status(pid)
                if status is not None:
                    pid = 0
                    return status if status >= 0 else 128 - status  # as shells say "killed by"
                self._look_after()
        finally:
            if pid:
                os.kill(pid, signal.SIGINT)
                children.wait(pid, _DRAIN)

    def watch(self) -> NoReturn:
        """Look after the children until somebody stops us."""
        while True:
            self._look_after()

    def _look_after(self) -> None:
        time.sleep(_LOOK_AROUND)
        if self.postgres is not None:
            self.postgres.require_alive()
        self._keep_broker()
        for child in self.children:
            self._keep(child)
        self.credentials.keep_fresh()

    def _keep(self, child: Child) -> None:
        now = time.monotonic()
        status = child.reap()
        if status is not None:
            child.deaths = 1 if now - child.started > _STEADY else child.deaths + 1
            pause = min(_LONGEST_PAUSE, 0.25 * 2**child.deaths)
            child.due = now + pause
            self.tell(
                f"{child.name} ended with status {status}; starting it again in {pause:g} s."
                f" Its log: {child.log}"
            )
        if child.pid is None and now >= child.due:
            child.start()

    def _keep_broker(self) -> None:
        if self.broker is None or self.broker.alive():
            return
        status = self.broker.process.returncode
        self.tell(f"the broker ended with status {status}; starting it again")
        self.broker = servers.start_broker(self.logs, port=self.broker.port)

    # Stopping

    def _stop_services(self) -> None:
        for role in _STOPPING_ORDER:
            leaving = [child.pid for child in self.children if child.role == role and child.pid]
            for pid in leaving:
                os.kill(pid, signal.SIGTERM)
            for pid in leaving:
                children.wait(pid, _DRAIN)


@dataclass(frozen=True)
class _Work:
    """What a forked child does: one process of one service."""

    service: str
    argv: Sequence[str]
    environment: Mapping[str, str]

    def __call__(self) -> int:
        return _program(self.service).main(self.argv, self.environment)


@contextmanager
def _started(options: Options, tell: Tell) -> Iterator[_Stack]:
    """Start everything, in order; stop it in the reverse order."""
    with ExitStack() as unwinding:
        claim = unwinding.enter_context(
            folders.claimed(options.data) if options.data else folders.scratch(Path(gettempdir()))
        )
        stack = _Stack(options, claim.path, tell)
        stack.logs.mkdir(mode=0o700, exist_ok=True)
        with ThreadPoolExecutor(1) as executor:
            # Importing takes as long as the servers take to start, so both at once.
            imported = executor.submit(_import_services)
            database = unwinding.enter_context(stack.database_server([claim.descriptor]))
            bootstrap = unwinding.enter_context(stack.message_broker())
            imported.result()
        unwinding.enter_context(stack.services(database, bootstrap))
        yield stack


def _import_services() -> None:
    for service in SERVICES:
        _program(service)
    # What exists now is never freed: keeps the pages shared with the children.
    gc.collect()
    gc.freeze()


def _program(service: str) -> "Program[ServiceSettings]":
    program: Program[ServiceSettings] = importlib.import_module(
        f"services.{service}.__main__"
    ).PROGRAM
    return program


def _secret(url: str) -> bool:
    """Whether an address holds a password, in either of the places where libpq takes one."""
    parts = urlsplit(url)
    return parts.password is not None or "password" in dict(parse_qsl(parts.query))


def _files() -> dict[str, Path]:
    """Our password and certificates for that server, where the services have theirs from."""
    variables = {
        name: os.environ.get(f"LASTMETRE_DATABASE_{name.upper()}")
        for name in ("password_file", "ca_file", "cert_file", "key_file")
    }
    return {name: Path(path) for name, path in variables.items() if path}


def _databases_at(url: str) -> Callable[[str], str]:
    """Make the services' databases on a real server; return how to address them."""
    from shared.address import Address  # noqa: PLC0415 - long to import, and rarely needed
    from shared.errors import LastmetreError  # noqa: PLC0415 - the same

    server = urlsplit(url)

    def database(name: str) -> str:
        return urlunsplit(server._replace(scheme="postgresql+asyncpg", path=f"/{name}"))

    try:
        administrative = Address(database(server.path.strip("/") or "postgres"), **_files())
        servers.run_apart(servers.create_databases(administrative.open, SERVICES))
    except LastmetreError as error:
        raise StackError(f"--postgres: {error}") from error
    except (OSError, asyncpg.PostgresError) as error:
        where = server.hostname or "the address given"
        raise StackError(f"PostgreSQL at {where} refuses: {error}") from error
    return database


def _ports(asked: Mapping[str, int]) -> dict[tuple[str, str], int]:
    """A port for every process: those asked for the APIs, free ones for the rest."""
    free = iter(servers.free_ports(sum(map(len, PROCESSES.values()))))
    return {
        (service, role): (asked.get(service, 0) if role == "api" else 0) or next(free)
        for service, roles in PROCESSES.items()
        for role in roles
    }
