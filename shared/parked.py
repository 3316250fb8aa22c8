"""Dead letters: events that could not be applied, and what people decide about them.

A parked event was not lost and not counted. Until somebody re-drives or discards it, `balanced` is
not true. Decisions are kept by position and survive a rebuild.
"""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import APIRouter, Path, Query, Response

from shared import audit, positions
from shared.auth import Caller, CallerDep
from shared.consumer import Consumer, Unappliable
from shared.contracts.envelope import Record
from shared.database import AlreadyWritten, Database, Transaction
from shared.errors import Conflict, NotFound
from shared.examples import Example, Examples
from shared.openapi import openapi_reply


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
    parked_at: datetime
    state: str
    decided_at: datetime | None = None
    decided_by: str | None = None


class ParkedWhole(Parked, frozen=True, omit_defaults=True):
    """One parked event with its data, as text; damaged bytes are shown escaped."""

    data: str = ""


COLUMNS = (
    "id, topic, partition, pos, event_id, type, recorded_at, reason, parked_at, state,"
    " decided_at, decided_by"
)
ROUTES = {
    ("GET", "/v1/status"): {"supervisor", "district", "system", "admin"},
    ("GET", "/v1/parked"): {"supervisor", "district", "system", "admin"},
    ("GET", "/v1/parked/{parked_id}"): {"admin"},
    ("POST", "/v1/parked/{parked_id}:redrive"): {"admin"},
    ("POST", "/v1/parked/{parked_id}:discard"): {"admin"},
}
"""Who may look and decide: merge this into a consuming service's access table."""


class ParkedList(msgspec.Struct, frozen=True):
    """Events that were set aside, in that order."""

    items: list[Parked]


class Applied(msgspec.Struct, frozen=True):
    """How far one partition was applied, and when that was announced."""

    topic: str
    partition: int
    applied: int
    recorded_at: datetime | None


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
    applied = {"topic": topic, "partition": 9, "applied": 2}
    event = {
        "id": 1,
        "topic": topic,
        "partition": 9,
        "pos": 1,
        "event_id": "0b0e1f4e-3c53-4d86-9f0e-7d1c2f6a8b90",
        "type": type_name,
        "recorded_at": "2022-01-14T00:00:07.604339Z",
        "reason": "ValueError",
        "parked_at": "2022-01-14T00:00:08.427135Z",
    }
    decided = {"decided_at": "2022-01-14T00:15:00.191008Z", "decided_by": "operator"}
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
            path={"parked_id": 1}, reply={**event, "state": "parked", "data": data}
        ),
        ("POST", "/v1/parked/{parked_id}:redrive"): Example(
            path={"parked_id": 1},
            problems=[Conflict],
            reply={**event, "state": "redriven", **decided},
        ),
        ("POST", "/v1/parked/{parked_id}:discard"): Example(
            path={"parked_id": 2},
            problems=[Conflict],
            reply={**event, "id": 2, "state": "discarded", **decided},
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


async def shown(tx: Transaction, consumer: str, parked_id: int) -> ParkedWhole:
    """Show one parked event whole.

    Raises:
        NotFound: there is none of that id.

    """
    row = await tx.row(
        f"SELECT {COLUMNS}, data FROM parked WHERE consumer = $1 AND id = $2",  # noqa: S608 - our columns
        consumer,
        parked_id,
    )
    if row is None:
        raise NotFound("no such parked event")
    shown_data = row["data"].decode(errors="backslashreplace")
    return ParkedWhole(**{**row, "data": shown_data})


async def redrive(tx: Transaction, consumer: Consumer, parked_id: int, caller: Caller) -> Parked:
    """Apply a parked event now, after all that came behind it: folding commutes.

    Raises:
        Conflict: it still cannot be applied, or was decided already.

    """
    record = await _lock_undecided(tx, consumer, parked_id)
    try:
        await consumer.hand_over(tx, [record])
    except Unappliable as why:
        raise Conflict(f"the event still cannot be applied: {why}") from why
    return await _decide(tx, parked_id, "redriven", caller)


async def discard(tx: Transaction, consumer: Consumer, parked_id: int, caller: Caller) -> Parked:
    """Give a parked event up. Its effect stays uncounted, and the ledger will say so.

    Raises:
        Conflict: it was decided already.

    """
    await _lock_undecided(tx, consumer, parked_id)
    return await _decide(tx, parked_id, "discarded", caller)


async def _lock_undecided(tx: Transaction, consumer: Consumer, parked_id: int) -> Record:
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
        data=row["data"],
    )


async def _decide(tx: Transaction, parked_id: int, state: str, caller: Caller) -> Parked:
    row = await tx.row(
        "UPDATE parked SET state = $2, decided_at = now(), decided_by = $3 WHERE id = $1"  # noqa: S608 - our columns
        f" RETURNING {COLUMNS}",
        parked_id, state, caller.sub,
    )  # fmt: skip
    assert row is not None  # noqa: S101 - locked a statement ago
    decided = Parked(*row)
    place = f"{decided.topic}/{decided.partition}/{decided.pos}"
    await audit.record(tx, caller, f"{_ACTIONS[state]} parked event", [place])
    return decided


_ACTIONS = {"redriven": "redrive", "discarded": "discard"}


async def status(database: Database, consumer: Consumer, service: str) -> dict[str, Any]:
    """Say how far this service's consumer is and what it set aside; heads are the producers'."""
    async with database.begin(readonly=True) as tx:
        applied = await positions.read(tx, consumer.name)
        parked = await positions.parked(tx, consumer.name)
    return {
        "service": service,
        "positions": [
            {"topic": p.topic, "partition": p.partition, "applied": p.pos,
             "recorded_at": p.recorded_at}
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
        state: Annotated[str, Query(pattern="^(parked|redriven|discarded)$")] = "parked",
        after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> Response:
        """List events that could not be applied."""
        async with database.begin(readonly=True) as tx:
            found = await listed(tx, consumer.name, state, after, limit)
        return _json({"items": found})

    @routes.get("/v1/parked/{parked_id}", responses=openapi_reply(ParkedWhole))
    async def get_one(parked_id: ParkedId) -> Response:
        """Show one event whole, with its data."""
        async with database.begin(readonly=True) as tx:
            return _json(await shown(tx, consumer.name, parked_id))

    @routes.post("/v1/parked/{parked_id}:redrive", responses=openapi_reply(Parked))
    async def post_redrive(parked_id: ParkedId, caller: CallerDep) -> Response:
        """Apply an event now that what was wrong is mended."""
        try:
            return _json(await database.transact(redrive, consumer, parked_id, caller))
        except AlreadyWritten as why:
            raise Conflict(f"the event still cannot be applied: {why}") from why

    @routes.post("/v1/parked/{parked_id}:discard", responses=openapi_reply(Parked))
    async def post_discard(parked_id: ParkedId, caller: CallerDep) -> Response:
        """Give an event up."""
        return _json(await database.transact(discard, consumer, parked_id, caller))

    return routes


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
