"""The invented people: the same every time, shaped like the census, and nobody's."""

from collections import Counter, defaultdict
from datetime import date
from itertools import islice
from typing import Any

import pytest
from stdnum.iso7064 import mod_11_2

from deploy.local.population import PYRAMID, Population

DAY = date(2022, 1, 9)


@pytest.fixture(scope="module")
def people() -> list[dict[str, Any]]:
    return list(Population(people=20_000, prefix="410171", seed=7, day=DAY).residents())


def age(person: dict[str, Any]) -> int:
    born = date.fromisoformat(person["birth_date"])
    return DAY.year - born.year - ((DAY.month, DAY.day) < (born.month, born.day))


def needs(person: dict[str, Any]) -> set[str]:
    return {need["code"] for need in person["needs"]}


def test_the_same_seed_gives_the_same_people(people: list[dict[str, Any]]) -> None:
    again = Population(people=20_000, prefix="410171", seed=7, day=DAY).residents()
    assert list(islice(again, 500)) == people[:500]


def test_another_seed_gives_other_people(people: list[dict[str, Any]]) -> None:
    others = list(Population(people=20_000, prefix="410171", seed=8, day=DAY).residents())
    assert not {person["id"] for person in people} & {person["id"] for person in others}
    numbers = {person["id_document"]["number"] for person in people}
    assert not numbers & {person["id_document"]["number"] for person in others}


def test_everybody_asked_for_is_there_once(people: list[dict[str, Any]]) -> None:
    assert len(people) == 20_000
    assert len({person["id"] for person in people}) == 20_000
    assert len({person["id_document"]["number"] for person in people}) == 20_000


def test_every_community_is_lived_in(people: list[dict[str, Any]]) -> None:
    assert len({person["address"]["community_code"] for person in people}) == 78


def test_id_numbers_are_valid_and_of_no_region(people: list[dict[str, Any]]) -> None:
    for person in people:
        number = person["id_document"]["number"]
        assert mod_11_2.is_valid(number)
        assert number[:2] in {"97", "98", "99"}
        assert number[6:14] == person["birth_date"].replace("-", "")
        assert (int(number[16]) % 2 == 1) == (person["sex"] == "male")


def test_phones_have_a_country_code_that_was_never_assigned(people: list[dict[str, Any]]) -> None:
    assert all(person["phone"].startswith("+999") for person in people)


def test_households_average_2_8_people_and_have_an_adult(people: list[dict[str, Any]]) -> None:
    homes: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for person in people:
        address = person["address"]
        homes[*(address[key] for key in ("community_code", "building", "unit", "door"))] += [person]
    assert len(people) / len(homes) == pytest.approx(2.8, abs=0.1)
    assert all(any(age(member) >= 18 for member in members) for members in homes.values())


def test_ages_and_sexes_follow_the_census(people: list[dict[str, Any]]) -> None:
    total = sum(men + women for _, men, women in PYRAMID)
    groups = Counter(min(age(person) // 5 * 5, 80) for person in people)
    for youngest, men, women in PYRAMID[:16]:
        assert groups[youngest] / 20_000 == pytest.approx((men + women) / total, abs=0.01)
    men_share = sum(men for _, men, _ in PYRAMID) / total
    men_here = sum(person["sex"] == "male" for person in people)
    assert men_here / 20_000 == pytest.approx(men_share, abs=0.01)


def test_the_census_table_adds_up_to_the_published_population() -> None:
    assert sum(men for _, men, _ in PYRAMID) == 721_416_394
    assert sum(women for _, _, women in PYRAMID) == 688_362_330


def test_needs_are_about_three_in_a_hundred_and_more_among_the_old(
    people: list[dict[str, Any]],
) -> None:
    def share(ages: range) -> float:
        those = [person for person in people if age(person) in ages]
        return sum(bool(needs(person)) for person in those) / len(those)

    assert share(range(120)) == pytest.approx(0.03, abs=0.006)
    assert share(range(75, 120)) > 4 * share(range(60))


def test_needs_agree_with_age_and_sex(people: list[dict[str, Any]]) -> None:
    for person in people:
        if "minor_alone" in needs(person):
            assert age(person) < 18
        if "maternity" in needs(person):
            assert person["sex"] == "female"
            assert 18 <= age(person) <= 45
        if "elderly_alone" in needs(person):
            assert age(person) >= 70


def test_a_quarantine_holds_for_the_whole_household_and_has_begun(
    people: list[dict[str, Any]],
) -> None:
    by_door: dict[tuple[Any, ...], list[list[dict[str, str]]]] = defaultdict(list)
    for person in people:
        address = person["address"]
        door = tuple(address[key] for key in ("community_code", "building", "unit", "door"))
        by_door[door].append([need for need in person["needs"] if need["code"] == "quarantine"])
    assert any(any(quarantines) for quarantines in by_door.values())
    for quarantines in by_door.values():
        assert all(quarantine == quarantines[0] for quarantine in quarantines)
        for need in quarantines[0]:
            assert need["from"] < DAY.isoformat()


def test_a_prefix_without_communities_is_refused() -> None:
    with pytest.raises(LookupError, match="no community"):
        next(Population(people=10, prefix="99").residents())
