"""Where areas lie: geometries as GeoJSON has them (RFC 7946), longitude before latitude, WGS 84."""

from collections.abc import Iterator
from itertools import chain
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

Longitude = Annotated[float, Meta(ge=-180, le=180)]
Latitude = Annotated[float, Meta(ge=-90, le=90)]

Position = tuple[Longitude, Latitude]
Ring = Annotated[tuple[Position, ...], Meta(min_length=4)]
"""A closed line: it ends where it begins."""
Rings = Annotated[tuple[Ring, ...], Meta(min_length=1)]
"""The border of one piece of land, and then those of the holes in it."""


class Point(msgspec.Struct, frozen=True, tag="Point", tag_field="type"):
    """One place."""

    coordinates: Position


class Polygon(msgspec.Struct, frozen=True, tag="Polygon", tag_field="type"):
    """One piece of land."""

    coordinates: Rings


class MultiPolygon(msgspec.Struct, frozen=True, tag="MultiPolygon", tag_field="type"):
    """Several pieces of land."""

    coordinates: Annotated[tuple[Rings, ...], Meta(min_length=1)]


Geometry: TypeAlias = Point | Polygon | MultiPolygon


def lands(geometry: Geometry) -> tuple[Rings, ...]:
    """The pieces of land of a geometry; a point has none."""
    match geometry:
        case Point():
            return ()
        case Polygon():
            return (geometry.coordinates,)
        case MultiPolygon():
            return geometry.coordinates


def positions(geometry: Geometry) -> Iterator[Position]:
    """Every position of a geometry."""
    if isinstance(geometry, Point):
        return iter((geometry.coordinates,))
    return chain.from_iterable(chain.from_iterable(lands(geometry)))
