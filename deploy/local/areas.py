"""The areas of Zhengzhou, as this project carries them: city, districts, offices, communities.

`areas.csv` beside this module names its source. A code's length is its kind and a shorter code
its parent, so the file holds neither.
"""

import csv
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from shared.contracts.registry import Area
from shared.contracts.vocabulary import AreaKind

FILE = Path(__file__).with_name("areas.csv")

KINDS: dict[int, AreaKind] = {4: "city", 6: "district", 9: "office", 12: "community"}
PARENT_LENGTH = {6: 4, 9: 6, 12: 9}


@cache
def load() -> tuple[Area, ...]:
    """Every area of the file, parents before children."""
    with FILE.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(line for line in lines if not line.startswith("#"))
        areas = [_area(row["code"], row["name"], row["lat"], row["lon"]) for row in rows]
    return tuple(sorted(areas, key=lambda area: (len(area.code), area.code)))


def under(prefix: str) -> list[Area]:
    """Areas whose code begins with `prefix`, and those above it, parents before children."""
    return [area for area in load() if area.code.startswith(prefix) or prefix.startswith(area.code)]


def offices(prefix: str) -> list[Area]:
    """Offices (办事处) of a district or a city."""
    return [area for area in load() if area.kind == "office" and area.code.startswith(prefix)]


def communities(prefix: str) -> list[Area]:
    """Communities (社区) of an office, a district or a city."""
    return [area for area in load() if area.kind == "community" and area.code.startswith(prefix)]


def place_of(code: str) -> tuple[float, float]:
    """Latitude and longitude (degrees) of the nearest area at or above `code` that has them."""
    placed = {area.code: area for area in load() if area.lat is not None}
    for length in sorted(KINDS, reverse=True):
        area = placed.get(code[:length])
        if area is not None and area.lat is not None and area.lon is not None:
            return area.lat, area.lon
    raise LookupError(f"no area of the file has a place at or above {code}")


def batches(areas: Sequence[Area], size: int = 5000) -> Iterator[Sequence[Area]]:
    """Cut areas into batches as `PUT /v1/areas:batch` takes them, parents still first."""
    for start in range(0, len(areas), size):
        yield areas[start : start + size]


def _area(code: str, name: str, lat: str, lon: str) -> Area:
    parent_length = PARENT_LENGTH.get(len(code))
    return Area(
        code=code,
        name=name,
        kind=KINDS[len(code)],
        parent=code[:parent_length] if parent_length else None,
        lat=float(lat) if lat else None,
        lon=float(lon) if lon else None,
    )
