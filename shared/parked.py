"""Dead letters: events that could not be applied, and what people decide about them.

A parked event was not lost and not counted. Until somebody re-drives or discards it, `balanced` is
not true. It is explained; its data can be mended, with the original kept beside it; a try says
beforehand what re-driving would do. Decisions are kept by position and survive a rebuild: what was
discarded stays out, what was re-driven is applied as it was mended. All of it is audited.
"""

from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from msgspec import Meta

from shared import audit, positions
from shared.auth import Caller, CallerDep
from shared.bodies import Given, decode_one, explain_invalid, read_body
from shared.consumer import TYPES, Consumer, Unappliable
from shared.contracts.envelope import Record, partition_of
from shared.contracts.registry import ROLL
from shared.database import AlreadyWritten, Database, Transaction
from shared.errors import BadInput, Conflict, NotFound
from shared.examples import Example, Examples
from shared.explaining import Explanation, Kind, explain, kind_of
from shared.openapi import openapi_body, openapi_reply
from shared.telemetry import PARKED_DECISIONS

State = Literal["parked", "redriven", "discarded"]
Why = Annotated[str, Meta(min_length=3, max_length=500)]
"""Why somebody decided as they did, for those who read it later; without personal data (R20)."""


class Parked(msgspec.Struct, frozen=True, omit_defaults=True):
    """One parked event, without its data."""

    id: int
    topic: str
    partition: int
    pos: int
    event_id: UUID
    type: str
    recorded_at: datetime
    reason: str
    kind: Kind
    parked_at: datetime
    state: State
    decided_at: datetime | None = None
    decided_by: str | None = None
    decided_why: str | None = None
    mended_at: datetime | None = None
    mended_by: str | None = None
    mended_why: str | None = None

    @property
    def place(self) -> str:
        """Its place in the history of its producer, which is what decisions are kept by."""
        return f"{self.topic}/{self.partition}/{self.pos}"


class ParkedWhole(Parked, frozen=True, omit_defaults=True):
    """One parked event with its data as text, damaged bytes escaped, and what is wrong with it."""

    data: str = ""
    mended_data: str | None = None
    """The data it is re-driven with, if it was mended."""
    explanation: Explanation | None = None


class MendIn(Given, frozen=True):
    """Correct data for a parked event, and why they are that."""

    data: dict[str, Any]
    """All of the event's data, corrected: an object that fits the schema of its type."""
    reason: Why


class TryIn(Given, frozen=True):
    """What to try a parked event with; without data, what it would be re-driven with."""

    data: dict[str, Any] | None = None


class DiscardIn(Given, frozen=True):
    """Why an event is given up."""

    reason: Why


class RedriveIn(Given, frozen=True):
    """Which events to re-drive, in the order in which they were set aside."""

    topic: str | None = None
    type: str | None = None
    kind: Kind | None = None
    after: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    limit: Annotated[int, Meta(ge=1, le=500)] = 100


class Tried(msgspec.Struct, frozen=True):
    """What re-driving would do. `why` it could not be applied, else null."""

    applies: bool
    kind: Kind | None = None
    why: str | None = None


class Redriven(msgspec.Struct, frozen=True):
    """What became of each event. Go on after `last` until nothing is left to try."""

    redriven: list[int]
    still_parked: list[int]
    last: int | None


COLUMNS = (
    "id, topic, partition, pos, event_id, type, recorded_at, reason, kind, parked_at, state,"
    " decided_at, decided_by, decided_why, mended_at, mended_by, mended_why"
)
ROUTES = {
    ("GET", "/v1/status"): {"supervisor", "district", "system", "admin"},
    ("GET", "/v1/parked"): {"supervisor", "district", "system", "admin"},
    ("POST", "/v1/parked:redrive"): {"admin"},
    ("GET", "/v1/parked/{parked_id}"): {"admin"},
    ("POST", "/v1/parked/{parked_id}:mend"): {"admin"},
    ("POST", "/v1/parked/{parked_id}:try"): {"admin"},
    ("POST", "/v1/parked/{parked_id}:redrive"): {"admin"},
    ("POST", "/v1/parked/{parked_id}:discard"): {"admin"},
}
"""Who may look and decide: merge this into a consuming service's access table."""


class ParkedList(msgspec.Struct, frozen=True):
    """Events that were set aside, in that order."""

    items: list[Parked]


class Applied(msgspec.Struct, frozen=True):
    """How far one partition was applied, and when that was announced.

    `id` is the last event's and `incarnation` the life of its producer: heads that contradict them
    tell of a restored backup.
    """

    topic: str
    partition: int
    applied: int
    recorded_at: datetime | None
    id: UUID
    incarnation: UUID


class Status(msgspec.Struct, frozen=True):
    """How far a consumer is, and how many events of each topic it set aside."""

    service: str
    positions: list[Applied]
    parked: dict[str, int]


def examples(service: str, topic: str, type_name: str, data: str) -> Examples:
    """Give an example of each route of a consumer.

    Args:
        service: that follows the topic
        topic: where two events could not be applied
        type_name: of the first of them
        data: of that event

    """
    event = {
        "id": 1,
        "topic": topic,
        "partition": 9,
        "pos": 1,
        "event_id": "0b0e1f4e-3c53-4d86-9f0e-7d1c2f6a8b90",
        "type": type_name,
        "recorded_at": "2022-01-14T00:00:07.604339Z",
        "reason": "ValueError",
        "kind": "refused",
        "parked_at": "2022-01-14T00:00:08.427135Z",
    }
    applied = {
        "topic": topic,
        "partition": 9,
        "applied": 2,
        "id": "5b0c1c7e-8f46-4a8e-a7a1-0d0f4e8f7c11",
        "incarnation": "017e5560-7c00-7d31-84cd-33f2eeef9c28",
    }
    decided = {"decided_at": "2022-01-14T00:15:00.191008Z", "decided_by": "operator"}
    mended = {
        "mended_at": "2022-01-14T00:12:31.082644Z",
        "mended_by": "operator",
        "mended_why": "as the producer meant it",
    }
    meant = msgspec.json.decode(data)
    whole = msgspec.to_builtins(explain(TYPES.get(type_name), data.encode(), "ValueError"))
    return {
        ("GET", "/v1/status"): Example(
            reply={
                "service": service,
                "positions": [{**applied, "recorded_at": event["recorded_at"]}],
                "parked": {topic: 2},
            },
        ),
        ("GET", "/v1/parked"): Example(
            query={"state": "parked"},
            reply={"items": [{**event, "state": "parked"}]},
            gives={"parked_id": "/items/0/id"},
        ),
        ("GET", "/v1/parked/{parked_id}"): Example(
            path={"parked_id": 1},
            reply={**event, "state": "parked", "data": data, "explanation": whole},
        ),
        ("POST", "/v1/parked/{parked_id}:mend"): Example(
            path={"parked_id": 1},
            body={"data": meant, "reason": mended["mended_why"]},
            problems=[BadInput, Conflict],
            reply={**event, "state": "parked", **mended},
        ),
        ("POST", "/v1/parked/{parked_id}:try"): Example(
            path={"parked_id": 1},
            body={},
            problems=[BadInput, Conflict],
            reply={"applies": True, "kind": None, "why": None},
        ),
        ("POST", "/v1/parked/{parked_id}:redrive"): Example(
            path={"parked_id": 1},
            problems=[Conflict],
            reply={**event, "state": "redriven", **decided, **mended},
        ),
        ("POST", "/v1/parked/{parked_id}:discard"): Example(
            path={"parked_id": 2},
            body={"reason": "its producer has sent it again"},
            problems=[Conflict],
            reply={
                **event,
                "id": 2,
                "state": "discarded",
                **decided,
                "decided_why": "its producer has sent it again",
            },
        ),
        ("POST", "/v1/parked:redrive"): Example(
            body={"kind": "refused", "limit": 100},
            reply={"redriven": [], "still_parked": [], "last": None},
        ),
    }


async def listed(
    tx: Transaction, consumer: str, state: str, after: int, limit: int
) -> list[Parked]:
    """List parked events in the order they were parked."""
    rows = await tx.rows(
        f"SELECT {COLUMNS} FROM parked WHERE consumer = $1 AND state = $2 AND id > $3"  # noqa: S608 - our columns
        " ORDER BY id LIMIT $4",
        consumer, state, after, limit,
    )  # fmt: skip
    return [Parked(*row) for row in rows]


async def shown(tx: Transaction, consumer: str, parked_id: int, caller: Caller) -> ParkedWhole:
    """Show one parked event whole, and explain it; who was shown it is noted.

    Raises:
        NotFound: there is none of that id.

    """
    row = await tx.row(
        f"SELECT {COLUMNS}, data, mended_data FROM parked WHERE consumer = $1 AND id = $2",  # noqa: S608 - our columns
        consumer,
        parked_id,
    )
    if row is None:
        raise NotFound("no such parked event")
    data, mended = row["data"], row["mended_data"]
    whole = ParkedWhole(
        **{
            **row,
            "data": data.decode(errors="backslashreplace"),
            "mended_data": mended and mended.decode(),
            "explanation": explain(
                TYPES.get(row["type"]), data, row["reason"], mended=mended is not None
            ),
        }
    )
    await audit.record(tx, caller, "show parked event", [whole.place])
    return whole


async def mend(
    tx: Transaction, consumer: Consumer, parked_id: int, asked: MendIn, caller: Caller
) -> Parked:
    """Give a parked event the data it should have had; the original is kept.

    It is not applied by this: look what a try says, then re-drive it.

    Raises:
        BadInput: the data breaks a rule of the event's type.
        Conflict: it was decided already, or is of a type that this version does not know.

    """
    record = await _lock_undecided(tx, consumer, parked_id)
    data = checked(record, asked.data)
    row = await tx.row(
        "UPDATE parked SET mended_data = $2, mended_at = now(), mended_by = $3, mended_why = $4"  # noqa: S608 - our columns
        f" WHERE id = $1 RETURNING {COLUMNS}",
        parked_id, data, caller.sub, asked.reason,
    )  # fmt: skip
    assert row is not None  # noqa: S101 - locked a statement ago
    await _note(
        tx, consumer, caller, "mend", "mended", Parked(*row),
        reason=asked.reason, data_sha256=sha256(data).hexdigest(),
    )  # fmt: skip
    return Parked(*row)


def checked(record: Record, given: dict[str, Any]) -> bytes:
    """Hold mended data against the rules of the event's type and place.

    Raises:
        BadInput: it breaks one; field and rule are named.
        Conflict: the type is not known here.

    """
    message = TYPES.get(record.type)
    if message is None:
        raise Conflict("events of this type are not known to this version")
    data = msgspec.json.encode(given)
    try:
        meant = msgspec.json.decode(data, type=message)
    except msgspec.ValidationError as error:
        place, rule = explain_invalid(error)
        raise BadInput.at(f"data.{place}".rstrip("."), rule) from None
    # A community's figures change through one partition only: elsewhere nobody could compare them.
    named: Any = getattr(meant, "communities", ())
    codes = [each if isinstance(each, str) else each.community for each in named]
    if record.topic == ROLL and any(partition_of(code) != record.partition for code in codes):
        raise BadInput.at("data.communities", "must belong to the partition of the event")
    return data


class _Applied(Exception):
    """Raised once a try has applied an event, so that nothing of it stays."""


async def attempt(
    database: Database, consumer: Consumer, parked_id: int, given: dict[str, Any] | None
) -> Tried:
    """Apply a parked event, as `redrive` would, and take it back.

    Raises:
        BadInput, Conflict: as for mending and re-driving.

    """
    try:
        return await database.transact(_apply_and_take_back, consumer, parked_id, given)
    except _Applied:
        return Tried(applies=True)
    except Unappliable as why:
        return Tried(applies=False, kind=kind_of(str(why)), why=str(why))
    except AlreadyWritten as why:
        return Tried(applies=False, kind="duplicate", why=str(why))


async def _apply_and_take_back(
    tx: Transaction, consumer: Consumer, parked_id: int, given: dict[str, Any] | None
) -> Tried:
    record = await _lock_undecided(tx, consumer, parked_id)
    if given is not None:
        record = replace(record, data=checked(record, given))
    await consumer.hand_over(tx, [record])
    raise _Applied


async def redrive(tx: Transaction, consumer: Consumer, parked_id: int, caller: Caller) -> Parked:
    """Apply a parked event now, as it was mended, after all that came behind it.

    That does no harm: reporting's folding commutes; dispatch and registry compare revisions, and
    pass over what is older than what they know.

    Raises:
        Conflict: it still cannot be applied, or was decided already.

    """
    record = await _lock_undecided(tx, consumer, parked_id)
    try:
        await consumer.hand_over(tx, [record])
    except Unappliable as why:
        raise Conflict(f"the event still cannot be applied: {why}") from why
    return await _decide(tx, consumer, parked_id, "redriven", caller)


async def redrive_one(
    database: Database, consumer: Consumer, parked_id: int, caller: Caller
) -> Parked:
    """Re-drive one parked event, in a transaction of its own.

    Raises:
        Conflict: it still cannot be applied, or was decided already.

    """
    try:
        return await database.transact(redrive, consumer, parked_id, caller)
    except AlreadyWritten as why:
        raise Conflict(f"the event still cannot be applied: {why}") from why


async def redrive_all(
    database: Database, consumer: Consumer, asked: RedriveIn, caller: Caller
) -> Redriven:
    """Re-drive many parked events, each in a transaction of its own."""
    async with database.begin(readonly=True) as tx:
        rows = await tx.rows(
            "SELECT id FROM parked WHERE consumer = $1 AND state = 'parked' AND id > $2"
            " AND ($3::text IS NULL OR topic = $3) AND ($4::text IS NULL OR type = $4)"
            " AND ($5::text IS NULL OR kind = $5) ORDER BY id LIMIT $6",
            consumer.name, asked.after, asked.topic, asked.type, asked.kind, asked.limit,
        )  # fmt: skip
    done, left = [], []
    for (parked_id,) in rows:
        try:
            await redrive_one(database, consumer, parked_id, caller)
        except Conflict:
            left.append(parked_id)
        else:
            done.append(parked_id)
    return Redriven(done, left, rows[-1]["id"] if rows else None)


async def discard(
    tx: Transaction, consumer: Consumer, parked_id: int, asked: DiscardIn, caller: Caller
) -> Parked:
    """Give a parked event up. Its effect stays uncounted, and the ledger will say so.

    Raises:
        Conflict: it was decided already.

    """
    await _lock_undecided(tx, consumer, parked_id)
    return await _decide(tx, consumer, parked_id, "discarded", caller, asked.reason)


async def _lock_undecided(tx: Transaction, consumer: Consumer, parked_id: int) -> Record:
    """Lock an event that nobody decided on, with the data that it is to be applied with."""
    where = await tx.row(
        "SELECT topic, partition FROM parked WHERE consumer = $1 AND id = $2",
        consumer.name, parked_id,
    )  # fmt: skip
    if where is None:
        raise NotFound("no such parked event")
    await positions.lock(tx, consumer.name, *where)
    row = await tx.row("SELECT * FROM parked WHERE id = $1 FOR UPDATE", parked_id)
    if row is None or row["state"] != "parked":
        raise Conflict("this event was decided already")
    return Record(
        topic=row["topic"],
        partition=row["partition"],
        pos=row["pos"],
        id=row["event_id"],
        prev_id=row["event_id"],
        incarnation=row["incarnation"],
        type=row["type"],
        recorded_at=row["recorded_at"],
        data=row["data"] if row["mended_data"] is None else row["mended_data"],
    )


async def _decide(
    tx: Transaction,
    consumer: Consumer,
    parked_id: int,
    state: Literal["redriven", "discarded"],
    caller: Caller,
    reason: str | None = None,
) -> Parked:
    row = await tx.row(
        "UPDATE parked SET state = $2, decided_at = now(), decided_by = $3, decided_why = $4"  # noqa: S608 - our columns
        f" WHERE id = $1 RETURNING {COLUMNS}",
        parked_id, state, caller.sub, reason,
    )  # fmt: skip
    assert row is not None  # noqa: S101 - locked a statement ago
    decided = Parked(*row)
    action = "redrive" if state == "redriven" else "discard"
    details = {} if reason is None else {"reason": reason}
    await _note(tx, consumer, caller, action, state, decided, **details)
    return decided


async def _note(
    tx: Transaction,
    consumer: Consumer,
    caller: Caller,
    action: str,
    decision: str,
    event: Parked,
    **details: str,
) -> None:
    """Note a decision in the audit log, and count it."""
    counted = PARKED_DECISIONS.labels(consumer.name, event.topic, decision)
    tx.after_commit(counted.inc)
    await audit.record(tx, caller, f"{action} parked event", [event.place], **details)


async def status(database: Database, consumer: Consumer, service: str) -> dict[str, Any]:
    """Say how far this service's consumer is and what it set aside; heads are the producers'."""
    async with database.begin(readonly=True) as tx:
        applied = await positions.read(tx, consumer.name)
        parked = await positions.parked(tx, consumer.name)
    return {
        "service": service,
        "positions": [
            {"topic": p.topic, "partition": p.partition, "applied": p.pos,
             "recorded_at": p.recorded_at, "id": p.id, "incarnation": p.incarnation}
            for p in applied
        ],
        "parked": parked,
    }  # fmt: skip


def router(database: Database, consumer: Consumer, service: str) -> APIRouter:
    """Build the routes over one consumer's dead letters and positions."""
    routes = APIRouter(tags=["parked"])
    ParkedId = Annotated[int, Path(ge=1, lt=2**63)]  # noqa: N806 - a type

    @routes.get("/v1/status", responses=openapi_reply(Status))
    async def get_status() -> Response:
        """How far this service is with each topic, and how many events it set aside."""
        return _json(await status(database, consumer, service))

    @routes.get("/v1/parked", responses=openapi_reply(ParkedList))
    async def get_parked(
        state: State = "parked",
        after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> Response:
        """List events that could not be applied."""
        async with database.begin(readonly=True) as tx:
            found = await listed(tx, consumer.name, state, after, limit)
        return _json({"items": found})

    @routes.post(
        "/v1/parked:redrive",
        openapi_extra=openapi_body(RedriveIn, list_=False),
        responses=openapi_reply(Redriven),
    )
    async def post_redrive_all(request: Request, caller: CallerDep) -> Response:
        """Re-drive all events of a topic, type or kind of failure, some hundreds at a time."""
        asked = decode_one(await read_body(request), RedriveIn)
        return _json(await redrive_all(database, consumer, asked, caller))

    @routes.get("/v1/parked/{parked_id}", responses=openapi_reply(ParkedWhole))
    async def get_one(parked_id: ParkedId, caller: CallerDep) -> Response:
        """Show one event whole, with its data, what is wrong with it and what to do about it."""
        return _json(await database.transact(shown, consumer.name, parked_id, caller))

    @routes.post(
        "/v1/parked/{parked_id}:mend",
        openapi_extra=openapi_body(MendIn, list_=False),
        responses=openapi_reply(Parked),
    )
    async def post_mend(parked_id: ParkedId, request: Request, caller: CallerDep) -> Response:
        """Give an event the data it should have had. The original is kept; nothing is applied."""
        asked = decode_one(await read_body(request), MendIn)
        return _json(await database.transact(mend, consumer, parked_id, asked, caller))

    @routes.post(
        "/v1/parked/{parked_id}:try",
        openapi_extra=openapi_body(TryIn, list_=False),
        responses=openapi_reply(Tried),
    )
    async def post_try(parked_id: ParkedId, request: Request) -> Response:
        """Say whether an event could be applied now, or with other data; nothing of it stays."""
        asked = decode_one(await read_body(request), TryIn)
        return _json(await attempt(database, consumer, parked_id, asked.data))

    @routes.post("/v1/parked/{parked_id}:redrive", responses=openapi_reply(Parked))
    async def post_redrive(parked_id: ParkedId, caller: CallerDep) -> Response:
        """Apply an event now that what was wrong is mended, its data or the software."""
        return _json(await redrive_one(database, consumer, parked_id, caller))

    @routes.post(
        "/v1/parked/{parked_id}:discard",
        openapi_extra=openapi_body(DiscardIn, list_=False),
        responses=openapi_reply(Parked),
    )
    async def post_discard(parked_id: ParkedId, request: Request, caller: CallerDep) -> Response:
        """Give an event up, for a reason."""
        asked = decode_one(await read_body(request), DiscardIn)
        return _json(await database.transact(discard, consumer, parked_id, asked, caller))

    return routes


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
