"""Milestones, as rows: what was told, and whom it has to be delivered to."""

from uuid import UUID

from services.reporting.domain.milestones import Mark, Turned
from shared.database import Transaction


async def reached(tx: Transaction) -> set[Mark]:
    """Read what was told to be reached, and not undone since."""
    rows = await tx.rows("SELECT round, office, milestone FROM milestone WHERE reached")
    return {Mark(*row) for row in rows}


async def turn(tx: Transaction, turned: Turned) -> bool:
    """Note that a milestone turned; False if that was noted already."""
    done = await tx.value(
        "INSERT INTO milestone AS kept (round, office, milestone, reached)"
        " VALUES ($1, $2, $3, $4) ON CONFLICT (round, office, milestone)"
        " DO UPDATE SET reached = excluded.reached WHERE kept.reached <> excluded.reached"
        " RETURNING true",
        *turned.mark, turned.turn == "reached",
    )  # fmt: skip
    return bool(done)


async def announce(tx: Transaction, turn_id: UUID, turned: Turned, body: str) -> None:
    """Keep what is to be told, and owe it to everybody who wants to be told."""
    await tx.do(
        "WITH told AS ("
        "    INSERT INTO milestone_turn (id, round, office, milestone, turn, at, body)"
        "    VALUES ($1, $2, $3, $4, $5, now(), $6))"
        " INSERT INTO delivery (webhook, turn, state, attempts, next_at)"
        " SELECT id, $1, 'pending', 0, now() FROM webhook WHERE ended_at IS NULL"
        " AND $4 = ANY (milestones)"
        " AND EXISTS (SELECT FROM unnest(areas) area WHERE starts_with($3, area))",
        turn_id, *turned.mark, turned.turn, body,
    )  # fmt: skip
