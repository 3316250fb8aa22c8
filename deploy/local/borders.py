"""Borders for the demo's areas. They are made up: real are only the codes, names and nesting.

A district is a blob about where it really is, as large as its communities need; its offices share
it among themselves, and their communities each office, every one having what is nearest to it
(Voronoi). The same code gives the same borders.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from math import cos, hypot, pi, radians, sin, sqrt, tau
from random import Random
from typing import TypeAlias

import msgspec
import shapely

from deploy.local import areas
from shared.contracts.geometry import Geometry, Polygon, Position
from shared.contracts.registry import Area

COMMUNITY_KM2 = 1.8
"""So much land a community has, on the average."""
ROOMY = 1.4
"""A city reaches so many times as far as the farthest of its districts."""
LEAST_KM = 0.5
CORNERS = 72
"""Of a blob."""
EVENLY = 8
"""How often everybody moves to the middle of their share: the shares become alike."""
DECIMALS = 5
"""About a metre."""
KM_PER_DEGREE = 111.32

Spot: TypeAlias = tuple[float, float]
"""Kilometres east and north of the middle."""


def made_up(prefix: str) -> list[Area]:
    """Areas whose code begins with `prefix`, with borders, and those above it, without."""
    listed = areas.under(prefix)
    inside = [area for area in listed if area.code.startswith(prefix)]
    parts: defaultdict[str | None, list[Area]] = defaultdict(list)
    for area in inside:
        parts[area.parent].append(area)
    found: dict[str, Geometry] = {}
    codes = {area.code for area in inside}
    for root in (area for area in inside if area.parent not in codes):
        middle = areas.place_of(root.code)
        needed = sqrt(len(areas.communities(root.code)) * COMMUNITY_KM2 / pi)
        seats = [_seat(area, middle) for area in parts.get(root.code, [])]
        reach = ROOMY * max((hypot(*seat) for seat in seats if seat), default=0)
        blob = _blob(root.code, max(needed, reach, LEAST_KM))
        for code, land in _share(root, blob, parts, middle):
            found[code] = _geometry(land, middle)
    return [msgspec.structs.replace(area, geometry=found.get(area.code)) for area in listed]


def _share(
    area: Area, land: shapely.Polygon, parts: dict[str | None, list[Area]], middle: Spot
) -> Iterator[tuple[str, shapely.Polygon]]:
    """Give an area its land, and everybody below it their share."""
    yield area.code, land
    below = parts.get(area.code, [])
    if not below:
        return
    for part, share in zip(below, _shares(area.code, land, below, middle), strict=True):
        yield from _share(part, share, parts, middle)


def _shares(
    code: str, land: shapely.Polygon, below: Sequence[Area], middle: Spot
) -> list[shapely.Polygon]:
    rng = Random(code)  # noqa: S311 - invented borders, nothing to guess
    seats = [_seat(area, middle) or _somewhere(rng, land) for area in below]
    shares = _nearest(land, seats)
    for _ in range(EVENLY if below[0].lat is None else 0):
        seats = [(share.centroid.x, share.centroid.y) for share in shares]
        shares = _nearest(land, seats)
    return shares


def _nearest(land: shapely.Polygon, seats: Sequence[Spot]) -> list[shapely.Polygon]:
    if len(seats) == 1:
        return [land]
    cells = shapely.voronoi_polygons(shapely.MultiPoint(seats), extend_to=land, ordered=True)
    shares = [land.intersection(cell) for cell in cells.geoms]
    # Where the land has a bay, a share may be in pieces: the largest is kept.
    return [max(shapely.get_parts(share), key=shapely.area) for share in shares]


def _seat(area: Area, middle: Spot) -> Spot | None:
    if area.lat is None or area.lon is None:
        return None
    lat, lon = middle
    return (
        (area.lon - lon) * KM_PER_DEGREE * cos(radians(lat)),
        (area.lat - lat) * KM_PER_DEGREE,
    )


def _somewhere(rng: Random, land: shapely.Polygon) -> Spot:
    west, south, east, north = land.bounds
    while True:
        spot = rng.uniform(west, east), rng.uniform(south, north)
        if land.contains(shapely.Point(spot)):
            return spot


def _blob(code: str, radius: float) -> shapely.Polygon:
    """Draw an outline that waves about a circle."""
    rng = Random(code)  # noqa: S311 - invented borders, nothing to guess
    waves = [(n, rng.uniform(0, tau), rng.uniform(0.3, 1) * 0.22 / n) for n in range(2, 9)]

    def corner(angle: float) -> Spot:
        far = radius * (1 + sum(depth * sin(n * angle + turn) for n, turn, depth in waves))
        return 1.25 * far * cos(angle), far * sin(angle)

    return shapely.Polygon([corner(tau * number / CORNERS) for number in range(CORNERS)])


def _geometry(land: shapely.Polygon, middle: Spot) -> Geometry:
    lat, lon = middle
    east = KM_PER_DEGREE * cos(radians(lat))

    def place(x: float, y: float) -> Position:
        return round(lon + x / east, DECIMALS), round(lat + y / KM_PER_DEGREE, DECIMALS)

    return Polygon((tuple(place(*spot) for spot in land.exterior.coords),))
