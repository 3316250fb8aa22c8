"""A producer and those who follow it: two real databases, and a line between them that can be cut.

What travels are numbers. The follower writes down each one it is given, with its position, in a
table without any key: whatever is counted twice, or not at all, is there to see.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import sqlalchemy as sa
from fastapi import FastAPI

from shared import audit, http, outbox, parked, positions
from shared.auth import KeySet, Verifier
from shared.consumer import Consumer, Handlers, Source
from shared.contracts.envelope import PARTITIONS, Event, Record, partition_of
from shared.contracts.registry import ROLL, RollChanged, RoundOpened, VisitsAnswered
from shared.database import Database, Transaction
from shared.kafka import KafkaSettings
from shared.outbox import Head
from shared.positions import Position
from tests.support.issuer import AUDIENCE, Issuer

KEYS = {partition_of(str(number)): str(number) for number in range(200)}
"""A key for each partition."""
assert len(KEYS) == PARTITIONS

_metadata = sa.MetaData()
outbox.tables(_metadata)
positions.tables(_metadata)
audit.tables(_metadata)
sa.Table(
    "tally",
    _metadata,
    sa.Column("partition", sa.SmallInteger, nullable=False),
    sa.Column("pos", sa.BigInteger, nullable=False),
    sa.Column("n", sa.BigInteger, nullable=False),
)
sa.Table("unique_number", _metadata, sa.Column("n", sa.BigInteger, primary_key=True))


async def lay_out(database: Database) -> None:
    """Create the tables of both sides; who needs which is nobody's concern here."""
    async with database.begin() as tx:
        await tx.connection.run_sync(_metadata.create_all)


def number(n: int) -> RollChanged:
    """A message that carries a number."""
    return RollChanged("round", {}, results=n)


class Line(httpx.AsyncBaseTransport):
    """Carries requests to an application; `down` cuts it, `after` runs before each answer."""

    def __init__(self, app: FastAPI) -> None:
        self._app = httpx.ASGITransport(app)
        self.down = False
        self.asked: Counter[str] = Counter()
        self.after: Callable[[str], Awaitable[None]] | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry one request."""
        if self.down:
            raise httpx.ConnectError("nobody answers")
        self.asked[request.url.path] += 1
        answer = await self._app.handle_async_request(request)
        if self.after is not None:
            await self.after(request.url.path)
        return answer


class Producer:
    """A service that has an outbox and serves the pull, and does nothing else."""

    def __init__(self, database: Database, issuer: Issuer, topics: Sequence[str]) -> None:
        self.database = database
        self.topics = topics
        self.issuer = issuer
        self.app = http.create_app(
            service="producer",
            title="Producer",
            description="Announces numbers.",
            routers=[outbox.router(database, topics)],
            access=outbox.ROUTES,
            verifier=Verifier(KeySet(str(issuer.jwks)), audience=AUDIENCE),
        )
        self.line = Line(self.app)

    async def announce(self, *numbers: int, partition: int = 0) -> None:
        """Announce numbers in one transaction."""
        async with self.database.begin() as tx:
            for n in numbers:
                tx.announce(number(n), key=KEYS[partition])

    async def records(self, partition: int = 0, topic: str = ROLL) -> list[Record]:
        """All of one partition, as Kafka would bring it."""
        found: list[outbox.PulledRecord] = []
        async with self.database.begin() as tx:
            while page := await outbox.read_after(tx, topic, partition, len(found), 2**40):
                found += page
        return outbox.Pulled(found).as_records(topic, partition)

    async def heads(self) -> list[Head]:
        """The last position of each partition."""
        async with self.database.begin() as tx:
            return await outbox.heads(tx)

    async def restore(self, partition: int, pos: int) -> None:
        """Go back to a backup: what came after a position in one partition never happened."""
        async with self.database.begin() as tx:
            await tx.do("DELETE FROM outbox WHERE partition = $1 AND pos > $2", partition, pos)
            await tx.do(
                "UPDATE outbox_head SET pos = $2, id = coalesce("
                "(SELECT id FROM outbox WHERE partition = $1 AND pos = $2), $3)"
                " WHERE partition = $1",
                partition, pos, outbox.NIL,
            )  # fmt: skip

    def client(self, *roles: str) -> httpx.AsyncClient:
        """A caller with these roles."""
        headers = self.issuer.headers(*roles) if roles else {}
        return httpx.AsyncClient(transport=self.line, base_url="http://producer", headers=headers)


class Follower:
    """A service that writes numbers down. `faults`: how it fails at a number, time after time."""

    def __init__(
        self,
        database: Database,
        producer: Producer,
        kafka: KafkaSettings | None = None,
        handlers: Handlers | None = None,
    ) -> None:
        self.database = database
        self.faults: dict[int, Iterator[type[Exception]]] = {}
        self.runs: list[list[int]] = []
        self.client = producer.client("system")
        self.consumer = Consumer(
            "follower",
            database,
            [Source(self.client, producer.topics)],
            handlers or {RollChanged: self.fold, RoundOpened: self.fold_openings},
            kafka,
        )
        self.app = http.create_app(
            service="follower",
            title="Follower",
            description="Adds numbers up.",
            routers=[parked.router(database, self.consumer, "follower"), audit.router(database)],
            access=parked.ROUTES | audit.ROUTES,
            verifier=Verifier(KeySet(str(producer.issuer.jwks)), audience=AUDIENCE),
        )
        self._issuer = producer.issuer

    async def fold(self, tx: Transaction, events: Sequence[Event[RollChanged]]) -> None:
        """Write the numbers down, unless one of them is made to fail."""
        numbers = [event.data.results for event in events]
        self.runs.append(numbers)
        await self._write(tx, events, numbers)
        for n in numbers:
            fault = next(self.faults.get(n, iter(())), None)
            if fault is not None:
                raise fault

    async def fold_openings(self, tx: Transaction, events: Sequence[Event[RoundOpened]]) -> None:
        """Write zeros down: a type of its own, to break runs."""
        self.runs.append([0] * len(events))
        await self._write(tx, events, [0] * len(events))

    async def _write(
        self, tx: Transaction, events: Sequence[Event[Any]], numbers: Sequence[int]
    ) -> None:
        rows = [
            (event.record.partition, event.record.pos, n)
            for event, n in zip(events, numbers, strict=True)
        ]
        await tx.copy_in("tally", ("partition", "pos", "n"), rows)

    async def numbers(self, partition: int = 0) -> list[int]:
        """What was written down of one partition, in the order of positions, repeats and all."""
        async with self.database.begin() as tx:
            rows = await tx.rows("SELECT n FROM tally WHERE partition = $1 ORDER BY pos", partition)
        return [row["n"] for row in rows]

    async def position(self, partition: int = 0, topic: str = ROLL) -> Position:
        """How far one partition is."""
        async with self.database.begin() as tx:
            found = await positions.read(tx, "follower")
        return next(p for p in found if (p.topic, p.partition) == (topic, partition))

    async def parked(self, state: str = "parked") -> list[parked.Parked]:
        """What was set aside."""
        async with self.database.begin() as tx:
            return await parked.listed(tx, "follower", state, 0, 1000)

    def api(self, *roles: str) -> httpx.AsyncClient:
        """A caller of our own API."""
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app),
            base_url="http://follower",
            headers=self._issuer.headers(*roles),
        )


@asynccontextmanager
async def opened(
    url: str, *, announces: bool = False, pool_size: int = 8
) -> AsyncIterator[Database]:
    """Open a database for the length of a block."""
    database = Database(url, before_commit=outbox.flush if announces else None, pool_size=pool_size)
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def producing(
    url: str, issuer: Issuer, topics: Sequence[str] = (ROLL,)
) -> AsyncIterator[Producer]:
    """Open a producer on an empty database."""
    async with opened(url, announces=True) as database:
        await lay_out(database)
        await database.transact(outbox.install, topics)
        yield Producer(database, issuer, topics)


@asynccontextmanager
async def following(
    url: str,
    producer: Producer,
    count: int = 1,
    *,
    kafka: KafkaSettings | None = None,
) -> AsyncIterator[list[Follower]]:
    """Open followers on one empty database, as several processes of one service would be."""
    async with opened(url) as database:
        await lay_out(database)
        await database.transact(positions.install, "follower", producer.topics)
        followers = [Follower(database, producer, kafka) for _ in range(count)]
        try:
            yield followers
        finally:
            for follower in followers:
                await follower.client.aclose()


async def started_over(producer: Producer, follower: Follower) -> None:
    """Make both databases as they were at first, in a life of their own."""
    async with producer.database.begin() as tx:
        await tx.do("DELETE FROM outbox")
        await tx.do(
            "UPDATE outbox_head SET pos = 0, id = $1, recorded_at = NULL,"
            " incarnation = (SELECT uuidv7())",
            outbox.NIL,
        )
    async with follower.database.begin() as tx:
        await tx.do("DELETE FROM tally")
        await tx.do("DELETE FROM parked")
        await tx.do(
            "UPDATE applied SET pos = 0, id = $1, incarnation = $1, recorded_at = NULL",
            outbox.NIL,
        )


def unknown() -> VisitsAnswered:
    """A message that nobody here handles."""
    return VisitsAnswered("round", [])


def chained(records: Iterable[Record]) -> bool:
    """Say whether records are dense from position 1 and each names its predecessor."""
    last = outbox.NIL
    for pos, record in enumerate(records, 1):
        if (record.pos, record.prev_id) != (pos, last):
            return False
        last = record.id
    return True
