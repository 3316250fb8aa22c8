"""Adoption: a producer that was restored from an older backup begins a new life of its outbox.

Whoever had followed it further than the backup goes has counted what never happened, and stopped.
`adopt` mints a new incarnation and tells anew, per partition, all that the producer stands for:
a snapshot with a beginning and an end, chained to what the backup still holds. Consumers whose past
it shares walk into it; the others go on from its beginning.

It is one transaction that holds every head. No writer commits meanwhile, since heads are the last
locks of each; what was committed before is in the snapshot, and what waits is announced after it,
in the new life. An adoption that is cut short has not happened.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

import msgspec
import structlog
from fastapi import APIRouter, Request, Response

from shared import audit
from shared.auth import CallerDep
from shared.bodies import Given, decode_one, read_body
from shared.contracts.envelope import PARTITIONS, Message, partition_of
from shared.database import Database, Transaction
from shared.errors import Conflict, Unavailable
from shared.examples import Example, Examples
from shared.openapi import openapi_body, openapi_reply

WRITTEN_AT_ONCE = 4_000_000
"""Bytes of a snapshot held in memory before they go to the outbox."""

Retelling = Callable[[Transaction], AsyncIterator[tuple[Message, str]]]
"""Tells anew all that a producer stands for: messages, each with the key of its partition."""
Marks = Mapping[str, tuple[type[Message], type[Message]]]
"""What a snapshot begins and ends with, for each topic of a producer."""

log = structlog.get_logger(__name__)
_encoder = msgspec.json.Encoder()


class Adopt(Given, frozen=True):
    """Which life of the producer is over: its heads name it."""

    replaces: UUID


class Adopted(msgspec.Struct, frozen=True):
    """The new life of a producer, and the one it replaces."""

    incarnation: UUID
    replaces: UUID


class AdoptedMeanwhile(Conflict):
    """An adoption is asked for of a life that is not the last one."""

    slug = "adopted-meanwhile"
    title = "The producer began another life meanwhile"
    cause = "`replaces` names neither the life that the heads show nor the one before it."
    cure = "Read `GET /v1/outbox/heads`; adopt again only if consumers are still stopped."


ROUTES = {("POST", "/v1/outbox:adopt"): {"admin"}}
"""Who may adopt: merge this into a producing service's access table."""


def examples() -> Examples:
    """Give an example of the route."""
    former = "017e5560-7c00-7d31-84cd-33f2eeef9c28"
    return {
        ("POST", "/v1/outbox:adopt"): Example(
            body={"replaces": former},
            reply={"incarnation": "017e57a2-3400-7b02-9d1b-5a4c7d0e6f11", "replaces": former},
            problems=[AdoptedMeanwhile],
        )
    }


async def adopt(tx: Transaction, marks: Marks, retelling: Retelling, replaces: UUID) -> Adopted:
    """Begin a new life in place of another; asked for again, it gives the first answer.

    Raises:
        AdoptedMeanwhile: it is not the last life that is to be replaced.
        Unavailable: the database's clock is behind, so that the new life would seem the older one.

    """
    heads = await tx.rows(
        "SELECT topic, partition, pos, id, incarnation, adopted_from FROM outbox_head"
        " ORDER BY topic, partition FOR UPDATE"
    )
    present = heads[0]["incarnation"]
    if heads[0]["adopted_from"] == replaces:
        return Adopted(present, replaces)
    if present != replaces:
        raise AdoptedMeanwhile
    incarnation = await tx.value("SELECT uuidv7()")
    if incarnation <= present:
        raise Unavailable("the database's clock is behind the life that it would replace")
    snapshot = _Snapshot(
        tx, incarnation, {(h["topic"], h["partition"]): (h["pos"], h["id"]) for h in heads}
    )
    for begun, _ in marks.values():
        for partition in range(PARTITIONS):
            await snapshot.add(begun(), partition)
    async for message, key in retelling(tx):
        await snapshot.add(message, partition_of(key))
    for _, ended in marks.values():
        for partition in range(PARTITIONS):
            await snapshot.add(ended(), partition)
    await snapshot.write()
    await tx.do(
        "UPDATE outbox_head head SET pos = n.pos, id = n.id, recorded_at = clock_timestamp(),"
        " incarnation = $5, adopted_from = $6, snapshot_pos = head.pos + 1"
        " FROM unnest($1::text[], $2::smallint[], $3::bigint[], $4::uuid[])"
        " AS n (topic, partition, pos, id)"
        " WHERE head.topic = n.topic AND head.partition = n.partition",
        *snapshot.heads(), incarnation, replaces,
    )  # fmt: skip
    return Adopted(incarnation, replaces)


class _Snapshot:
    """Chains messages to the heads and writes them to the outbox, so many bytes at a time."""

    def __init__(
        self,
        tx: Transaction,
        incarnation: UUID,
        heads: dict[tuple[str, int], tuple[int, UUID]],
    ) -> None:
        self._tx = tx
        self._incarnation = incarnation
        self._heads = heads
        self._rows: list[tuple[object, ...]] = []
        self._bytes = 0

    async def add(self, message: Message, partition: int) -> None:
        """Put a message at the end of its partition."""
        place = (message.topic, partition)
        event, data = uuid4(), _encoder.encode(message)
        last, prev = self._heads[place]
        self._rows.append(
            (*place, last + 1, event, prev, self._incarnation, message.type, datetime.now(UTC),
             data)
        )  # fmt: skip
        self._heads[place] = last + 1, event
        self._bytes += len(data)
        if self._bytes > WRITTEN_AT_ONCE:
            await self.write()

    async def write(self) -> None:
        """Write what was added since."""
        await self._tx.copy_in(
            "outbox",
            ("topic", "partition", "pos", "id", "prev_id", "incarnation", "type", "recorded_at",
             "data"),
            self._rows,
        )  # fmt: skip
        self._rows, self._bytes = [], 0

    def heads(self) -> tuple[Sequence[object], ...]:
        """Topics, partitions, positions and ids of what is last in each partition."""
        return tuple(zip(*((*place, *last) for place, last in self._heads.items()), strict=True))


def router(
    database: Database, marks: Marks, retelling: Retelling, catch_up: Callable[[], Awaitable[None]]
) -> APIRouter:
    """Build the route by which a producer is adopted.

    Args:
        database: the producer's
        marks: what its snapshots begin and end with
        retelling: what is between
        catch_up: takes in what others said since the backup was made

    """
    routes = APIRouter(tags=["outbox"])

    @routes.post(
        "/v1/outbox:adopt",
        responses=openapi_reply(Adopted),
        openapi_extra=openapi_body(Adopt, list_=False),
    )
    async def post_adopt(request: Request, caller: CallerDep) -> Response:
        """Begin a new life after a restored backup, and tell consumers everything anew.

        What the other services said since the backup was made is taken in first.
        """
        asked = decode_one(await read_body(request), Adopt)
        # Else the snapshot would undo in others what they told us and we have forgotten.
        await catch_up()

        async def note_and_adopt(tx: Transaction) -> Adopted:
            # Noted first: the audit's lock comes before the heads'.
            await audit.record(tx, caller, "adopt producer", [asked.replaces])
            return await adopt(tx, marks, retelling, asked.replaces)

        adopted = await database.transact(note_and_adopt)
        log.warning(
            "producer_adopted",
            incarnation=str(adopted.incarnation),
            replaces=str(adopted.replaces),
        )
        return Response(_encoder.encode(adopted), media_type="application/json")

    return routes
