"""The ground benchmarks stand on: servers of their own, a stack, people on the roll, figures of it.

PostgreSQL runs as it would in earnest (fsync, synchronous commit). People are put on the roll by
COPY, past the API: what is measured comes after that.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import psutil

from benchmarks.report import Figure
from deploy.local import areas, folders, servers
from deploy.local.calls import Api
from deploy.local.kafka import kafka
from deploy.local.stack import SERVICES, Addresses, Note
from deploy.local.tokens import development_token

DISTRICT = "410171"
NEEDS_SHARE = 0.03
"""Of the residents, those who cannot come: each makes a case and a visit."""
MEGABYTE = 1024 * 1024

TUNED = {
    # As docs/operations.md has it for a server of its own with 16 GB: a quarter of them for what is
    # hot, and checkpoints by the clock.
    "shared_buffers": "4GB",
    "max_wal_size": "16GB",
    "wal_compression": "off",
}
PROFILED = {"shared_preload_libraries": "pg_stat_statements"}


@dataclass
class Ground:
    """A stack that runs, the PostgreSQL under it, and who lives there."""

    postgres: servers.Postgres
    supervisor: psutil.Process
    addresses: Addresses
    operations: Mapping[str, str]
    rng: random.Random
    people: list[UUID] = field(default_factory=list)
    random_ids: bool = False
    """Whether senders make ids by chance alone (UUIDv4), and not such that begin with the time."""

    def api(self, service: str) -> Api:
        """Call a service as somebody who may do everything."""
        token = development_token(["system", "admin", "district", "site"], [DISTRICT[:4]])
        return Api(self.addresses.of(service), lambda: token)

    async def superuser(self, service: str) -> "asyncpg.Connection[Any]":
        """Connect to a service's database past everything the services keep to."""
        url = self.postgres.url(service, servers.USER)
        return await asyncpg.connect(url.replace("postgresql+asyncpg", "postgresql"))

    async def forget_statements(self) -> None:
        """Begin anew with what statements cost."""
        for service in SERVICES:
            database = await self.superuser(service)
            await database.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            await database.execute("SELECT pg_stat_statements_reset()")
            await database.close()

    async def statements(self, service: str, most: int = 15) -> list[tuple[float, int, str]]:
        """Tell which statements took how many seconds, in how many calls, the longest first."""
        database = await self.superuser(service)
        rows = await database.fetch(
            "SELECT total_exec_time / 1000, calls, regexp_replace(query, '\\s+', ' ', 'g')"
            " FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid"
            " WHERE datname = current_database() ORDER BY total_exec_time DESC LIMIT $1",
            most,
        )
        await database.close()
        return [(seconds, calls, text) for seconds, calls, text in rows]

    async def populate(self, count: int, *, district: str = DISTRICT) -> None:
        """Put people on the roll, spread over a district's communities."""
        async with self.api("registry") as registry:
            await registry.put("/v1/areas:batch", areas.under(district))
        communities = [area.code for area in areas.communities(district)]
        now = datetime.now(UTC)
        self.people = [_uuid(self.rng) for _ in range(count)]
        needy = {i for i in self.people if self.rng.random() < NEEDS_SHARE}
        lives = {i: communities[n % len(communities)] for n, i in enumerate(self.people)}
        database = await self.superuser("registry")
        await database.copy_records_to_table(
            "resident",
            columns=[
                "id", "community", "noted_at", "needs", "name", "household", "building", "unit",
                "door", "created_at",
            ],
            records=(
                (i, lives[i], now, ["mobility"] if i in needy else [], "住户", i, "1号楼", "1单元",
                 "101", now)
                for i in self.people
            ),
        )  # fmt: skip
        await database.copy_records_to_table(
            "resident_need", columns=["resident", "code"], records=[(i, "mobility") for i in needy]
        )
        await database.copy_records_to_table(
            "population", columns=["community", "roll"], records=Counter(lives.values()).items()
        )
        await database.execute("VACUUM ANALYZE resident, resident_need, population")
        await database.close()

    async def open_round(self, *, district: str = DISTRICT) -> str:
        """Open a round over a district."""
        round_id = await self.draft_round(district=district)
        async with self.api("registry") as registry:
            await registry.post(f"/v1/rounds/{round_id}:open")
        return round_id

    async def draft_round(self, *, district: str = DISTRICT) -> str:
        """Make a round over a district, not open yet."""
        now = datetime.now(UTC)
        made = {
            "id": str(_uuid(self.rng)),
            "campaign": f"benchmark {self.rng.random()}",
            "number": 1,
            "name": "第1轮全员核酸检测",
            "opens_at": (now - timedelta(hours=2)).isoformat(),
            "closes_at": (now + timedelta(hours=12)).isoformat(),
            "offices": [office.code for office in areas.offices(district)],
        }
        async with self.api("registry") as registry:
            await registry.post("/v1/rounds", made)
        return str(made["id"])

    def rows(self, round_id: str, people: Sequence[UUID]) -> list[dict[str, Any]]:
        """Write a row of a swab and its result for each of these people."""
        now = datetime.now(UTC).replace(microsecond=0)
        return [
            {
                "sample_id": str(self._id()),
                "result_id": str(self._id()),
                "resident": {"id": str(person)},
                "round_id": round_id,
                "sampled_at": (now - timedelta(seconds=600 + n % 3000)).isoformat(),
                "channel": "site",
                "site": "S-0117",
                "outcome": "negative",
                "resulted_at": (now - timedelta(seconds=300)).isoformat(),
                "released_at": (now - timedelta(seconds=240)).isoformat(),
            }
            for n, person in enumerate(people)
        ]

    def _id(self) -> UUID:
        """Make an id as a sender does (RFC 9562, version 7 or 4)."""
        if self.random_ids:
            return _uuid(self.rng)
        drawn = time.time_ns() // 1_000_000 << 80 | self.rng.getrandbits(80)
        return UUID(int=drawn & ~(0xF << 76 | 0x3 << 62) | 0x7 << 76 | 0x2 << 62)

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Everything that works for the stack, by what it is."""
        found: dict[str, list[psutil.Process]] = {"postgres": [], "broker": []}
        postmaster = psutil.Process(self.postgres.process.pid)
        found["postgres"] = [postmaster, *postmaster.children(recursive=True)]
        for child in self.supervisor.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                name = child.name()
                key = _NAMES.get(name, name) if name.partition(" ")[0] in SERVICES else "broker"
                found.setdefault(key, []).append(child)
        for extra in self.brokers:
            found["broker"].append(psutil.Process(extra))
        return found

    brokers: Sequence[int] = ()
    """Pids of brokers that the supervisor did not start."""


_NAMES = {"reporting worke": "reporting worker"}
"""Linux keeps the first fifteen letters."""


def _uuid(rng: random.Random) -> UUID:
    return UUID(bytes=rng.randbytes(16), version=4)


def cpu(member: psutil.Process) -> float:
    """Seconds of CPU that a process has used so far."""
    times = member.cpu_times()
    return float(times.user + times.system)


@dataclass
class Usage:
    """CPU seconds used so far, by process; PostgreSQL's backends are counted by their database."""

    seconds: dict[str, float]

    @classmethod
    def of(cls, ground: Ground) -> "Usage":
        """Read it."""
        seconds: defaultdict[str, float] = defaultdict(float)
        for name, members in ground.processes().items():
            for member in members:
                with suppress(psutil.NoSuchProcess):
                    key = f"PostgreSQL, {_database(member)}" if name == "postgres" else name
                    seconds[key] += cpu(member)
        postmaster = psutil.Process(ground.postgres.process.pid).cpu_times()
        # Backends that ended meanwhile.
        seconds["PostgreSQL, itself"] += postmaster.children_user + postmaster.children_system
        return cls(seconds)

    def since(self, before: "Usage") -> dict[str, float]:
        """What was used since then, the most first."""
        used = {name: n - before.seconds.get(name, 0.0) for name, n in self.seconds.items()}
        return dict(sorted(used.items(), key=lambda each: -each[1]))


@dataclass
class Memory:
    """Looks on how much each process has for itself, and keeps the most."""

    ground: Ground
    most: Counter[str] = field(default_factory=Counter)
    """Bytes by process; of several of one name, as PostgreSQL's backends are, the largest."""

    def look(self) -> None:
        """Look once."""
        for name, members in self.ground.processes().items():
            for member in members:
                with suppress(psutil.NoSuchProcess):
                    own = member.memory_info()
                    used = own.rss - getattr(own, "shared", 0)
                    self.most[name] = max(self.most[name], used)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Look every second for as long as the block takes."""

        async def live() -> None:
            while True:
                self.look()
                await asyncio.sleep(1)

        task = asyncio.create_task(live())
        try:
            yield
        finally:
            task.cancel()
            self.look()

    def figure(self, when: str) -> Figure:
        """Name the largest process of ours; PostgreSQL's and the broker's stand beside."""
        ours = {name: n for name, n in self.most.items() if name.partition(" ")[0] in SERVICES}
        name = max(ours, key=lambda each: ours[each])
        others = ", ".join(
            f"{other} {self.most[key] / MEGABYTE:.0f} MB"
            for key, other in (("postgres", "a backend of PostgreSQL"), ("broker", "the broker"))
        )
        largest = ours[name] / MEGABYTE
        return Figure("11", f"largest process, {when}", largest, "MB", note=f"{name}; {others}")


def _database(backend: psutil.Process) -> str:
    words = " ".join(backend.cmdline()).split()
    return next((word for word in words if word in SERVICES), "itself")


@contextmanager
def ground(*, apache: bool = False, profiled: bool = False, seed: int = 1) -> Iterator[Ground]:
    """Start servers and a stack; everything is gone afterwards.

    Args:
        apache: run Apache Kafka, and not the embedded broker
        profiled: have PostgreSQL note what its statements cost (`statements`)
        seed: of whatever is drawn

    """
    with ExitStack() as unwinding:
        claim = unwinding.enter_context(folders.scratch(Path(tempfile.gettempdir())))
        home = claim.path
        state = home / "state"
        (state / "lastmetre").mkdir(parents=True, mode=0o700)
        os.environ["XDG_STATE_HOME"] = str(state)
        postgres = unwinding.enter_context(
            servers.postgres(
                home / "postgres",
                durable=True,
                keep_open=[claim.descriptor],
                extra=TUNED | (PROFILED if profiled else {}),
            )
        )
        command = [
            str(Path(sys.executable).with_name("lastmetre")), "up", "--data", str(home / "stack"),
            "--postgres", postgres.url("postgres"),
        ]  # fmt: skip
        pids: list[int] = []
        if apache:
            (home / "kafka").mkdir(mode=0o700)
            cluster = unwinding.enter_context(
                kafka(home / "kafka", brokers=1, keep_open=[claim.descriptor])
            )
            command += ["--kafka", cluster.bootstrap]
            pids = [node.process.pid for node in cluster.nodes.values()]
        ports = servers.free_ports(len(SERVICES))
        for name, port in zip(SERVICES, ports, strict=True):
            command += [f"--{name}-port", str(port)]
        supervisor = unwinding.enter_context(_supervisor(command, home / "supervisor.log"))
        note = _note(supervisor, state)
        yield Ground(
            postgres, supervisor, note.addresses, note.operations,
            random.Random(seed),  # noqa: S311 - a load, nothing to guess
            brokers=pids,
        )  # fmt: skip


@contextmanager
def _supervisor(command: Sequence[str], log: Path) -> Iterator[psutil.Popen]:
    with log.open("wb") as output:
        process = psutil.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    except BaseException:
        sys.stderr.write(log.read_text(errors="replace")[-2000:])
        raise
    finally:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGINT)
        process.wait()


def _note(supervisor: psutil.Popen, state: Path) -> Note:
    while not (state / "lastmetre" / "stack.json").exists():
        if supervisor.poll() is not None:
            raise SystemExit("the stack did not start")
        time.sleep(0.1)
    return Note.read()
