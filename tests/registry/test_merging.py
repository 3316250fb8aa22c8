"""Two records of one person: merged, and parted again when they prove to be two (R19, R20)."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.registry.test_lookup import audit, looked
from tests.registry.words import (
    assert_account,
    exclude,
    history,
    lives,
    register,
    ric,
    told,
    where,
)
from tests.support.town import CHAOHE, DONGFANG, JSON, LANQIAO, LUYUAN, MINGHU, Town

WHOLE, OLD = ({"type": "cn_ric", "number": ric()}, {"type": "passport", "number": "E1234567"})


async def merged(town: Town, absorbed: UUID, into: UUID, **more: Any) -> JSON:
    """Merge two records as an office does, and let it be counted."""
    asked = {"id": str(uuid4()), "into": str(into)} | more
    answer: JSON = await town.sent(town.registry, f"/v1/residents/{absorbed}:merge", asked)
    await town.settle()
    return answer


async def undone(town: Town, merge: JSON) -> JSON:
    """Undo a merge, and let it be counted."""
    answer: JSON = await town.sent(town.registry, f"/v1/merges/{merge['id']}:undo")
    await town.settle()
    return answer


async def refused(
    town: Town, path: str, body: JSON | None = None, **claims: Any
) -> tuple[int, str]:
    """Status and problem type of something that is not done."""
    answer = await town.registry.post(path, json=body, headers=town.headers("office", **claims))
    assert answer.is_error, answer.text
    return answer.status_code, answer.json()["type"].rpartition("/")[2]


async def record(town: Town, resident: UUID) -> JSON:
    """A record as an office sees it."""
    answer = await town.registry.get(f"/v1/residents/{resident}", headers=town.headers("office"))
    assert answer.is_success, answer.text
    found: JSON = answer.json()
    return found


async def needs(town: Town, resident: UUID) -> list[JSON]:
    """The needs of a record, with their validity."""
    found: list[JSON] = (await record(town, resident))["needs"]
    return found


# --- the account ---


async def test_one_person_on_two_records_counts_once_and_by_the_facts_of_both(town: Town) -> None:
    double, kept = await town.people(lives(), lives(LANQIAO))
    round_id = await town.round()
    await town.tick(round_id, 3)
    await town.results(
        town.resulted(round_id, double, "negative", 1), town.result(round_id, kept, 2)
    )
    await assert_account(town, round_id, sampled=2, resulted=1)
    merge = await merged(town, double, kept)
    await assert_account(town, round_id, sampled=1, resulted=1, negative=1)
    assert await where(town, round_id, "sampled") == {LANQIAO: 1}
    await undone(town, merge)
    await assert_account(town, round_id, sampled=2, resulted=1)
    assert await where(town, round_id, "resulted") == {LUYUAN: 1}


async def test_the_absorbed_record_leaves_and_the_kept_one_has_its_exclusion(town: Town) -> None:
    double, kept, _ = await town.people(lives(), lives(LANQIAO), lives(DONGFANG))
    round_id, later = await town.round(), await town.round(2, opened=False)
    await exclude(town, round_id, double)
    await exclude(town, later, double, id=str(uuid4()))
    merge = await merged(town, double, kept)
    await assert_account(town, round_id, excluded=1, unaccounted=1)
    assert await where(town, round_id, "excluded") == {LANQIAO: 1}
    await town.step(round_id, "close")
    # A round that opens afterwards never knew two of them.
    await town.step(later, "open")
    await assert_account(town, later, excluded=1, unaccounted=1)
    await undone(town, merge)
    await assert_account(town, round_id, excluded=1, unaccounted=2)
    await assert_account(town, later, excluded=1, unaccounted=2)
    assert await where(town, later, "excluded") == {LUYUAN: 1}


async def test_closed_rounds_follow_and_sealed_ones_stay(town: Town) -> None:
    double, kept = await town.people(lives(), lives(LANQIAO))
    first = await town.round()
    await town.tick(first, 2)
    await town.results(town.result(first, double))
    await town.step(first, "close")
    await town.step(first, "seal")
    second = await town.round(2)
    await town.tick(second, 2, day=2)
    await town.results(town.result(second, double, 25))
    await town.step(second, "close")
    merge = await merged(town, double, kept)
    await assert_account(town, first, sampled=1, unaccounted=1)
    await assert_account(town, second, sampled=1)
    assert await where(town, second, "sampled") == {LANQIAO: 1}
    assert [row["round_id"] for row in await history(town, kept)] == [second, first]
    await undone(town, merge)
    await assert_account(town, first, sampled=1, unaccounted=1)
    await assert_account(town, second, sampled=1, unaccounted=1)
    assert await where(town, second, "sampled") == {LUYUAN: 1}
    assert await history(town, kept) == []


async def test_what_is_sealed_under_the_kept_record_stays_there_when_parted(town: Town) -> None:
    double, kept = await town.people(lives(), lives(LANQIAO))
    round_id = await town.round()
    await town.tick(round_id, 2)
    merge = await merged(town, double, kept)
    await town.results(town.result(round_id, double))
    await town.step(round_id, "close")
    await town.step(round_id, "seal")
    await undone(town, merge)
    await assert_account(town, round_id, sampled=1)
    assert [row["round_id"] for row in await history(town, kept)] == [round_id]


async def test_swabs_that_name_the_absorbed_record_later_are_the_kept_ones(town: Town) -> None:
    double, kept = await town.people(lives(id_document=OLD), lives(LANQIAO))
    round_id = await town.round()
    await town.tick(round_id, 2)
    before = town.resulted(round_id, double, "negative")
    await town.results(before)
    merge = await merged(town, double, kept)
    by_document = town.result(round_id, double, 0.5) | {"resident": {"id_document": OLD}}
    assert told(await town.results(before, by_document)) == ["duplicate", "accepted"]
    assert len(await history(town, kept)) == len(await history(town, double)) == 2
    await assert_account(town, round_id, sampled=1)
    # Parted, both swabs are the one's they named, and repeats are repeats all the while.
    await undone(town, merge)
    assert told(await town.results(before, by_document)) == ["duplicate", "duplicate"]
    assert (len(await history(town, double)), await history(town, kept)) == (2, [])
    await assert_account(town, round_id, sampled=1, unaccounted=1)
    assert await where(town, round_id, "sampled") == {LUYUAN: 1}


async def test_a_visit_to_the_absorbed_record_is_called_off(whole_town: Town) -> None:
    town = whole_town
    double, kept = await town.people(
        lives(needs=[{"code": "mobility"}]), lives(LANQIAO, needs=[{"code": "dialysis"}])
    )
    round_id = await town.round()

    async def visits() -> list[JSON]:
        await town.settle()
        answer = await town.dispatch.get(
            "/v1/visits", params={"round": round_id, "status": "planned"},
            headers=town.headers("district"),
        )  # fmt: skip
        items: list[JSON] = answer.json()["items"]
        return items

    assert {visit["resident"] for visit in await visits()} == {str(double), str(kept)}
    merge = await merged(town, double, kept)
    assert [visit["resident"] for visit in await visits()] == [str(kept)]
    await town.assert_balanced(round_id)
    await undone(town, merge)
    assert {visit["resident"] for visit in await visits()} == {str(double), str(kept)}
    await town.assert_balanced(round_id)


# --- what the records say ---


async def test_needs_are_those_of_both_until_parted(town: Town) -> None:
    spans = {
        "theirs": {"code": "dialysis"},
        "early": {"code": "quarantine", "from": "2022-01-10T00:00:00Z",
                  "until": "2199-01-01T00:00:00Z"},
        "late": {"code": "quarantine", "from": "2022-01-12T00:00:00Z"},
        "over": {"code": "maternity", "until": "2022-01-01T00:00:00Z"},
        "stays": {"code": "maternity", "from": "2022-01-05T00:00:00Z"},
        "mine": {"code": "mobility"},
    }  # fmt: skip
    double, kept = await town.people(
        lives(needs=[spans["theirs"], spans["early"], spans["over"]]),
        lives(needs=[spans["mine"], spans["late"], spans["stays"]]),
    )
    own = await needs(town, kept)
    merge = await merged(town, double, kept)
    assert merge["gained_needs"] == ["dialysis", "quarantine"]
    both = {"code": "quarantine", "from": "2022-01-10T00:00:00Z"}
    union = [spans["theirs"], spans["stays"], spans["mine"], both]
    assert await needs(town, kept) == union
    await undone(town, merge)
    assert await needs(town, kept) == own
    # What somebody has changed since is nobody's to take back.
    again = await merged(town, double, kept)
    changed = [spans["mine"], {"code": "dialysis", "until": "2199-01-01T00:00:00Z"}]
    await register(town, {"id": str(kept), "needs": changed})
    await undone(town, again)
    assert {need["code"] for need in await needs(town, kept)} == {"mobility", "dialysis"}


async def test_a_need_that_is_over_gives_way_to_one_that_holds(town: Town) -> None:
    over = {"code": "quarantine", "until": "2022-01-01T00:00:00Z"}
    holds = {"code": "quarantine", "from": "2022-01-05T00:00:00Z"}
    double, kept = await town.people(lives(needs=[holds]), lives(needs=[over]))
    merge = await merged(town, double, kept)
    assert await needs(town, kept) == [holds]
    await undone(town, merge)
    assert await needs(town, kept) == [over]


async def test_r19_rows_about_the_absorbed_record_say_what_is_new_of_the_person(
    town: Town,
) -> None:
    row = {"id": str(uuid4()), "name": "王秀英", "phone": "1", "id_document": OLD} | lives()
    assert told(await register(town, row)) == ["accepted"]
    double = UUID(str(row["id"]))
    (kept,) = await town.people(lives(LANQIAO, name="王秀英", id_document=WHOLE))
    await merged(town, double, kept)
    # The old list once more says nothing new.
    assert told(await register(town, row, {"id_document": OLD, "phone": "1"})) == ["duplicate"] * 2
    assert (await record(town, kept))["address"]["community_code"] == LANQIAO
    answer = await register(town, row | {"phone": "2"})
    assert answer["rows"][0] == {
        "ref": str(double), "status": "accepted", "id": str(kept), "changed": ["phone"],
    }  # fmt: skip
    answer = await register(town, row | lives(DONGFANG))
    assert answer["rows"][0]["changed"] == ["community"]
    moved = await record(town, kept)
    assert moved["address"]["community_code"] == DONGFANG
    # Either document stays whose it was, also where both come together.
    answer = await register(
        town,
        {"id": str(kept), "id_document": OLD, "sex": "female"},
        {"id": str(double), "id_document": WHOLE},
    )
    assert told(answer) == ["accepted", "duplicate"]
    assert moved["id_document"]["type"] == (await record(town, kept))["id_document"]["type"]
    (other,) = await town.people(lives())
    conflict = await register(town, {"id": str(other), "id_document": OLD})
    assert told(conflict) == ["identity-conflict"]


async def test_a_death_that_was_known_before_is_no_news_of_the_other_record(town: Town) -> None:
    dead, kept = await town.people(lives(), lives())
    await register(town, {"id": str(dead), "alive": False})
    round_id = await town.round()
    merge = await merged(town, dead, kept)
    assert told(await register(town, {"id": str(dead), "alive": False})) == ["duplicate"]
    await assert_account(town, round_id, unaccounted=1)
    await undone(town, merge)
    assert (await record(town, dead))["alive"] is False
    await assert_account(town, round_id, unaccounted=1)


async def test_a_change_by_the_absorbed_id_is_made_to_the_kept_record(town: Town) -> None:
    double, kept = await town.people(lives(), lives())
    await merged(town, double, kept)
    answer = await town.registry.patch(
        f"/v1/residents/{double}", json={"phone": "13900000001"}, headers=town.headers("office")
    )
    assert (answer.json()["id"], answer.json()["phone"]) == (str(kept), "13900000001")


async def test_both_records_are_found_as_one(town: Town) -> None:
    double, kept = await town.people(
        lives(id_document=OLD, phone="13900000001", name="张伟"),
        lives(LANQIAO, id_document=WHOLE, name="张大伟"),
    )
    merge = await merged(town, double, kept)
    shown = await record(town, double)
    assert (shown["merged_into"], shown["name"], shown.get("alive")) == (str(kept), "张伟", None)
    for sought in ({"id_document": OLD}, {"id_document": WHOLE}, {"phone": "13900000001"}):
        found = await looked(town, "search", sought, "office")
        assert [item["id"] for item in found["items"]] == [str(kept)]
    asked = {"ids": [str(double), str(kept)]}
    contacts = (await looked(town, "contacts", asked, "team"))["contacts"]
    # By the id that was asked for: a worklist may name either.
    assert [(contact["id"], contact["name"]) for contact in contacts] == [
        (str(double), "张大伟"), (str(kept), "张大伟"),
    ]  # fmt: skip
    assert [contact.get("merged_into") for contact in contacts] == [str(kept), None]
    listed = await town.registry.get("/v1/residents", headers=town.headers("office"))
    assert [item["id"] for item in listed.json()["items"]] == [str(kept)]
    await undone(town, merge)
    found = await looked(town, "search", {"phone": "13900000001"}, "office")
    assert [item["id"] for item in found["items"]] == [str(double)]


# --- who may, and what is noted ---


async def test_r19_a_merge_again_is_the_same_merge(town: Town) -> None:
    double, kept, other = await town.people(lives(), lives(), lives())
    merge = await merged(town, double, kept)
    assert await merged(town, double, kept, id=merge["id"]) == merge
    path = f"/v1/residents/{other}:merge"
    assert await refused(town, path, {"id": merge["id"], "into": str(kept)}) == (409, "id-reused")
    parted = await undone(town, merge)
    assert parted == merge | {key: parted[key] for key in ("undone_by", "undone_at")}
    assert await undone(town, merge) == parted
    assert await merged(town, double, kept, id=merge["id"]) == parted


async def test_chains_of_merges_are_refused(town: Town) -> None:
    double, kept, other = await town.people(lives(), lives(), lives())
    merge = await merged(town, double, kept)
    for absorbed, into in ((double, other), (other, double), (kept, other)):
        answer = await refused(
            town, f"/v1/residents/{absorbed}:merge", {"id": str(uuid4()), "into": str(into)}
        )
        assert answer == (409, "cannot-merge")
    itself = {"id": str(uuid4()), "into": str(other)}
    assert await refused(town, f"/v1/residents/{other}:merge", itself) == (422, "bad-input")
    await merged(town, other, kept)
    await undone(town, merge)
    await merged(town, double, kept)
    round_id = await town.round()
    await assert_account(town, round_id, unaccounted=1)


async def test_r20_merges_are_made_where_both_live_and_noted(town: Town) -> None:
    here, there, home = await town.people(lives(), lives(DONGFANG), lives(LANQIAO))
    asked = {"id": str(uuid4()), "into": str(there)}
    path = f"/v1/residents/{here}:merge"
    for area in (CHAOHE, MINGHU):
        assert await refused(town, path, asked, areas=[area]) == (404, "resident-unknown")
    team = await town.registry.post(path, json=asked, headers=town.headers("team"))
    assert team.status_code == 403
    far, near = await merged(town, there, here), await merged(town, home, here)
    unknown = (404, "merge-unknown")
    assert await refused(town, f"/v1/merges/{far['id']}:undo", areas=[CHAOHE]) == unknown
    assert await refused(town, f"/v1/merges/{uuid4()}:undo") == unknown

    async def listed(*, area: str, **params: Any) -> JSON:
        answer = await town.registry.get(
            "/v1/merges", params=params, headers=town.headers("office", areas=[area])
        )
        page: JSON = answer.json()
        return page

    assert (await listed(area=CHAOHE))["items"] == [near]
    first = await listed(area="410171", limit=1)
    rest = await listed(area="410171", limit=1, cursor=first["next_cursor"])
    assert first["items"] + rest["items"] == [near, far]
    assert (await listed(area="410171", resident=str(there)))["items"] == [far]
    single = await town.registry.get(
        f"/v1/merges/{far['id']}", headers=town.headers("office", areas=[CHAOHE])
    )
    assert single.status_code == 404
    single = await town.registry.get(f"/v1/merges/{far['id']}", headers=town.headers("office"))
    assert single.json() == far
    await undone(town, far)
    assert [(did, found) for _, did, found in await audit(town)] == [
        ("merge", [there, here]), ("merge", [home, here]), ("undo merge", [there, here]),
    ]  # fmt: skip


@pytest.mark.parametrize("state", ["open", "close"])
async def test_members_of_one_record_alone_join_and_leave_by_a_merge(
    town: Town, state: str
) -> None:
    (elsewhere,), (here,) = await town.people(lives(DONGFANG)), await town.people(lives())
    round_id = await town.round(offices=[CHAOHE])
    await town.tick(round_id, 2)
    if state == "close":
        await town.step(round_id, "close")
    await assert_account(town, round_id, unaccounted=1)
    merge = await merged(town, here, elsewhere)
    await assert_account(town, round_id)
    await town.results(town.result(round_id, here))
    await assert_account(town, round_id, visitors=1)
    await undone(town, merge)
    await assert_account(town, round_id, sampled=1)
