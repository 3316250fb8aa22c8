"""Coverage against numbers from outside is shown beside ours (R3)."""

from datetime import date
from typing import Any

import pytest

from shared import positions
from shared.contracts.registry import Area, AreasChanged, Denominator, DenominatorsChanged
from tests.reporting.conftest import CHAOHE, FIRST, QIANCHENG, SECOND, THIRD, Desk, round_message
from tests.reporting.test_coverage import SAMPLED, told
from tests.support import town as places
from tests.support.town import Town

DISTRICT = "410171"
CENSUS = date(2020, 11, 1)


async def supply(desk: Desk, source: str = "census", **people: int) -> None:
    """Let registry announce numbers, each of the census' day, by the names below."""
    codes = {"district": DISTRICT, "office": QIANCHENG, "other": CHAOHE,
             "first": FIRST, "second": SECOND, "third": THIRD}  # fmt: skip
    given = [Denominator(codes[name], source, n, CENSUS) for name, n in people.items()]
    desk.world.registry.announce(DenominatorsChanged(given), DISTRICT)
    await desk.wiring.consumer.catch_up()


async def people(desk: Desk, by: str = "office", area: str = DISTRICT) -> dict[str, int | None]:
    """How many people each row is measured by, by one source; None: by none."""
    headers = desk.read_as("district", areas=(area,))
    answer = await desk.client.get("/v1/coverage", params={"by": by}, headers=headers)
    rows = [*answer.json()["rows"], answer.json()["total"]]
    return {
        row["code"]: row["outside"][0]["people"] if row["outside"] else None for row in rows
    }  # fmt: skip


async def test_r3_coverage_against_every_source_is_shown_and_flagged_above_100_percent(
    desk: Desk,
) -> None:
    """Three were sampled where the police knows of two: one of the lists is wrong, say so."""
    round_id = await desk.open_round({FIRST: 6, THIRD: 4})
    await told(desk, round_id, FIRST, SAMPLED, SAMPLED, SAMPLED)
    await supply(desk, "census", office=4, other=10)
    await supply(desk, "police_list", office=2)
    answer = (await desk.get("/v1/coverage", by="office")).json()
    office, other = answer["rows"]
    assert office["coverage"] == 0.5
    assert office["outside"] == [
        {"source": "census", "people": 4, "as_of": "2020-11-01", "coverage": 0.75, "over": False},
        {
            "source": "police_list", "people": 2, "as_of": "2020-11-01", "coverage": 1.5,
            "over": True,
        },
    ]  # fmt: skip
    assert [each["source"] for each in other["outside"]] == ["census"]
    # The police has told nothing of the other office: there is no number for both.
    assert [(each["source"], each["people"]) for each in answer["total"]["outside"]] == [
        ("census", 14)
    ]


async def test_r3_where_others_count_nobody_there_is_no_ratio_but_a_flag(desk: Desk) -> None:
    round_id = await desk.open_round({FIRST: 6, THIRD: 4})
    await told(desk, round_id, FIRST, SAMPLED)
    await supply(desk, office=0, other=0)
    (office, other) = (await desk.get("/v1/coverage", by="office")).json()["rows"]
    assert [(each["outside"][0]["coverage"], each["outside"][0]["over"])
            for each in (office, other)] == [(None, True), (None, False)]  # fmt: skip


async def test_r3_an_office_without_a_number_has_its_communities_if_every_one_has_one(
    desk: Desk,
) -> None:
    await desk.open_round({FIRST: 6, SECOND: 2})
    await supply(desk, first=7)
    assert await people(desk) == {QIANCHENG: None, CHAOHE: None, "total": None}
    await supply(desk, second=3)
    assert await people(desk) == {QIANCHENG: 10, CHAOHE: None, "total": None}
    await supply(desk, third=5)
    assert await people(desk, "district") == {DISTRICT: 15, "total": 15}
    # Its own number outranks the sum.
    await supply(desk, office=12)
    assert await people(desk) == {QIANCHENG: 12, CHAOHE: 5, "total": 17}
    await supply(desk, district=20)
    assert await people(desk, "district") == {DISTRICT: 20, "total": 20}
    assert await people(desk, "community") == {FIRST: 7, SECOND: 3, THIRD: 5, "total": 20}


async def test_r3_a_community_that_is_new_on_file_leaves_the_sum_incomplete(desk: Desk) -> None:
    await desk.open_round({FIRST: 6})
    await supply(desk, first=7, second=3)
    assert (await people(desk))[QIANCHENG] == 10
    new = Area(f"{QIANCHENG}009", "新社区", "community", QIANCHENG)
    desk.world.registry.announce(AreasChanged([new]), DISTRICT)
    await desk.wiring.consumer.catch_up()
    assert (await people(desk))[QIANCHENG] is None


async def test_r3_what_is_seen_in_part_is_not_measured_by_the_number_of_the_whole(
    desk: Desk,
) -> None:
    """An office's token sees its own people: the district's number would shame them all."""
    await desk.open_round({FIRST: 6, THIRD: 4})
    await supply(desk, district=1000, office=12, first=7)
    assert await people(desk, "district", QIANCHENG) == {DISTRICT: 12, "total": 12}
    assert await people(desk, "office", FIRST) == {QIANCHENG: 7, "total": 7}
    assert await people(desk, "office", SECOND) == {QIANCHENG: None, "total": None}


async def test_r3_a_round_of_one_office_is_not_measured_by_the_district(desk: Desk) -> None:
    await desk.open_round({FIRST: 6}, state="closed")
    desk.world.registry.announce(
        round_message("one-office", number=2, offices=[QIANCHENG]), "one-office"
    )
    await supply(desk, district=1000, office=12)
    assert await people(desk, "district") == {DISTRICT: 12, "total": 12}


@pytest.mark.parametrize("by", ["need", "channel"])
async def test_r3_needs_and_channels_have_no_number_of_others_but_the_total_has(
    desk: Desk, by: str
) -> None:
    round_id = await desk.open_round({FIRST: 6, THIRD: 4})
    await told(desk, round_id, FIRST, SAMPLED)
    await supply(desk, district=10)
    answer = (await desk.get("/v1/coverage", by=by)).json()
    assert all(row["outside"] is None for row in answer["rows"])
    assert answer["total"]["outside"][0]["coverage"] == 0.1


async def test_r3_a_new_number_is_a_new_answer(desk: Desk) -> None:
    await desk.open_round({FIRST: 6})
    await supply(desk, district=10)
    tag = (await desk.get("/v1/coverage")).headers["ETag"]
    await supply(desk, district=11)
    answer = await desk.get("/v1/coverage")
    assert answer.headers["ETag"] != tag
    assert answer.json()["total"]["outside"][0]["people"] == 11


async def test_r3_from_registry_to_the_table_and_dispatch_does_not_mind(town: Town) -> None:
    """Everybody supplies numbers over HTTP; the office that tested more than live there is seen."""
    one, two, _ = await town.people({}, {}, {"address": {"community_code": places.DONGFANG}})
    round_id = await town.round()
    await town.tick(round_id, 2)
    rows = [
        {"code": code, "source": "census", "people": n, "as_of": "2020-11-01"}
        for code, n in ((places.CHAOHE, 1), (places.MINGHU, 4))
    ]
    answer = await town.registry.put(
        "/v1/denominators:batch", json=rows, headers=town.headers("district")
    )
    assert answer.json()["accepted"] == 2
    await town.results(town.result(round_id, one), town.result(round_id, two))
    table = await town.coverage(round_id, "office")
    shown: dict[str, list[Any]] = {
        code: [(each["coverage"], each["over"]) for each in row["outside"]]
        for code, row in table.items()
        if row["name"] != "unassigned"
    }
    assert shown == {places.CHAOHE: [(2.0, True)], places.MINGHU: [(0.0, False)]}
    (total,) = (await town.coverage(round_id))["outside"]
    assert (total["people"], total["coverage"], total["over"]) == (5, 0.4, False)

    # dispatch follows the topic too, has no use for the numbers, and goes on.
    dispatch = town.consumers["dispatch"]
    async with dispatch.database.begin(readonly=True) as tx:
        assert await positions.parked(tx, "dispatch") == {}
    assert not await dispatch.sweep()
    await town.assert_balanced(round_id)
