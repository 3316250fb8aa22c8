"""Many at once: no deadlock reaches a caller, and the account is the same as one by one."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx

from tests.registry.words import assert_account, lives
from tests.support.town import DONGFANG, JSON, LUYUAN, Town

CROWD = 24


async def crowd(town: Town) -> list[UUID]:
    """Some people of one community."""
    return await town.people(*(lives() for _ in range(CROWD)))


async def together(*calls: Any) -> list[httpx.Response]:
    """Answers to calls made at once, all of which have to be taken."""
    answers = await asyncio.gather(*calls)
    assert [answer.status_code for answer in answers] == [200] * len(answers)
    return answers


def batch(town: Town, rows: list[JSON]) -> Any:
    """Send results, without waiting for them to be counted."""
    return town.registry.post("/v1/results:batch", json=rows, headers=town.headers("site"))


def changes(town: Town, rows: list[JSON]) -> Any:
    """Send residents, without waiting for them to be counted."""
    return town.registry.post("/v1/residents:batch", json=rows, headers=town.headers("office"))


async def test_r19_overlapping_batches_in_opposite_order(town: Town) -> None:
    people = await crowd(town)
    round_id = await town.round()
    await town.tick(round_id, 2)
    rows = [town.resulted(round_id, resident, "negative") for resident in people]
    others = [town.result(round_id, resident, 0.5) for resident in people]
    answers = await together(
        batch(town, rows), batch(town, rows[::-1]), batch(town, others), batch(town, others[::-1]),
        batch(town, rows[CROWD // 2 :] + others[: CROWD // 2]),
    )  # fmt: skip
    assert sum(answer.json()["accepted"] for answer in answers) == 2 * CROWD
    assert sum(answer.json()["duplicate"] for answer in answers) == 3 * CROWD
    await town.settle()
    await assert_account(town, round_id, sampled=CROWD)


async def test_samples_while_people_move(whole_town: Town) -> None:
    people = await crowd(whole_town)
    round_id = await whole_town.round()
    await whole_town.tick(round_id, 2)
    moves = [
        {"id": str(resident), "address": {"community_code": community}}
        for resident in reversed(people)
        for community in (DONGFANG, LUYUAN, DONGFANG)
    ]
    half = len(moves) // 2
    await together(
        changes(whole_town, moves[:half]),
        batch(whole_town, [whole_town.result(round_id, resident) for resident in people]),
        changes(whole_town, moves[half:]),
        batch(whole_town, [whole_town.result(round_id, resident, 0.5) for resident in people[::2]]),
    )
    await whole_town.settle()
    await assert_account(whole_town, round_id, sampled=CROWD)


async def test_samples_while_exclusions_are_filed_and_revoked(town: Town) -> None:
    people = await crowd(town)
    round_id = await town.round()
    await town.tick(round_id, 2)
    office = town.headers("office")

    async def exclude(resident: UUID) -> httpx.Response:
        filed = {"id": str(resident), "round_id": round_id, "resident": {"id": str(resident)},
                 "reason": "recovered"}  # fmt: skip
        await town.registry.post("/v1/exclusions", json=filed, headers=office)
        return await town.registry.post(f"/v1/exclusions/{resident}:revoke", headers=office)

    await together(
        *(exclude(resident) for resident in people[:8]),
        batch(town, [town.result(round_id, resident) for resident in people[4:]]),
    )
    await town.settle()
    await assert_account(town, round_id, sampled=CROWD - 4, unaccounted=4)


async def test_births_moves_and_exclusions_while_a_round_opens_and_closes(whole_town: Town) -> None:
    people = await crowd(whole_town)
    round_id = await whole_town.round(opened=False)
    district = whole_town.headers("district", "office")

    def step(name: str) -> Any:
        return whole_town.registry.post(f"/v1/rounds/{round_id}:{name}", headers=district)

    def births(number: int) -> list[Any]:
        needs = [{"code": "minor_alone"}] if number % 2 else []
        return [
            changes(whole_town, [lives(id=str(uuid4()), name="新生儿", needs=needs)])
            for _ in range(number)
        ]

    excluded = {"id": str(uuid4()), "round_id": round_id, "resident": {"id": str(people[0])},
                "reason": "recovered"}  # fmt: skip
    gone = [{"id": str(resident), "alive": False} for resident in people[1:5]]
    await together(
        *births(3),
        changes(whole_town, gone),
        step("open"),
        whole_town.registry.post("/v1/exclusions", json=excluded, headers=district),
        *births(2),
    )
    await whole_town.settle()
    await assert_account(
        whole_town, round_id, excluded=1, unaccounted=CROWD + 5 - 1 - 4, need__minor_alone__roll=3
    )
    await whole_town.tick(round_id, 2)
    await together(
        batch(whole_town, [whole_town.result(round_id, resident) for resident in people[5:15]]),
        step("close"),
        changes(whole_town, [{"id": str(resident), "alive": True} for resident in people[1:3]]),
        batch(whole_town, [whole_town.result(round_id, resident) for resident in people[15:]]),
    )
    await whole_town.settle()
    await whole_town.assert_balanced(round_id)
    totals = await whole_town.totals(round_id)
    assert totals[LUYUAN]["sampled"] == CROWD - 5


async def test_one_person_sent_by_two_at_once_is_one_person(town: Town) -> None:
    row = lives(name="王秀英", id_document={"type": "passport", "number": "E7654321"})
    answers = await together(*(changes(town, [row]) for _ in range(4)))
    told = [answer.json()["rows"][0] for answer in answers]
    assert sorted(each["status"] for each in told) == ["accepted", *["duplicate"] * 3]
    assert len({each["id"] for each in told}) == 1
