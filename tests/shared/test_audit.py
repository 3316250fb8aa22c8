"""The audit log: it grows, nothing else; what is done to it behind its back is found."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from shared import audit, http
from shared.audit import GENESIS, AuditRecord, Chain
from shared.auth import Caller, KeySet, Verifier
from shared.database import Database, Transaction
from tests.shared.exchange import opened
from tests.support.issuer import AUDIENCE, Issuer
from tests.support.servers import DatabaseUrl

LI = Caller("li", frozenset({"office", "district"}), ("410171001",))
WANG = Caller("wang", frozenset({"supervisor"}), ("410171",))


@pytest.fixture
async def database(database_url: DatabaseUrl) -> AsyncIterator[Database]:
    """A service that has nothing but a log."""
    async with opened(database_url("")) as database:
        metadata = sa.MetaData()
        audit.tables(metadata)
        async with database.begin() as tx:
            await tx.connection.run_sync(metadata.create_all)
        yield database


@pytest.fixture
def app(database: Database, issuer: Issuer) -> FastAPI:
    return http.create_app(
        service="log",
        title="Log",
        description="Remembers.",
        routers=[audit.router(database)],
        access=audit.ROUTES,
        verifier=Verifier(KeySet(str(issuer.jwks)), audience=AUDIENCE),
    )


async def read(
    app: FastAPI, issuer: Issuer, path: str, role: str, status: int = 200, **claims: Any
) -> Any:
    headers = issuer.headers(role, **claims)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://log", headers=headers
    ) as client:
        answer = await client.get(path)
    assert answer.status_code == status, answer.text
    return answer.json()


async def written(database: Database, count: int) -> list[AuditRecord]:
    """Write some records; give all that there are, oldest first."""
    for n in range(count):
        await database.transact(
            audit.record, (LI, WANG)[n % 2], ("read", "contacts")[n % 2], [f"target-{n}"], count=n
        )
    async with database.begin(readonly=True) as tx:
        found = await audit.listed(
            tx, Caller("a", frozenset({"admin"})), who=None, action=None, target=None, since=None,
            until=None, before=None, limit=1000,
        )  # fmt: skip
    return found[::-1]


async def verified(database: Database, **asked: Any) -> audit.AuditVerified:
    async with database.snapshot() as tx:
        return await audit.verify(tx, **asked)


async def behind_its_back(database: Database, *statements: str) -> None:
    """Do what only a superuser can: the trigger is off while it is done."""
    async with database.begin() as tx:
        await tx.do("ALTER TABLE audit_log DISABLE TRIGGER ALL")
        for statement in statements:
            await tx.do(statement)
        await tx.do("ALTER TABLE audit_log ENABLE TRIGGER ALL")


async def test_records_are_dense_in_order_and_each_names_the_hash_before_it(
    database: Database,
) -> None:
    records = await written(database, 5)
    assert [each.seq for each in records] == [1, 2, 3, 4, 5]
    before = [GENESIS.hex(), *(each.hash for each in records)]
    assert [each.prev for each in records] == before[:-1]
    assert (records[0].who, records[0].roles, records[0].areas, records[0].targets) == (
        "li", ["district", "office"], ["410171001"], ["target-0"],
    )  # fmt: skip
    assert records[4].details == {"count": 4}
    told = await verified(database)
    assert (told.verified, told.last_hash, told.whole, told.broken) == (
        5, records[-1].hash, True, None,
    )  # fmt: skip


async def test_a_record_commits_with_its_act_or_not_at_all(database: Database) -> None:
    async def act(tx: Transaction) -> None:
        await audit.record(tx, LI, "read")
        raise LookupError

    with capture_logs() as logs, pytest.raises(LookupError):
        await database.transact(act)
    assert await written(database, 0) == []
    assert [each["event"] for each in logs] == []
    with capture_logs() as logs:
        (only,) = await written(database, 1)
    assert [(each["event"], each["seq"], each["hash"]) for each in logs] == [
        ("audit_recorded", 1, only.hash)
    ]


async def test_those_who_record_at_once_form_one_chain(database: Database) -> None:
    await asyncio.gather(*(database.transact(audit.record, LI, "read", [n]) for n in range(20)))
    told = await verified(database)
    assert (told.verified, told.broken) == (20, None)


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit_log SET who = 'nobody'", "DELETE FROM audit_log", "TRUNCATE audit_log"],
)
async def test_it_only_grows_whoever_asks(database: Database, statement: str) -> None:
    """Tests connect as the owner of the tables, and as a superuser at that."""
    await written(database, 1)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with database.begin() as tx:
            await tx.do(statement)
    assert len(await written(database, 0)) == 1


@pytest.mark.parametrize(
    ("statements", "broken"),
    [
        (["UPDATE audit_log SET who = 'nobody' WHERE seq = 3"], (3, "changed")),
        (["UPDATE audit_log SET roles = '{}' WHERE seq = 3"], (3, "changed")),
        (["UPDATE audit_log SET areas = '{}' WHERE seq = 3"], (3, "changed")),
        (["UPDATE audit_log SET action = 'read' WHERE seq = 2"], (2, "changed")),
        (["UPDATE audit_log SET targets = '{}' WHERE seq = 3"], (3, "changed")),
        (["UPDATE audit_log SET details = '{}' WHERE seq = 3"], (3, "changed")),
        (["UPDATE audit_log SET at = at - interval '1 us' WHERE seq = 3"], (3, "changed")),
        (["UPDATE audit_log SET request_id = 'x' WHERE seq = 3"], (3, "changed")),
        (["UPDATE audit_log SET hash = prev WHERE seq = 3"], (3, "changed")),
        (["DELETE FROM audit_log WHERE seq = 1"], (1, "missing")),
        (["DELETE FROM audit_log WHERE seq = 3"], (3, "missing")),
        (["DELETE FROM audit_log WHERE seq = 5"], (5, "cut")),
        (["DELETE FROM audit_log"], (1, "cut")),
        (
            [
                "UPDATE audit_log SET seq = 100 WHERE seq = 2",
                "UPDATE audit_log SET seq = 2 WHERE seq = 3",
                "UPDATE audit_log SET seq = 3 WHERE seq = 100",
            ],
            (2, "changed"),
        ),
        (["UPDATE audit_log_head SET seq = 4"], (5, "unchained")),
    ],
)
async def test_what_was_done_behind_its_back_is_found_where_it_was_done(
    database: Database, statements: Sequence[str], broken: tuple[int, str]
) -> None:
    await written(database, 5)
    await behind_its_back(database, *statements)
    told = await verified(database)
    assert told.broken is not None
    assert (told.broken.seq, told.broken.how) == broken
    assert told.verified == broken[0] - (1 if broken[1] != "unchained" else 0)


async def test_a_log_that_was_cut_with_its_head_is_found_by_a_hash_kept_elsewhere(
    database: Database,
) -> None:
    records = await written(database, 5)
    kept = records[4].hash
    assert (await verified(database, known=kept)).found is True
    await behind_its_back(
        database,
        "DELETE FROM audit_log WHERE seq > 3",
        "UPDATE audit_log_head SET (seq, hash) = (SELECT seq, hash FROM audit_log WHERE seq = 3)",
    )
    told = await verified(database, known=kept)
    assert (told.whole, told.broken, told.found) == (True, None, False)
    assert (await verified(database, known=records[2].hash)).found is True


async def test_it_is_verified_in_stretches(database: Database) -> None:
    records = await written(database, 5)
    first = await verified(database, limit=2, known=records[4].hash)
    assert (first.verified, first.last, first.whole, first.found) == (2, 2, False, False)
    assert first.last_hash == records[1].hash
    rest = await verified(
        database, after=first.last, after_hash=first.last_hash, known=records[4].hash
    )
    assert (rest.verified, rest.last, rest.whole, rest.found) == (3, 5, True, True)
    elsewhere = await verified(database, after=2, after_hash=records[0].hash)
    assert elsewhere.broken == audit.AuditBreak(3, "unchained")
    end = await verified(database, after=5, after_hash=records[4].hash)
    assert (end.verified, end.whole, end.broken) == (0, True, None)


async def test_it_is_read_by_who_what_whom_and_when(
    database: Database, app: FastAPI, issuer: Issuer
) -> None:
    records = await written(database, 6)

    async def seqs(query: str, role: str = "admin", **claims: Any) -> list[int]:
        page = await read(app, issuer, f"/v1/audit?{query}", role, **claims)
        return [each["seq"] for each in page["items"]]

    assert await seqs("") == [6, 5, 4, 3, 2, 1]
    assert await seqs("who=wang") == [6, 4, 2]
    assert await seqs("action=read") == [5, 3, 1]
    assert await seqs("target=target-2") == [3]
    moment = records[2].at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    assert await seqs(f"since={moment}") == [6, 5, 4, 3]
    assert await seqs(f"until={moment}") == [2, 1]
    page = await read(app, issuer, "/v1/audit?limit=4", "admin")
    rest = await read(app, issuer, f"/v1/audit?limit=4&cursor={page['next_cursor']}", "admin")
    assert [each["seq"] for each in page["items"] + rest["items"]] == [6, 5, 4, 3, 2, 1]
    assert rest["next_cursor"] is None
    for wrong in ("2022-01-14T00:00:00", "1642118400"):
        await read(app, issuer, f"/v1/audit?since={wrong}", "admin", status=422)
    # What lies before or after the years of UTC is their beginning or end.
    assert await seqs("since=0001-01-01T00:00:00%2B23:00") == [6, 5, 4, 3, 2, 1]
    assert await seqs("since=9999-12-31T23:59:59-23:00") == []


async def test_supervisors_see_what_was_done_within_their_areas(
    database: Database, app: FastAPI, issuer: Issuer
) -> None:
    await written(database, 2)
    await database.transact(audit.record, Caller("service", frozenset({"system"})), "rebuild")

    async def who(role: str, *areas: str) -> list[str]:
        page = await read(app, issuer, "/v1/audit", role, areas=list(areas))
        return [each["who"] for each in page["items"]]

    assert await who("supervisor", "410171") == ["wang", "li"]
    assert await who("district", "410171001") == ["li"]
    assert await who("supervisor", "410172") == []
    assert await who("supervisor") == []
    assert await who("admin") == ["service", "wang", "li"]
    for role in ("office", "team", "site", "system"):
        await read(app, issuer, "/v1/audit", role, status=403)
        await read(app, issuer, "/v1/audit:verify", role, status=403)


async def test_it_is_verified_over_http(database: Database, app: FastAPI, issuer: Issuer) -> None:
    records = await written(database, 3)
    path = "/v1/audit:verify"
    told = await read(app, issuer, f"{path}?known={records[0].hash}", "supervisor")
    assert told == {
        "verified": 3, "last": 3, "last_hash": records[2].hash, "whole": True, "broken": None,
        "found": True,
    }  # fmt: skip
    rest = await read(app, issuer, f"{path}?after=2&after_hash={records[1].hash}", "admin")
    assert rest["verified"] == 1
    rest = await read(app, issuer, f"{path}?after=2", "admin")
    assert (rest["verified"], rest["broken"]) == (1, None)
    await read(app, issuer, f"{path}?known=short", "admin", status=422)


async def test_its_length_is_a_metric(database: Database) -> None:
    await written(database, 3)
    await audit.gauge(database, "log")()
    assert REGISTRY.get_sample_value("lastmetre_audit_records", {"service": "log"}) == 3


# --- the chain, by itself ---

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
TARGETS = st.lists(WORDS, max_size=3)
ROWS = st.lists(st.tuples(WORDS, WORDS, TARGETS, st.integers(0, 9)), min_size=1, max_size=8)


def chained(rows: Sequence[tuple[str, str, list[str], int]]) -> list[AuditRecord]:
    records: list[AuditRecord] = []
    for seq, (who, action, targets, n) in enumerate(rows, 1):
        prev = records[-1].hash if records else GENESIS.hex()
        at = datetime(2022, 1, 14, 0, seq, tzinfo=UTC)
        new = AuditRecord(seq, at, who, ["team"], [], action, targets, {"n": n}, prev, "")
        records.append(msgspec.structs.replace(new, hash=new.sealed()))
    return records


def holds(records: Sequence[AuditRecord], head: AuditRecord) -> bool:
    chain = Chain()
    for each in records:
        if not chain.follow(each):
            return False
    chain.end(head.seq, head.hash)
    return chain.broken is None


CHANGES: list[Callable[[AuditRecord], AuditRecord]] = [
    lambda r: msgspec.structs.replace(r, who=r.who + "x"),
    lambda r: msgspec.structs.replace(r, action=r.action + "x"),
    lambda r: msgspec.structs.replace(r, targets=[*r.targets, ""]),
    lambda r: msgspec.structs.replace(r, details={"n": -1}),
    lambda r: msgspec.structs.replace(r, roles=[]),
    lambda r: msgspec.structs.replace(r, request_id=""),
]


@given(ROWS, st.data())
def test_whatever_is_changed_removed_or_moved_the_chain_does_not_hold(
    rows: list[tuple[str, str, list[str], int]], data: st.DataObject
) -> None:
    records = chained(rows)
    assert holds(records, records[-1])
    at = data.draw(st.integers(0, len(records) - 1))
    tampered = list(records)
    match data.draw(st.sampled_from(["change", "reseal", "remove", "move", "repeat"])):
        case "change":
            tampered[at] = data.draw(st.sampled_from(CHANGES))(records[at])
        case "reseal":  # with a hash that fits it again: the next one, or the head, tells
            changed = data.draw(st.sampled_from(CHANGES))(records[at])
            tampered[at] = msgspec.structs.replace(changed, hash=changed.sealed())
        case "remove":
            del tampered[at]
        case "move":
            tampered.insert(data.draw(st.integers(0, len(records) - 1)), tampered.pop(at))
        case _:
            tampered.insert(at, records[at])
    assert holds(tampered, records[-1]) == (tampered == records)
