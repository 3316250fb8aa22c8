"""Areas, as rows."""

from collections.abc import Iterable, Sequence

from services.reporting.domain.areas import AREA_WIDTH, ByArea
from services.reporting.domain.rounds import View
from shared.contracts.registry import Area
from shared.database import Transaction


async def save(tx: Transaction, generation: int, areas: Iterable[Area]) -> None:
    """Save areas; of several that name one code the last one holds."""
    newest = {area.code: area for area in areas}
    ordered = [newest[code] for code in sorted(newest)]
    await tx.do(
        "INSERT INTO area (generation, code, name, kind, parent, lat, lon)"
        " SELECT $1, a.* FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::float8[],"
        " $7::float8[]) a"
        " ON CONFLICT (generation, code) DO UPDATE SET name = excluded.name, kind = excluded.kind,"
        " parent = excluded.parent, lat = excluded.lat, lon = excluded.lon",
        generation,
        [area.code for area in ordered],
        [area.name for area in ordered],
        [area.kind for area in ordered],
        [area.parent for area in ordered],
        [area.lat for area in ordered],
        [area.lon for area in ordered],
    )


async def names(tx: Transaction, view: View, by: ByArea) -> dict[str, str]:
    """Name the areas of one level that the round covers and the caller may see, by code."""
    rows = await tx.rows(
        "SELECT code, name FROM area WHERE generation = $1 AND kind = $2"
        " AND EXISTS (SELECT FROM unnest($3::text[]) office WHERE left(office, $4) = left(code, 9))"
        " AND EXISTS (SELECT FROM unnest($5::text[]) area"
        "             WHERE starts_with(code, area) OR starts_with(area, code))"
        " ORDER BY code",
        view.generation, by, view.round.offices, min(AREA_WIDTH[by], 9), view.areas,
    )  # fmt: skip
    return dict(map(tuple, rows))


async def codes(tx: Transaction, generation: int, districts: Sequence[str]) -> list[str]:
    """List the codes of every area of some districts."""
    rows = await tx.rows(
        "SELECT code FROM area WHERE generation = $1 AND left(code, 6) = ANY ($2) ORDER BY code",
        generation, districts,
    )  # fmt: skip
    return [row["code"] for row in rows]


def within(areas: Sequence[str]) -> list[str]:
    """Patterns that codes within areas are LIKE."""
    return [f"{area}%" for area in areas]
