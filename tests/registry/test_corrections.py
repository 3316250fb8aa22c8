"""A swab turns out to be somebody else's, of another time, or of another round (R10)."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.registry.test_field import VISITS, finished, visits
from tests.registry.test_merging import merged, undone
from tests.registry.words import (
    account,
    assert_account,
    exclude,
    history,
    hour,
    lives,
    register,
    told,
    where,
)
from tests.support.town import CHAOHE, DONGFANG, JSON, LANQIAO, LUYUAN, OPENS, Town

DAY = 24
"""Hours from one round to the next."""


def right(row: JSON, **more: Any) -> JSON:
    """The row again, as it should have been: it corrects what was said of the swab."""
    kept = ("sample_id", "resident", "round_id", "sampled_at", "channel", "site", "tube_code")
    said = {name: row[name] for name in kept if name in row}
    return said | {"result_id": str(uuid4()), "corrects": row["sample_id"]} | more


def void(row: JSON, of: str = "sample_id") -> JSON:
    """A row that takes back the swab, or a report about it."""
    return right(row, corrects=row[of], void=True)


def report(row: JSON, outcome: str, **more: Any) -> JSON:
    """The laboratory's report about a swab, as the row tells of it."""
    said = right(row) | {"outcome": outcome, "released_at": row["sampled_at"]}
    return {name: value for name, value in said.items() if name != "corrects"} | more


def of(resident: UUID) -> JSON:
    """The field that names somebody."""
    return {"id": str(resident)}


async def noon(town: Town, number: int = 1, **more: Any) -> str:
    """An open round whose clock stands at six hours."""
    round_id = await town.round(number, **more)
    await town.tick(round_id, 6, day=number)
    return round_id


async def test_r10_a_swab_was_somebody_elses(whole_town: Town) -> None:
    wrong, owner = await whole_town.people(lives(LUYUAN), lives(DONGFANG))
    round_id = await noon(whole_town)
    row = whole_town.resulted(round_id, wrong, "positive")
    await whole_town.results(row)
    assert await where(whole_town, round_id, "positive") == {LUYUAN: 1}

    correction = right(row, resident=of(owner))
    assert told(await whole_town.results(correction)) == ["accepted"]
    await assert_account(whole_town, round_id, sampled=1, unaccounted=1, positive=1)
    assert await where(whole_town, round_id, "positive") == {DONGFANG: 1}
    assert await where(whole_town, round_id, "unaccounted") == {LUYUAN: 1}
    # Nothing is forgotten: both rows are known when they come again.
    assert told(await whole_town.results(row, correction)) == ["duplicate", "duplicate"]
    assert await where(whole_town, round_id, "sampled") == {DONGFANG: 1}


async def test_whoever_loses_a_swab_stands_as_their_other_facts_say(town: Town) -> None:
    excluded, again, owner = await town.people(lives(), lives(), lives(DONGFANG))
    round_id = await noon(town)
    first, second = (town.result(round_id, person) for person in (excluded, again))
    later = town.result(round_id, again, 2, channel="sweep")
    await exclude(town, round_id, excluded)
    await town.results(first, second, later)
    await assert_account(town, round_id, sampled=2, channel__site=2, unaccounted=1)
    await town.results(right(first, resident=of(owner)), right(second, resident=of(owner)))
    await assert_account(town, round_id, sampled=2, excluded=1, channel__site=1, channel__sweep=1)


async def test_a_swab_was_taken_at_another_time(town: Town) -> None:
    (resident,) = await town.people(lives())
    round_id = await noon(town)
    early = town.result(round_id, resident, 1, channel="sweep")
    late = town.result(round_id, resident, 3)
    await town.results(early, late)
    await assert_account(town, round_id, sampled=1, channel__sweep=1)
    # The earliest counts, and that is another one now.
    await town.results(right(early, sampled_at=hour(5)))
    await assert_account(town, round_id, sampled=1, channel__site=1, channel__sweep=0)
    answer = await town.results(
        right(early, sampled_at=hour(7)),
        right(early, sampled_at=hour(13)),
        right(early, channel="session", sampled_at=hour(0)),
    )
    assert told(answer) == ["from-the-future", "outside-window", "accepted"]
    await assert_account(town, round_id, sampled=1, channel__session=1)


async def test_a_swab_counts_where_its_person_lived_at_the_corrected_time(town: Town) -> None:
    (resident,) = await town.people(lives(LUYUAN))
    round_id = await noon(town)
    row = town.result(round_id, resident, 1)
    await town.results(row)
    moved = {"id": str(resident), "address": {"community_code": LANQIAO, "since": hour(3)}}
    await register(town, moved)
    assert await where(town, round_id, "sampled") == {LUYUAN: 1}
    await town.results(right(row, sampled_at=hour(4)))
    assert await where(town, round_id, "sampled") == {LANQIAO: 1}


@pytest.mark.parametrize("first", ["open", "closed"])
@pytest.mark.parametrize("second", ["open", "closed"])
async def test_a_swab_was_of_another_round_and_its_outcome_goes_with_it(
    town: Town, first: str, second: str
) -> None:
    resident, other = await town.people(lives(), lives(DONGFANG))
    rounds = [await noon(town, number) for number in (1, 2)]
    row = town.resulted(rounds[0], resident, "negative")
    await town.results(row, town.result(rounds[1], other, DAY + 1))
    for round_id, state in zip(rounds, (first, second), strict=True):
        if state == "closed":
            await town.step(round_id, "close")
    correction = right(row, round_id=rounds[1], sampled_at=hour(DAY + 2))
    assert told(await town.results(correction)) == ["accepted"]
    await assert_account(town, rounds[0], unaccounted=2)
    await assert_account(town, rounds[1], sampled=2, resulted=1, negative=1)

    # Later rows are taken whichever of the two they know, and tell of the swab where it is now.
    second_look = report(row, "positive", released_at=hour(5))
    retest = report(correction, "invalid", corrects=second_look["result_id"])
    assert told(await town.results(second_look)) == ["accepted"]
    assert told(await town.results(retest)) == ["accepted"]
    await assert_account(town, rounds[0], unaccounted=2, resulted=0)
    await assert_account(town, rounds[1], sampled=2, resulted=1, invalid=1)
    assert told(await town.results(void(row))) == ["accepted"]
    await assert_account(town, rounds[1], sampled=1, unaccounted=1, resulted=0)


async def test_r10_what_is_not_released_goes_with_its_swab_and_stays_hidden(town: Town) -> None:
    resident, owner = await town.people(lives(), lives())
    rounds = [await noon(town, number) for number in (1, 2)]
    row = town.result(rounds[0], resident, outcome="positive", resulted_at=hour(2))
    await town.results(row)
    correction = right(row, resident=of(owner), round_id=rounds[1], sampled_at=hour(DAY))
    await town.results(correction)
    await assert_account(town, rounds[1], sampled=1, unaccounted=1, resulted=0, positive=0)
    for person in (resident, owner):
        (shown,) = await history(town, person)
        assert not {"outcome", "resulted_at"} & shown.keys()
    await town.results(report(row, "positive"))
    await assert_account(town, rounds[1], sampled=1, unaccounted=1, resulted=1, positive=1)


async def test_sealed_rounds_are_final_nothing_moves_out_of_or_into_them(town: Town) -> None:
    first, second, other = await town.people(lives(), lives(), lives())
    rounds = [await noon(town, number) for number in (1, 2, 3)]
    gone, stays = (town.resulted(rounds[0], person, "negative") for person in (first, second))
    later = town.result(rounds[1], other, DAY)
    await town.results(gone, stays, later)
    moved = right(gone, round_id=rounds[1], sampled_at=hour(DAY))
    await town.results(moved)
    for step in ("close", "seal"):
        await town.step(rounds[0], step)
    answer = await town.results(
        right(stays, round_id=rounds[1], sampled_at=hour(DAY)),  # out of it
        right(stays, resident=of(other)),
        right(later, round_id=rounds[0], sampled_at=hour(1)),  # into it
        stays,
        gone,
        moved,
    )
    assert told(answer) == ["round-not-open"] * 3 + ["duplicate"] * 3

    for step in ("close", "seal"):
        await town.step(rounds[1], step)
    third = right(moved, round_id=rounds[2], sampled_at=hour(2 * DAY))
    assert told(await town.results(third)) == ["round-not-open"]
    await assert_account(town, rounds[0], sampled=1, unaccounted=2, negative=1)
    await assert_account(town, rounds[1], sampled=2, unaccounted=1, negative=1)
    await assert_account(town, rounds[2], unaccounted=3)


async def test_rows_that_know_a_swab_by_a_round_still_open_find_it_sealed(town: Town) -> None:
    (resident,) = await town.people(lives())
    rounds = [await noon(town, number) for number in (1, 2)]
    swab = town.result(rounds[1], resident, DAY, result_id=None)
    await town.results(swab)
    await town.results(right(swab, round_id=rounds[0], sampled_at=hour(1)))
    for step in ("close", "seal"):
        await town.step(rounds[0], step)
    answer = await town.results(
        report(swab, "negative"), void(swab), right(swab), swab | {"tube_code": "T-1"}, swab
    )
    assert told(answer) == ["round-not-open"] * 4 + ["duplicate"]
    # The swab's own row is a repeat also where it names the sealed round.
    there = swab | {"round_id": rounds[0], "sampled_at": hour(1)}
    assert told(await town.results(there, there | {"site": "A"})) == [
        "duplicate", "round-not-open",
    ]  # fmt: skip
    await assert_account(town, rounds[0], sampled=1, resulted=0)


async def test_several_corrections_of_one_swab_in_one_batch_and_after(town: Town) -> None:
    people = await town.people(lives(LUYUAN), lives(LANQIAO), lives(DONGFANG))
    round_id = await noon(town)
    row = town.result(round_id, people[0], tube_code="T-1")
    # The correction comes before what it corrects; what is said last of the swab stands.
    answer = await town.results(
        right(row, resident=of(people[1])),
        row,
        report(row, "negative"),
        report(row, "negative", resident=of(people[2])),
        right(row, resident=of(people[2])),
        report(row, "positive", resident=of(people[2]), released_at=hour(2)),
    )
    assert told(answer) == [
        "accepted", "accepted", "accepted", "id-reused", "accepted", "accepted",
    ]  # fmt: skip
    assert await where(town, round_id, "sampled") == {DONGFANG: 1}
    assert await where(town, round_id, "positive") == {DONGFANG: 1}
    back = right(row, resident=of(people[0]))
    assert told(await town.results(back, right(row, resident=of(people[1])), back)) == [
        "accepted", "accepted", "duplicate",
    ]  # fmt: skip
    assert await where(town, round_id, "positive") == {LANQIAO: 1}
    await assert_account(town, round_id, sampled=1, unaccounted=2, resulted=1)


async def test_there_and_back_in_the_batch_that_brought_it(town: Town) -> None:
    wrong, owner = await town.people(lives(LUYUAN), lives(LANQIAO))
    round_id = await noon(town)
    row = town.result(round_id, owner)
    answer = await town.results(row, right(row, resident=of(wrong)), right(row))
    assert told(answer) == ["accepted"] * 3
    assert await where(town, round_id, "sampled") == {LANQIAO: 1}
    assert [shown.get("corrected_by") is None for shown in await history(town, wrong)] == [False]
    assert told(await town.results(report(row, "negative", resident=of(wrong)))) == ["accepted"]
    assert await where(town, round_id, "negative") == {LANQIAO: 1}


async def test_a_void_swab_is_void_for_good(town: Town) -> None:
    wrong, owner = await town.people(lives(LUYUAN), lives(DONGFANG))
    round_id = await noon(town)
    row = town.resulted(round_id, wrong, "negative")
    correction = right(row, resident=of(owner))
    await town.results(row, correction)
    # Voided by somebody who knows it as it was; in one batch as in two nothing corrects it then.
    answer = await town.results(void(row), right(row, resident=of(wrong)))
    assert told(answer) == ["accepted", "nothing-to-correct"]
    assert told(await town.results(right(row, resident=of(wrong)))) == ["nothing-to-correct"]
    await assert_account(town, round_id, unaccounted=2)
    (shown,) = await history(town, owner)
    assert shown["void"]
    assert not {"outcome", "valid_until"} & shown.keys()


async def test_reports_are_corrected_and_voided_after_the_swab_was(town: Town) -> None:
    wrong, owner = await town.people(lives(LUYUAN), lives(DONGFANG))
    rounds = [await noon(town, number) for number in (1, 2)]
    row = town.resulted(rounds[0], wrong, "positive")
    now = right(row, resident=of(owner), round_id=rounds[1], sampled_at=hour(DAY))
    await town.results(row, now)
    fixed = report(row, "negative", corrects=row["result_id"], released_at=hour(3))
    assert told(await town.results(fixed)) == ["accepted"]
    assert await where(town, rounds[1], "negative") == {DONGFANG: 1}
    taken_back = right(now, corrects=fixed["result_id"], void=True)
    assert told(await town.results(taken_back)) == ["accepted"]
    await assert_account(town, rounds[1], sampled=1, unaccounted=1, resulted=0)


async def test_r14_the_history_shows_a_swab_as_it_stands_and_what_was_corrected(
    town: Town,
) -> None:
    wrong, owner = await town.people(lives(), lives(DONGFANG))
    round_id = await noon(town)
    row = town.resulted(round_id, wrong, "negative", 1)
    first = right(row, sampled_at=hour(2))
    second = right(row, resident=of(owner), sampled_at=hour(3))
    await town.results(row)
    await town.results(first)
    (now, before) = await history(town, wrong)
    assert (now["sampled_at"], now["outcome"]) == (_z(2), "negative")
    assert datetime.fromisoformat(now["valid_until"]) == OPENS + timedelta(hours=2 + 48)
    assert (before["sampled_at"], before["corrected_by"]) == (_z(1), first["result_id"])
    assert not {"outcome", "result_id", "resulted_at", "valid_until"} & before.keys()

    await town.results(second)
    (shown,) = await history(town, owner)
    assert (shown["sampled_at"], shown["outcome"]) == (_z(3), "negative")
    # Whoever it was not learns that it was corrected, and nothing of what became of it.
    was = await history(town, wrong)
    assert [each["corrected_by"] for each in was] == [second["result_id"], first["result_id"]]
    assert not any({"outcome", "valid_until"} & each.keys() for each in was)
    assert str(owner) not in str(was)


def _z(hours: float) -> str:
    return hour(hours).replace("+00:00", "Z")


async def test_a_correction_changes_site_and_tube_and_what_it_leaves_out_stays(
    town: Town,
) -> None:
    (visitor,) = await town.people(lives(DONGFANG))
    round_id = await noon(town, offices=[CHAOHE])
    row = town.result(round_id, visitor, site=f"{LUYUAN}-1", tube_code="T-1")
    await town.results(row)
    assert await where(town, round_id, "visitors") == {LUYUAN: 1}
    await town.results(right(row, site=f"{LANQIAO}-2", tube_code=None))
    assert await where(town, round_id, "visitors") == {LANQIAO: 1}
    shown = (await history(town, visitor))[0]
    assert (shown["site"], shown["tube_code"]) == (f"{LANQIAO}-2", "T-1")


async def test_r19_whoever_tells_of_a_swab_first_the_others_complete_it(town: Town) -> None:
    (visitor,) = await town.people(lives(DONGFANG))
    round_id = await noon(town, offices=[CHAOHE])
    swab = town.result(round_id, visitor, site=f"{LUYUAN}-1", tube_code="T-1", result_id=None)
    bare = {name: value for name, value in swab.items() if name not in {"site", "tube_code"}}
    outcome = report(bare, "negative")
    # The report is there before the swab, and knows neither site nor tube.
    assert told(await town.results(outcome)) == ["accepted"]
    assert (await account(town, round_id))["visitors"] == 1
    assert told(await town.results(swab)) == ["accepted"]
    assert await where(town, round_id, "visitors") == {LUYUAN: 1}
    assert (await history(town, visitor))[0]["tube_code"] == "T-1"
    answer = await town.results(
        swab, bare, outcome, report(bare, "negative"), swab | {"tube_code": "T-2"},
        report(swab, "negative", site="elsewhere"), report(swab, "negative", tube_code=None),
    )  # fmt: skip
    assert told(answer) == ["duplicate"] * 3 + ["accepted"] + ["id-reused"] * 2 + ["accepted"]


async def test_r19_rows_of_one_batch_complete_a_swab_and_do_not_contradict_each_other(
    town: Town,
) -> None:
    (resident,) = await town.people(lives())
    round_id = await noon(town)
    swab = town.result(round_id, resident, result_id=None)
    answer = await town.results(
        swab, swab | {"tube_code": "T-1"}, swab | {"tube_code": "T-2"},
        report(swab, "negative", site="A"), swab | {"site": "A"}, swab,
    )  # fmt: skip
    assert told(answer) == [
        "accepted", "accepted", "id-reused", "accepted", "duplicate", "duplicate",
    ]  # fmt: skip
    answer = await town.results(
        report(swab, "negative", tube_code="T-1"), report(swab, "negative", tube_code="T-2"),
        swab | {"site": "A", "tube_code": "T-1"},
    )  # fmt: skip
    assert told(answer) == ["accepted", "id-reused", "duplicate"]
    assert (await history(town, resident))[0]["tube_code"] == "T-1"


async def test_answers_tell_nothing_of_people(town: Town) -> None:
    owner, other = await town.people(lives(), lives())
    round_id = await noon(town)
    row = town.resulted(round_id, owner, "positive") | {"tube_code": "T-1"}
    unreleased = town.result(round_id, owner, outcome="positive")
    gone = town.result(round_id, owner)
    await town.results(row, unreleased, gone, void(gone))
    far = town.headers("site", areas=["110101"])

    async def answered(sent: JSON) -> JSON:
        answer = await town.registry.post("/v1/results:batch", json=[sent], headers=far)
        shown: JSON = answer.json()["rows"][0].get("reason", {})
        return shown

    # Another person's, nobody's, void: one answer.
    unknown = str(uuid4())
    reasons = [
        await answered(void(row | {"resident": of(other)})),
        await answered(void(row | {"sample_id": unknown})),
        await answered(right(gone, resident=of(other))),
        await answered(right(row | {"sample_id": unknown})),
        await answered(report(row | {"resident": of(other)}, "negative", corrects=unknown)),
        await answered(
            report(row | {"resident": of(other)}, "negative", corrects=row["result_id"])
        ),
    ]
    assert {str(reason) for reason in reasons} == {str(reasons[0])}
    # Whichever part differs, and whether or not there is an outcome: one answer.
    reused = [
        await answered(report(known | {"resident": of(other)}, "negative"))
        for known in (row, unreleased)
    ]
    reused += [
        await answered(report(row, "negative", sampled_at=hour(2), released_at=hour(2))),
        await answered(report(row, "negative", tube_code="T-2")),
        await answered(report(row, "negative", channel="sweep")),
    ]
    assert {str(reason) for reason in reused} == {str(reused[0])}
    assert reused[0]["type"].endswith("id-reused")


async def test_a_record_that_was_merged_still_names_its_swabs(town: Town) -> None:
    double, kept, other = await town.people(lives(LUYUAN), lives(LANQIAO), lives(DONGFANG))
    round_id = await noon(town)
    row, wrong = town.result(round_id, double), town.result(round_id, other)
    await town.results(row, wrong)
    merge = await merged(town, double, kept)
    assert await where(town, round_id, "sampled") == {LANQIAO: 1, DONGFANG: 1}

    # One person by two names: a row may know the swab by either, and give it to either.
    by_both = report(row, "negative"), report(row, "negative", resident=of(kept))
    assert told(await town.results(row, *by_both)) == ["duplicate", "accepted", "accepted"]
    correction = right(wrong, resident=of(double), sampled_at=hour(0))
    fresh = town.result(round_id, double, 2, channel="sweep")
    assert told(await town.results(correction, fresh)) == ["accepted", "accepted"]
    assert await where(town, round_id, "sampled") == {LANQIAO: 1}
    assert told(await town.results(correction, fresh, wrong)) == ["duplicate"] * 3

    await undone(town, merge)
    assert await where(town, round_id, "sampled") == {LUYUAN: 1}
    answer = await town.results(
        correction, report(right(wrong, resident=of(double), sampled_at=hour(0)), "positive"),
        report(row, "negative", resident=of(kept)),
    )  # fmt: skip
    assert told(answer) == ["duplicate", "accepted", "id-reused"]
    assert await where(town, round_id, "positive") == {LUYUAN: 1}


async def test_r15_a_swab_from_a_door_is_corrected_and_its_visit_answered_again(
    whole_town: Town,
) -> None:
    wrong, owner = await whole_town.people(lives(LUYUAN), lives(DONGFANG))
    round_id = await noon(whole_town)
    swab = str(uuid4())
    door = finished(wrong, swab, visit=VISITS[1])
    await visits(whole_town, round_id, door)
    said = whole_town.result(
        round_id, wrong, 2, sample_id=swab, channel="home_visit", tube_code="T-1"
    )
    assert told(await whole_town.results(right(said, resident=of(owner)))) == ["accepted"]
    assert await where(whole_town, round_id, "channel.home_visit") == {DONGFANG: 1}
    answers = await visits(whole_town, round_id, door)
    assert [answer["status"] for answer in answers] == ["recorded", "recorded"]
    await assert_account(whole_town, round_id, sampled=1, unaccounted=1)


async def test_r19_corrections_at_once_in_opposite_directions(town: Town) -> None:
    people = await town.people(*(lives((LUYUAN, DONGFANG)[n % 2]) for n in range(12)))
    rounds = [await noon(town, number) for number in (1, 2)]
    rows = [town.result(rounds[0], person) for person in people]
    await town.results(*rows)

    def sent(*given: JSON) -> Any:
        return town.registry.post(
            "/v1/results:batch", json=list(given), headers=town.headers("site")
        )

    onwards = [
        right(row, resident=of(person), round_id=rounds[1], sampled_at=hour(DAY + 1))
        for row, person in zip(rows, people[1:] + people[:1], strict=True)
    ]
    backwards = [
        right(row, resident=of(person))
        for row, person in zip(rows, people[-1:] + people[:-1], strict=True)
    ]
    told_later = [report(row, "negative") for row in rows]
    answers = await asyncio.gather(
        sent(*onwards[:6]), sent(*backwards[::-1]), sent(*told_later), sent(*onwards[5:]),
        sent(*told_later[::-1]), *(sent(row) for row in backwards), *(sent(row) for row in onwards),
    )  # fmt: skip
    statuses = [status for answer in answers for status in told(answer.json())]
    assert set(statuses) == {"accepted", "duplicate"}
    assert statuses.count("accepted") == 3 * len(people)
    counted = [await account(town, round_id) for round_id in rounds]
    assert sum(cells.get("sampled", 0) for cells in counted) <= len(people)
    for round_id in rounds:
        await town.assert_balanced(round_id)
    # The last word ends it, whatever came before.
    await town.results(*(right(row) for row in rows))
    await assert_account(town, rounds[0], sampled=len(people), negative=len(people))
    await assert_account(town, rounds[1], unaccounted=len(people))
