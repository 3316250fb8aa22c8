"""Exclusions: a stated reason not to be tested; shown, never hidden (R2)."""

from typing import Any
from uuid import uuid4

from tests.registry.words import assert_account, exclude, lives, register
from tests.support.town import CHAOHE, DONGFANG, LUYUAN, Town


async def revoke(town: Town, exclusion: object) -> str:
    """Revoke an exclusion and let it be counted."""
    answer = await town.sent(town.registry, f"/v1/exclusions/{exclusion}:revoke")
    await town.settle()
    status: str = answer["status"]
    return status


async def refused(town: Town, path: str, body: Any = None, **areas: Any) -> tuple[int, str]:
    """Status and problem type of a refusal."""
    answer = await town.registry.post(path, json=body, headers=town.headers("office", **areas))
    return answer.status_code, answer.json()["type"].rpartition("/")[2]


async def test_r2_exclusions_are_shown_by_reason_and_leave_the_denominator(
    whole_town: Town,
) -> None:
    first, second, third, _ = await whole_town.people(*(lives() for _ in range(4)))
    round_id = await whole_town.round()
    await whole_town.tick(round_id, 2)
    await exclude(whole_town, round_id, first, reason="vaccinated_48h")
    await exclude(whole_town, round_id, second, reason="under_3")
    await whole_town.results(whole_town.result(round_id, third))
    await assert_account(
        whole_town,
        round_id,
        excluded=2,
        excluded__vaccinated_48h=1,
        excluded__under_3=1,
        sampled=1,
        unaccounted=1,
    )
    figures = await whole_town.coverage(round_id)
    assert figures["coverage"] == 1 / 2
    assert figures["excluded_by_reason"] == {"vaccinated_48h": 1, "under_3": 1}


async def test_an_exclusion_before_the_opening_stands_when_the_round_opens(
    whole_town: Town,
) -> None:
    first, revoked, needy = await whole_town.people(
        lives(), lives(), lives(needs=[{"code": "dialysis"}])
    )
    round_id = await whole_town.round(opened=False)
    for resident in (first, revoked, needy):
        await exclude(whole_town, round_id, resident)
    await revoke(whole_town, revoked)
    await whole_town.step(round_id, "open")
    await whole_town.settle()
    await assert_account(
        whole_town, round_id, excluded=2, unaccounted=1, need__dialysis__excluded=1
    )
    assert (await whole_town.coverage(round_id))["visits_open"] == 0


async def test_a_sample_outranks_an_exclusion_which_stays_on_file(town: Town) -> None:
    (resident,) = await town.people(lives())
    round_id = await town.round()
    await town.tick(round_id, 2)
    row = town.result(round_id, resident)
    await town.results(row)
    await exclude(town, round_id, resident)
    await assert_account(town, round_id, sampled=1)
    void = row | {"result_id": str(uuid4()), "corrects": row["sample_id"], "void": True}
    await town.results(void)
    await assert_account(town, round_id, excluded=1)


async def test_r19_a_repeat_is_a_duplicate_and_a_revocation_final(town: Town) -> None:
    (resident,) = await town.people(lives())
    round_id = await town.round()
    exclusion = uuid4()
    filed = {"id": str(exclusion)}
    assert (await exclude(town, round_id, resident, **filed))["status"] == "accepted"
    assert (await exclude(town, round_id, resident, **filed))["status"] == "duplicate"
    other = {"id": str(exclusion), "round_id": round_id, "resident": {"id": str(resident)},
             "reason": "under_3"}  # fmt: skip
    assert await refused(town, "/v1/exclusions", other) == (409, "id-reused")
    assert await revoke(town, exclusion) == "accepted"
    await assert_account(town, round_id, unaccounted=1)
    assert await revoke(town, exclusion) == "duplicate"
    assert (await exclude(town, round_id, resident, **filed))["status"] == "duplicate"
    await assert_account(town, round_id, unaccounted=1)
    # Of two that stand the earlier one counts; it takes both revocations to be back.
    second, third = uuid4(), uuid4()
    await exclude(town, round_id, resident, id=str(second), reason="recovered")
    await exclude(town, round_id, resident, id=str(third), reason="under_3")
    await assert_account(town, round_id, excluded=1, excluded__recovered=1)
    await revoke(town, second)
    await assert_account(town, round_id, excluded=1, excluded__under_3=1)
    await revoke(town, third)
    await assert_account(town, round_id, unaccounted=1)


async def test_exclusions_follow_their_person(town: Town) -> None:
    leaver, elsewhere = await town.people(lives(LUYUAN), lives(DONGFANG))
    round_id = await town.round(offices=[CHAOHE])
    await exclude(town, round_id, leaver)
    await exclude(town, round_id, elsewhere)
    await assert_account(town, round_id, excluded=1)
    for resident, community in ((leaver, DONGFANG), (elsewhere, LUYUAN)):
        await register(town, {"id": str(resident), "address": {"community_code": community}})
    await assert_account(town, round_id, excluded=1)


async def test_exclusions_are_taken_until_the_round_is_sealed(town: Town) -> None:
    first, second = await town.people(lives(), lives())
    round_id = await town.round()
    await town.step(round_id, "close")
    await exclude(town, round_id, first)
    await assert_account(town, round_id, excluded=1, unaccounted=1)
    await town.step(round_id, "seal")
    late = {"id": str(uuid4()), "round_id": round_id, "resident": {"id": str(second)},
            "reason": "recovered"}  # fmt: skip
    assert await refused(town, "/v1/exclusions", late) == (409, "round-not-open")
    path = f"/v1/exclusions/{first}:revoke"
    assert await refused(town, path) == (409, "round-not-open")
    # Its answer was lost; it is asked again after the sealing.
    assert (await exclude(town, round_id, first))["status"] == "duplicate"
    await assert_account(town, round_id, excluded=1, unaccounted=1)


async def test_what_cannot_be_excluded(town: Town) -> None:
    (resident,) = await town.people(lives(LUYUAN))
    round_id = await town.round()
    filed = {"id": str(uuid4()), "round_id": round_id, "resident": {"id": str(resident)},
             "reason": "recovered"}  # fmt: skip
    path = "/v1/exclusions"
    stranger = {"resident": {"id": str(uuid4())}}
    assert await refused(town, path, filed | stranger) == (404, "resident-unknown")
    nowhere = {"round_id": str(uuid4())}
    assert await refused(town, path, filed | nowhere) == (404, "round-unknown")
    assert await refused(town, path, filed | {"reason": "Because!"}) == (422, "bad-input")
    assert await refused(town, f"{path}/{uuid4()}:revoke") == (404, "exclusion-unknown")
    # Of another office, whoever they are.
    assert await refused(town, path, filed, areas=[DONGFANG]) == (404, "resident-unknown")
    await exclude(town, round_id, resident)
    revoking = f"{path}/{resident}:revoke"
    assert await refused(town, revoking, areas=[DONGFANG]) == (404, "resident-unknown")
    site = await town.registry.post(path, json=filed, headers=town.headers("site"))
    assert site.status_code == 403
    await assert_account(town, round_id, excluded=1)
