"""Webhooks and their deliveries, as rows."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from services.reporting.domain.webhooks import Attempt, Delivery, DeliveryState, Webhook
from shared.database import Transaction

_COLUMNS = (
    "id, url, areas, milestones, created_by, created_at, ended_at,"
    " (SELECT count(*) FROM delivery WHERE webhook = id AND state = 'pending') AS pending,"
    " (SELECT count(*) FROM delivery WHERE webhook = id AND state = 'dead') AS dead"
)
_WITHIN = (
    "NOT EXISTS (SELECT FROM unnest(areas) own WHERE NOT EXISTS"
    " (SELECT FROM unnest({areas}::text[]) area WHERE starts_with(own, area)))"
)
"""Everything it is told of lies within the caller's areas."""


async def add(tx: Transaction, wanted: Webhook, secret: bytes) -> bool:
    """Add a webhook; False if its id is taken."""
    added = await tx.value(
        "INSERT INTO webhook (id, url, areas, milestones, created_by, created_at, secret)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING true",
        wanted.id, wanted.url, wanted.areas, wanted.milestones, wanted.created_by,
        wanted.created_at, secret,
    )  # fmt: skip
    return bool(added)


async def find(tx: Transaction, webhook_id: UUID, areas: Sequence[str]) -> Webhook | None:
    """Find one within the caller's areas."""
    row = await tx.row(
        f"SELECT {_COLUMNS} FROM webhook WHERE id = $1 AND {_WITHIN.format(areas='$2')}",
        webhook_id, areas,
    )  # fmt: skip
    return Webhook(**row) if row else None


async def listed(tx: Transaction, areas: Sequence[str], after: UUID, limit: int) -> list[Webhook]:
    """List those that have not ended, by id."""
    rows = await tx.rows(
        f"SELECT {_COLUMNS} FROM webhook WHERE ended_at IS NULL AND id > $1"
        f" AND {_WITHIN.format(areas='$2')} ORDER BY id LIMIT $3",
        after, areas, limit,
    )  # fmt: skip
    return [Webhook(**row) for row in rows]


async def end(tx: Transaction, webhook_id: UUID) -> bool:
    """End one, and drop what was still owed to it; False if it had ended."""
    ended = await tx.value(
        "UPDATE webhook SET ended_at = now() WHERE id = $1 AND ended_at IS NULL RETURNING true",
        webhook_id,
    )
    await tx.do("DELETE FROM delivery WHERE webhook = $1 AND state = 'pending'", webhook_id)
    return bool(ended)


async def revive(tx: Transaction, webhook_id: UUID) -> int:
    """Owe again what was given up, with all attempts; say how many there were."""
    revived = await tx.rows(
        "UPDATE delivery SET state = 'pending', attempts = 0, next_at = now()"
        " WHERE webhook = $1 AND state = 'dead' RETURNING turn",
        webhook_id,
    )
    return len(revived)


async def deliveries(
    tx: Transaction, webhook_id: UUID, before: int, limit: int
) -> list[tuple[int, Delivery]]:
    """List deliveries with their numbers, the newest first."""
    rows = await tx.rows(
        "SELECT seq, id, round, office, milestone, turn.turn, at, state, attempts,"
        " CASE state WHEN 'pending' THEN next_at END AS next_at, last, delivered_at"
        " FROM delivery JOIN milestone_turn turn ON turn.id = delivery.turn"
        " WHERE webhook = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3",
        webhook_id, before, limit,
    )  # fmt: skip
    return [(seq, Delivery(*row)) for seq, *row in rows]


async def claim(tx: Transaction, most: int, hold: timedelta) -> list[Attempt]:
    """Take deliveries that are due, and put them off: nobody else tries them meanwhile.

    If we die before we say what became of one, it is tried again after `hold`.
    """
    rows = await tx.rows(
        """
        WITH due AS (
            SELECT webhook, turn FROM delivery JOIN webhook ON webhook.id = delivery.webhook
            WHERE state = 'pending' AND next_at <= now() AND ended_at IS NULL
            ORDER BY next_at LIMIT $1 FOR UPDATE OF delivery SKIP LOCKED
        ), claimed AS (
            UPDATE delivery SET attempts = attempts + 1, next_at = now() + $2 FROM due
            WHERE (delivery.webhook, delivery.turn) = (due.webhook, due.turn)
            RETURNING delivery.webhook, delivery.turn, attempts
        )
        SELECT webhook.id, milestone_turn.id, url, secret, body, attempts FROM claimed
        JOIN webhook ON webhook.id = claimed.webhook
        JOIN milestone_turn ON milestone_turn.id = claimed.turn
        """,
        most, hold,
    )  # fmt: skip
    return [Attempt(*row) for row in rows]


async def settle(
    tx: Transaction, attempt: Attempt, state: DeliveryState, last: str, retry_at: datetime | None
) -> None:
    """Note what became of an attempt; what was delivered meanwhile by somebody else stays so."""
    await tx.do(
        "UPDATE delivery SET state = $3, last = $4, next_at = coalesce($5, next_at),"
        " delivered_at = CASE $3 WHEN 'delivered' THEN now() END"
        " WHERE (webhook, turn) = ($1, $2) AND state = 'pending'",
        attempt.webhook, attempt.id, state, last, retry_at,
    )  # fmt: skip


async def states(tx: Transaction) -> dict[str, int]:
    """Count deliveries that are not delivered, by state; of webhooks that have not ended."""
    rows = await tx.rows(
        "SELECT state, count(*) FROM delivery JOIN webhook ON webhook.id = delivery.webhook"
        " WHERE state <> 'delivered' AND ended_at IS NULL GROUP BY 1"
    )
    return dict(map(tuple, rows))
