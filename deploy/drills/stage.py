"""A stack for a drill: embedded servers, processes of any version of the code, a front before them.

Not the supervisor's: there everything is of one version, and nothing may go away for long.
"""

import asyncio
import io
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from deploy.local import children, demo, folders, servers
from deploy.local.calls import Api
from deploy.local.credentials import Credentials
from deploy.local.errors import LocalError
from deploy.local.population import Population
from deploy.local.stack import SERVICES
from deploy.local.supervisor import PROCESSES
from deploy.local.tokens import development_issuer, development_token

PROJECT = Path(__file__).parents[2]
DISTRICT = "410171"
PATIENCE = 60.0
"""Seconds for a process to become ready or to leave, and for figures to move."""
_PAUSE = 0.1


class DrillError(LocalError):
    """The drill did not go as it must."""


@dataclass
class Running:
    """A process of some version."""

    service: str
    role: str
    port: int
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def name(self) -> str:
        """As people call it: `registry api`."""
        return f"{self.service} {self.role}"

    def ready(self) -> bool:
        """Whether it says that it is."""
        if self.process.poll() is not None:
            raise DrillError(f"{self.name} ended\n{self.log.read_text(errors='replace')[-2000:]}")
        return children.ready(self.port)

    async def leave(self) -> None:
        """Ask it to stop, and wait until it has done so in good order."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = await asyncio.to_thread(self.process.wait, PATIENCE)
        if status != 0:
            raise DrillError(f"{self.name} left with status {status}; its log: {self.log}")


class Front:
    """What stands before the APIs of a service, as an ingress does: each connection goes to one.

    Its address stays; what is behind it changes.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self._behind: Iterator[int] = cycle(())

    def lead_to(self, ports: Sequence[int]) -> None:
        """Lead connections that come from now on to these ports, in turn."""
        self._behind = cycle(ports)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Take connections for the length of a block."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        async with server:
            yield

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Whoever still talks when the drill ends is cut off, without a word about it.
        with suppress(asyncio.CancelledError, OSError, StopIteration), closing(writer):
            answers, behind = await asyncio.open_connection("127.0.0.1", next(self._behind))
            with closing(behind):
                await asyncio.gather(_pour(reader, behind), _pour(answers, writer))


async def _pour(source: asyncio.StreamReader, into: asyncio.StreamWriter) -> None:
    while chunk := await source.read(65_536):
        into.write(chunk)
        await into.drain()
    into.close()


@dataclass
class Stage:
    """Servers, the fronts, and whatever processes run."""

    home: Path
    postgres: servers.Postgres
    environment: Mapping[str, str]
    fronts: Mapping[str, Front]
    out: Console
    running: list[Running] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    """What clients had to ask twice, and why."""

    def say(self, sentence: str) -> None:
        """Tell what is being done."""
        self.out.print(sentence, highlight=False, markup=False)

    async def migrate(self, code: Path) -> None:
        """Bring the databases to the schema of a version."""
        for service in SERVICES:
            migration = self._launch(code, service, "migrate")
            if await asyncio.to_thread(migration.process.wait) != 0:
                words = migration.log.read_text(errors="replace")[-2000:]
                raise DrillError(f"{migration.name} failed\n{words}")

    async def start(self, code: Path, *services: str) -> list[Running]:
        """Start every process of services, of a version; wait until they are ready."""
        started = [
            self._launch(code, service, role)
            for service in services or SERVICES
            for role in PROCESSES[service]
        ]
        self.running += started
        for each in started:
            await self.until(each.ready, f"{each.name} is ready")
        return started

    def lead_to(self, running: Sequence[Running]) -> None:
        """Lead clients to the APIs among these processes."""
        for service, front in self.fronts.items():
            ports = [at.port for at in running if (at.service, at.role) == (service, "api")]
            if ports:
                front.lead_to(ports)

    def kill(self, running: Sequence[Running]) -> None:
        """End processes as the loss of their machine would."""
        for each in running:
            each.process.kill()
            each.process.wait()
        self.running = [each for each in self.running if each not in running]

    async def run_program(self, program: str, *options: str) -> None:
        """Run one of PostgreSQL's own programs against the stage's server."""
        process = await asyncio.create_subprocess_exec(
            servers.program(program), "--host", str(self.postgres.socket_folder),
            "--username", servers.USER, *options,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, complaint = await process.communicate()
        if process.returncode:
            raise DrillError(f"{program} failed: {complaint.decode().strip()}")

    async def metric(self, service: str, role: str, name: str) -> float:
        """Add up what a process tells of a metric."""
        (running,) = (at for at in self.running if (at.service, at.role) == (service, role))
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"http://127.0.0.1:{running.port}/metrics")
        families = text_string_to_metric_families(answer.text)
        return sum(at.value for family in families for at in family.samples if at.name == name)

    async def stop(self, running: Sequence[Running]) -> None:
        """Stop processes in good order."""
        await asyncio.gather(*(each.leave() for each in running))
        self.running = [each for each in self.running if each not in running]

    async def until(self, condition: Callable[[], Any], hope: str) -> None:
        """Wait for a condition, which may be a coroutine function.

        Raises:
            DrillError: it did not come true in time.

        """
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    answer = condition()
                    if await answer if asyncio.iscoroutine(answer) else answer:
                        return
                    await asyncio.sleep(_PAUSE)
        except TimeoutError:
            raise DrillError(f"not within {PATIENCE:.0f} s: {hope}") from None

    def connect(self, service: str, *roles: str, team: str | None = None) -> Api:
        """Make a client that comes through the front, and is counted when it has to ask again."""
        token = development_token(roles, [DISTRICT], team=team)
        front = f"http://127.0.0.1:{self.fronts[service].port}"
        return Api(front, lambda: token, patience=PATIENCE, waiting=self.repeated.append)

    def people(self, residents: int) -> Population:
        """Who lives in the district."""
        return Population(residents, DISTRICT, 1, demo.FIRST_DAY)

    async def play(self, residents: int, enough: asyncio.Event) -> int:
        """Play days through the fronts, round after round, until enough; say how many.

        Raises:
            LocalError: a call was refused, or a day's ledger did not balance.

        """
        quiet = Console(file=io.StringIO())
        days = 0
        while not (days and enough.is_set()):
            if await demo.play(self.connect, self.people(residents), quiet):
                raise DrillError("a day's ledger did not balance")
            days += 1
        return days

    async def counted(self) -> int:
        """How many events reporting has counted."""
        async with self.connect("reporting", "system") as reporting:
            status = await reporting.get("/v1/status")
        return sum(at["applied"] for at in status["positions"])

    async def announced(self) -> int:
        """How many events registry has announced."""
        async with self.connect("registry", "system") as registry:
            heads = (await registry.get("/v1/outbox/heads"))["heads"]
        return sum(int(head["pos"]) for head in heads)

    async def moves(self, by: int) -> int:
        """Wait until reporting has counted so many events more; say how many those are in all."""
        target = await self.counted() + by

        async def reached() -> bool:
            return await self.counted() >= target

        await self.until(reached, f"{by:,} further events are counted")
        return await self.counted()

    async def conclude(self) -> int:
        """Wait until the ledger says something; say it, as the last line."""
        answer: dict[str, Any] = {}

        async def decided() -> bool:
            async with self.connect("reporting", "district", "system") as reporting:
                answer.update(await reporting.get("/v1/ledger"))
            return answer["balanced"] is True

        with suppress(DrillError):
            await self.until(decided, "the ledger balances")
        word = {True: "true", False: "false", None: "null"}[answer.get("balanced")]
        self.say(f"ledger: balanced: {word}")
        return 0 if word == "true" else 1

    def _launch(self, code: Path, service: str, role: str) -> Running:
        port = 0 if role == "migrate" else servers.free_ports(1)[0]
        log = self.home / f"{service}-{role}-{port}.log"
        options = [] if role == "migrate" else ["--port", str(port)]
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - our own processes
                [sys.executable, "-m", f"services.{service}", role, *options],
                # The folder comes first on the path: this version's code, with our libraries.
                cwd=code,
                env={**self.environment, "LASTMETRE_SERVICE_TOKEN_FILE":
                     str(self.home / f"{service}.token")},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )  # fmt: skip
        return Running(service, role, port, process, log)


@asynccontextmanager
async def staged(out: Console) -> AsyncIterator[Stage]:
    """Set a stage on servers of its own; whatever runs on it in the end is stopped."""
    async with AsyncExitStack() as unwinding:
        claim = unwinding.enter_context(folders.scratch(Path(gettempdir())))
        home = claim.path
        postgres = unwinding.enter_context(
            servers.postgres(home / "postgres", durable=True, keep_open=[claim.descriptor])
        )
        await asyncio.to_thread(postgres.create_databases, *SERVICES)
        broker = unwinding.enter_context(servers.broker(home))
        credentials = Credentials(home, development_issuer())
        ports = servers.free_ports(len(SERVICES))
        fronts = {name: Front(port) for name, port in zip(SERVICES, ports, strict=True)}
        for front in fronts.values():
            await unwinding.enter_async_context(front.open())
        environment = {
            **os.environ,
            "LASTMETRE_KAFKA_BOOTSTRAP": broker.bootstrap,
            "LASTMETRE_KAFKA_IDEMPOTENT": "false",
            "LASTMETRE_JWKS": str(credentials.jwks),
            "LASTMETRE_REGISTRY_KEYS_FILE": str(credentials.keys),
            "LASTMETRE_REGISTRY_URL": f"http://127.0.0.1:{fronts['registry'].port}",
            "LASTMETRE_DISPATCH_URL": f"http://127.0.0.1:{fronts['dispatch'].port}",
            **{f"LASTMETRE_{name.upper()}_DATABASE_URL": postgres.url(name) for name in SERVICES},
        }
        stage = Stage(home, postgres, environment, fronts, out)
        unwinding.enter_context(_cleared(stage))
        yield stage


@contextmanager
def _cleared(stage: Stage) -> Iterator[None]:
    """End what still runs, at once: the servers are about to go."""
    try:
        yield
    finally:
        stage.kill(stage.running)


def run(drill: Callable[[Console], Coroutine[Any, Any, int]]) -> int:
    """Run a drill to its end; what went wrong is its last line."""
    out = Console(width=110)
    try:
        return asyncio.run(drill(out))
    except (LocalError, ExceptionGroup) as error:
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        if not isinstance(error, LocalError):
            raise
        out.print(f"drill: {error}", markup=False, highlight=False)
        return 1
