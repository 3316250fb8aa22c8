"""The outbox: positions are dense, chained and in the order of commits, whoever writes at once."""

import asyncio
import random
from collections.abc import AsyncIterator

import asyncpg
import msgspec
import pytest

from shared import outbox
from shared.contracts.envelope import PARTITIONS, partition_of
from shared.contracts.registry import ROLL, ROUNDS, AreasChanged
from shared.database import Transaction
from tests.shared.exchange import KEYS, Producer, chained, number, producing
from tests.support.issuer import Issuer
from tests.support.servers import DatabaseUrl


@pytest.fixture
async def producer(database_url: DatabaseUrl, issuer: Issuer) -> AsyncIterator[Producer]:
    async with producing(database_url(""), issuer, (ROUNDS, ROLL)) as producer:
        yield producer


# --- minting ---


async def test_one_transaction_writes_its_messages_in_order_chained(producer: Producer) -> None:
    await producer.announce(1, 2, 3)
    await producer.announce(4)
    records = await producer.records()
    assert [record.data for record in records] == [
        b'{"round":"round","communities":{},"results":%d}' % n for n in (1, 2, 3, 4)
    ]
    assert chained(records)
    assert {record.type for record in records} == {"lastmetre.registry.roll_changed.v1"}
    assert len({record.incarnation for record in records}) == 1
    assert sorted(r.recorded_at for r in records) == [r.recorded_at for r in records]


async def test_heads_name_the_last_record_of_every_partition(producer: Producer) -> None:
    await producer.announce(1, 2, partition=5)
    heads = {(head.topic, head.partition): head for head in await producer.heads()}
    assert len(heads) == 2 * PARTITIONS
    last = (await producer.records(5))[-1]
    told = heads.pop((ROLL, 5))
    assert (told.pos, told.id, told.incarnation) == (2, last.id, last.incarnation)
    assert told.recorded_at is not None
    assert {(head.pos, head.id, head.recorded_at) for head in heads.values()} == {
        (0, outbox.NIL, None)
    }


async def test_a_transaction_may_announce_on_several_topics(producer: Producer) -> None:
    async with producer.database.begin() as tx:
        tx.announce(AreasChanged([]), key="410171")
        tx.announce(number(1), key=KEYS[3])
    assert len(await producer.records(partition_of("410171"), ROUNDS)) == 1
    assert len(await producer.records(3)) == 1


async def test_writers_at_once_leave_no_hole_for_any_reader(producer: Producer) -> None:
    chance = random.Random(7)  # noqa: S311 - a plan, no secret
    plans = [
        [(chance.choices(range(3), k=chance.randint(1, 3)), chance.random() < 0.3)
         for _ in range(12)]
        for _ in range(6)
    ]  # fmt: skip
    kept: set[tuple[int, int]] = set()
    serial = iter(range(1, 10_000))

    async def write(tx: Transaction, partitions: list[int], *, fail: bool) -> None:
        numbers = [(partition, next(serial)) for partition in partitions]
        for partition, n in numbers:
            tx.announce(number(n), key=KEYS[partition])
        # The flush comes after this, in order; waiting here mixes the writers.
        await tx.do("SELECT 1")
        if fail:
            raise ZeroDivisionError
        tx.after_commit(lambda: kept.update(numbers))

    async def writer(plan: list[tuple[list[int], bool]]) -> None:
        for partitions, fail in plan:
            try:
                await producer.database.transact(write, partitions, fail=fail)
            except ZeroDivisionError:
                assert fail

    writing = asyncio.gather(*map(writer, plans))
    while not writing.done():
        for partition in range(3):
            # A reader who came at any moment: what they see is a whole history so far.
            assert chained(await producer.records(partition))
    await writing
    found = set()
    for partition in range(3):
        records = await producer.records(partition)
        assert chained(records)
        found |= {(partition, msgspec.json.decode(record.data)["results"]) for record in records}
    assert found == kept


async def test_no_head_is_locked_before_the_last_moment(producer: Producer) -> None:
    async def free(tx: Transaction) -> int:
        rows = await tx.rows(
            "SELECT 1 FROM outbox_head WHERE topic = $1 FOR UPDATE SKIP LOCKED", ROLL
        )
        return len(rows)

    async with producer.database.begin() as tx:
        tx.announce(number(1), key=KEYS[0])
        await tx.do("SELECT 1")
        assert await producer.database.transact(free) == PARTITIONS
        await outbox.flush(tx)
        tx.announced.clear()
        assert await producer.database.transact(free) == PARTITIONS - 1
    assert await producer.database.transact(free) == PARTITIONS


async def test_a_topic_that_was_not_installed_is_a_fault_of_ours(
    database_url: DatabaseUrl, issuer: Issuer
) -> None:
    async with producing(database_url(""), issuer, (ROUNDS,)) as producer:
        with pytest.raises(RuntimeError, match="no outbox heads"):
            await producer.announce(1)


async def test_installing_again_changes_nothing(producer: Producer) -> None:
    await producer.announce(1)
    before = await producer.heads()
    await producer.database.transact(outbox.install, producer.topics)
    assert await producer.heads() == before


# --- segments ---


async def test_writing_goes_on_over_the_bounds_of_segments(
    database_url: DatabaseUrl, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "SEGMENT", 4)
    async with producing(database_url(""), issuer) as producer:
        for n in range(1, 21):
            await producer.announce(n)
            if n % 4 == 0:
                await producer.database.transact(outbox.make_segments, ROLL)
        assert chained(await producer.records())
        async with producer.database.begin() as tx:
            used = await tx.rows("SELECT DISTINCT tableoid::regclass::text AS name FROM outbox")
        assert {row["name"] for row in used} == {
            f"outbox__registry_roll_v1__{segment}" for segment in range(6)
        }


async def test_segments_stand_ready_two_ahead(
    database_url: DatabaseUrl, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "SEGMENT", 4)
    async with producing(database_url(""), issuer) as producer:
        await producer.announce(*range(1, 12))  # three segments: 1-3, 4-7, 8-11
        with pytest.raises(asyncpg.CheckViolationError):
            await producer.announce(12)
        # Two who make them at once, while a reader is at the table: nobody waits, none is doubled.
        async with producer.database.snapshot() as reader:
            await outbox.read_after(reader, ROLL, 0, 0, 1)
            await asyncio.gather(
                producer.database.transact(outbox.make_segments, ROLL),
                producer.database.transact(outbox.make_segments, ROLL),
            )
        await producer.announce(12)
        assert chained(await producer.records())


async def test_what_a_topic_takes_on_disk_grows_with_what_is_announced(producer: Producer) -> None:
    before = await producer.database.transact(outbox.size, ROLL)
    await producer.announce(*range(1, 2_000))
    assert await producer.database.transact(outbox.size, ROLL) > before > 0


# --- the pull ---


async def test_a_page_honours_its_bytes_and_is_never_empty(producer: Producer) -> None:
    await producer.announce(*range(1, 11))
    size = len((await producer.records())[0].data)

    async def page(after: int, limit: int) -> list[int]:
        async with producer.database.begin() as tx:
            return [record.pos for record in await outbox.read_after(tx, ROLL, 0, after, limit)]

    assert await page(0, 1) == [1]
    assert await page(4, 1) == [5]
    assert await page(0, 3 * size) == [1, 2, 3]
    assert await page(0, 3 * size + 1) == [1, 2, 3, 4]
    assert await page(8, 100 * size) == [9, 10]
    assert await page(10, 100 * size) == []


async def test_the_pull_carries_records_whole(producer: Producer) -> None:
    await producer.announce(1, 2, 3)
    async with producer.client("system") as client:
        answer = await client.get(f"/v1/outbox/{ROLL}/0", params={"after": 1, "bytes": 10_000})
        heads = msgspec.json.decode(
            (await client.get("/v1/outbox/heads")).content, type=outbox.Heads
        )
    pulled = msgspec.json.decode(answer.content, type=outbox.Pulled)
    assert pulled.as_records(ROLL, 0) == (await producer.records())[1:]
    assert heads.heads == await producer.heads()


@pytest.mark.parametrize("path", ["/v1/outbox/heads", f"/v1/outbox/{ROLL}/0?after=0"])
async def test_only_services_pull(producer: Producer, path: str) -> None:
    statuses = {}
    for role in ("", "team", "supervisor", "system"):
        async with producer.client(*[role] if role else []) as client:
            statuses[role] = (await client.get(path)).status_code
    assert statuses == {"": 401, "team": 403, "supervisor": 403, "system": 200}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/v1/outbox/{ROLL}/0?after=0", 200),
        (f"/v1/outbox/{ROLL}/{PARTITIONS}?after=0", 404),
        (f"/v1/outbox/{ROLL}/-1?after=0", 404),
        ("/v1/outbox/registry.secrets.v1/0?after=0", 404),
        (f"/v1/outbox/{ROLL}/first?after=0", 422),
        (f"/v1/outbox/{ROLL}/0", 422),
        (f"/v1/outbox/{ROLL}/0?after=-1", 422),
        (f"/v1/outbox/{ROLL}/0?after={2**63}", 422),
        (f"/v1/outbox/{ROLL}/0?after=0&bytes=0", 422),
    ],
)
async def test_what_can_be_asked_of_the_pull(producer: Producer, path: str, status: int) -> None:
    async with producer.client("system") as client:
        answer = await client.get(path)
    assert answer.status_code == status
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"


async def test_what_is_not_on_kafka_yet_is_told(producer: Producer) -> None:
    await producer.announce(1, 2, 3)
    async with producer.client("supervisor") as client:
        answer = await client.get("/v1/outbox/unpublished")
    told = msgspec.json.decode(answer.content, type=outbox.Backlog)
    waiting = {each.topic: each for each in told.topics}
    assert {topic: each.unpublished for topic, each in waiting.items() if each.unpublished} == {
        ROLL: 3
    }
    assert waiting[ROLL].oldest_seconds > 0


async def test_consumers_report_how_far_they_are(producer: Producer) -> None:
    async with producer.client("system") as client:
        for pos in (1, 7):
            body = {"positions": [{"topic": ROLL, "partition": 0, "pos": pos}]}
            answer = await client.put("/v1/outbox/consumers/reporting", json=body)
            assert answer.status_code == 204
        for positions in ("all", [{"topic": ROLL, "partition": PARTITIONS, "pos": 1}]):
            answer = await client.put(
                "/v1/outbox/consumers/reporting", json={"positions": positions}
            )
            assert answer.status_code == 422
    async with producer.database.begin() as tx:
        rows = await tx.rows("SELECT name, topic, partition, pos FROM outbox_consumer")
    assert [tuple(row) for row in rows] == [("reporting", ROLL, 0, 7)]
