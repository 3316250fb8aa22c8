"""Rounds: drafted, opened, closed, sealed, and their clock."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

from shared.contracts.registry import ROUNDS
from tests.registry.words import announced, assert_account, exclude, hour, lives, where
from tests.support.town import CHAOHE, DISTRICT, DONGFANG, JSON, LUYUAN, MINGHU, OPENS, Town


def plan(**more: Any) -> JSON:
    """A round to be drafted."""
    return {
        "id": str(uuid4()), "campaign": "2022-01", "number": 1, "name": "第1轮",
        "opens_at": hour(0), "closes_at": hour(12), "offices": [DISTRICT], "manual_clock": True,
    } | more  # fmt: skip


async def problem(town: Town, path: str, body: Any = None, **areas: Any) -> tuple[int, str]:
    """Status and problem type of a refusal."""
    answer = await town.registry.post(path, json=body, headers=town.headers("district", **areas))
    return answer.status_code, answer.json()["type"].rpartition("/")[2]


async def test_a_round_is_drafted_once_however_often_it_is_sent(town: Town) -> None:
    given = plan()
    first = await town.sent(town.registry, "/v1/rounds", given)
    assert (first["state"], first["clock_at"]) == ("draft", first["opens_at"])
    assert first["offices"] == [f"{DISTRICT}000", CHAOHE, MINGHU]
    await town.step(given["id"], "open")
    again = await town.sent(town.registry, "/v1/rounds", given)
    assert again["state"] == "open"
    assert await problem(town, "/v1/rounds", given | {"name": "第9轮"}) == (409, "id-reused")
    listed = (await town.registry.get("/v1/rounds", headers=town.headers("team"))).json()
    assert [shown["id"] for shown in listed["items"]] == [given["id"]]


async def test_windows_of_rounds_that_share_an_office_do_not_overlap(town: Town) -> None:
    await town.sent(town.registry, "/v1/rounds", plan(offices=[CHAOHE]))
    overlapping = plan(number=2, opens_at=hour(11), closes_at=hour(20))
    assert await problem(town, "/v1/rounds", overlapping) == (409, "rounds-overlap")
    await town.sent(town.registry, "/v1/rounds", overlapping | {"offices": [MINGHU]})
    await town.sent(
        town.registry, "/v1/rounds", plan(number=3, opens_at=hour(20), closes_at=hour(30))
    )
    taken = plan(number=3, opens_at=hour(40), closes_at=hour(50))
    assert await problem(town, "/v1/rounds", taken) == (409, "round-number-taken")
    await town.sent(town.registry, "/v1/rounds", taken | {"campaign": "2022-02"})


async def test_what_no_round_can_be_is_refused(town: Town) -> None:
    refused: list[JSON] = [
        {"closes_at": hour(0)},
        {"offices": []},
        {"offices": ["4101"]},
        {"number": 0},
        {"opens_at": "0001-01-01T00:00:00+14:00"},
        {"opens_at": "2022-01-14T08:00:00"},
        {"offices": ["990101"]},
    ]
    for wrong in refused:
        answer = await town.registry.post(
            "/v1/rounds", json=plan(**wrong), headers=town.headers("district", areas=["41", "99"])
        )
        assert answer.status_code == 422, wrong
        assert "0001" not in answer.text


async def test_states_follow_each_other_and_nothing_else(town: Town) -> None:
    round_id = await town.round(opened=False)
    path = f"/v1/rounds/{round_id}"
    assert await problem(town, f"{path}:close") == (409, "round-state")
    assert await problem(town, f"{path}:seal") == (409, "round-state")
    await town.step(round_id, "open")
    assert await problem(town, f"{path}:seal") == (409, "round-state")
    await town.step(round_id, "close")
    assert await problem(town, f"{path}:open") == (409, "round-state")
    sealed = await town.step(round_id, "seal")
    assert sealed["sealed_at"]
    assert await problem(town, f"{path}:open") == (409, "round-state")
    assert await problem(town, f"{path}:close") == (409, "round-state")
    assert await problem(town, f"/v1/rounds/{uuid4()}:open") == (404, "round-unknown")


async def test_a_step_that_was_taken_is_answered_as_it_is(town: Town) -> None:
    await town.people(lives(), lives(needs=[{"code": "mobility"}]))
    round_id = await town.round(opened=False)
    for step in ("open", "close", "seal"):
        first, *others = await asyncio.gather(*(town.step(round_id, step) for _ in range(3)))
        assert others == [first, first]
    versions = [told["version"] for told in await announced(town, "round_changed", ROUNDS)]
    assert versions == [1, 2, 3, 4]
    assert len(await announced(town, "round_opened")) == 1
    await assert_account(town, round_id, unaccounted=2, need__mobility__unaccounted=1)


async def test_a_manual_clock_runs_forward_only(town: Town) -> None:
    round_id = await town.round()
    path = f"/v1/rounds/{round_id}:tick"
    await town.tick(round_id, 3)
    await town.tick(round_id, 3)
    assert await problem(town, path, {"clock_at": hour(2)}) == (409, "clock")
    on_the_wall = await town.sent(
        town.registry,
        "/v1/rounds",
        plan(number=2, opens_at=hour(20), closes_at=hour(30), manual_clock=False),
    )
    assert "clock_at" not in on_the_wall
    path = f"/v1/rounds/{on_the_wall['id']}:tick"
    assert await problem(town, path, {"clock_at": hour(21)}) == (409, "clock")


async def test_a_round_is_moved_by_whoever_answers_for_all_of_it(town: Town) -> None:
    mine = {"areas": [CHAOHE]}
    assert await problem(town, "/v1/rounds", plan(), **mine) == (403, "forbidden")
    round_id = await town.round(opened=False)
    path = f"/v1/rounds/{round_id}"
    for step in ("open", "close", "seal"):
        assert await problem(town, f"{path}:{step}", **mine) == (403, "forbidden")
    assert await problem(town, f"{path}:tick", {"clock_at": hour(1)}, **mine) == (403, "forbidden")
    office = await town.registry.post(f"{path}:open", headers=town.headers("office"))
    assert office.status_code == 403


async def test_opening_costs_communities_and_special_needs_not_the_population(town: Town) -> None:
    await town.people(*(lives() for _ in range(5)), lives(needs=[{"code": "mobility"}]))
    round_id = await town.round()
    (opened,) = await announced(town, "round_opened")
    assert opened["communities"] == [{"community": LUYUAN, "roll": 6, "needs": {"mobility": 1}}]
    (changed,) = await announced(town, "roll_changed")
    ((_, rev, before, after),) = changed["communities"][LUYUAN]
    assert (rev, before) == (1, after)
    await assert_account(town, round_id, unaccounted=6, need__mobility__unaccounted=1)


async def test_closing_early_ends_sampling_time_then(town: Town) -> None:
    (resident,) = await town.people(lives())
    round_id = await town.round()
    await town.tick(round_id, 5)
    closed = await town.step(round_id, "close")
    assert closed["closes_at"] == (OPENS + timedelta(hours=5)).isoformat().replace("+00:00", "Z")
    await assert_account(town, round_id, unaccounted=1)
    await town.results(town.result(round_id, resident, 5))
    await assert_account(town, round_id, sampled=1)
    # So the next round may begin.
    await town.sent(
        town.registry, "/v1/rounds", plan(number=2, opens_at=hour(6), closes_at=hour(12))
    )


async def test_several_rounds_at_once_each_with_an_account_of_its_own(whole_town: Town) -> None:
    first, second = await whole_town.people(lives(), lives(DONGFANG))
    rounds = [
        await whole_town.round(1, offices=[CHAOHE]),
        await whole_town.round(2, offices=[DISTRICT]),
    ]
    await whole_town.tick(rounds[0], 2)
    await whole_town.tick(rounds[1], 2, day=2)
    await whole_town.results(
        whole_town.result(rounds[0], first), whole_town.result(rounds[1], first, 25),
        whole_town.result(rounds[0], second),
    )  # fmt: skip
    await assert_account(whole_town, rounds[0], sampled=1, visitors=1)
    await assert_account(whole_town, rounds[1], sampled=1, unaccounted=1)
    await exclude(whole_town, rounds[1], second)
    await assert_account(whole_town, rounds[0], sampled=1, visitors=1)
    await assert_account(whole_town, rounds[1], sampled=1, excluded=1)


async def test_totals_name_the_moment_and_are_counted_once_for_all_who_ask(town: Town) -> None:
    await town.people(lives(), lives(DONGFANG))
    round_id = await town.round()
    path = f"/v1/rounds/{round_id}/totals"
    answers = await asyncio.gather(
        *(town.registry.get(path, headers=town.headers("system")) for _ in range(8))
    )
    told = [answer.json() for answer in answers]
    assert all(each == told[0] for each in told)
    assert {head["topic"] for head in told[0]["heads"]} >= {"registry.roll.v1"}
    assert len(told[0]["applied"]) == 24
    office = town.headers("office", areas=[MINGHU])
    mine = (await town.registry.get(path, headers=office)).json()
    assert set(mine["communities"]) == {DONGFANG}
    answer = await town.registry.get(path, headers=town.headers("team"))
    assert answer.status_code == 403


async def test_r5_those_whose_office_is_unknown_belong_to_rounds_of_the_whole_district(
    town: Town,
) -> None:
    await town.people(lives(DISTRICT), lives(CHAOHE))
    whole = await town.round(1)
    part = await town.round(2, offices=[CHAOHE])
    await assert_account(town, whole, unaccounted=2)
    await assert_account(town, part, unaccounted=1)
    assert await where(town, part, "roll") == {f"{CHAOHE}000": 1}
