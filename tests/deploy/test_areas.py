"""The project's own list of areas."""

from collections import Counter

from deploy.local import areas


def test_the_file_holds_the_whole_city() -> None:
    kinds = Counter(area.kind for area in areas.load())
    assert kinds == {"city": 1, "district": 15, "office": 208, "community": 3306}


def test_every_parent_stands_before_its_children() -> None:
    seen = set()
    for area in areas.load():
        assert area.parent is None or area.parent in seen
        seen.add(area.code)


def test_the_demo_district_has_six_offices_and_78_communities() -> None:
    assert len(areas.offices("410171")) == 6
    assert len(areas.communities("410171")) == 78
    chaohe = next(area for area in areas.offices("410171") if area.code == "410171561")
    assert chaohe.name.endswith("潮河街道")


def test_a_district_is_loaded_with_what_stands_above_it() -> None:
    codes = [area.code for area in areas.under("410171")]
    assert codes[:2] == ["4101", "410171"]
    assert len(codes) == 2 + 6 + 78


def test_a_community_takes_its_place_from_its_district() -> None:
    assert areas.place_of("410171561001") == areas.place_of("410171")
