"""Areas, as rows."""

from collections.abc import Iterable, Sequence

import msgspec

from services.reporting.domain.areas import AREA_WIDTH, ByArea
from services.reporting.domain.rounds import View
from shared.contracts.geometry import Geometry, Point
from shared.contracts.registry import Area
from shared.database import Transaction


async def save(tx: Transaction, generation: int, areas: Iterable[Area]) -> None:
    """Save areas; of several that name one code the last one holds."""
    newest = {area.code: area for area in areas}
    ordered = [newest[code] for code in sorted(newest)]
    await tx.do(
        "INSERT INTO area (generation, code, name, kind, parent, lat, lon, geometry)"
        " SELECT $1, a.* FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::float8[],"
        " $7::float8[], $8::jsonb[]) a"
        " ON CONFLICT (generation, code) DO UPDATE SET name = excluded.name, kind = excluded.kind,"
        " parent = excluded.parent, lat = excluded.lat, lon = excluded.lon,"
        " geometry = excluded.geometry",
        generation,
        [area.code for area in ordered],
        [area.name for area in ordered],
        [area.kind for area in ordered],
        [area.parent for area in ordered],
        [area.lat for area in ordered],
        [area.lon for area in ordered],
        [msgspec.json.encode(a.geometry).decode() if a.geometry else None for a in ordered],
    )


_OF_VIEW = (
    " FROM area WHERE generation = $1 AND kind = $2"
    " AND EXISTS (SELECT FROM unnest($3::text[]) office WHERE left(office, $4) = left(code, 9))"
    " AND EXISTS (SELECT FROM unnest($5::text[]) area"
    "             WHERE starts_with(code, area) OR starts_with(area, code))"
)
"""Areas of one level that the round covers and the caller may see."""


def _of_view(view: View, by: ByArea) -> tuple[object, ...]:
    return view.generation, by, view.round.offices, min(AREA_WIDTH[by], 9), view.areas


async def names(tx: Transaction, view: View, by: ByArea) -> dict[str, str]:
    """Name the areas of one level that the round covers and the caller may see, by code."""
    rows = await tx.rows(f"SELECT code, name {_OF_VIEW} ORDER BY code", *_of_view(view, by))
    return dict(map(tuple, rows))


async def geometries(tx: Transaction, view: View, by: ByArea) -> dict[str, Geometry]:
    """Tell where these areas lie, by code: their borders, else their point; some have neither."""
    rows = await tx.rows(
        f"SELECT code, lat, lon, geometry::text {_OF_VIEW}"
        " AND (geometry IS NOT NULL OR (lat + lon) IS NOT NULL) ORDER BY code",
        *_of_view(view, by),
    )
    return {
        row["code"]: _decode(row["geometry"])
        if row["geometry"]
        else Point((row["lon"], row["lat"]))
        for row in rows
    }


_decode = msgspec.json.Decoder[Geometry](Geometry).decode


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
