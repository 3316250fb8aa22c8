"""The audit log: who looked at whom, who decided what. It only grows; each seals the one before.

    await audit.record(tx, caller, "search by phone", found)

A record commits with the act it tells of; one about a read is durable before the answer leaves.
Each carries a hash over itself and over the hash before it, so that a record that is changed, taken
out or put elsewhere later is found by `verify`, whoever did it. Only a log that was cut or written
anew from some record on looks whole again: against that, hashes are kept elsewhere, since every
append logs its own (`audit_recorded`), and `verify` is asked whether it still knows one of them.

Records name people and things by id; no name, number, phone, address or term of a search (R20).
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import MINYEAR, UTC, datetime
from hashlib import sha256
from typing import Annotated, Literal

import asyncpg
import msgspec
import sqlalchemy as sa
import structlog
from fastapi import APIRouter, Query, Response
from prometheus_client import Gauge
from sqlalchemy.dialects import postgresql as pg

from shared.auth import ROLES, Caller, CallerDep
from shared.bodies import json_reply
from shared.database import Database, Transaction
from shared.examples import Example, Examples
from shared.http import Check
from shared.moments import Moment
from shared.openapi import openapi_reply
from shared.paging import Cursor, Limit, pack_cursor, unpack_cursor

Seq = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Detail = str | int | bool | None

GENESIS = bytes(32)
"""The hash before the first record."""

VERIFIED_AT_ONCE = 100_000
"""Records that one request verifies at most: a second or two."""

_FORM = 1
"""Of the text that is hashed; it goes into every hash and changes with the form."""
_STEP = 1_000
_COLUMNS = "seq, at, who, roles, areas, action, targets, details, request_id, prev, hash"

ROUTES = {
    ("GET", "/v1/audit"): {"supervisor", "district", "admin"},
    ("GET", "/v1/audit:verify"): {"supervisor", "district", "admin"},
}
"""Who may read the log and have it verified: merge this into a service's access table."""

SEQ = Gauge("lastmetre_audit_records", "Records in the audit log; it never shrinks.", ["service"])

log = structlog.get_logger(__name__)


# --- the tables ---

GUARD = (
    """
    CREATE OR REPLACE FUNCTION audit_log_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'the audit log only grows: % is refused', TG_OP
            USING ERRCODE = 'insufficient_privilege';
    END $$
    """,
    """
    CREATE TRIGGER audit_log_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_only_grows()
    """,
    "INSERT INTO audit_log_head (one, seq, hash) VALUES (true, 0, decode(repeat('00', 32), 'hex'))",
)
"""What a migration runs once the tables are there. A trigger holds for the owner too."""

UNGUARD = ("DROP FUNCTION audit_log_only_grows() CASCADE",)
"""What a migration runs to go back."""


def tables(metadata: sa.MetaData) -> None:
    """Add the log and its head to a service's metadata."""
    sa.Table(
        "audit_log",
        metadata,
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("roles", pg.ARRAY(sa.Text), nullable=False),
        sa.Column("areas", pg.ARRAY(sa.Text), nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("targets", pg.ARRAY(sa.Text), nullable=False),
        sa.Column("details", pg.JSONB, nullable=False),
        sa.Column("request_id", sa.Text),
        sa.Column("prev", sa.LargeBinary, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Index("audit_log_who", "who", "seq"),
        sa.Index("audit_log_targets", "targets", postgresql_using="gin"),
        comment="Who looked at whom and who decided what (R20); it only grows",
    )
    sa.Table(
        "audit_log_head",
        metadata,
        sa.Column("one", sa.Boolean, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.CheckConstraint("one", name="audit_log_head_is_one"),
        comment="The last record of the audit log; locked by whoever appends",
    )
    sa.event.listen(metadata, "after_create", _guard)


def _guard(
    _: sa.MetaData, connection: sa.Connection, tables: Sequence[sa.Table], **__: object
) -> None:
    """Guard a log that was made from metadata, without a migration, as tests do."""
    if any(table.name == "audit_log" for table in tables):
        for statement in GUARD:
            connection.execute(sa.text(statement))


# --- records ---


class AuditRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One record. `prev` and `hash` in hexadecimal."""

    seq: int
    at: datetime
    """By the clock of the database."""
    who: str
    """`sub` of the token."""
    roles: list[str]
    areas: list[str]
    """What the token covered."""
    action: str
    targets: list[str]
    """Ids of those looked at or decided on."""
    details: dict[str, Detail]
    prev: str
    hash: str
    request_id: str | None = None

    def sealed(self) -> str:
        """Compute the hash that this record must have."""
        text = msgspec.json.encode(
            (_FORM, self.seq, self.at.astimezone(UTC).isoformat(timespec="microseconds"), self.who,
             self.roles, self.areas, self.action, self.targets, self.details, self.request_id),
            order="sorted",
        )  # fmt: skip
        return sha256(bytes.fromhex(self.prev) + text).hexdigest()


async def record(
    tx: Transaction,
    by: Caller,
    action: str,
    targets: Iterable[object] = (),
    /,
    **details: Detail,
) -> None:
    """Append one record to the log, in the transaction of what it tells.

    Call it last: from here to the commit nobody else appends.

    Args:
        tx: of the act
        by: who did it
        action: what they did, in a few words that are always the same
        targets: ids of those they looked at or decided on; their order is kept
        details: whatever else says what was done, free of personal data

    """
    head = await tx.row("SELECT seq, hash, clock_timestamp() FROM audit_log_head FOR UPDATE")
    if head is None:
        raise RuntimeError("the audit log has no head: run migrate")
    seq, prev, at = head
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    entry = AuditRecord(
        seq=seq + 1, at=at, who=by.sub, roles=sorted(by.roles), areas=list(by.areas),
        action=action, targets=[str(target) for target in targets], details=details,
        prev=prev.hex(), hash="", request_id=request_id,
    )  # fmt: skip
    seal = entry.sealed()
    await tx.do(
        f"WITH head AS (UPDATE audit_log_head SET seq = $1, hash = $11)"  # noqa: S608 - our columns
        f" INSERT INTO audit_log ({_COLUMNS})"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        entry.seq, at, entry.who, entry.roles, entry.areas, action, entry.targets,
        msgspec.json.encode(details).decode(), request_id, prev, bytes.fromhex(seal),
    )  # fmt: skip
    tx.after_commit(lambda: log.info("audit_recorded", seq=entry.seq, hash=seal, action=action))


async def listed(
    tx: Transaction,
    caller: Caller,
    *,
    who: str | None,
    action: str | None,
    target: str | None,
    since: datetime | None,
    until: datetime | None,
    before: int | None,
    limit: int,
) -> list[AuditRecord]:
    """List records, newest first. Whoever is no administrator sees those of their own areas."""
    rows = await tx.rows(
        f"SELECT {_COLUMNS} FROM audit_log WHERE ($1::text IS NULL OR who = $1)"  # noqa: S608 - our columns
        " AND ($2::text IS NULL OR action = $2)"
        " AND ($3::text IS NULL OR targets @> ARRAY[$3])"
        " AND ($4::timestamptz IS NULL OR at >= $4) AND ($5::timestamptz IS NULL OR at < $5)"
        " AND ($6::bigint IS NULL OR seq < $6)"
        " AND ($8 OR cardinality(areas) > 0 AND NOT EXISTS ("
        "   SELECT FROM unnest(areas) area WHERE NOT area LIKE ANY($9::text[])))"
        " ORDER BY seq DESC LIMIT $7",
        who, action, target, since, until, before, limit,
        caller.has("admin"), caller.area_patterns,
    )  # fmt: skip
    return [_entry(row) for row in rows]


def _entry(row: asyncpg.Record) -> AuditRecord:
    return AuditRecord(
        **{
            **row,
            "prev": row["prev"].hex(),
            "hash": row["hash"].hex(),
        }
    )


# --- verifying ---


class AuditBreak(msgspec.Struct, frozen=True):
    """The first place where the log is not what was written, and how that shows.

    `missing`: there is no record of this number; `changed`: it is not what its hash says;
    `unchained`: it does not continue the one before; `cut`: the log ends here, its head says more.
    """

    seq: int
    how: Literal["missing", "changed", "unchained", "cut"]


class AuditVerified(msgspec.Struct, frozen=True):
    """A stretch of the log, held against its hashes."""

    verified: int
    """Records that are as they were written."""
    last: int
    """The last of them; go on after it."""
    last_hash: str
    whole: bool
    """Whether this was the end of the log."""
    broken: AuditBreak | None
    found: bool | None
    """Whether the hash that was asked for is one of theirs; null: none was."""


class Chain:
    """Holds records against their hashes, in order, and stops at the first that does not fit."""

    def __init__(self, last: int = 0, last_hash: str = GENESIS.hex()) -> None:
        self.last = last
        self.last_hash = last_hash
        self.broken: AuditBreak | None = None

    def follow(self, entry: AuditRecord) -> bool:
        """Take the next record; say whether it is the one that was written next."""
        following = self.last + 1
        if entry.seq != following:
            self.broken = AuditBreak(following, "missing")
        elif entry.sealed() != entry.hash:
            self.broken = AuditBreak(following, "changed")
        elif entry.prev != self.last_hash:
            self.broken = AuditBreak(following, "unchained")
        else:
            self.last, self.last_hash = entry.seq, entry.hash
        return self.broken is None

    def end(self, seq: int, last_hash: str) -> None:
        """Hold the end of the records against the head."""
        if self.last < seq:
            self.broken = AuditBreak(self.last + 1, "cut")
        elif (self.last, self.last_hash) != (seq, last_hash):
            self.broken = AuditBreak(self.last, "unchained")


async def verify(
    tx: Transaction,
    *,
    after: int = 0,
    after_hash: str | None = None,
    limit: int = VERIFIED_AT_ONCE,
    known: str | None = None,
) -> AuditVerified:
    """Hold a stretch of the log against its hashes, in a transaction that sees one moment.

    Args:
        tx: of one snapshot
        after: the record verified last
        after_hash: its hash, as it was verified; None: as it stands in the log
        limit: most records
        known: a hash kept elsewhere, to be looked for among them

    """
    if after_hash is None:
        stored = await tx.value("SELECT hash FROM audit_log WHERE seq = $1", after)
        after_hash = (stored or GENESIS).hex()
    chain = Chain(after, after_hash)
    found, whole = known == after_hash, False
    while chain.broken is None and chain.last - after < limit:
        step = min(_STEP, limit - (chain.last - after))
        entries = await _following(tx, chain.last, step)
        for entry in entries:
            if not chain.follow(entry):
                break
            found = found or entry.hash == known
        if chain.broken is None and len(entries) < step:
            head = await tx.row("SELECT seq, hash FROM audit_log_head")
            chain.end(*((head[0], head[1].hex()) if head else (0, "")))
            whole = True
            break
        await asyncio.sleep(0)  # others have their turn: hashing is all of it CPU
    return AuditVerified(
        chain.last - after, chain.last, chain.last_hash, whole, chain.broken,
        None if known is None else found,
    )  # fmt: skip


async def _following(tx: Transaction, last: int, limit: int) -> Sequence[AuditRecord]:
    rows = await tx.rows(
        f"SELECT {_COLUMNS} FROM audit_log WHERE seq > $1 ORDER BY seq LIMIT $2",  # noqa: S608 - our columns
        last,
        limit,
    )
    return [_entry(row) for row in rows]


# --- HTTP ---


class AuditPage(msgspec.Struct, frozen=True):
    """Records, newest first."""

    items: list[AuditRecord]
    next_cursor: str | None = None


def router(database: Database) -> APIRouter:
    """Build the routes over a service's log."""
    routes = APIRouter(tags=["audit"])
    Word = Annotated[str | None, Query(max_length=200)]  # noqa: N806 - a type
    Hash = Annotated[str | None, Query(pattern="^[0-9a-f]{64}$")]  # noqa: N806 - a type

    @routes.get("/v1/audit", responses=openapi_reply(AuditPage))
    async def get_audit(
        caller: CallerDep,
        who: Word = None,
        action: Word = None,
        target: Word = None,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Response:
        """List who looked at whom and who decided what, newest first.

        Administrators see all of it; others what was done by those whose areas lie within theirs.
        """
        before = unpack_cursor(cursor, tuple[Seq])[0] if cursor else None
        async with database.begin(readonly=True) as tx:
            found = await listed(
                tx, caller, who=who, action=action, target=target, since=_in_utc(since),
                until=_in_utc(until), before=before, limit=limit,
            )  # fmt: skip
        following = pack_cursor(found[-1].seq) if len(found) == limit else None
        return json_reply(AuditPage(found, following))

    @routes.get("/v1/audit:verify", responses=openapi_reply(AuditVerified))
    async def get_verify(
        after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
        after_hash: Hash = None,
        limit: Annotated[int, Query(ge=1, le=VERIFIED_AT_ONCE)] = VERIFIED_AT_ONCE,
        known: Hash = None,
    ) -> Response:
        """Hold the log against its hashes; go on with `last` and `last_hash` until it is `whole`.

        Without `after_hash` the record `after` is taken as it stands. `known` is a hash that was
        kept elsewhere; a log that was cut or written anew lacks it.
        """
        async with database.snapshot() as tx:
            told = await verify(tx, after=after, after_hash=after_hash, limit=limit, known=known)
        return json_reply(told)

    return routes


_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def _in_utc(moment: datetime | None) -> datetime | None:
    """Tell a time in UTC; what lies before or after its years is their beginning or end."""
    if moment is None:
        return None
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return _FIRST if moment.year == MINYEAR else _LAST


def gauge(database: Database, service: str) -> Check:
    """Make what sets `lastmetre_audit_records`, for a process's `gauges`."""

    async def ask() -> None:
        async with database.begin(readonly=True) as tx:
            SEQ.labels(service).set(await tx.value("SELECT seq FROM audit_log_head"))

    return ask


def examples() -> Examples:
    """Give an example of each route, after a parked event was discarded."""
    told = {
        "seq": 1,
        "at": "2022-01-14T00:15:00.191008Z",
        "who": "tester",
        "roles": sorted(ROLES),
        "areas": ["410171"],
        "action": "discard parked event",
        "targets": ["registry.rounds.v1/9/2"],
        "details": {"reason": "its producer has sent it again"},
        "prev": GENESIS.hex(),
        "hash": "5b1f5a4b0c0e4f1b7d8a3c2f6e9d0b1a4c7e8f2d3b6a5948172635445362718f",
        "request_id": "3f0c7d0e6f1c4b6a9a7c2d5e8b1f4a60",
    }
    verified = {"verified": 1, "last": 1, "last_hash": told["hash"], "whole": True}
    return {
        ("GET", "/v1/audit"): Example(
            query={"action": "discard parked event"},
            reply={"items": [told], "next_cursor": None},
        ),
        ("GET", "/v1/audit:verify"): Example(reply={**verified, "broken": None, "found": None}),
    }
