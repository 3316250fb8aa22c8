"""Geometries at random: some that areas may have, and much else."""

from typing import Any

from hypothesis import strategies as st

from shared.contracts.geometry import Geometry, MultiPolygon, Point, Polygon, Position, Ring

# On a grid of six decimals: that many are kept.
_positions: st.SearchStrategy[Position] = st.tuples(
    st.integers(-180_000_000, 180_000_000).map(lambda n: n / 1_000_000),
    st.integers(-90_000_000, 90_000_000).map(lambda n: n / 1_000_000),
)


def _closed(corners: list[Position]) -> Ring:
    return (*corners, corners[0])


_rings = st.lists(_positions, min_size=3, max_size=8, unique=True).map(_closed)
_lands = st.lists(_rings, min_size=1, max_size=3).map(tuple)

points = st.builds(Point, _positions)
polygons = st.builds(Polygon, _lands)
multi_polygons = st.builds(MultiPolygon, st.lists(_lands, min_size=1, max_size=3).map(tuple))
geometries: st.SearchStrategy[Geometry] = st.one_of(points, polygons, multi_polygons)
"""Such as areas may have."""

_numbers = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers())
_nested: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), _numbers, st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=5),
    max_leaves=30,
)
anything: st.SearchStrategy[Any] = st.one_of(
    _nested,
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["Point", "Polygon", "MultiPolygon", "LineString", "", 1]),
            "coordinates": st.one_of(
                _nested,
                st.lists(st.lists(st.lists(_numbers, max_size=3), max_size=6), max_size=3),
            ),
        },
        optional={"bbox": _nested, "crs": _nested},
    ),
)
"""Whatever somebody may send as a geometry."""
