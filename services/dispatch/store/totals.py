"""Figures: hands, and visits that wait, counted."""

from dataclasses import dataclass
from datetime import datetime

from shared.contracts.vocabulary import HandKind
from shared.database import Transaction


async def hands(tx: Transaction, round_id: str) -> dict[HandKind, int]:
    """Count open hands by kind."""
    rows = await tx.rows(
        "SELECT hand_kind, count(*) AS n FROM person WHERE round = $1 AND hand_kind IS NOT NULL"
        " GROUP BY hand_kind ORDER BY hand_kind",
        round_id,
    )
    return {row["hand_kind"]: row["n"] for row in rows}


@dataclass(frozen=True, slots=True)
class Queue:
    """Visits of one round and office that wait for a team; `since`: the oldest, None without any.

    `now` is the round's own time.
    """

    round: str
    office: str
    visits: int
    since: datetime | None
    now: datetime


async def queues(tx: Transaction) -> list[Queue]:
    """Count visits that wait for a team, by round and office, of rounds that are not sealed.

    An office of a round without any is told as 0: an alarm must tell none from not known.
    """
    rows = await tx.rows(
        """
        SELECT round.id, queue.office, queue.visits, queue.since,
            CASE WHEN manual_clock THEN coalesce(clock_at, opens_at) ELSE now() END AS now
        FROM round CROSS JOIN LATERAL (
            SELECT office, count(since) AS visits, min(since) AS since
            FROM (
                SELECT left(community, 9) AS office, planned_at AS since FROM visit
                WHERE visit.round = round.id AND status = 'planned'
                UNION ALL
                SELECT unnest(round.offices), NULL
            ) AS waiting
            GROUP BY office
        ) AS queue
        WHERE state IN ('open', 'closed')
        """
    )
    return [Queue(*row) for row in rows]
