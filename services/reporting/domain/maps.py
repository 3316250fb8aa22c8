"""A map of areas, from nothing but the coordinates that came with them.

Equirectangular: a degree of longitude is as long as it is in the middle of the map. Over a city the
error is far below a line's width, and coordinates that are all shifted alike draw the same map.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from math import cos, radians, sqrt
from typing import Literal, TypeAlias, get_args

from services.reporting.domain.coverage import Line
from shared.contracts.geometry import Geometry, Point, Position, lands, positions

WIDTH, HEIGHT = 1000, 640
"""Of the frame that every map is fitted into."""
MARGIN = 6
"""Room for the lines at the edge."""

LARGEST, SMALLEST = 26.0, 4.0
"""Radius of circles: the area grows with the roll. At the edge there is room for the largest."""
CROWDED = 40
"""So many circles have room at their largest; more of them are smaller."""

SHARES = (0.01, 0.05, 0.2, 0.5)
Step = Literal["unknown", "zero", "step-1", "step-2", "step-3", "step-4", "step-5"]
STEPS: tuple[Step, ...] = get_args(Step)
"""Nobody on the roll; nobody left; and the share of the roll that is left, up to each of `SHARES`.

They stand still: a map at noon and one in the evening are compared by their colours."""

Spot: TypeAlias = tuple[float, float]
"""A place in the frame."""
Land: TypeAlias = Sequence[Sequence[Spot]]
"""A piece of land and the holes in it, in the frame."""
Project: TypeAlias = Callable[[Position], Spot]


@dataclass(frozen=True, slots=True)
class Room:
    """A place for words within an area, as wide as this."""

    x: float
    y: float
    width: float


@dataclass(frozen=True, slots=True)
class Shape:
    """How an area is drawn: by its borders, or as a point."""

    x: float
    y: float
    path: str = ""
    """Its borders, as SVG has them; a point has none."""
    rooms: tuple[Room | None, ...] = ()
    """For words of each height that was asked for; None where there is none."""


def step(line: Line) -> Step:
    """Tell which class an area is of."""
    if not line.roll or line.unaccounted is None:
        return "unknown"
    if line.unaccounted == 0:
        return "zero"
    return STEPS[2 + bisect_right(SHARES, line.unaccounted / line.roll)]


def radius(roll: int, largest: int, circles: int) -> float:
    """Tell the radius of a point among so many, the largest of which has so many on its roll."""
    most = LARGEST * min(1.0, sqrt(CROWDED / max(circles, 1)))
    return max(SMALLEST, most * sqrt(roll / largest)) if largest else SMALLEST


def draw(geometries: Mapping[str, Geometry], words: Sequence[float] = ()) -> dict[str, Shape]:
    """Draw areas into one frame, as large as they fit, north up.

    Args:
        geometries: where each lies, by code
        words: heights of words, for each of which room is looked for within borders

    """
    if not geometries:
        return {}
    circles = any(isinstance(geometry, Point) for geometry in geometries.values())
    spread = chain.from_iterable(map(positions, geometries.values()))
    project = _fitted(spread, LARGEST + MARGIN if circles else MARGIN)
    return {code: _shape(geometry, project, words) for code, geometry in geometries.items()}


def _fitted(spread: Iterator[Position], margin: float) -> Project:
    lons, lats = zip(*spread, strict=True)
    west, east, south, north = min(lons), max(lons), min(lats), max(lats)
    # At a pole every longitude is the same place.
    squeeze = max(cos(radians((south + north) / 2)), 0.01)
    wide, high = (east - west) * squeeze, north - south
    fits = [(frame - 2 * margin) / span for frame, span in ((WIDTH, wide), (HEIGHT, high)) if span]
    scale = min(fits, default=1.0)
    left, top = (WIDTH - wide * scale) / 2, (HEIGHT - high * scale) / 2

    def project(position: Position) -> Spot:
        lon, lat = position
        return left + (lon - west) * squeeze * scale, top + (north - lat) * scale

    return project


def _shape(geometry: Geometry, project: Project, words: Sequence[float]) -> Shape:
    if isinstance(geometry, Point):
        x, y = project(geometry.coordinates)
        return Shape(_short(x), _short(y))
    drawn = [[[project(each) for each in ring] for ring in rings] for rings in lands(geometry)]
    path = "".join(_line(ring) for rings in drawn for ring in rings)
    largest = max(drawn, key=lambda rings: _extent(rings[0]))
    x, y = largest[0][0]
    return Shape(_short(x), _short(y), path, tuple(_room(largest, each) for each in words))


def _line(ring: Sequence[Spot]) -> str:
    """Write a ring in tenths; positions that fall together on the screen are one."""
    x, y = (round(10 * each) for each in ring[0])
    steps = []
    at_x, at_y = x, y
    for each in ring[1:-1]:
        to_x, to_y = round(10 * each[0]), round(10 * each[1])
        if (to_x, to_y) != (at_x, at_y):
            steps.append(f"{(to_x - at_x) / 10:g} {(to_y - at_y) / 10:g}")
            at_x, at_y = to_x, to_y
    return f"M{x / 10:g} {y / 10:g}l{' '.join(steps)}z" if steps else f"M{x / 10:g} {y / 10:g}z"


_HEIGHTS = (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.1, 0.9)
"""Where room for words is looked for, between top and bottom; in the middle first."""

_CLEARLY = 1.1
"""So much wider a place has to be than one nearer to the middle."""


def _room(rings: Land, height: float) -> Room | None:
    """Find the widest place for words of this height: free at their top, middle and bottom."""
    top = min(y for _, y in rings[0]) + height / 2
    bottom = max(y for _, y in rings[0]) - height / 2
    best = None
    for part in _HEIGHTS if top < bottom else ():
        y = top + part * (bottom - top)
        free = _stretches(rings, y)
        for edge in (y - height / 2, y + height / 2):
            free = _common(free, _stretches(rings, edge))
        for left, right in free:
            if best is None or right - left > best.width * _CLEARLY:
                best = Room(_short((left + right) / 2), _short(y), _short(right - left))
    return best


def _stretches(rings: Land, y: float) -> list[Spot]:
    """List what of a horizontal line is inside, from left to right."""
    crossings = sorted(chain.from_iterable(_crossings(ring, y) for ring in rings))
    return list(zip(crossings[::2], crossings[1::2], strict=False))


def _common(some: Sequence[Spot], others: Sequence[Spot]) -> list[Spot]:
    return [
        (max(one[0], other[0]), min(one[1], other[1]))
        for one in some
        for other in others
        if max(one[0], other[0]) < min(one[1], other[1])
    ]


def _crossings(ring: Sequence[Spot], y: float) -> Iterator[float]:
    for (x1, y1), (x2, y2) in pairwise(ring):
        if (y1 > y) != (y2 > y):
            yield x1 + (y - y1) * (x2 - x1) / (y2 - y1)


def _extent(ring: Sequence[Spot]) -> float:
    """Area of a ring, by the shoelace formula, doubled."""
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairwise(ring)))


def _short(length: float) -> float:
    return round(length, 1)
