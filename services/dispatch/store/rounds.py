"""Rounds as rows, and the lock that whoever acts in one shares."""

from collections.abc import Iterable
from uuid import UUID

import asyncpg

from services.dispatch.domain.rounds import Round
from shared.database import Transaction

_COLUMNS = (
    "id, incarnation, version, campaign, number, name, state, opens_at, closes_at, offices,"
    " manual_clock, clock_at"
)


async def enter(tx: Transaction, round_id: str) -> Round:
    """Read a round and hold it as it is until the transaction ends; unknown ones become stubs."""
    return await _locked(tx, round_id, "pg_advisory_xact_lock_shared")


async def hold(tx: Transaction, round_id: str) -> Round:
    """Read a round and keep everybody else from acting in it until the transaction ends."""
    return await _locked(tx, round_id, "pg_advisory_xact_lock")


async def read(tx: Transaction, round_ids: Iterable[str]) -> dict[str, Round]:
    """Read rounds without holding them, to tell their time."""
    rows = await tx.rows(f"SELECT {_COLUMNS} FROM round WHERE id = ANY($1)", list(set(round_ids)))
    return {row["id"]: _round(row) for row in rows}


async def running(tx: Transaction) -> list[str]:
    """List rounds that may hold hands or waiting visits: open, or closed and not yet sealed."""
    rows = await tx.rows("SELECT id FROM round WHERE state IN ('open', 'closed') ORDER BY id")
    return [row["id"] for row in rows]


async def of_former_lives(tx: Transaction, incarnation: UUID) -> list[str]:
    """List rounds that registry last told of in an older life."""
    rows = await tx.rows(
        "SELECT id FROM round WHERE version > 0 AND incarnation < $1 ORDER BY id", incarnation
    )
    return [row["id"] for row in rows]


async def save(tx: Transaction, round_: Round) -> None:
    """Store a round that is held."""
    await tx.do(
        """
        UPDATE round SET incarnation = $2, version = $3, campaign = $4, number = $5, name = $6,
            state = $7, opens_at = $8, closes_at = $9, offices = $10, manual_clock = $11,
            clock_at = $12
        WHERE id = $1
        """,
        round_.id, round_.incarnation, round_.version, round_.campaign, round_.number, round_.name,
        round_.state, round_.opens_at, round_.closes_at, list(round_.offices),
        round_.manual_clock, round_.clock_at,
    )  # fmt: skip


async def _locked(tx: Transaction, round_id: str, lock: str) -> Round:
    # A statement of its own: the next one sees what the holder before us committed.
    await tx.do(f"SELECT {lock}(hashtextextended('dispatch.round:' || $1, 0))", round_id)
    row = await tx.row(f"SELECT {_COLUMNS} FROM round WHERE id = $1", round_id)
    if row is None:
        await _make_stub(tx, round_id)
        return Round(round_id)
    return _round(row)


async def _make_stub(tx: Transaction, round_id: str) -> None:
    stub = Round(round_id)
    serial = await tx.value(
        """
        INSERT INTO round (id, incarnation, version, campaign, number, name, state, offices,
                           manual_clock)
        VALUES ($1, $2, 0, '', 0, '', $3, '{}', false)
        ON CONFLICT DO NOTHING RETURNING serial
        """,
        round_id, stub.incarnation, stub.state,
    )  # fmt: skip
    if serial is None:
        return
    for table in ("person", "visit"):
        # Made apart and attached: that waits for no reader of the other rounds.
        partition = f"{table}__{serial}"
        await tx.do(f"CREATE TABLE {partition} (LIKE {table} INCLUDING ALL)")
        value = await tx.value("SELECT quote_literal($1::text)", round_id)
        await tx.do(f"ALTER TABLE {table} ATTACH PARTITION {partition} FOR VALUES IN ({value})")


def _round(row: asyncpg.Record) -> Round:
    return Round(**{**row, "offices": tuple(row["offices"])})
