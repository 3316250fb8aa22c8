"""A file of borders, a GeoJSON FeatureCollection (RFC 7946), as areas that registry takes.

A feature says in a property which area it is. Borders are as fine as whoever drew them liked;
registry takes a few hundred positions an area. They are simplified all together (Visvalingam and
Whyatt, by GEOS), so that neighbours keep the border they share: one by one they would part.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import shapely
from rich.console import Console
from shapely.geometry import mapping, shape

from deploy.local.areas import KINDS, PARENT_LENGTH
from deploy.local.calls import Api
from deploy.local.rows import FileError
from deploy.local.tokens import development_token
from shared.bodies import explain_invalid
from shared.contracts.geometry import Geometry, Point, positions
from shared.contracts.registry import Area

MOST_POSITIONS = 500
"""Of an area, as registry takes them."""
BATCH_POSITIONS = 100_000

FINEST = 1e-5
"""Degrees; the first try at simplifying, about a metre."""
COARSEST = 0.1


class _Feature(msgspec.Struct):
    geometry: Any = None
    properties: dict[str, Any] | None = None


class _Collection(msgspec.Struct):
    type: Literal["FeatureCollection"]
    features: list[_Feature]


@dataclass(frozen=True, slots=True)
class Placed:
    """An area of the file: its code, its name if the file is asked for it, and where it lies."""

    code: str
    name: str | None
    geometry: Geometry


def command(file: Path, *, code: str, name: str | None, registry: str, token: str | None) -> None:
    """Send the areas of a file and say what came of it.

    Raises `FileError`, or `CallError` when they do not arrive.
    """
    placed = simplified(read(file, code, name))
    told = asyncio.run(_send(placed, registry, token or development_token(["system"])))
    Console(stderr=True).print(
        f"areas    {told['areas']:,} sent, {told['changed']:,} of them new or changed",
        highlight=False,
    )


async def _send(placed: Sequence[Placed], registry: str, token: str) -> Mapping[str, int]:
    async with Api(registry, lambda: token) as api:
        return await send(placed, api)


async def send(placed: Sequence[Placed], api: Api) -> Mapping[str, int]:
    """Send areas, parents before children; names stay as they are on file.

    Raises `FileError` if an area has no name in either place, `CallError` if they do not arrive.
    """
    known = {area["code"]: area for area in (await api.get("/v1/areas"))["items"]}
    nameless = sorted(each.code for each in placed if not each.name and each.code not in known)
    if nameless:
        raise FileError(
            f"registry does not know {len(nameless)} of the areas, the first is {nameless[0]}:"
            " say by --name which property is their name"
        )
    ordered = sorted(placed, key=lambda each: (len(each.code), each.code))
    totals = {"areas": 0, "changed": 0}
    for batch in _batches(ordered):
        areas = [_area(each, known.get(each.code, {})) for each in batch]
        answer = await api.put("/v1/areas:batch", areas)
        totals = {name: totals[name] + answer[name] for name in totals}
    return totals


def _area(placed: Placed, known: Mapping[str, Any]) -> Area:
    parent = PARENT_LENGTH.get(len(placed.code))
    return Area(
        code=placed.code,
        name=placed.name or known["name"],
        kind=KINDS[len(placed.code)],
        parent=known.get("parent") or (placed.code[:parent] if parent else None),
        lat=known.get("lat"),
        lon=known.get("lon"),
        geometry=placed.geometry,
    )


def read(file: Path, code: str, name: str | None) -> list[Placed]:
    """Read the features that lie somewhere; `code` and `name` are their properties.

    Raises `FileError` with the number of the first feature that cannot be read, from 1.
    """
    try:
        collection = msgspec.json.decode(file.read_bytes(), type=_Collection)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FileError(f"{file} is no GeoJSON FeatureCollection: {error}") from None
    found: dict[str, Placed] = {}
    for number, feature in enumerate(collection.features, 1):
        if feature.geometry is None:
            continue
        placed = _placed(number, feature, code, name)
        if placed.code in found:
            raise FileError(f"feature {number}: {placed.code} has been there before")
        found[placed.code] = placed
    return list(found.values())


def _placed(number: int, feature: _Feature, code: str, name: str | None) -> Placed:
    properties = feature.properties or {}
    for wanted in (code, name):
        if wanted is not None and properties.get(wanted) in {None, ""}:
            there = ", ".join(sorted(properties)) or "none"
            raise FileError(f"feature {number}: it has no property {wanted}; it has {there}")
    try:
        geometry = msgspec.convert(_flat(feature.geometry), Geometry)
    except msgspec.ValidationError as error:
        place, rule = explain_invalid(error)
        raise FileError(f"feature {number}: geometry.{place}: {rule}") from None
    return Placed(
        _code(number, str(properties[code])), str(properties[name]) if name else None, geometry
    )


def _code(number: int, written: str) -> str:
    """Read a code; statistics write all of them with twelve digits, others with six, zeros last."""
    code = written.strip()
    for length, zeros in ((12, "000"), (9, "000"), (6, "00")):
        if len(code) == length:
            code = code.removesuffix(zeros)
    if len(code) not in KINDS or not (code.isascii() and code.isdigit()):
        raise FileError(
            f"feature {number}: {written} is no code; 4 digits are a city, 6 a district, 9 an"
            " office, 12 a community"
        )
    return code


def _flat(geometry: Any) -> Any:  # noqa: ANN401 - JSON, whatever it holds
    """Leave out heights above the sea, which positions may have."""
    if not isinstance(geometry, dict):
        return geometry

    def flat(coordinates: Any) -> Any:  # noqa: ANN401
        if not isinstance(coordinates, list):
            return coordinates
        if coordinates and not isinstance(coordinates[0], list):
            return coordinates[:2]
        return [flat(each) for each in coordinates]

    return geometry | {"coordinates": flat(geometry.get("coordinates"))}


def simplified(placed: Iterable[Placed]) -> list[Placed]:
    """Simplify the borders of each level together, until registry takes all of them.

    Raises `FileError` if one stays too fine.
    """
    levels: defaultdict[int, list[Placed]] = defaultdict(list)
    for each in placed:
        # Points are as simple as can be, and are no neighbours of anybody.
        levels[0 if isinstance(each.geometry, Point) else len(each.code)].append(each)
    points = levels.pop(0, [])
    return points + [each for level in levels.values() for each in _level(level)]


def _level(placed: Sequence[Placed]) -> Iterator[Placed]:
    geometries = [each.geometry for each in placed]
    borders = [shape(msgspec.to_builtins(geometry)) for geometry in geometries]
    tolerance = FINEST
    while any(map(_too_fine, geometries)):
        if tolerance > COARSEST:
            code = next(e.code for e, g in zip(placed, geometries, strict=True) if _too_fine(g))
            raise FileError(
                f"{code}: its borders cannot be told in {MOST_POSITIONS} positions;"
                " leave out its smallest pieces of land"
            )
        geometries = [
            msgspec.convert(mapping(border), Geometry)
            for border in shapely.coverage_simplify(borders, tolerance)
        ]
        tolerance *= 2
    for each, geometry in zip(placed, geometries, strict=True):
        yield Placed(each.code, each.name, geometry)


def _too_fine(geometry: Geometry) -> bool:
    return sum(1 for _ in positions(geometry)) > MOST_POSITIONS


def _batches(placed: Iterable[Placed]) -> Iterator[list[Placed]]:
    batch: list[Placed] = []
    size = 0
    for each in placed:
        batch.append(each)
        size += sum(1 for _ in positions(each.geometry))
        if size > BATCH_POSITIONS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
