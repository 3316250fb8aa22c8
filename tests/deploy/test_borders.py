"""The demo's borders: made up, always the same, and nobody is left without land."""

from itertools import combinations

import msgspec
import pytest
import shapely
from shapely.geometry import shape

from deploy.local import areas, borders
from services.registry.domain.geometry import check
from shared.contracts.registry import Area


def land(area: Area) -> shapely.Polygon:
    """What an area is given."""
    found = shape(msgspec.to_builtins(area.geometry))
    assert isinstance(found, shapely.Polygon)
    return found


def made_up(prefix: str, kind: str) -> list[Area]:
    return [area for area in borders.made_up(prefix) if area.kind == kind]


def test_every_area_of_the_district_has_borders_that_registry_takes() -> None:
    made = borders.made_up("410171")
    assert [area.code for area in made] == [area.code for area in areas.under("410171")]
    for area in made:
        if area.kind == "city":
            assert area.geometry is None
        else:
            assert area.geometry is not None
            check(area.geometry)
    assert made == borders.made_up("410171")


@pytest.mark.parametrize(("whole", "part"), [("district", "office"), ("office", "community")])
def test_an_area_is_shared_by_those_below_it(whole: str, part: str) -> None:
    parts = made_up("410171", part)
    for area in made_up("410171", whole):
        below = [land(each) for each in parts if each.parent == area.code]
        covered = shapely.union_all(below).area
        assert covered == pytest.approx(land(area).area, rel=0.02)
        for one, other in combinations(below, 2):
            assert one.intersection(other).area < 0.001 * covered


def test_a_single_office_and_a_whole_city_have_borders_too() -> None:
    assert len(made_up("410171561", "community")) == len(areas.communities("410171561"))
    for district in made_up("4101", "district"):
        assert district.lon is not None
        assert district.lat is not None
        assert land(district).contains(shapely.Point(district.lon, district.lat))
