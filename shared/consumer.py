"""The consumer: applies every record of a producer once, from Kafka or from the producer itself.

Two ways in, one way to apply. Kafka's records come as they are fetched; a sweep compares the
producers' heads with what is applied and pulls whatever Kafka did not bring: after a gap, a wipe, a
rebalance, with the broker down, for a new consumer. Both end in `_apply`: lock the position, judge
the records, hand runs of one type to their handler, advance, commit.

    HANDLERS: Handlers = {RoundOpened: flow.open_cases, RollChanged: flow.settle}

A handler is found by the type of the message it is for, and gets it in the shape it is there for.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Self, TypeVar

import httpx
import msgspec
import structlog
from prometheus_client import Gauge

from shared import positions, tracing
from shared.contracts import dispatch, registry
from shared.contracts.envelope import Event, Message, Record, registered, understood
from shared.database import AlreadyWritten, Database, Transaction
from shared.errors import TransientError
from shared.explaining import kind_of
from shared.kafka import KafkaSettings, Subscriber
from shared.outbox import NIL, ConsumerPosition, Head, Heads, Pulled, ReportedPosition
from shared.positions import Partition, Position, Verdict
from shared.telemetry import (
    APPLIED,
    CONSUMER_LAG,
    OLDEST_PARKED,
    OLDEST_UNAPPLIED,
    PARKED,
    PARKED_TOTAL,
    describe,
)

Handler = Callable[[Transaction, Sequence[Event[Any]]], Awaitable[None]]
Handlers = Mapping[type[Message], Handler]
S = TypeVar("S", bound=msgspec.Struct)

TYPES = registered((*registry.MESSAGES, *dispatch.MESSAGES))
PULL_BYTES = 4_000_000
STALE_SECONDS = 3.0
"""A partition whose head is ahead and that has not moved for this long is pulled."""
PULLED_AT_ONCE = 2
"""Partitions: while one waits for the producer or the database, the other is folded."""
SWEEP_SECONDS = 1.0
REPORT_SECONDS = 30.0
TOGETHER_BYTES = 4_000_000
"""How much of several partitions is taken in one transaction; as JSON, before it is decoded."""

STOPPED = Gauge(
    "lastmetre_consumer_stopped_partitions",
    "Partitions whose producer's history changed under us, until it is adopted.",
    ["service", "topic"],
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Source:
    """A producer: the topics it announces on, and a client to pull them from it."""

    client: httpx.AsyncClient
    topics: Sequence[str]


class Unappliable(Exception):
    """A finding about a record, no error of ours: it cannot be applied, now or later, and why."""


class Consumer:
    """Applies the events of several producers to one database, each exactly once.

    Args:
        name: who we are, in `applied`, at the producers and as Kafka's group.
        sources: whom we follow.
        handlers: what each message type does; types that are not named are passed over.
        kafka: the broker, or None to live by the pull alone.
        gauged: whether metrics tell how far it is. Not one that is soon gone: its last figures
            would be shown for ever.

    """

    def __init__(
        self,
        name: str,
        database: Database,
        sources: Sequence[Source],
        handlers: Handlers,
        kafka: KafkaSettings | None = None,
        *,
        gauged: bool = True,
    ) -> None:
        self.name = name
        self._gauged = gauged
        self.database = database
        self._handlers = handlers
        self._by_type = {message.type: (message, fold) for message, fold in handlers.items()}
        self._kafka = kafka
        self._sources = sources
        self._client = {topic: source.client for source in sources for topic in source.topics}
        self._behind: dict[Partition, _Behind] = {}
        self._stopped: dict[Partition, Position] = {}

    @property
    def stopped(self) -> AbstractSet[Partition]:
        """Partitions whose producer's history changed: they wait until it is adopted."""
        return set(self._stopped)

    def silent(self) -> "Consumer":
        """Make another one of us for a single errand: without Kafka and without metrics."""
        return Consumer(self.name, self.database, self._sources, self._handlers, gauged=False)

    @property
    def topics(self) -> list[str]:
        """Every topic we follow."""
        return list(self._client)

    # --- running ---

    async def run(self, stop: asyncio.Event) -> None:
        """Follow Kafka and sweep until told to stop; what is being applied is finished first."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sweep_until(stop))
            if self._kafka is not None:
                tasks.create_task(self._follow_until(stop, self._kafka))

    async def _follow_until(self, stop: asyncio.Event, kafka: KafkaSettings) -> None:
        pause = Backoff()
        while not stop.is_set():
            subscriber = Subscriber(kafka, f"lastmetre.{self.name}", self.topics)
            try:
                await unless(stop, subscriber.connect())
                while not stop.is_set():
                    fetched = await subscriber.poll()
                    if fetched:
                        if await self._take_all(fetched):
                            pause.reset()
                        else:
                            await pause.wait(stop)
                        await subscriber.commit()
            except TransientError as error:
                log.warning("kafka_lost", consumer=self.name, why=str(error))
            finally:
                await subscriber.close()
            await pause.wait(stop)

    async def _take_all(self, fetched: Mapping[Partition, Sequence[Record]]) -> bool:
        """Take what came for each partition; say whether that went well everywhere.

        A fault of the moment is no reason to leave the group, nor to keep the other partitions
        waiting: what could not be taken is missed by position, and the sweep brings it.
        """
        well = True
        for group in _together(fetched, self.topics):
            try:
                await self.take(group)
            except TransientError as error:
                well = False
                log.warning("kafka_records_left", partitions=list(group), why=str(error))
        return well

    async def take(self, fetched: Mapping[Partition, Sequence[Record]]) -> None:
        """Apply what Kafka brought, in one transaction.

        Where that cannot be done each partition is taken for itself, and where that cannot be done
        either, the producer's own copy decides.

        Raises:
            TransientError: our database or, where it had to be asked, the producer is not there.

        """
        moving = {at: records for at, records in fetched.items() if at not in self._stopped}
        if not moving:
            return
        try:
            verdicts = await self._settle(moving, "kafka")
        except Unappliable as why:
            if len(moving) > 1:
                for partition, records in moving.items():
                    await self.take({partition: records})
                return
            (partition,) = moving
            log.warning("kafka_record_refused", partition=partition, why=str(why))
            await self._pull(partition)
            return
        for partition, verdict in verdicts.items():
            if verdict.gap:
                await self._pull(partition)

    async def _sweep_until(self, stop: asyncio.Event) -> None:
        reported = 0.0
        # What was left undone when we stopped is fetched at once: the broker may have forgotten it.
        patience = 0.0
        while not stop.is_set():
            try:
                await self.sweep(stale_after=patience)
                patience = STALE_SECONDS if self._kafka else 0.0
                if time.monotonic() - reported > REPORT_SECONDS:
                    await self._report()
                    reported = time.monotonic()
            except TransientError as error:
                log.warning("sweep_failed", consumer=self.name, why=str(error))
            await wait_for(stop, SWEEP_SECONDS if self._kafka else SWEEP_SECONDS / 5)

    # --- the pull ---

    async def sweep(self, stale_after: float = 0.0) -> bool:
        """Compare heads with positions once and pull what is behind; say whether anything was.

        Raises:
            TransientError: a producer does not answer, or our database does not.

        """
        behind = False
        failures: list[TransientError] = []
        for source in self._sources:
            # Positions before heads: what we have applied by now, every later head has reached.
            async with self.database.begin(readonly=True) as tx:
                applied = {(p.topic, p.partition): p for p in await positions.read(tx, self.name)}
            try:
                heads = await _get_heads(source)
            except TransientError as error:
                failures.append(error)
                continue
            behind |= await self._sweep_source(applied, heads, stale_after, failures)
        if self._gauged:
            await self._gauge_parked()
        if failures:
            raise failures[0]
        return behind

    async def _sweep_source(
        self,
        applied: Mapping[Partition, Position],
        heads: Sequence[Head],
        stale_after: float,
        failures: list[TransientError],
    ) -> bool:
        await self._meet(applied, heads)
        behind = False
        turns = asyncio.Semaphore(PULLED_AT_ONCE)

        async def compare(position: Position, head: Head) -> bool:
            async with turns:
                try:
                    return await self._sweep_partition(position, head, stale_after)
                except TransientError as error:
                    failures.append(error)  # the other partitions do not wait for this one
                    return False

        # Topic by topic: what one tells may be about what another told before.
        for topic, group in groupby(heads, key=lambda head: head.topic):
            known = [(position, head) for head in group
                     if topic in self._client
                     and (position := applied.get((head.topic, head.partition)))]  # fmt: skip
            async with asyncio.TaskGroup() as tasks:
                compared = [tasks.create_task(compare(*each)) for each in known]
            behind |= any(task.result() for task in compared)
        if self._gauged:
            for topic in {head.topic for head in heads}:
                OLDEST_UNAPPLIED.labels(self.name, topic).set(self.oldest_unapplied(topic))
                STOPPED.labels(self.name, topic)  # none is told as 0, not as silence
        return behind

    async def _sweep_partition(self, known: Position, head: Head, stale_after: float) -> bool:
        """Compare one head with where we are and pull what is behind; say whether anything was."""
        position = await self._reconciled(known, head)
        if position is None:
            return False
        partition = (head.topic, head.partition)
        state = self._behind.setdefault(partition, _Behind())
        state.observe(position, head)
        if self._gauged:
            CONSUMER_LAG.labels(self.name, head.topic, str(head.partition)).set(
                head.pos - position.pos
            )
        if head.pos <= position.pos or partition in self._stopped:
            return False
        if state.unmoved() >= stale_after:
            await self._pull(partition)
        return True

    async def _reconciled(self, position: Position, head: Head) -> Position | None:
        """Say where we stand with a producer that has this head; None: our histories contradict."""
        if positions.diverged(position, head):
            self._stop(position, "head")
            return None
        if positions.reborn(position, head):
            position = await self._follow_over(position, head)
        self._go_on(position)
        return position

    async def _follow_over(self, position: Position, head: Head) -> Position:
        """Follow an adopted producer into its new life: say where we stand for that.

        If its backup holds what we applied last, we are on the way and walk on. Else we had
        followed its former life further than the backup goes: what came after counts no more, and
        we begin with the snapshot that tells everything anew.
        """
        assert head.snapshot_pos is not None  # noqa: S101 - it is reborn
        client, topic, partition = self._client[head.topic], head.topic, head.partition
        if position.pos == 0:
            return position
        last = await _get_records(client, topic, partition, position.pos - 1, limit=1)
        if last and last[0].id == position.id:
            return position
        first = await _get_records(client, topic, partition, head.snapshot_pos - 1, limit=1)
        async with self.database.begin() as tx:
            moved = await positions.rejoin(tx, self.name, head, first[0])
            position = await positions.lock(tx, self.name, topic, partition)
        if moved:
            log.warning("producer_followed_into_new_life", topic=topic, partition=partition,
                        incarnation=str(head.incarnation), pos=position.pos)  # fmt: skip
        return position

    async def _meet(self, applied: Mapping[Partition, Position], heads: Sequence[Head]) -> None:
        """Learn whom we follow where we have applied nothing yet."""
        strangers = [
            head
            for head in heads
            if (position := applied.get((head.topic, head.partition)))
            and position.incarnation == NIL
        ]
        if strangers:
            async with self.database.begin() as tx:
                for head in strangers:
                    await positions.meet(tx, self.name, head)

    async def catch_up(self) -> None:
        """Pull until every head is reached; for tests, rebuilds and the start of a process."""
        while await self.sweep():
            pass

    async def _pull(self, partition: Partition) -> None:
        """Fetch from the producer and apply until there is no more. No row is locked over HTTP."""
        topic, number = partition
        async with (
            self.database.session_lock(f"pull:{self.name}:{topic}:{number}") as held,
            _Pages(self._client[topic], partition) as pages,
        ):
            while held and partition not in self._stopped:
                async with self.database.begin(readonly=True) as tx:
                    after = await tx.value(
                        "SELECT pos FROM applied WHERE consumer = $1 AND topic = $2"
                        " AND partition = $3", self.name, topic, number,
                    )  # fmt: skip
                records = await pages.after(after)
                if not records:
                    return
                if [record.pos for record in records] != list(
                    range(after + 1, after + 1 + len(records))
                ):
                    await self._stop_at(partition, "hole")
                    return
                try:
                    verdicts = await self._settle({partition: records}, "pull")
                except Unappliable:
                    await self._apply_one_by_one(partition, records)
                else:
                    if not verdicts[partition].run:
                        # Somebody was faster, or it is no history of ours: the next sweep tells.
                        return

    async def _apply_one_by_one(self, partition: Partition, records: Sequence[Record]) -> None:
        """Find the record that cannot be applied, and park it in its place; the rest goes on."""
        for record in records:
            try:
                await self._settle({partition: [record]}, "pull")
            except Unappliable as why:
                await self.database.transact(self._park, partition, record, str(why))
                log.error(  # noqa: TRY400 - a stack may quote the data
                    "event_parked", topic=record.topic, pos=record.pos, why=str(why)
                )

    # --- applying ---

    async def _settle(
        self, fetched: Mapping[Partition, Sequence[Record]], by: str
    ) -> dict[Partition, Verdict]:
        try:
            return await self.database.transact(self._apply, fetched, by)
        except AlreadyWritten as error:
            # Told from a collision of the moment only by the retries that it outlasted.
            types = {record.type for records in fetched.values() for record in records}
            raise Unappliable(f"{' '.join(sorted(types))}: UniqueViolationError") from error

    async def _apply(
        self, tx: Transaction, fetched: Mapping[Partition, Sequence[Record]], by: str
    ) -> dict[Partition, Verdict]:
        locked = await positions.lock_all(tx, self.name, fetched.keys())
        verdicts = {
            at: positions.judge(locked[at], records, pulled=by == "pull")
            for at, records in fetched.items()
        }
        runs = [verdict.run for verdict in verdicts.values() if verdict.run]
        if runs:
            await self._hand_over_as_decided(tx, runs)
            await positions.advance(tx, self.name, [run[-1] for run in runs])
            if self._gauged:
                applied = Counter(record.topic for run in runs for record in run)
                tx.after_commit(lambda: self._count(applied, by))
        for partition, verdict in verdicts.items():
            if verdict.broken:
                self._stop(await positions.lock(tx, self.name, *partition), "chain")
        return verdicts

    def _count(self, applied: Mapping[str, int], by: str) -> None:
        for topic, records in applied.items():
            APPLIED.labels(self.name, topic, by).inc(records)

    async def _hand_over_as_decided(
        self, tx: Transaction, runs: Sequence[Sequence[Record]]
    ) -> None:
        """Hand runs of records over; what people decided about some of them before still holds.

        Who reads a history again (a rebuild, a position that was put back) leaves out what was
        discarded, and takes what was re-driven as it was mended.
        """
        records = [record for run in runs for record in run]
        decided = await positions.decided(tx, self.name, runs)
        if not decided:
            await self.hand_over(tx, records)
            return
        undecided, kept = [], []
        for record in records:
            at = (record.topic, record.partition, record.pos)
            state, mended = decided.get(at, ("", None))
            if state == "parked":
                undecided.append(record)
            if state == "redriven" and mended is not None:
                kept.append(replace(record, data=mended))
            elif state != "discarded":
                kept.append(record)
        await self.hand_over(tx, kept)
        if undecided:
            await positions.settle_parked(tx, self.name, undecided)

    async def hand_over(self, tx: Transaction, records: Sequence[Record]) -> None:
        """Give records to their handlers, in order, runs of one type at a time.

        Raises:
            Unappliable: one of them cannot be understood or its handler refuses it.

        """
        for type_name, group in groupby(records, key=lambda record: record.type):
            if type_name not in self._by_type:
                continue  # additive contracts: what we do not know yet is not for us
            message, handler = self._by_type[type_name]
            run = list(group)
            try:
                with tracing.applying(self.name, run):
                    await handler(tx, understood(message, run))
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                # The text of a decoding error may quote the data; its class does not.
                raise Unappliable(f"unreadable {type_name}: {type(error).__name__}") from error
            except Exception as error:
                if tx.is_transient(error):
                    raise
                log.error(  # noqa: TRY400 - a stack may quote the data
                    "handler_failed", type=type_name, failure=describe(error)
                )
                raise Unappliable(f"{type_name}: {type(error).__name__}") from error

    async def _park(
        self, tx: Transaction, partition: Partition, record: Record, reason: str
    ) -> None:
        position = await positions.lock(tx, self.name, *partition)
        if positions.judge(position, [record], pulled=True).run:
            await positions.park(tx, self.name, record, reason)
            await positions.advance(tx, self.name, [record])
            if self._gauged:
                set_aside = PARKED_TOTAL.labels(self.name, record.topic, kind_of(reason))
                tx.after_commit(set_aside.inc)

    def _stop(self, position: Position, why: str) -> None:
        partition = (position.topic, position.partition)
        if partition not in self._stopped:
            self._stopped[partition] = position
            if self._gauged:
                STOPPED.labels(self.name, position.topic).inc()
            log.error("producer_history_changed", topic=position.topic,
                      partition=position.partition, seen_by=why)  # fmt: skip

    async def _stop_at(self, partition: Partition, why: str) -> None:
        async with self.database.begin() as tx:
            position = await positions.lock(tx, self.name, *partition)
        self._stop(position, why)

    def _go_on(self, position: Position) -> None:
        """Go on with a partition that was stopped, once it was moved past what stopped it."""
        partition = (position.topic, position.partition)
        stopped_at = self._stopped.get(partition)
        if stopped_at is None:
            return
        if position.incarnation != stopped_at.incarnation or position.pos > stopped_at.pos:
            del self._stopped[partition]
            if self._gauged:
                STOPPED.labels(self.name, position.topic).dec()

    # --- what others see ---

    def oldest_unapplied(self, topic: str) -> float:
        """Age in seconds of the oldest event of a topic that is not applied yet, as last swept."""
        return max(
            (state.age() for (name, _), state in self._behind.items() if name == topic), default=0.0
        )

    async def _gauge_parked(self) -> None:
        async with self.database.begin(readonly=True) as tx:
            counts = await positions.parked(tx, self.name)
            oldest = await positions.oldest_parked(tx, self.name)
        now = datetime.now(UTC)
        for topic in self.topics:
            waiting = (now - oldest.get(topic, now)).total_seconds()
            OLDEST_PARKED.labels(self.name, topic).set(max(0.0, waiting))
            PARKED.labels(self.name, topic).set(counts.get(topic, 0))

    async def _report(self) -> None:
        async with self.database.begin(readonly=True) as tx:
            applied = await positions.read(tx, self.name)
        for source in self._sources:
            body = ReportedPosition(
                [ConsumerPosition(p.topic, p.partition, p.pos) for p in applied
                 if p.topic in source.topics]
            )  # fmt: skip
            await _call(source.client, "PUT", f"/v1/outbox/consumers/{self.name}",
                        content=msgspec.json.encode(body))  # fmt: skip


def _together(
    fetched: Mapping[Partition, Sequence[Record]], topics: Sequence[str]
) -> Iterator[dict[Partition, Sequence[Record]]]:
    """Group what was fetched into transactions: only what is all of one type, and not too much.

    Topics come in the order in which we follow them: told first that a round is open, we make each
    of its people and their visit once, and do not go over all of them again.

    On the hot path every partition brings changes of the roll; one transaction for all of them
    costs hardly more than one for each. What is of several types stays for itself: its order
    matters, and it is rare.
    """
    group: dict[Partition, Sequence[Record]] = {}
    of, size = "", 0
    for partition, records in sorted(
        fetched.items(), key=lambda each: (topics.index(each[0][0]), each[0][1])
    ):
        if not records:
            continue
        types = {record.type for record in records}
        weight = sum(len(record.data) for record in records)
        if group and (types != {of} or size + weight > TOGETHER_BYTES):
            yield group
            group, size = {}, 0
        group[partition] = records
        of, size = next(iter(types)), size + weight
        if len(types) > 1:
            yield group
            group, size = {}, 0
    if group:
        yield group


class _Pages:
    """One partition's records from its producer, a page at a time.

    While a page is applied the next one is on its way, if there is so much: the producer reads and
    writes it meanwhile, which halves the time of a rebuild.
    """

    def __init__(self, client: httpx.AsyncClient, partition: Partition) -> None:
        self._client = client
        self._topic, self._number = partition
        self._ahead: tuple[int, asyncio.Task[list[Record]]] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._forget()

    async def after(self, pos: int) -> list[Record]:
        """Fetch what comes after a position.

        Raises:
            TransientError: the producer does not answer.

        """
        if self._ahead is not None and self._ahead[0] == pos:
            records = await self._ahead[1]
        else:
            await self._forget()
            records = await self._fetch(pos)
        self._ahead = None
        if sum(len(record.data) for record in records) > PULL_BYTES / 2:
            last = records[-1].pos
            self._ahead = last, asyncio.create_task(self._fetch(last))
        return records

    async def _fetch(self, pos: int) -> list[Record]:
        return await _get_records(self._client, self._topic, self._number, pos)

    async def _forget(self) -> None:
        if self._ahead is not None:
            self._ahead[1].cancel()
            await asyncio.gather(self._ahead[1], return_exceptions=True)


class _Behind:
    """What the sweep remembers of one partition: since when it stands still, what it lacks.

    By a clock that does not jump: the wall's is asked once for each head, how old it is.
    """

    def __init__(self) -> None:
        self._pos = -1
        self._still_since = time.monotonic()
        self._lacking: deque[tuple[int, float]] = deque(maxlen=1000)

    def observe(self, position: Position, head: Head) -> None:
        if position.pos < self._pos:
            self._lacking.clear()  # positions of a life that is over
        if position.pos != self._pos or head.pos == position.pos:
            self._pos, self._still_since = position.pos, time.monotonic()
        if head.recorded_at and (not self._lacking or self._lacking[-1][0] < head.pos):
            age = max(0.0, (datetime.now(UTC) - head.recorded_at).total_seconds())
            self._lacking.append((head.pos, time.monotonic() - age))
        while self._lacking and self._lacking[0][0] <= position.pos:
            self._lacking.popleft()

    def unmoved(self) -> float:
        return time.monotonic() - self._still_since

    def age(self) -> float:
        return time.monotonic() - self._lacking[0][1] if self._lacking else 0.0


class Backoff:
    """Waits longer each time, up to a limit, and is cut short by a stop."""

    def __init__(self, first: float = 0.25, most: float = 5.0) -> None:
        self._first, self._most = first, most
        self._next = first

    def reset(self) -> None:
        """Begin again with the first pause."""
        self._next = self._first

    async def wait(self, stop: asyncio.Event) -> None:
        """Wait the next pause, or until told to stop."""
        await wait_for(stop, self._next)
        self._next = min(self._next * 2, self._most)


async def wait_for(stop: asyncio.Event, seconds: float) -> None:
    """Wait a while, or until told to stop."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do something that may take long, but leave it where it is when told to stop."""
    doing, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((doing, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        left = [task for task in (doing, stopping) if task.cancel()]
        await asyncio.gather(*left, return_exceptions=True)
    if doing not in left:
        await doing


async def _get_heads(source: Source) -> list[Head]:
    answer = await _call(source.client, "GET", "/v1/outbox/heads")
    return [head for head in _read(answer, Heads).heads if head.topic in source.topics]


async def _get_records(
    client: httpx.AsyncClient, topic: str, partition: int, after: int, limit: int = PULL_BYTES
) -> list[Record]:
    answer = await _call(
        client, "GET", f"/v1/outbox/{topic}/{partition}",
        params={"after": after, "bytes": limit},
    )  # fmt: skip
    return _read(answer, Pulled).as_records(topic, partition)


def _read(answer: bytes, kind: type[S]) -> S:
    try:
        return msgspec.json.decode(answer, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise TransientError(f"producer: {type(error).__name__}") from error


async def _call(
    client: httpx.AsyncClient,
    method: str,
    path: str,
    **kwargs: Any,  # noqa: ANN401 - httpx's
) -> bytes:
    # Read as a stream: httpx's answers hold themselves in a circle, and one that has its content
    # would keep megabytes until the next collection of garbage.
    try:
        async with client.stream(method, path, **kwargs) as answer:
            answer.raise_for_status()
            return b"".join([chunk async for chunk in answer.aiter_bytes()])
    except httpx.HTTPError as error:
        raise TransientError(f"producer: {type(error).__name__}") from error
