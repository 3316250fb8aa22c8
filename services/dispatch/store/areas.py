"""Areas as rows."""

from collections.abc import Iterable, Sequence

from services.dispatch.domain.areas import Area
from shared.database import Transaction


async def save(tx: Transaction, areas: Sequence[Area]) -> None:
    """Store areas; they come sorted by code."""
    await tx.do(
        """
        INSERT INTO area (code, name, kind, parent)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
        ON CONFLICT (code) DO UPDATE
            SET name = excluded.name, kind = excluded.kind, parent = excluded.parent
        """,
        [area.code for area in areas],
        [area.name for area in areas],
        [area.kind for area in areas],
        [area.parent for area in areas],
    )


async def names(tx: Transaction, codes: Iterable[str]) -> dict[str, str]:
    """Name areas; what has no name yet is left out."""
    rows = await tx.rows("SELECT code, name FROM area WHERE code = ANY($1)", list(set(codes)))
    return {row["code"]: row["name"] for row in rows}
