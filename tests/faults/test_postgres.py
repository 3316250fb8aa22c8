"""PostgreSQL hangs, crawls, ends our sessions, has no connection or no space left for us."""

import asyncio
import csv
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from rich.console import Console

from deploy.local.calls import Api
from deploy.local.importing import Order, import_file
from deploy.local.servers import OWNER, Postgres
from shared import database as shared_database
from shared.database import Database, Transaction
from shared.errors import TransientError
from tests.faults.servers import Disk, Wire, disk_of, through, wire_to_postgres
from tests.support.counting import Tell, watch
from tests.support.servers import DatabaseUrl
from tests.support.town import JSON, LUYUAN, Ground, Town
from tests.support.waiting import eventually

PATIENCE = 4.0
"""Seconds a statement may take here; enough for a busy machine."""


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_database, "GRACE_SECONDS", 0.5)
    monkeypatch.setattr(shared_database, "CONNECT_SECONDS", 2.0)


@asynccontextmanager
async def wired(ground: Ground, postgres: Postgres) -> AsyncIterator[tuple[Town, Wire]]:
    """A town whose registry reaches its database by a wire."""
    async with wire_to_postgres(postgres) as (wire, folder):
        other = through(
            ground,
            folder,
            "registry",
            statement_seconds=PATIENCE,
            database_pool=8,
            waiting_seconds=0.5,
        )
        async with other.town() as town:
            yield town, wire
            wire.mend()


async def opened(town: Town) -> str:
    """A round whose clock has come far enough for results."""
    round_id = await town.round()
    await town.tick(round_id, 2)
    return round_id


async def send(town: Town, *rows: JSON) -> httpx.Response:
    """Send results once, whatever the answer is."""
    return await town.registry.post(
        "/v1/results:batch", json=list(rows), headers=town.headers("site")
    )


def assert_later(answer: httpx.Response) -> None:
    # 429: refused at the door, by who is answerable for too many requests at once.
    assert answer.status_code in {429, 503}, answer.text
    assert int(answer.headers["Retry-After"]) > 0


async def until_taken(town: Town, row: JSON) -> list[int]:
    """Send a row as clients do, until it is taken; what was answered on the way."""
    answers: list[int] = []

    async def taken() -> bool:
        answer = await send(town, row)
        answers.append(answer.status_code)
        if answer.is_success:
            return True
        assert_later(answer)
        return False

    await eventually(taken)
    return answers


ENDINGS = 5
"""How often every session is ended."""


# --- it hangs, it crawls ---


async def test_a_database_that_hangs_is_a_503_and_is_found_again(
    ground: Ground, postgres: Postgres, tell: Tell
) -> None:
    async with wired(ground, postgres) as (town, wire):
        (somebody,) = await town.people({})
        round_id = await opened(town)
        row = town.result(round_id, somebody)

        wire.hang()
        hanging = watch()
        answer, ready, alive = await asyncio.gather(
            send(town, row), town.registry.get("/readyz"), town.registry.get("/healthz")
        )
        answered = hanging()
        assert_later(answer)
        assert (ready.status_code, alive.status_code) == (503, 200)
        assert_later(await send(town, row))  # by a new connection, which hangs as well

        wire.mend()
        mended = watch()
        assert (await until_taken(town, row))[-1] == 200
        tell(f"answered after {answered:.1f} s; taken {mended():.1f} s after it answers again")
        assert (await send(town, row)).json()["duplicate"] == 1
        await town.expect(round_id, roll=1, sampled=1)
        assert (await town.registry.get("/readyz")).status_code == 200


async def test_more_requests_than_connections_to_a_database_that_hangs_all_get_an_answer(
    ground: Ground, postgres: Postgres, tell: Tell
) -> None:
    async with wired(ground, postgres) as (town, wire):
        people = await town.people(*[{} for _ in range(20)])
        round_id = await opened(town)
        rows = [town.result(round_id, person) for person in people]
        wire.hang()
        for answer in await asyncio.gather(*(send(town, row) for row in rows)):
            assert_later(answer)
        wire.mend()
        mended = watch()
        await asyncio.gather(*(until_taken(town, row) for row in rows))
        tell(f"all {len(rows)} taken {mended():.1f} s after it answers again")
        await town.expect(round_id, roll=20, sampled=20)


async def test_a_slow_database_makes_slow_answers_and_no_others(
    ground: Ground, postgres: Postgres, tell: Tell
) -> None:
    async with wired(ground, postgres) as (town, wire):
        people = await town.people({}, {})
        round_id = await opened(town)
        wire.delay = 0.01
        slow = watch()
        answer = await send(town, *(town.result(round_id, person) for person in people))
        tell(f"answered after {slow():.1f} s")
        assert answer.json()["accepted"] == 2
        assert (await town.registry.get("/readyz")).status_code == 200
        wire.mend()
        await town.expect(round_id, roll=2, sampled=2)


async def test_a_statement_that_takes_too_long_is_ended_and_its_connection_lives(
    database_url: DatabaseUrl, tell: Tell
) -> None:
    async def dawdle(tx: Transaction) -> None:
        await tx.do("SELECT pg_sleep(600)")

    async def backend(tx: Transaction) -> int:
        found: int = await tx.value("SELECT pg_backend_pid()")
        return found

    database = Database(database_url(""), pool_size=1, statement_seconds=0.3)
    try:
        before = await database.transact(backend)
        seconds = watch()
        with pytest.raises(TransientError, match="QueryCanceled"):
            await database.transact(dawdle)
        tell(f"ended after {seconds():.1f} s where it may take 0.3 s")
        assert await database.transact(backend) == before
    finally:
        await database.close()


async def test_who_stands_still_within_a_transaction_does_not_keep_the_others_waiting(
    database_url: DatabaseUrl, tell: Tell
) -> None:
    url = database_url("")
    zombie, other = Database(url, statement_seconds=0.3), Database(url)

    async def write(tx: Transaction) -> None:
        await tx.do("UPDATE head SET pos = pos + 1")

    async def read(tx: Transaction) -> int:
        found: int = await tx.value("SELECT pos FROM head")
        return found

    async def stand_still(tx: Transaction) -> None:
        await write(tx)
        await other.transact(write)  # waits for the lock that we hold, until we are ended
        await write(tx)

    try:
        async with other.begin() as tx:
            await tx.do("CREATE TABLE head AS SELECT 0 AS pos")
        seconds = watch()
        with pytest.raises(TransientError):
            await zombie.transact(stand_still)
        tell(f"its locks are free after {seconds():.1f} s where it may stand still for 0.3 s")
        assert await other.transact(read) == 1
        assert await zombie.transact(read) == 1
    finally:
        await zombie.close()
        await other.close()


# --- it is restarted, it is full ---


async def test_every_session_is_ended_while_results_come_in(
    ground: Ground, postgres: Postgres, tell: Tell
) -> None:
    # What a restart is to us; the server itself is killed by tests/chaos.
    database = ground.databases["registry"].split("?")[0].rpartition("/")[2]
    ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname ="
    async with ground.town() as town:
        people = await town.people(*[{} for _ in range(40)])
        round_id = await opened(town)
        sending = [
            asyncio.create_task(until_taken(town, town.result(round_id, person)))
            for person in people
        ]
        for _ in range(ENDINGS):
            await asyncio.to_thread(postgres.execute, f"{ends} '{database}'")
            await asyncio.wait(sending, timeout=0.1)
        ended = watch()
        await asyncio.gather(*sending)
        tell(f"all 40 taken {ended():.1f} s after the last time")
        await town.expect(round_id, roll=40, sampled=40)


async def test_no_connection_left_is_a_503_for_some_and_the_rest_goes_on(
    ground: Ground, postgres: Postgres, tell: Tell
) -> None:
    guest = f"guest_{uuid4().hex[:8]}"
    # Of the owner's role, but no superuser: those are let in beyond every limit.
    postgres.execute(f"CREATE ROLE {guest} LOGIN CONNECTION LIMIT 2 IN ROLE {OWNER}")
    url = ground.databases["registry"].replace(f"//{OWNER}@", f"//{guest}@")
    few = replace(ground, databases={**ground.databases, "registry": url})
    async with few.town() as town:
        people = await town.people(*[{} for _ in range(24)])
        round_id = await opened(town)
        seconds = watch()
        taken = await asyncio.gather(
            *(until_taken(town, town.result(round_id, person)) for person in people)
        )
        tell(f"all 24 taken after {seconds():.1f} s")
        assert 503 in {status for answers in taken for status in answers}
        await town.expect(round_id, roll=24, sampled=24)


class Filling(httpx.AsyncBaseTransport):
    """The way to registry; the disk is full from the second batch on."""

    def __init__(self, town: Town, disk: Disk) -> None:
        self._way = httpx.ASGITransport(town.apps["registry"])
        self._disk = disk
        self.answers: list[int] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry one request."""
        answer = await self._way.handle_async_request(request)
        if request.url.path.endswith("residents:batch"):
            if not self.answers:
                self._disk.fill()
            self.answers.append(answer.status_code)
        return answer


ADDRESS = ("community_code", "building", "unit", "door")


def write_residents(file: Path, count: int) -> None:
    with file.open("w", newline="") as text:
        rows = csv.writer(text)
        rows.writerow(("id", "name", *(f"address.{part}" for part in ADDRESS)))
        for number in range(count):
            rows.writerow((uuid4(), f"居民{number}", LUYUAN, "1", "1", number))


async def test_the_disk_is_full_in_the_middle_of_an_import(
    ground: Ground, postgres: Postgres, tmp_path: Path, tell: Tell
) -> None:
    count, file = 16_000, tmp_path / "residents.csv"
    write_residents(file, count)
    database = ground.databases["registry"].split("?")[0].rpartition("/")[2]
    with disk_of(postgres, database) as disk:
        async with ground.town() as town:
            filling = Filling(town, disk)
            token = town.issuer.token("system", areas=["41"])
            order = Order("residents", file)

            async def run(transport: httpx.AsyncBaseTransport) -> JSON:
                with closing((tmp_path / "screen").open("w")) as screen:
                    async with Api(
                        "http://registry", lambda: token, patience=0.5, transport=transport
                    ) as api:
                        (tally,) = await import_file(order, api, Console(file=screen))
                return {
                    "accepted": tally.accepted, "duplicate": tally.duplicate,
                    "lost": tally.lost, "why": tally.stopped_by or "",
                }  # fmt: skip

            stopped = await run(filling)
            assert stopped["accepted"] > 0
            assert stopped["lost"] > 0
            assert "answered 503" in stopped["why"]
            # Reading goes on meanwhile.
            assert (await town.registry.get("/readyz")).status_code == 200

            disk.empty()
            roomy = watch()
            again = await run(httpx.ASGITransport(town.apps["registry"]))
            tell(f"{count:,} rows are there {roomy():.1f} s after there was room")
            assert again["why"] == ""
            assert again["duplicate"] >= stopped["accepted"]
            assert again["accepted"] + again["duplicate"] == count
            round_id = await opened(town)
            await town.expect(round_id, roll=count, unaccounted=count)
