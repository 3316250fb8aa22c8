"""The script of a testing day: everybody decided for, the same every time."""

from collections import Counter
from datetime import date, datetime, timedelta

import pytest

from deploy.local.day import OPENS, ZONE, Person, Script
from deploy.local.population import Population

DAY = date(2022, 1, 9)


@pytest.fixture(scope="module")
def people() -> list[Person]:
    return [Person.of(row) for row in Population(10_000, "410171", 1, DAY).residents()]


@pytest.fixture(scope="module")
def script(people: list[Person]) -> Script:
    return Script.write(people, DAY, seed=1)


def test_the_same_seed_writes_the_same_day(people: list[Person], script: Script) -> None:
    again = Script.write(people, DAY, seed=1)
    assert again.swabs == script.swabs
    assert again.exclusions == script.exclusions
    assert Script.write(people, DAY, seed=2).swabs != script.swabs


def test_nobody_is_sampled_twice_nor_sampled_and_excluded(script: Script) -> None:
    sampled = [swab.resident for swab in script.swabs]
    assert len(sampled) == len(set(sampled))
    assert not set(sampled) & {person.id for person, _ in script.exclusions}


def test_most_come_and_some_neither_come_nor_have_a_need(
    people: list[Person], script: Script
) -> None:
    met = {swab.resident for swab in script.swabs} | {person.id for person, _ in script.exclusions}
    forgotten = [person for person in people if person.id not in met and not person.needs]
    assert 0.88 < len(script.swabs) / len(people) < 0.97
    assert 0.02 < len(forgotten) / len(people) < 0.05


def test_the_quarantined_never_come_to_a_site(people: list[Person], script: Script) -> None:
    quarantined = {person.id for person in people if "quarantine" in person.needs}
    assert quarantined
    assert not quarantined & {swab.resident for swab in script.swabs}


def test_small_children_are_excluded_by_reason(script: Script) -> None:
    reasons = Counter(reason for _, reason in script.exclusions)
    assert reasons["under_3"] > reasons["vaccinated_48h"] > 0
    for person, reason in script.exclusions:
        assert reason != "under_3" or (DAY - person.born).days < 3 * 365.25


def test_every_hour_takes_and_releases_its_own_and_together_all(script: Script) -> None:
    taken = [swab for hour in script.hours() for swab in script.taken(*hour)]
    assert sorted(taken, key=id) == sorted(script.swabs, key=id)
    released = [swab for hour in script.hours() for swab in script.released(*hour)]
    assert 0.98 < len(released) / len(taken) < 1
    for begin, end in script.hours():
        assert end - begin == timedelta(hours=1)
        assert all(begin <= swab.sampled_at < end for swab in script.taken(begin, end))


def test_a_swab_and_its_result_name_the_same_sample(script: Script) -> None:
    swab = script.swabs[0]
    taken, found = swab.taken("r"), swab.found("r")
    assert {key: found[key] for key in taken} == taken
    assert found["result_id"] != found["sample_id"]
    assert found["released_at"] > taken["sampled_at"]


def test_a_swab_at_a_door_names_no_site() -> None:
    script = Script(datetime.combine(DAY, OPENS, ZONE), Script.write([], DAY, 1).rng)
    swab = script.swab("resident", "410171561", script.opens, "home_visit")
    assert "site" not in swab.taken("r")
    assert script.swabs == [swab]


def test_doors_open_differently(script: Script) -> None:
    met = Counter(script.at_the_door() for _ in range(5_000))
    assert met["sampled"] / 5_000 == pytest.approx(0.89, abs=0.03)
    assert {"absent", "refused", "locked", "referred"} <= met.keys()
