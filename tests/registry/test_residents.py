"""People go on the roll, change, move, die: each row answered, the account following them."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from services.registry.domain.residents import NeedSpan
from tests.registry.words import (
    assert_account,
    exclude,
    history,
    hour,
    lives,
    register,
    ric,
    told,
    where,
)
from tests.support.town import (
    CHAOHE,
    DISTRICT,
    DONGFANG,
    JSON,
    LANQIAO,
    LUYUAN,
    MINGHU,
    Town,
)

UNKNOWN_HERE = f"{CHAOHE}000"
UNKNOWN_IN_DISTRICT = f"{DISTRICT}000000"


async def shown(town: Town, resident: object, **areas: Any) -> JSON:
    """A resident as an office sees them."""
    answer = await town.registry.get(
        f"/v1/residents/{resident}", headers=town.headers("office", **areas)
    )
    assert answer.is_success, answer.text
    found: JSON = answer.json()
    return found


async def patched(town: Town, resident: object, **changes: Any) -> JSON:
    """Change a resident and let it be counted."""
    answer = await town.registry.patch(
        f"/v1/residents/{resident}", json=changes, headers=town.headers("office")
    )
    assert answer.is_success, answer.text
    await town.settle()
    changed: JSON = answer.json()
    return changed


async def moved(town: Town, resident: object, community: str | None, since: float) -> None:
    """Somebody moves, so many hours after the opening."""
    await patched(town, resident, address={"community_code": community, "since": hour(since)})


# --- rows ---


async def test_r21_a_repeat_is_a_duplicate_and_a_change_names_its_fields(town: Town) -> None:
    row = {
        "id": str(uuid4()), "name": "王秀英", "sex": "female", "birth_date": "1950-03-01",
        "phone": "13900000001", "id_document": {"type": "passport", "number": "E1234567"},
        "needs": [{"code": "mobility"}, {"code": "elderly_alone"}],
    } | lives()  # fmt: skip
    assert told(await register(town, row)) == ["accepted"]
    reordered = row | {"needs": list(reversed(row["needs"]))}  # type: ignore[call-overload]
    assert told(await register(town, row, reordered)) == ["duplicate", "duplicate"]
    answer = await register(town, row | {"phone": "13900000002", "needs": []})
    assert told(answer) == ["accepted"]
    assert answer["rows"][0]["changed"] == ["phone", "needs"]
    assert (answer["accepted"], answer["duplicate"], answer["rejected"]) == (1, 0, 0)


async def test_what_is_left_out_keeps_its_value(town: Town) -> None:
    address = {"community_code": LUYUAN, "building": "7", "unit": "2", "door": "301", "lat": 34.7}
    (resident,) = await town.people(
        {"address": address, "phone": "13900000001", "needs": [{"code": "dialysis"}]}
    )
    changed = await patched(town, resident, address={"door": "302"})
    assert changed["address"] == address | {"door": "302"}
    assert (changed["phone"], changed["needs"]) == ("13900000001", [{"code": "dialysis"}])
    cleared = await patched(town, resident, phone=None, address={"lat": None})
    assert "phone" not in cleared
    assert "lat" not in cleared["address"]
    answer = await register(town, {"id": str(resident), "sex": "male"})
    assert answer["rows"][0]["changed"] == ["sex"]


async def test_valid_identity_numbers(town: Town) -> None:
    numbers = [
        ric("41017119500101001"),
        # A region code that no list of regions knows is not judged; 81…83 are residence permits.
        ric("81000019900101001"),
        ric("82000019900101001"),
        ric("83000019900101001"),
        next(number for n in range(11) if (number := ric(f"410171195001011{n:02}"))[-1] == "X"),
    ]
    people = await town.people(
        *(lives(id_document={"type": "cn_ric", "number": number.lower()}) for number in numbers)
    )
    for resident, number in zip(people, numbers, strict=True):
        masked = number[:4] + "*" * 10 + number[-4:]
        assert (await shown(town, resident))["id_document"]["number"] == masked


async def test_identity_numbers_that_cannot_be_are_refused_without_being_told_again(
    town: Town,
) -> None:
    good = ric()
    numbers = [
        good[:-1] + ("0" if good[-1] != "0" else "1"),
        ric("41017119501301001"),
        good[:-1],
        "ABCDEFGHIJKLMNOPQR",
        "１" * 18,  # noqa: RUF001 - digits of another alphabet are what is tried
        "",
        "9" * 65,
    ]
    rows = [lives(name="某人", id_document={"type": "cn_ric", "number": n}) for n in numbers]
    answer = await register(town, *rows)
    assert told(answer) == ["bad-document"] * len(numbers)
    details = {row["reason"]["detail"].partition(":")[0] for row in answer["rows"]}
    assert details == {"id_document.number"}
    assert not any(number in json.dumps(answer) for number in numbers if number)


async def test_residents_are_matched_by_id_else_by_document(town: Town) -> None:
    document = {"type": "cn_ric", "number": ric()}
    other = {"type": "passport", "number": "e 123 4567"}
    first, second = await town.people(lives(id_document=document), lives(id_document=other))
    answer = await register(
        town,
        {"id_document": document, "phone": "1"},
        {"id": str(uuid4()), "id_document": {"type": "passport", "number": "E1234567"}},
        {"id": str(first), "id_document": other},
        # The same number on another kind of document is another document.
        lives(name="新人", id_document={"type": "other", "number": ric()}),
        {"id_document": {"type": "passport", "number": "X0000000"}},
    )
    assert told(answer) == [
        "accepted", "duplicate", "identity-conflict", "accepted", "resident-unknown",
    ]  # fmt: skip
    assert [row.get("id") for row in answer["rows"][:3]] == [str(first), str(second), None]


async def test_the_same_person_twice_in_a_batch_is_new_once(town: Town) -> None:
    document = {"type": "cn_ric", "number": ric()}
    row = lives(name="李娜", id_document=document)
    answer = await register(town, row, row, row | {"phone": "1"})
    assert told(answer) == ["accepted", "duplicate", "accepted"]
    assert len({row["id"] for row in answer["rows"]}) == 1
    round_id = await town.round()
    await assert_account(town, round_id, unaccounted=1)


async def test_r21_a_bad_row_fails_nobody_else(town: Town) -> None:
    canary = "CANARY-4471"
    rows: list[Any] = [
        lives(name="甲"),
        lives(name=""),
        lives(),
        lives(name="乙", needs=[{"code": canary}]),
        lives(name="丙", needs=[{"code": "mobility"}, {"code": "mobility"}]),
        lives(name="丁", needs=[{"code": "mobility", "from": hour(2), "until": hour(1)}]),
        {"name": "戊", "address": {"community_code": "4101"}},
        {"name": "己", "address": {"community_code": LUYUAN, "lat": 91}},
        {"name": "庚", "address": {"community_code": LUYUAN,
                                   "since": "0001-01-01T00:00:00+14:00"}},
        {"name": "辛", "address": {"community_code": "990101001001"}},
        {"name": "壬\u0000", "phone": canary},
        lives(name="癸"),
    ]  # fmt: skip
    answer = await register(town, *rows)
    assert told(answer) == ["accepted", *["bad-input"] * 8, "area-unknown", "bad-input", "accepted"]
    assert canary not in json.dumps(answer)
    round_id = await town.round()
    await assert_account(town, round_id, unaccounted=2)


# --- where they live ---


async def test_r5_an_unknown_address_counts_in_a_row_of_its_own(town: Town) -> None:
    answer = await register(
        town,
        lives(f"{CHAOHE}999", name="甲"),
        lives(CHAOHE, name="乙"),
        lives(DISTRICT, name="丙"),
        lives(f"{DISTRICT}888777", name="丁"),
        lives(None, name="戊"),
        {"name": "己"},
    )
    assert told(answer) == ["accepted"] * 6
    own = await register(town, {"name": "庚"}, areas=[CHAOHE])
    assert told(own) == ["accepted"]
    round_id = await town.round()
    await assert_account(town, round_id, unaccounted=7)
    assert await where(town, round_id, "roll") == {UNKNOWN_HERE: 3, UNKNOWN_IN_DISTRICT: 4}

    # Whose sender answers for half the country: nobody can tell where these belong.
    far = await register(town, {"name": "辛"}, areas=["41", "42"])
    assert told(far) == ["area-unknown"]


async def test_r5_mapping_an_unknown_address_is_no_move(town: Town) -> None:
    (resident,) = await town.people(lives(CHAOHE))
    round_id = await town.round()
    await town.tick(round_id, 2)
    await town.results(town.result(round_id, resident))
    assert await where(town, round_id, "sampled") == {UNKNOWN_HERE: 1}
    await patched(town, resident, address={"community_code": LANQIAO})
    assert await where(town, round_id, "sampled") == {LANQIAO: 1}


async def test_offices_answer_for_their_own_residents_only(town: Town) -> None:
    (resident,) = await town.people(lives(DONGFANG))
    mine = {"areas": [CHAOHE]}
    answer = await register(
        town, {"id": str(resident), "phone": "1"}, lives(DONGFANG, name="某"), **mine
    )
    assert told(answer) == ["forbidden", "forbidden"]
    # Whoever comes to live here may be sent by us, and may be sent away again.
    arrives = {"id": str(resident), "address": {"community_code": LUYUAN}}
    leaves = {"id": str(resident), "address": {"community_code": DONGFANG}}
    assert told(await register(town, arrives, leaves, **mine)) == ["accepted", "accepted"]
    path, office = f"/v1/residents/{resident}", town.headers("office", areas=[CHAOHE])
    seen = await town.registry.get(path, headers=office)
    changed = await town.registry.patch(path, json={"phone": "2"}, headers=office)
    team = await town.registry.get(path, headers=town.headers("team"))
    assert (seen.status_code, changed.status_code, team.status_code) == (404, 404, 403)


async def test_a_patch_is_of_the_resident_of_its_path(town: Town) -> None:
    (resident,) = await town.people(lives())
    answer = await town.registry.patch(
        f"/v1/residents/{resident}", json={"id": str(uuid4())}, headers=town.headers("office")
    )
    assert answer.status_code == 422


async def test_residents_are_listed_by_office_community_and_need(town: Town) -> None:
    await town.people(lives(LUYUAN), lives(LANQIAO, needs=[{"code": "mobility"}]), lives(DONGFANG))

    async def listed(query: str, *areas: str) -> list[str]:
        found: list[str] = []
        cursor = ""
        while True:
            answer = await town.registry.get(
                f"/v1/residents?limit=1&{query}{cursor}",
                headers=town.headers("office", areas=areas or (DISTRICT,)),
            )
            page = answer.json()
            found += [item["address"]["community_code"] for item in page["items"]]
            if not page["next_cursor"]:
                return sorted(found)
            cursor = f"&cursor={page['next_cursor']}"

    assert await listed("") == [LUYUAN, LANQIAO, DONGFANG]
    assert await listed(f"office={CHAOHE}") == [LUYUAN, LANQIAO]
    assert await listed(f"community={LUYUAN}") == [LUYUAN]
    assert await listed("need=mobility") == [LANQIAO]
    assert await listed("", MINGHU) == [DONGFANG]
    assert await listed(f"office={CHAOHE}", MINGHU) == []


# --- their lives, while a round is open ---


async def test_who_moves_before_being_sampled_moves_with_their_account(whole_town: Town) -> None:
    walker, excluded, needy = await whole_town.people(
        lives(), lives(), lives(needs=[{"code": "mobility"}])
    )
    round_id = await whole_town.round()
    await exclude(whole_town, round_id, excluded)
    for resident in (walker, excluded, needy):
        await patched(whole_town, resident, address={"community_code": DONGFANG})
    await assert_account(
        whole_town, round_id, unaccounted=2, excluded=1, need__mobility__unaccounted=1
    )
    assert await where(whole_town, round_id, "roll") == {DONGFANG: 3}
    # They moved while the round's clock stood at its opening.
    await whole_town.tick(round_id, 2)
    await whole_town.results(whole_town.result(round_id, walker))
    assert await where(whole_town, round_id, "sampled") == {DONGFANG: 1}


async def test_who_moves_leaves_or_dies_after_being_sampled_stays_counted(whole_town: Town) -> None:
    people = await whole_town.people(*(lives(needs=[{"code": "mobility"}]) for _ in range(3)))
    mover, leaver, deceased = people
    round_id = await whole_town.round(offices=[CHAOHE])
    await whole_town.tick(round_id, 2)
    await whole_town.results(*(whole_town.result(round_id, resident) for resident in people))
    await moved(whole_town, mover, LANQIAO, 1.5)
    await moved(whole_town, leaver, DONGFANG, 1.5)
    await patched(whole_town, deceased, alive=False)
    await assert_account(whole_town, round_id, sampled=3, need__mobility__sampled=3)
    assert await where(whole_town, round_id, "sampled") == {LUYUAN: 3}

    # Also when more happens to them where they are now.
    await patched(whole_town, leaver, needs=[])
    await patched(whole_town, leaver, alive=False)
    await assert_account(whole_town, round_id, sampled=3, need__mobility__sampled=2)


async def test_who_leaves_or_dies_unsampled_leaves_the_roll(town: Town) -> None:
    leaver, deceased, stays = await town.people(lives(), lives(), lives())
    round_id = await town.round(offices=[CHAOHE])
    await patched(town, leaver, address={"community_code": DONGFANG})
    await patched(town, deceased, alive=False)
    await assert_account(town, round_id, unaccounted=1)
    # The death was recorded by mistake.
    await patched(town, deceased, alive=True)
    await assert_account(town, round_id, unaccounted=2)
    assert await history(town, stays) == []


async def test_who_moves_in_or_is_born_joins_the_roll(town: Town) -> None:
    (newcomer,) = await town.people(lives(DONGFANG, needs=[{"code": "dialysis"}]))
    round_id = await town.round(offices=[CHAOHE])
    await assert_account(town, round_id)
    await patched(town, newcomer, address={"community_code": LUYUAN})
    await register(town, lives(name="新生儿", needs=[{"code": "minor_alone"}]))
    await assert_account(
        town, round_id, unaccounted=2, need__dialysis__roll=1, need__minor_alone__roll=1
    )


async def test_who_joins_after_being_sampled_elsewhere_counts_where_they_joined(
    whole_town: Town,
) -> None:
    (guest,) = await whole_town.people(lives(DONGFANG))
    round_id = await whole_town.round(offices=[CHAOHE])
    await whole_town.tick(round_id, 2)
    await whole_town.results(whole_town.resulted(round_id, guest, "negative"))
    await assert_account(whole_town, round_id, visitors=1)
    await moved(whole_town, guest, LANQIAO, 1.5)
    await assert_account(whole_town, round_id, sampled=1, negative=1, visitors=0)
    # And stays counted there, wherever they go from there.
    await moved(whole_town, guest, LUYUAN, 1.6)
    assert await where(whole_town, round_id, "sampled") == {LANQIAO: 1}
    await moved(whole_town, guest, DONGFANG, 1.7)
    assert await where(whole_town, round_id, "sampled") == {LANQIAO: 1}


async def test_a_late_sample_counts_where_they_lived_at_its_time(town: Town) -> None:
    (resident,) = await town.people(lives(LUYUAN))
    round_id = await town.round()
    await town.tick(round_id, 8)
    # Told in one batch, and out of order: the last word on a time is the one that holds.
    await register(
        town,
        *(
            {"id": str(resident), "address": {"community_code": code, "since": hour(since)}}
            for code, since in ((LANQIAO, 2), (DONGFANG, 6), (LANQIAO, 4), (LUYUAN, 5))
        ),
    )
    for at, community in ((7, LUYUAN), (4.5, LANQIAO), (1, LUYUAN)):
        row = town.result(round_id, resident, at)
        await town.results(row)
        assert await where(town, round_id, "sampled") == {community: 1}
    await assert_account(town, round_id, sampled=1)


async def test_needs_change_hands_and_counts(whole_town: Town) -> None:
    (resident,) = await whole_town.people(lives())
    round_id = await whole_town.round()
    await patched(whole_town, resident, needs=[{"code": "quarantine"}])
    figures = await whole_town.coverage(round_id)
    assert figures["visits_open"] == 1
    await assert_account(whole_town, round_id, unaccounted=1, need__quarantine__unaccounted=1)
    await patched(whole_town, resident, needs=[])
    figures = await whole_town.coverage(round_id)
    assert figures["visits_open"] == 0
    await assert_account(whole_town, round_id, unaccounted=1, need__quarantine__roll=0)


async def test_a_need_holds_by_the_clock_of_the_round_under_way(town: Town) -> None:
    until = hour(2)
    (resident,) = await town.people(lives())
    round_id = await town.round()
    await patched(town, resident, needs=[{"code": "quarantine", "until": until}])
    await assert_account(town, round_id, unaccounted=1, need__quarantine__unaccounted=1)
    await town.tick(round_id, 2)
    await assert_account(town, round_id, unaccounted=1, need__quarantine__unaccounted=0)
    await patched(town, resident, needs=[{"code": "quarantine", "until": hour(1)}])
    await assert_account(town, round_id, unaccounted=1, need__quarantine__unaccounted=0)


async def test_needs_hold_from_and_until(town: Town) -> None:
    span = NeedSpan(
        "quarantine", datetime(2022, 1, 1, tzinfo=UTC), datetime(2022, 1, 3, tzinfo=UTC)
    )
    held = [span.holds(datetime(2022, 1, day, tzinfo=UTC)) for day in (1, 2, 3)]
    assert held == [True, True, False]
    bounds = {"from": "2022-01-01T08:00:00+08:00", "until": "2022-01-03T00:00:00Z"}
    (resident,) = await town.people(lives(needs=[{"code": "quarantine"} | bounds]))
    (need,) = (await shown(town, resident))["needs"]
    assert datetime.fromisoformat(need["from"]) == span.since
    assert datetime.fromisoformat(need["until"]) == span.until
    round_id = await town.round()
    await assert_account(town, round_id, unaccounted=1, need__quarantine__roll=0)


# --- and once it is closed ---


async def test_closing_freezes_who_belongs_whatever_is_noted_later(whole_town: Town) -> None:
    sampled, unsampled, elsewhere = await whole_town.people(lives(), lives(), lives(DONGFANG))
    round_id = await whole_town.round(offices=[CHAOHE])
    await whole_town.tick(round_id, 12)
    row = whole_town.result(round_id, sampled, 2)
    await whole_town.results(row)
    await whole_town.step(round_id, "close")
    await assert_account(whole_town, round_id, sampled=1, unaccounted=1)

    # Later, and as if it had been before: the round does not know of it.
    await moved(whole_town, sampled, LANQIAO, 1)
    await moved(whole_town, unsampled, DONGFANG, 1)
    await moved(whole_town, elsewhere, LUYUAN, 1)
    await register(whole_town, lives(name="新人"))
    await assert_account(whole_town, round_id, sampled=1, unaccounted=1)
    assert await where(whole_town, round_id, "roll") == {LUYUAN: 2}

    # Late paper of those who lived here then, and of one who did not.
    await whole_town.results(
        whole_town.result(round_id, unsampled, 3), whole_town.result(round_id, elsewhere, 3)
    )
    await assert_account(whole_town, round_id, sampled=2, visitors=1)
    # A void leaves them where they lived at closing.
    await whole_town.results(
        row | {"result_id": str(uuid4()), "corrects": row["sample_id"], "void": True}
    )
    assert await where(whole_town, round_id, "unaccounted") == {LUYUAN: 1}
    await whole_town.step(round_id, "seal")
    await moved(whole_town, unsampled, LANQIAO, 0)
    await assert_account(whole_town, round_id, sampled=1, unaccounted=1, visitors=1)


async def test_a_void_leaves_them_where_they_live_now(town: Town) -> None:
    (resident,) = await town.people(lives())
    round_id = await town.round()
    await town.tick(round_id, 4)
    row = town.result(round_id, resident, 2)
    await town.results(row)
    await moved(town, resident, DONGFANG, 3)
    assert await where(town, round_id, "sampled") == {LUYUAN: 1}
    await town.results(
        row | {"result_id": str(uuid4()), "corrects": row["sample_id"], "void": True}
    )
    assert await where(town, round_id, "unaccounted") == {DONGFANG: 1}


async def test_a_household_is_everybody_behind_one_door(town: Town) -> None:
    people = await town.people(lives(), lives(), lives(LANQIAO))
    households = [(await shown(town, resident))["household"] for resident in people]
    assert households[0] == households[1] != households[2]
    assert all(UUID(household) for household in households)
