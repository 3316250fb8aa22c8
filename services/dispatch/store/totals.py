"""Figures: hands and visits, counted."""

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


async def open_visits(tx: Transaction) -> dict[tuple[str, str], int]:
    """Count open visits by round and office, of rounds that are not sealed.

    An office of a round without any is told as 0: an alarm must tell none from not known.
    """
    rows = await tx.rows(
        """
        SELECT round, office, sum(n)::bigint AS n
        FROM (
            SELECT visit.round, left(community, 9) AS office, count(*) AS n
            FROM visit JOIN round ON round.id = visit.round AND round.state IN ('open', 'closed')
            WHERE status IN ('planned', 'assigned', 'started')
            GROUP BY visit.round, left(community, 9)
            UNION ALL
            SELECT id, unnest(offices), 0 FROM round WHERE state IN ('open', 'closed')
        ) AS counted
        GROUP BY round, office
        """
    )
    return {(row["round"], row["office"]): row["n"] for row in rows}
