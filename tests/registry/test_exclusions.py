"""Exclusions: a stated reason not to be tested; shown, never hidden (R2)."""

from typing import Any
from uuid import uuid4

from tests.registry.words import assert_account, exclude, lives, register, told
from tests.support.town import CHAOHE, DISTRICT, DONGFANG, JSON, LANQIAO, LUYUAN, MINGHU, Town


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


# --- many at a time ---


def filing(round_id: str, resident: object, **more: Any) -> JSON:
    """An exclusion to be filed."""
    return {"id": str(uuid4()), "round_id": round_id, "resident": {"id": str(resident)},
            "reason": "recovered"} | more  # fmt: skip


async def file(town: Town, *rows: JSON, **sender: Any) -> list[str]:
    """File exclusions together; what each row was told."""
    answer = await town.sent(
        town.registry, "/v1/exclusions:batch", list(rows), town.headers("office", **sender)
    )
    await town.settle()
    assert [row["ref"] for row in answer["rows"]] == [
        row.get("id", str(n)) for n, row in enumerate(rows)
    ]
    return told(answer)


async def test_r21_a_file_of_exclusions_is_answered_row_by_row(town: Town) -> None:
    first, second, third = await town.people(lives(), lives(LANQIAO), lives(DONGFANG))
    open_ = await town.round(1, offices=[CHAOHE])
    draft = await town.round(2, opened=False)
    sealed = await town.round(3)
    before = filing(sealed, first)
    assert await file(town, before) == ["accepted"]
    for step in ("close", "seal"):
        await town.step(sealed, step)

    good, unknown = filing(open_, first), filing(open_, third)
    mended = filing(open_, first, reason="Because!")
    rows: list[tuple[JSON, str]] = [
        (good, "accepted"),
        (good, "duplicate"),
        (good | {"reason": "under_3"}, "id-reused"),
        (filing(draft, second), "accepted"),
        (filing(str(uuid4()), first), "round-unknown"),
        (filing(open_, uuid4()), "resident-unknown"),
        (unknown, "resident-unknown"),
        (mended, "bad-input"),
        (filing(sealed, second), "round-not-open"),
        (before, "duplicate"),
        (before | {"reason": "under_3"}, "id-reused"),
    ]
    answers = await file(town, *(row for row, _ in rows), areas=[CHAOHE])
    assert answers == [expected for _, expected in rows]
    await assert_account(town, open_, excluded=1, unaccounted=1)
    await town.step(draft, "open")
    await assert_account(town, draft, excluded=1, unaccounted=2)
    await assert_account(town, sealed, excluded=1, unaccounted=2)
    # Rejections are not remembered: what was wrong is mended, and the row comes again.
    assert await file(town, mended | {"reason": "recovered"}) == ["accepted"]
    assert await file(town, good, unknown, areas=[CHAOHE]) == ["duplicate", "resident-unknown"]


async def test_exclusions_of_a_merged_record_are_of_the_one_that_was_kept(town: Town) -> None:
    double, kept = await town.people(lives(LANQIAO), lives(LUYUAN))
    round_id = await town.round()
    before = filing(round_id, double)
    assert await file(town, before) == ["accepted"]
    merge = {"id": str(uuid4()), "into": str(kept)}
    await town.sent(town.registry, f"/v1/residents/{double}:merge", merge)
    # Under the name it was filed for it is a repeat, and what is new is the other one's.
    after = filing(round_id, double, reason="under_3")
    assert await file(town, before, after) == ["duplicate", "accepted"]
    assert await file(town, after | {"resident": {"id": str(kept)}}) == ["id-reused"]
    shown = await listed(town, round_id)
    assert {(e["resident"]["id"], e["community"]) for e in shown} == {(str(kept), LUYUAN)}
    assert await revoke(town, before["id"]) == "accepted"
    await assert_account(town, round_id, excluded=1, excluded__under_3=1)
    await town.sent(town.registry, f"/v1/merges/{merge['id']}:undo")
    (parted,) = await listed(town, round_id)
    assert (parted["resident"]["id"], parted["community"]) == (str(double), LANQIAO)
    await assert_account(town, round_id, excluded=1, unaccounted=1)
    assert await revoke(town, after["id"]) == "accepted"
    await assert_account(town, round_id, unaccounted=2)


async def test_a_repeat_of_a_refused_row_is_refused_with_it(town: Town) -> None:
    (resident,) = await town.people(lives())
    round_id = await town.round()
    for step in ("close", "seal"):
        await town.step(round_id, step)
    late = filing(round_id, resident)
    assert await file(town, late, late) == ["round-not-open", "round-not-open"]


async def test_an_empty_file_and_a_wrong_one(town: Town) -> None:
    assert await file(town) == []
    assert (await refused(town, "/v1/exclusions:batch", {"id": "x"}))[0] == 400
    answer = await town.registry.post("/v1/exclusions:batch", json=[], headers=town.headers("site"))
    assert answer.status_code == 403


# --- shown ---


async def listed(town: Town, round_id: str, areas: str = DISTRICT, **asked: Any) -> list[JSON]:
    """Who is excluded and why, page by page."""
    items: list[JSON] = []
    asked = {"limit": 2} | asked
    while True:
        answer = await town.registry.get(
            f"/v1/rounds/{round_id}/exclusions",
            params=asked,
            headers=town.headers("office", areas=[areas]),
        )
        assert answer.is_success, answer.text
        page = answer.json()
        items += page["items"]
        if "next_cursor" not in page or page["next_cursor"] is None:
            return items
        asked["cursor"] = page["next_cursor"]


async def test_r2_offices_see_who_is_excluded_and_why(town: Town) -> None:
    people = await town.people(
        lives(LUYUAN), lives(LUYUAN), lives(LANQIAO), lives(DONGFANG), lives(None)
    )
    round_id = await town.round()
    reasons = ["recovered", "under_3", "recovered", "recovered", "under_3"]
    rows = [filing(round_id, p, reason=r) for p, r in zip(people, reasons, strict=True)]
    await file(town, *rows, filing(round_id, people[0], reason="tested_elsewhere"))

    shown = await listed(town, round_id)
    assert len(shown) == 6
    assert [item["resident"]["id"] for item in shown] == sorted(
        item["resident"]["id"] for item in shown
    )
    first = next(item for item in shown if item["id"] == rows[0]["id"])
    assert first | {"filed_at": ""} == {
        "id": rows[0]["id"], "resident": {"id": str(people[0])}, "community": LUYUAN,
        "reason": "recovered", "filed_by": "tester", "filed_at": "",
    }  # fmt: skip

    async def people_of(**asked: Any) -> set[str]:
        return {item["resident"]["id"] for item in await listed(town, round_id, **asked)}

    names = [str(person) for person in people]
    assert await people_of(areas=CHAOHE) == set(names[:3])
    assert await people_of(areas=CHAOHE, community=LANQIAO) == {names[2]}
    assert await people_of(areas=MINGHU, community=LANQIAO) == set()
    assert await people_of(reason="under_3") == {names[1], names[4]}

    await revoke(town, rows[2]["id"])
    assert await people_of(areas=CHAOHE) == set(names[:2])
    (revoked,) = await listed(town, round_id, community=LANQIAO, revoked=True)
    assert (revoked["revoked_by"], revoked["reason"]) == ("tester", "recovered")


async def test_a_closed_round_shows_them_where_they_lived_then(town: Town) -> None:
    (resident,) = await town.people(lives(LUYUAN))
    round_id = await town.round()
    await exclude(town, round_id, resident)
    await town.step(round_id, "close")
    await register(town, {"id": str(resident), "address": {"community_code": DONGFANG}})
    (shown,) = await listed(town, round_id, areas=CHAOHE)
    assert shown["community"] == LUYUAN
    assert await listed(town, round_id, areas=MINGHU) == []


async def test_who_may_see_exclusions(town: Town) -> None:
    path = f"/v1/rounds/{await town.round()}/exclusions"
    for role, expected in (("office", 200), ("supervisor", 200), ("team", 403), ("site", 403)):
        answer = await town.registry.get(path, headers=town.headers(role))
        assert answer.status_code == expected, role
    nowhere = f"/v1/rounds/{uuid4()}/exclusions"
    answer = await town.registry.get(nowhere, headers=town.headers("office"))
    assert answer.status_code == 404
    for wrong in ("cursor=x", "reason=Because!", "community=4101"):
        answer = await town.registry.get(f"{path}?{wrong}", headers=town.headers("office"))
        assert answer.status_code == 422, wrong
