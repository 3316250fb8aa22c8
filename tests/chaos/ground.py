"""Everything that runs, and is started again whenever it has died.

PostgreSQL and Apache Kafka stay outside the stack here, for a stack whose PostgreSQL is gone gives
up by design; the embedded broker and the services are the supervisor's to look after. The
supervisor itself, and the clients, are looked after by the keeper. Whatever is started by it is
tied to our life (`lifeline`), so nothing outlives a run that is killed itself.
"""

import asyncio
import random
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from signal import SIGTERM
from typing import Literal, TypeVar

import msgspec
import psutil

from deploy.local import folders, servers
from deploy.local.errors import ServerError
from deploy.local.kafka import Kafka, kafka
from deploy.local.stack import SERVICES, Addresses
from deploy.local.supervisor import PROCESSES
from deploy.local.tokens import ROLES, development_issuer
from tests.chaos.client import Desk
from tests.chaos.plan import DISTRICT, TEAMS

T = TypeVar("T")
BrokerKind = Literal["embedded", "apache"]

MEMBERS = tuple(f"{service} {role}" for service, roles in PROCESSES.items() for role in roles)
"""Every process of the three services, by the name it goes by."""
SHOWN = 15
"""Bytes of a process's name that the kernel keeps."""
LOOK_AROUND = 0.1
PATIENCE = 120.0
_PROJECT = Path(__file__).parents[2]


@dataclass(eq=False)
class Client(servers.Server):
    """A client and its number of lives; it has served its turn when one of them ended well."""

    words: tuple[str, ...]
    lives: int = 1

    @property
    def done(self) -> bool:
        """Whether all is answered."""
        return self.process.poll() == 0


@dataclass
class Ground:
    """The servers, the stack and the clients of a run."""

    folder: Path
    postgres: servers.Postgres
    kafka: Kafka | None
    ports: dict[str, int]
    hands: ThreadPoolExecutor
    """Starts servers. It lasts as long as they do: they end with the thread that started them."""
    supervisor: servers.Server = field(init=False)
    clients: list[Client] = field(default_factory=list)
    restarts: int = 0

    @property
    def desk(self) -> Desk:
        """Where the clients work."""
        return Desk(self.folder / "clients")

    @property
    def addresses(self) -> Addresses:
        """Where the services answer."""
        return Addresses(**{name: f"http://127.0.0.1:{self.ports[name]}" for name in SERVICES})

    def token(self, *roles: str, **claims: str) -> str:
        """Sign a token for the whole district that outlasts the run."""
        return development_issuer(self.folder / "state" / "lastmetre").sign(
            sub="chaos", roles=roles, areas=[DISTRICT], ttl=timedelta(days=1), claims=claims
        )

    async def away(self, work: Callable[[], T]) -> T:
        """Do something that takes its time, with the loop going on."""
        return await asyncio.get_running_loop().run_in_executor(self.hands, work)

    # --- starting ---

    def start_stack(self) -> None:
        """Start the supervisor; it starts the rest."""
        lastmetre = Path(sys.executable).with_name("lastmetre")
        ports = [word for name in SERVICES for word in (f"--{name}-port", str(self.ports[name]))]
        kafka_ = ["--kafka", self.kafka.bootstrap] if self.kafka else []
        self.supervisor = self._launch(
            "the supervisor",
            [str(lastmetre), "up", "--data", str(self.folder / "stack"), *ports,
             "--postgres", self.postgres.url("postgres"), *kafka_],
        )  # fmt: skip

    def start_client(self, role: str, number: int, part: int = 0, parts: int = 1) -> Client:
        """Start a client; the keeper gives it new lives until all is answered."""
        words = (role, str(number), str(part), str(parts))
        client = self._live(words)
        self.clients.append(client)
        return client

    def _live(self, words: tuple[str, ...]) -> Client:
        command = [sys.executable, "-m", "tests.chaos.client", str(self.desk.folder), *words]
        server = self._launch(f"client-{'-'.join(words[:3])}", command)
        return Client(server.name, server.process, server.log, server.stop_signal, words)

    def _launch(self, name: str, command: list[str]) -> servers.Server:
        log = self.folder / f"{name.replace(' ', '-')}.log"
        # A launcher's environment is its caller's; what differs is said by `env`, which becomes
        # the command.
        env = shutil.which("env") or "/usr/bin/env"
        state = f"XDG_STATE_HOME={self.folder / 'state'}"
        process = servers.launch(
            [env, state, f"PYTHONPATH={_PROJECT}", *command],
            data=self.folder,
            account=None,
            stop_signal=SIGTERM,
            log=log,
            inherited=(),
        )
        return servers.Server(name, process, log, SIGTERM)

    # --- who is there ---

    def family(self) -> dict[str, psutil.Process]:
        """What the supervisor has started and lives, by name as far as the kernel keeps it."""
        found = {}
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.supervisor.process.pid).children():
                with suppress(psutil.NoSuchProcess):
                    if child.status() != psutil.STATUS_ZOMBIE:
                        found[child.name()[:SHOWN]] = child
        return found

    def member(self, name: str) -> psutil.Process | None:
        """The process of a service by its name, or the embedded broker, if it lives."""
        return self.family().get(name[:SHOWN])

    def backends(self) -> list[psutil.Process]:
        """PostgreSQL's processes that work for a service at this moment."""
        found = []
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.postgres.process.pid).children():
                with suppress(psutil.NoSuchProcess):
                    title = " ".join(child.cmdline())
                    if any(f" {service} " in title for service in SERVICES):
                        found.append(child)
        return found

    def complete(self) -> bool:
        """Whether every process of the services lives."""
        return self.family().keys() >= {name[:SHOWN] for name in MEMBERS}

    # --- keeping ---

    async def keep(self) -> None:
        """Start again what has died, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep(self.postgres.alive, self._revive_postgres))
            group.create_task(self._keep(self._supervised, self._revive_stack))
            group.create_task(self._keep_clients())
            if self.kafka:
                group.create_task(self._keep(self._brokered, self._revive_kafka))

    async def _keep(self, alive: Callable[[], bool], revive: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(LOOK_AROUND)
            if not alive():
                self.restarts += 1
                with suppress(ServerError):  # killed again before it stood; the next look finds it
                    await self.away(revive)

    async def _keep_clients(self) -> None:
        while True:
            await asyncio.sleep(LOOK_AROUND)
            for client in self.clients:
                if client.process.poll() not in {None, 0}:
                    client.process = self._live(client.words).process
                    client.lives += 1

    def _revive_postgres(self) -> None:
        # Its children notice within moments, and nobody may write where they still do.
        held = [psutil.Process(pid) for pid in psutil.pids() if _holds(pid, self.folder)]
        psutil.wait_procs(held, timeout=PATIENCE)
        self.postgres.start_again()

    def _supervised(self) -> bool:
        return self.supervisor.alive()

    def _revive_stack(self) -> None:
        self.start_stack()

    def _brokered(self) -> bool:
        return self.kafka is None or all(node.alive() for node in self.kafka.nodes.values())

    def _revive_kafka(self) -> None:
        if self.kafka:
            gone = [number for number, node in self.kafka.nodes.items() if not node.alive()]
            self.kafka.start(*gone)

    def stop_clients(self) -> None:
        """End every client that is left."""
        for client in self.clients:
            client.stop(patience=1)


def _holds(pid: int, folder: Path) -> bool:
    """Whether a process is one of PostgreSQL's that works in our data folder."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == (folder / "postgres").resolve()
    except OSError:
        return False


def _quiet_ports() -> Iterator[int]:
    """Ports that are free, and given to no outgoing connection while a service is away."""
    ports = random.sample(range(15_000, 30_000), 1_000)
    return (port for port in ports if servers.port_is_free(port))


@contextmanager
def servers_of(kind: BrokerKind, brokers: int) -> Iterator[Ground]:
    """Start PostgreSQL and, if it is Apache's, the broker; in a folder that goes with them."""
    with ExitStack() as stack:
        claim = stack.enter_context(folders.scratch(Path(tempfile.gettempdir())))
        hands = stack.enter_context(ThreadPoolExecutor(3, thread_name_prefix="starts-servers"))
        # On disk and in earnest: what was answered must be there after any kill.
        postgres = stack.enter_context(
            servers.postgres(claim.path / "postgres", durable=True, keep_open=[claim.descriptor])
        )
        cluster = None
        if kind == "apache":
            (claim.path / "kafka").mkdir(mode=0o700)
            cluster = stack.enter_context(
                kafka(claim.path / "kafka", brokers=brokers, keep_open=[claim.descriptor])
            )
        ports = dict(zip(SERVICES, _quiet_ports(), strict=False))
        yield Ground(claim.path, postgres, cluster, ports, hands)


@asynccontextmanager
async def running(ground: Ground) -> AsyncIterator[None]:
    """Run the stack, with the keeper at work; the clients' desk is laid."""
    (ground.folder / "state" / "lastmetre").mkdir(mode=0o700, parents=True)
    ground.desk.folder.mkdir(mode=0o700)
    ground.start_stack()
    ground.desk.addresses.write_bytes(msgspec.json.encode(ground.addresses))
    ground.desk.token("site").write_text(ground.token(*ROLES))
    for team in TEAMS:
        ground.desk.token(team).write_text(ground.token("team", team=team))
    async with asyncio.TaskGroup() as group:
        keeper = group.create_task(ground.keep())
        try:
            yield
        finally:
            keeper.cancel()
            await asyncio.wait([keeper])
            ground.stop_clients()
            ground.supervisor.stop(patience=60)
