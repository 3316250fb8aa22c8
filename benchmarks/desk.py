"""reporting's API alone, on a PostgreSQL of its own; the benchmark folds the events itself."""

import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import psutil

from benchmarks.ground import cpu
from deploy.local import areas, folders, servers
from deploy.local.credentials import Credentials
from deploy.local.tokens import development_issuer
from services.reporting import migrations
from services.reporting.domain.freshness import Producer
from services.reporting.domain.generations import CONSUMER
from services.reporting.settings import Settings
from services.reporting.store import freshness
from services.reporting.wiring import Wiring, wire
from services.reporting.worker import HANDLERS
from shared import positions
from shared.contracts.envelope import PARTITIONS, Message, Record, partition_of
from shared.contracts.registry import (
    ROLL,
    ROUNDS,
    AreasChanged,
    Change,
    CommunityRoll,
    RollChanged,
    RoundChanged,
    RoundOpened,
    Standing,
)
from shared.outbox import NIL, Head
from shared.positions import Partition

PEOPLE = 250
"""In each community: in the 78 of the demo's district as many as in the demo."""


@dataclass
class Desk:
    """The API, its database, and a registry of which there is nothing but what it announces."""

    address: str
    api: psutil.Process
    postgres: servers.Postgres
    wiring: Wiring
    round: str = field(default_factory=lambda: str(uuid4()))
    _incarnation: UUID = field(default_factory=uuid4)
    _log: defaultdict[Partition, list[Record]] = field(default_factory=lambda: defaultdict(list))

    async def open_round(self, area: str) -> None:
        """Open a round over an area, and let registry have been asked just now."""
        now = datetime.now(UTC)
        async with self.wiring.database.begin() as tx:
            for topic in (ROUNDS, ROLL):
                for partition in range(PARTITIONS):
                    head = Head(topic, partition, 0, NIL, self._incarnation, None)
                    await positions.meet(tx, CONSUMER, head)
            heads = {ROLL: [0] * PARTITIONS}
            await freshness.save_producer(tx, Producer("registry", now, heads), now)
        offices = [office.code for office in areas.offices(area)]
        await self.take(AreasChanged(areas.under(area)), area)
        await self.take(
            RoundChanged(
                self.round, 1, "benchmark", 1, "第1轮全员核酸检测", "open",
                now - timedelta(hours=2), now + timedelta(hours=12), offices,
            ),
            self.round,
        )  # fmt: skip
        for communities in _by_partition(each.code for each in areas.communities(area)):
            rolls = [CommunityRoll(community, PEOPLE) for community in communities]
            await self.take(RoundOpened(self.round, rolls), communities[0])

    async def sample(self, communities: Iterable[str]) -> None:
        """Let somebody of each of these communities have been sampled, and count it."""
        sampled = Standing(klass="sampled", channel="site", sampled_at=datetime.now(UTC))
        for together in _by_partition(communities):
            changes = {code: [Change(str(uuid4()), 1, Standing(), sampled)] for code in together}
            await self.take(RollChanged(self.round, changes, len(changes)), together[0])

    async def take(self, message: Message, key: str) -> None:
        """Announce something, and apply it as reporting's worker does."""
        partition = (message.topic, partition_of(key))
        before = self._log[partition][-1:]
        record = Record(
            *partition,
            pos=before[0].pos + 1 if before else 1,
            id=uuid4(),
            prev_id=before[0].id if before else NIL,
            incarnation=self._incarnation,
            type=message.type,
            recorded_at=datetime.now(UTC),
            data=msgspec.json.encode(message),
        )
        self._log[partition] = [record]
        await self.wiring.consumer.take({partition: [record]})

    def spent(self) -> tuple[float, float]:
        """CPU seconds that the API and PostgreSQL have used so far."""
        postmaster = psutil.Process(self.postgres.process.pid)
        return cpu(self.api), sum(map(cpu, [postmaster, *postmaster.children()]))


def _by_partition(communities: Iterable[str]) -> Iterable[Sequence[str]]:
    """Put together what goes into one event."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    for community in communities:
        found[partition_of(community)].append(community)
    return found.values()


@contextmanager
def desk(*, look_seconds: float = 1) -> Iterator[Desk]:
    """Run it; everything is gone afterwards.

    Args:
        look_seconds: how often a view that is open is looked at

    """
    with folders.scratch(Path(tempfile.gettempdir())) as claim:
        home = claim.path
        os.environ["XDG_STATE_HOME"] = str(home / "state")
        (home / "state" / "lastmetre").mkdir(parents=True, mode=0o700)
        with servers.postgres(home / "pg", durable=True, keep_open=[claim.descriptor]) as postgres:
            postgres.create_databases("reporting")
            url = postgres.url("reporting")
            migrations.upgrade(url)
            jwks = str(Credentials(home, development_issuer()).jwks)
            (port,) = servers.free_ports(1)
            environment = {
                "LASTMETRE_JWKS": jwks,
                "LASTMETRE_KAFKA_BOOTSTRAP": "",
                "LASTMETRE_REPORTING_DATABASE_URL": url,
                "LASTMETRE_REPORTING_LOOK_SECONDS": str(look_seconds),
            }
            with _api(port, environment, home / "api.log") as api:
                settings = Settings(jwks=jwks, kafka_bootstrap="", database_url=url)
                yield Desk(f"http://127.0.0.1:{port}", api, postgres, wire(settings, HANDLERS))


@contextmanager
def _api(port: int, environment: dict[str, str], log: Path) -> Iterator[psutil.Process]:
    command = [sys.executable, "-m", "services.reporting", "api", "--port", str(port)]
    with log.open("wb") as output:
        process = psutil.Popen(
            command, env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        while servers.port_is_free(port):
            if process.poll() is not None:
                raise SystemExit(f"the API did not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()
