"""Exactly once: whatever Kafka repeats, loses or reorders, each number is written down once.

A producer's database, its pull over HTTP and the follower's database are real; Kafka is played by
the test, which is worse to the consumer than any broker would be. (The real one: test_relay.)
"""

import asyncio
import gc
import random
from collections import ChainMap
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from itertools import repeat
from uuid import uuid4

import asyncpg
import httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from shared.consumer import Consumer, Source
from shared.contracts.envelope import Record
from shared.contracts.registry import ROLL, ROUNDS, RoundOpened
from shared.errors import PermanentError, TransientError
from tests.shared.exchange import (
    KEYS,
    Follower,
    Producer,
    following,
    number,
    producing,
    started_over,
    unknown,
)
from tests.support.issuer import Issuer
from tests.support.servers import DatabaseUrl
from tests.support.waiting import eventually

ALWAYS = repeat
"""`ALWAYS(ValueError)`: a fault that stays."""


@pytest.fixture
async def producer(database_url: DatabaseUrl, issuer: Issuer) -> AsyncIterator[Producer]:
    async with producing(database_url(""), issuer) as producer:
        yield producer


@pytest.fixture
async def pair(database_url: DatabaseUrl, producer: Producer) -> AsyncIterator[list[Follower]]:
    """Two processes of one service, on one database."""
    async with following(database_url(""), producer, 2) as followers:
        yield followers


@pytest.fixture
def follower(pair: list[Follower]) -> Follower:
    return pair[0]


def once(*errors: type[Exception]) -> Iterator[type[Exception]]:
    """Faults of the moment: these, one after the other, and then none."""
    return iter(errors)


# --- two ways in ---


async def test_the_pull_alone_brings_everything(producer: Producer, follower: Follower) -> None:
    await producer.announce(1, 2, 3)
    await producer.announce(4, partition=7)
    await follower.consumer.catch_up()
    assert (await follower.numbers(), await follower.numbers(7)) == ([1, 2, 3], [4])
    await follower.consumer.catch_up()
    assert await follower.numbers() == [1, 2, 3]


async def test_pages_that_were_applied_are_gone(producer: Producer, follower: Follower) -> None:
    await producer.announce(*range(200))
    gc.collect()
    gc.disable()  # a rebuild makes megabytes of pages between two collections
    try:
        await follower.consumer.catch_up()
        kept = [each for each in gc.get_objects() if isinstance(each, httpx.Response)]
    finally:
        gc.enable()
    assert await follower.numbers() == list(range(200))
    assert not [answer for answer in kept if hasattr(answer, "_content")], "held by themselves"


async def test_kafka_repeats_and_nothing_is_written_twice(
    producer: Producer, follower: Follower
) -> None:
    await follower.consumer.catch_up()  # it learns whom it follows
    await producer.announce(1, 2, 3)
    first, second, third = await producer.records()
    for batch in ([first], [first, second], [second, first, second, third, first], [third]):
        await follower.consumer.take({(ROLL, 0): batch})
    assert await follower.numbers() == [1, 2, 3]


async def test_several_partitions_are_taken_in_one_transaction(
    producer: Producer, follower: Follower
) -> None:
    await follower.consumer.catch_up()
    for partition in (9, 0, 4):
        await producer.announce(1, 2, partition=partition)
    fetched = {(ROLL, p): await producer.records(p) for p in (9, 0, 4)}
    follower.runs.clear()
    await follower.consumer.take(fetched)
    assert follower.runs == [[1, 2] * 3]
    assert [await follower.numbers(partition) for partition in (0, 4, 9)] == [[1, 2]] * 3


async def test_one_that_is_refused_holds_up_none_of_those_it_came_with(
    producer: Producer, follower: Follower
) -> None:
    await follower.consumer.catch_up()
    for partition, numbers in {0: (1, 2), 4: (3, 4), 9: (5, 6)}.items():
        await producer.announce(*numbers, partition=partition)
    follower.faults = {3: ALWAYS(ValueError)}
    await follower.consumer.take({(ROLL, p): await producer.records(p) for p in (0, 4, 9)})
    assert [await follower.numbers(partition) for partition in (0, 4, 9)] == [[1, 2], [4], [5, 6]]
    assert [(parked.partition, parked.pos) for parked in await follower.parked()] == [(4, 1)]


async def test_a_gap_in_one_of_several_partitions_is_pulled(
    producer: Producer, follower: Follower
) -> None:
    await follower.consumer.catch_up()
    for partition in (0, 4):
        await producer.announce(1, 2, 3, partition=partition)
    whole, gaping = await producer.records(0), (await producer.records(4))[2:]
    await follower.consumer.take({(ROLL, 0): whole, (ROLL, 4): gaping})
    assert [await follower.numbers(partition) for partition in (0, 4)] == [[1, 2, 3]] * 2


async def test_what_kafka_lost_is_pulled_at_once(producer: Producer, follower: Follower) -> None:
    await follower.consumer.catch_up()
    await producer.announce(1, 2, 3, 4)
    _, _, _, fourth = await producer.records()
    await follower.consumer.take({(ROLL, 0): [fourth]})
    assert await follower.numbers() == [1, 2, 3, 4]


async def test_a_handler_gets_runs_of_its_type_in_order(
    producer: Producer, follower: Follower
) -> None:
    async with producer.database.begin() as tx:
        for message in (number(1), number(2), RoundOpened("round", []), number(3), number(4)):
            tx.announce(message, key=KEYS[0])
    await follower.consumer.catch_up()
    assert follower.runs == [[1, 2], [0], [3, 4]]


async def test_types_that_nobody_handles_are_passed_over(
    producer: Producer, follower: Follower
) -> None:
    async with producer.database.begin() as tx:
        tx.announce(unknown(), key=KEYS[0])
        tx.announce(number(2), key=KEYS[0])
        tx.announce(unknown(), key=KEYS[0])
    async with producer.database.begin() as tx:
        await tx.do("UPDATE outbox SET type = 'lastmetre.registry.unheard_of.v1' WHERE pos = 1")
    await follower.consumer.catch_up()
    assert await follower.numbers() == [2]
    assert (await follower.position()).pos == 3
    assert await follower.parked() == []


async def test_two_processes_pull_at_once(producer: Producer, pair: list[Follower]) -> None:
    for partition in range(4):
        await producer.announce(*range(1, 31), partition=partition)
    await asyncio.gather(*(follower.consumer.catch_up() for follower in pair))
    for partition in range(4):
        assert await pair[0].numbers(partition) == list(range(1, 31))


async def test_two_processes_are_brought_the_same_at_once(
    producer: Producer, pair: list[Follower]
) -> None:
    await pair[0].consumer.catch_up()
    for end in range(1, 11):
        await producer.announce(end)
        records = await producer.records()
        await asyncio.gather(
            *(follower.consumer.take({(ROLL, 0): records}) for follower in (*pair, *pair))
        )
        assert await pair[0].numbers() == list(range(1, end + 1))


async def test_every_mixture_of_kafka_and_pulls_by_two_processes(
    producer: Producer, pair: list[Follower]
) -> None:
    await pair[0].consumer.catch_up()
    chance = random.Random(3)  # noqa: S311 - a plan, no secret
    await producer.announce(*range(1, 41))
    records = await producer.records()

    async def bring(follower: Follower) -> None:
        for _ in range(15):
            if chance.random() < 0.1:
                await follower.consumer.sweep()
            start = chance.randrange(40)
            batch = records[start : start + chance.randint(1, 12)]
            if chance.random() < 0.3:
                chance.shuffle(batch)
            await follower.consumer.take({(ROLL, 0): batch})

    await asyncio.gather(*map(bring, pair), *map(bring, pair))
    await pair[1].consumer.catch_up()
    assert await pair[0].numbers() == list(range(1, 41))


# --- faults of the moment ---


@pytest.mark.parametrize(
    "fault",
    [OSError, TimeoutError, TransientError, asyncpg.AdminShutdownError, asyncpg.DiskFullError],
)
async def test_a_fault_of_the_moment_is_retried_and_nothing_is_parked(
    producer: Producer, follower: Follower, fault: type[Exception]
) -> None:
    follower.faults = {2: once(fault, fault)}
    await producer.announce(1, 2, 3)
    for _ in range(2):
        with pytest.raises(TransientError):
            await follower.consumer.catch_up()
        assert await follower.numbers() == []
    await follower.consumer.catch_up()
    assert await follower.numbers() == [1, 2, 3]
    assert await follower.parked() == []


@pytest.mark.parametrize(
    "fault", [asyncpg.DeadlockDetectedError, asyncpg.SerializationError,
              asyncpg.UniqueViolationError]
)  # fmt: skip
async def test_whoever_came_between_makes_it_run_again(
    producer: Producer, follower: Follower, fault: type[Exception]
) -> None:
    follower.faults = {2: once(fault, fault)}
    await producer.announce(1, 2, 3)
    await follower.consumer.catch_up()
    assert follower.runs == [[1, 2, 3]] * 3
    assert await follower.numbers() == [1, 2, 3]
    assert await follower.parked() == []


async def test_a_partition_in_trouble_does_not_hold_up_the_others(
    producer: Producer, follower: Follower
) -> None:
    follower.faults = {1: ALWAYS(OSError)}
    await producer.announce(1, partition=3)
    await producer.announce(2, partition=8)
    with pytest.raises(TransientError):
        await follower.consumer.sweep()
    assert (await follower.numbers(3), await follower.numbers(8)) == ([], [2])


async def test_a_producer_that_does_not_answer_is_asked_again(
    producer: Producer, follower: Follower
) -> None:
    await follower.consumer.catch_up()
    await producer.announce(1, 2)
    second = (await producer.records())[1]
    producer.line.down = True
    with pytest.raises(TransientError):
        await follower.consumer.sweep()
    with pytest.raises(TransientError):
        await follower.consumer.take({(ROLL, 0): [second]})
    producer.line.down = False
    await follower.consumer.catch_up()
    assert await follower.numbers() == [1, 2]


async def test_an_answer_that_makes_no_sense_is_a_fault_of_the_moment(follower: Follower) -> None:
    nonsense = httpx.MockTransport(lambda _: httpx.Response(200, text="<html>moved</html>"))
    async with httpx.AsyncClient(transport=nonsense, base_url="http://proxy") as client:
        consumer = Consumer("follower", follower.database, [Source(client, [ROLL])], {})
        with pytest.raises(TransientError):
            await consumer.sweep()


async def test_a_head_that_is_old_when_it_arrives_is_no_restored_backup(
    producer: Producer, pair: list[Follower]
) -> None:
    await pair[0].consumer.catch_up()
    await producer.announce(1)

    async def meanwhile(path: str) -> None:
        if path.endswith("/heads"):
            producer.line.after = None
            await producer.announce(2)
            await pair[1].consumer.take({(ROLL, 0): await producer.records()})

    producer.line.after = meanwhile
    await pair[0].consumer.catch_up()
    assert pair[0].consumer.stopped == set()
    assert await pair[0].numbers() == [1, 2]


# --- records that cannot be applied ---


@pytest.mark.parametrize("fault", [ValueError, PermanentError, asyncpg.DataError])
async def test_a_refused_record_is_parked_alone_where_it_stood(
    producer: Producer, follower: Follower, fault: type[Exception]
) -> None:
    follower.faults = {3: ALWAYS(fault)}
    await producer.announce(1, 2, 3, 4, 5)
    await follower.consumer.catch_up()
    assert await follower.numbers() == [1, 2, 4, 5]
    assert (await follower.position()).pos == 5
    (parked,) = await follower.parked()
    third = (await producer.records())[2]
    assert (parked.topic, parked.partition, parked.pos) == (ROLL, 0, 3)
    assert (parked.event_id, parked.type) == (third.id, third.type)
    assert parked.reason == f"{third.type}: {fault.__name__}"


async def test_a_unique_key_that_stays_in_the_way_parks_and_does_not_stall(
    producer: Producer, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.database.ATTEMPTS", 2)
    follower.faults = {2: ALWAYS(asyncpg.UniqueViolationError)}
    await producer.announce(1, 2, 3)
    await follower.consumer.catch_up()
    assert await follower.numbers() == [1, 3]
    assert [parked.pos for parked in await follower.parked()] == [2]


async def test_a_refused_record_from_kafka_is_parked_from_the_outbox(
    producer: Producer, follower: Follower
) -> None:
    await follower.consumer.catch_up()
    follower.faults = {2: ALWAYS(ValueError)}
    await producer.announce(1, 2, 3)
    await follower.consumer.take({(ROLL, 0): await producer.records()})
    assert await follower.numbers() == [1, 3]
    assert [parked.pos for parked in await follower.parked()] == [2]


@pytest.mark.parametrize("rubbish", [b"", b"{", b"\xff\xfe", b'{"round": 7}'])
async def test_an_unreadable_copy_is_read_from_the_outbox(
    producer: Producer, follower: Follower, rubbish: bytes
) -> None:
    await follower.consumer.catch_up()
    await producer.announce(1, 2, 3)
    first, second, third = await producer.records()
    await follower.consumer.take({(ROLL, 0): [first, replace(second, data=rubbish), third]})
    assert await follower.numbers() == [1, 2, 3]
    assert await follower.parked() == []


async def test_a_record_damaged_in_the_outbox_is_parked_whole(
    producer: Producer, follower: Follower
) -> None:
    await producer.announce(1, 2, 3)
    async with producer.database.begin() as tx:
        await tx.do("UPDATE outbox SET data = $1 WHERE pos = 2", b"{\xff\x00")
    await follower.consumer.catch_up()
    assert await follower.numbers() == [1, 3]
    (parked,) = await follower.parked()
    assert parked.reason.startswith("unreadable lastmetre.registry.roll_changed.v1")
    async with follower.database.begin() as tx:
        assert await tx.value("SELECT data FROM parked") == b"{\xff\x00"


async def test_two_processes_park_a_record_once(producer: Producer, pair: list[Follower]) -> None:
    for follower in pair:
        follower.faults = {2: ALWAYS(ValueError)}
    await producer.announce(1, 2, 3)
    await asyncio.gather(*(follower.consumer.catch_up() for follower in pair))
    assert await pair[0].numbers() == [1, 3]
    assert [parked.pos for parked in await pair[0].parked()] == [2]


# --- a producer whose history changed ---


async def reborn(producer: Producer) -> None:
    async with producer.database.begin() as tx:
        await tx.do("UPDATE outbox_head SET incarnation = uuidv7() WHERE partition = 0")


async def went_back(producer: Producer) -> None:
    await producer.restore(0, 1)


async def went_back_and_on(producer: Producer) -> None:
    await producer.restore(0, 1)
    await producer.announce(7, 8)


async def went_back_and_beyond(producer: Producer) -> None:
    await producer.restore(0, 1)
    await producer.announce(6, 7, 8, 9)


async def lost_a_record(producer: Producer) -> None:
    await producer.announce(4, 5)
    async with producer.database.begin() as tx:
        await tx.do("DELETE FROM outbox WHERE partition = 0 AND pos = 4")


@pytest.mark.parametrize(
    "change", [reborn, went_back, went_back_and_on, went_back_and_beyond, lost_a_record]
)
async def test_a_changed_history_stops_its_partition_and_no_other(
    producer: Producer, follower: Follower, change: Callable[[Producer], Awaitable[None]]
) -> None:
    await producer.announce(1, 2, 3)
    await producer.announce(1, partition=9)
    await follower.consumer.catch_up()

    await change(producer)
    await producer.announce(2, partition=9)
    await follower.consumer.catch_up()
    await follower.consumer.take({(ROLL, 0): await producer.records()})

    assert follower.consumer.stopped == {(ROLL, 0)}
    assert (await follower.numbers(), await follower.numbers(9)) == ([1, 2, 3], [1, 2])
    assert await follower.parked() == []


async def test_a_broken_chain_from_kafka_stops_the_partition(
    producer: Producer, follower: Follower
) -> None:
    await producer.announce(1, 2)
    await follower.consumer.catch_up()
    await producer.announce(3)
    third = (await producer.records())[2]
    await follower.consumer.take({(ROLL, 0): [replace(third, prev_id=uuid4())]})
    assert follower.consumer.stopped == {(ROLL, 0)}
    assert await follower.numbers() == [1, 2]


async def test_records_of_another_life_on_kafka_are_dropped(
    producer: Producer, follower: Follower
) -> None:
    await producer.announce(1, 2, 3)
    old = [replace(record, incarnation=uuid4(), id=uuid4()) for record in await producer.records()]
    await follower.consumer.take({(ROLL, 0): old})  # before anybody was met
    await follower.consumer.catch_up()
    await follower.consumer.take({(ROLL, 0): [replace(old[2], pos=4), replace(old[2], pos=90)]})
    assert await follower.numbers() == [1, 2, 3]
    assert follower.consumer.stopped == set()


# --- living ---


async def test_it_lives_by_the_pull_until_told_to_stop(
    producer: Producer, follower: Follower
) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(follower.consumer.run(stop))
    await producer.announce(1, 2)

    async def applied() -> bool:
        return await follower.numbers() == [1, 2]

    async def reported() -> bool:
        async with producer.database.begin() as tx:
            found = await tx.value("SELECT count(*) FROM outbox_consumer WHERE name = 'follower'")
        return bool(found)

    await eventually(applied)
    await eventually(reported)
    producer.line.down = True
    await producer.announce(3)
    producer.line.down = False

    async def all_applied() -> bool:
        return await follower.numbers() == [1, 2, 3]

    await eventually(all_applied)
    stop.set()
    await running


async def test_with_kafka_a_partition_is_pulled_only_when_it_stands_still(
    producer: Producer, follower: Follower
) -> None:
    await producer.announce(1)
    assert await follower.consumer.sweep(stale_after=3600)
    assert await follower.numbers() == []
    assert follower.consumer.oldest_unapplied(ROLL) > 0
    assert await follower.consumer.sweep()
    assert not await follower.consumer.sweep()
    assert await follower.numbers() == [1]
    assert follower.consumer.oldest_unapplied(ROLL) == 0


async def test_only_topics_of_the_source_are_followed(
    database_url: DatabaseUrl, issuer: Issuer
) -> None:
    async with AsyncExitStack() as stack:
        producer = await stack.enter_async_context(
            producing(database_url(""), issuer, (ROUNDS, ROLL))
        )
        (follower,) = await stack.enter_async_context(following(database_url(""), producer))
        consumer = Consumer("follower", follower.database, [Source(follower.client, [ROUNDS])], {})
        await producer.announce(1)
        await consumer.catch_up()
        assert (await follower.position()).pos == 0
        assert consumer.topics == [ROUNDS]


# --- the model ---

POISON = 13
PARTITIONS_PLAYED = (0, 1)


def batches(copies: list[Record]) -> st.SearchStrategy[list[Record]]:
    """Anything Kafka might bring at once: mostly runs in order, sometimes a heap."""
    starts = st.integers(0, len(copies) - 1)
    return st.one_of(
        st.just(copies),
        st.builds(lambda start, length: copies[start : start + length], starts, st.integers(1, 6)),
        st.lists(st.sampled_from(copies)),
    )


class Exchange(RuleBasedStateMachine):
    """Anything may happen between a producer and two processes of a follower.

    The model is a list of numbers per partition: what is written down is the beginning of it,
    without the poison, and in the end all of it.
    """

    producer: Producer
    pair: list[Follower]
    loop: asyncio.Runner

    @initialize()
    def begin(self) -> None:
        self.announced: dict[int, list[int]] = {partition: [] for partition in PARTITIONS_PLAYED}
        self.producer.line.down = False
        for follower in self.pair:
            follower.faults = {POISON: ALWAYS(ValueError)}
        self.loop.run(started_over(self.producer, self.pair[0]))

    @rule(
        partition=st.sampled_from(PARTITIONS_PLAYED),
        numbers=st.lists(st.integers(1, 15), min_size=1, max_size=4),
        fails=st.booleans(),
    )
    def announce(self, partition: int, numbers: list[int], *, fails: bool) -> None:
        async def write() -> None:
            async with self.producer.database.begin() as tx:
                for n in numbers:
                    tx.announce(number(n), key=KEYS[partition])
                if fails:
                    raise ZeroDivisionError

        try:
            self.loop.run(write())
        except ZeroDivisionError:
            return
        self.announced[partition] += numbers

    @rule(data=st.data())
    def everybody_at_once(self, data: st.DataObject) -> None:
        """Kafka brings something to each process, and one of them sweeps."""
        copies = self.loop.run(self._copies())
        brought = [
            (follower, partition, data.draw(batches(copies[partition])))
            for follower in self.pair
            for partition in PARTITIONS_PLAYED
            if copies[partition]
        ]
        sweeper = data.draw(st.sampled_from([None, *self.pair]))
        together = data.draw(st.booleans())
        self.loop.run(self._all_at_once(brought, sweeper, together=together))

    @rule(n=st.integers(1, 15))
    def a_moment_of_trouble(self, n: int) -> None:
        for follower in self.pair:
            if n != POISON:
                follower.faults[n] = once(OSError, asyncpg.DeadlockDetectedError)

    @rule()
    def the_line_is_cut_or_mended(self) -> None:
        self.producer.line.down = not self.producer.line.down

    @invariant()
    def what_is_written_is_the_beginning_of_what_was_announced(self) -> None:
        for partition, numbers in getattr(self, "announced", {}).items():
            pos = self.loop.run(self.pair[0].position(partition)).pos
            written = self.loop.run(self.pair[0].numbers(partition))
            assert written == [n for n in numbers[:pos] if n != POISON]

    def teardown(self) -> None:
        self.producer.line.down = False
        for follower in self.pair:
            follower.faults = {POISON: ALWAYS(ValueError)}
        self.loop.run(self.pair[0].consumer.catch_up())
        for partition, numbers in self.announced.items():
            assert self.loop.run(self.pair[0].position(partition)).pos == len(numbers)
        self.what_is_written_is_the_beginning_of_what_was_announced()
        parked = self.loop.run(self.pair[0].parked())
        assert {(event.partition, event.pos) for event in parked} == {
            (partition, pos)
            for partition, numbers in self.announced.items()
            for pos, n in enumerate(numbers, 1)
            if n == POISON
        }
        assert all(follower.consumer.stopped == set() for follower in self.pair)

    async def _copies(self) -> dict[int, list[Record]]:
        """What Kafka might bring: true copies, damaged ones, and some of another life."""
        copies = {}
        for partition in PARTITIONS_PLAYED:
            true = await self.producer.records(partition)
            damaged = [replace(record, data=b"{") for record in true[::3]]
            foreign = [replace(record, incarnation=uuid4()) for record in true[::4]]
            copies[partition] = true + damaged + foreign
        return copies

    async def _all_at_once(
        self,
        brought: list[tuple[Follower, int, list[Record]]],
        sweeper: Follower | None,
        *,
        together: bool,
    ) -> None:
        fetched = [(who, {(ROLL, partition): batch}) for who, partition, batch in brought]
        if together:  # all that came to one process in one transaction
            fetched = [
                (who, dict(ChainMap(*(at for other, at in fetched if other is who))))
                for who in self.pair
            ]
        ways = [who.consumer.take(group) for who, group in fetched]
        if sweeper is not None:
            ways.append(sweeper.consumer.catch_up())
        for failure in await asyncio.gather(*ways, return_exceptions=True):
            assert failure is None or isinstance(failure, TransientError), failure


def test_whatever_happens_each_number_is_written_once(
    database_url: DatabaseUrl, issuer: Issuer
) -> None:
    async def open_all(stack: AsyncExitStack) -> None:
        Exchange.producer = await stack.enter_async_context(producing(database_url(""), issuer))
        Exchange.pair = await stack.enter_async_context(
            following(database_url(""), Exchange.producer, 2)
        )

    with asyncio.Runner() as loop:
        Exchange.loop = loop
        stack = AsyncExitStack()
        loop.run(open_all(stack))
        try:
            run_state_machine_as_test(
                Exchange,
                settings=settings(
                    max_examples=15,
                    stateful_step_count=15,
                    deadline=timedelta(minutes=1),
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            loop.run(stack.aclose())
