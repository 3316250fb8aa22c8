"""Planned visits: who waits for a team."""

from collections.abc import Sequence

from services.dispatch.assigner import Waiting, WaitingGroup
from shared.database import Transaction


async def anybody(tx: Transaction, round_id: str) -> bool:
    """Tell whether any visit of a round is planned."""
    found: bool = await tx.value(
        "SELECT EXISTS (SELECT FROM visit WHERE round = $1 AND status = 'planned')", round_id
    )
    return found


async def visits(
    tx: Transaction,
    round_id: str,
    ordinary: Sequence[str],
    quarantined: Sequence[str],
    limit: int,
) -> list[Waiting]:
    """List planned visits where a team has room: patterns of communities, by kind of home."""
    rows = await tx.rows(
        """
        SELECT id, resident, community, priority, quarantined FROM visit
        WHERE round = $1 AND status = 'planned'
          AND community LIKE ANY(CASE WHEN quarantined THEN $3::text[] ELSE $2::text[] END)
        ORDER BY quarantined, priority DESC, community, id LIMIT $4
        """,
        round_id, ordinary, quarantined, limit,
    )  # fmt: skip
    return [Waiting(*row) for row in rows]


async def groups(
    tx: Transaction, *, areas: Sequence[str], round_id: str | None, office: str | None
) -> list[WaitingGroup]:
    """Count planned visits by round, community and kind of home."""
    rows = await tx.rows(
        """
        SELECT round, community, quarantined, count(*) AS visits, min(planned_at) AS since
        FROM visit
        WHERE status = 'planned' AND community LIKE ANY($1)
          AND ($2::text IS NULL OR round = $2)
          AND ($3::text IS NULL OR community LIKE $3 || '%')
        GROUP BY round, community, quarantined
        """,
        areas, round_id, office,
    )  # fmt: skip
    return [WaitingGroup(*row) for row in rows]
