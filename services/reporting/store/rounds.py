"""Rounds, as rows."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from services.reporting.domain.rounds import Round, View
from shared.contracts.registry import RoundChanged, RoundTicked
from shared.database import Transaction
from shared.errors import RoundUnknown

_COLUMNS = "id, campaign, number, name, state, opens_at, closes_at, offices, clock_at, changed_at"


async def save(
    tx: Transaction, generation: int, announced: RoundChanged, recorded_at: datetime
) -> None:
    """Save a round whole; an older version than ours is passed over, a clock never goes back."""
    await tx.do(
        """
        INSERT INTO round AS kept (generation, id, version, campaign, number, name, state, opens_at,
            closes_at, offices, manual_clock, clock_at, opened_at, changed_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
        ON CONFLICT (generation, id) DO UPDATE SET version = excluded.version,
            campaign = excluded.campaign, number = excluded.number, name = excluded.name,
            state = excluded.state, opens_at = excluded.opens_at, closes_at = excluded.closes_at,
            offices = excluded.offices, manual_clock = excluded.manual_clock,
            clock_at = greatest(kept.clock_at, excluded.clock_at),
            opened_at = excluded.opened_at, changed_at = excluded.changed_at
        WHERE kept.version < excluded.version
        """,
        generation, announced.round, announced.version, announced.campaign, announced.number,
        announced.name, announced.state, announced.opens_at, announced.closes_at,
        announced.offices, announced.manual_clock, announced.clock_at, announced.opened_at,
        recorded_at,
    )  # fmt: skip


async def tick(tx: Transaction, generation: int, ticked: RoundTicked) -> None:
    """Move a round's manual clock on, never back."""
    await tx.do(
        "UPDATE round SET clock_at = greatest(clock_at, $3) WHERE generation = $1 AND id = $2",
        generation, ticked.round, ticked.clock_at,
    )  # fmt: skip


async def find(
    tx: Transaction, generation: int, round_id: str | None, areas: Sequence[str]
) -> Round:
    """Find a round by id, or the one that is looked at now; within the caller's areas.

    That is the newest open one, else the newest that is closed or sealed, else the newest draft:
    tomorrow's round, drafted tonight, has no figures and must not hide today's.

    `areas` are prefixes of codes. A round is within when any of its offices lies in one of them, or
    one of them lies in an office of the round.

    Raises:
        RoundUnknown: there is none.

    """
    row = await tx.row(
        f"""
        SELECT {_COLUMNS} FROM round
        WHERE generation = $1 AND ($2::text IS NULL OR id = $2) AND EXISTS (
            SELECT FROM unnest(offices) office, unnest($3::text[]) area
            WHERE starts_with(office, area) OR starts_with(area, office))
        ORDER BY state = 'open' DESC, state <> 'draft' DESC, opens_at DESC, number DESC, id LIMIT 1
        """,
        generation, round_id, areas,
    )  # fmt: skip
    if row is None:
        raise RoundUnknown("no round of that id, or none at all, in the areas of the token")
    return _round(row)


async def earlier(tx: Transaction, view: View, most: int) -> list[Round]:
    """List the rounds of the same campaign that opened before, the newest first."""
    rows = await tx.rows(
        f"SELECT {_COLUMNS} FROM round WHERE generation = $1 AND campaign = $2 AND number < $3"
        " AND state IN ('closed', 'sealed') ORDER BY number DESC LIMIT $4",
        view.generation, view.round.campaign, view.round.number, most,
    )  # fmt: skip
    return [_round(row) for row in rows]


async def watched(tx: Transaction, generation: int, sealed_after: datetime) -> list[Round]:
    """List rounds that are open or closed, and those sealed since a time."""
    rows = await tx.rows(
        f"SELECT {_COLUMNS} FROM round WHERE generation = $1"
        " AND (state IN ('open', 'closed') OR (state = 'sealed' AND changed_at > $2))"
        " ORDER BY opens_at, number, id",
        generation, sealed_after,
    )  # fmt: skip
    return [_round(row) for row in rows]


def _round(row: asyncpg.Record) -> Round:
    return Round(**{**row, "offices": tuple(row["offices"])})
