"""Borders of areas as they are taken in: whole, and no finer than anybody draws them."""

from collections.abc import Iterator

from shared.contracts.geometry import (
    Geometry,
    MultiPolygon,
    Point,
    Polygon,
    Position,
    Ring,
    Rings,
    positions,
)
from shared.errors import RuleError

MOST_POSITIONS = 500
"""Of one area. Borders go into events and onto a page: 12 kB tell them better than 12 MB."""

DECIMALS = 6
"""A tenth of a metre; RFC 7946 (11.2) says that more of them tell nothing."""

_CORNERS = 3


def check(geometry: Geometry) -> None:
    """Check what a schema cannot say of a geometry.

    Raises:
        RuleError: it has too many positions, or a ring that is not closed or has no inside.

    """
    if sum(1 for _ in positions(geometry)) > MOST_POSITIONS:
        raise RuleError(f"geometry: at most {MOST_POSITIONS} positions; simplify it")
    for place, ring in _rings(geometry):
        if ring[0] != ring[-1]:
            raise RuleError(f"geometry.{place}: a ring ends where it begins")
        if len({_rounded(each) for each in ring}) < _CORNERS:
            raise RuleError(f"geometry.{place}: a ring has at least {_CORNERS} different positions")


def rounded(geometry: Geometry) -> Geometry:
    """Leave out the decimals that tell nothing."""
    match geometry:
        case Point():
            return Point(_rounded(geometry.coordinates))
        case Polygon():
            return Polygon(_rounded_rings(geometry.coordinates))
        case MultiPolygon():
            return MultiPolygon(tuple(_rounded_rings(rings) for rings in geometry.coordinates))


def _rings(geometry: Geometry) -> Iterator[tuple[str, Ring]]:
    match geometry:
        case Polygon():
            for number, ring in enumerate(geometry.coordinates):
                yield f"coordinates[{number}]", ring
        case MultiPolygon():
            for land, rings in enumerate(geometry.coordinates):
                for number, ring in enumerate(rings):
                    yield f"coordinates[{land}][{number}]", ring


def _rounded_rings(rings: Rings) -> Rings:
    return tuple(tuple(_rounded(each) for each in ring) for ring in rings)


def _rounded(position: Position) -> Position:
    lon, lat = position
    # Zero has one sign here: as the database writes it.
    return round(lon, DECIMALS) + 0.0, round(lat, DECIMALS) + 0.0
