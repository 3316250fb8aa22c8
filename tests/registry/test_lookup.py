"""People looked up: within one's areas, numbers masked, and every look noted (R20)."""

from typing import Any
from uuid import UUID, uuid4

from tests.registry.words import lives, register, ric
from tests.support.town import CHAOHE, DISTRICT, DONGFANG, JSON, LUYUAN, MINGHU, Town

DOCUMENT = {"type": "cn_ric", "number": ric()}


async def looked(town: Town, what: str, body: JSON, *roles: str, **claims: Any) -> Any:
    """Ask, as somebody with these roles."""
    return await town.sent(
        town.registry, f"/v1/residents:{what}", body, town.headers(*roles, **claims)
    )


async def audit(town: Town) -> list[tuple[str, str, list[UUID]]]:
    """Who did what and found whom."""
    async with town.apps["registry"].state.wiring.database.begin() as tx:
        rows = await tx.rows("SELECT who, did, found FROM audit ORDER BY id")
    return [tuple(row) for row in rows]


async def test_r20_a_search_finds_ones_own_masked_and_is_noted(town: Town) -> None:
    here, there = await town.people(
        lives(id_document=DOCUMENT, phone="13900000001"), lives(DONGFANG, phone="13900000001")
    )
    by_document = await looked(
        town, "search", {"id_document": DOCUMENT}, "office", areas=[CHAOHE], sub="li"
    )
    (found,) = by_document["items"]
    assert found["id"] == str(here)
    assert found["id_document"]["number"] == f"{ric()[:4]}{'*' * 10}{ric()[-4:]}"
    other = await looked(
        town, "search", {"id_document": DOCUMENT}, "office", areas=[MINGHU], sub="wang"
    )
    assert other["items"] == []
    by_phone = await looked(
        town, "search", {"phone": "13900000001"}, "office", areas=[MINGHU], sub="wang"
    )
    assert [item["id"] for item in by_phone["items"]] == [str(there)]
    assert await audit(town) == [
        ("li", "search by document", [here]),
        ("wang", "search by document", []),
        ("wang", "search by phone", [there]),
    ]


async def test_a_search_is_by_one_thing_at_a_time(town: Town) -> None:
    for body in ({}, {"phone": "1", "id_document": DOCUMENT},
                 {"id_document": {"type": "cn_ric", "number": "CANARY"}}):  # fmt: skip
        answer = await town.registry.post(
            "/v1/residents:search", json=body, headers=town.headers("office")
        )
        assert answer.status_code == 422
        assert "CANARY" not in answer.text
    team = await town.registry.post(
        "/v1/residents:search", json={"phone": "1"}, headers=town.headers("team")
    )
    assert team.status_code == 403


async def test_r20_contacts_for_a_worklist_are_those_of_ones_areas_and_noted(town: Town) -> None:
    here, there = await town.people(
        {"name": "王秀英", "phone": "13900000001", "birth_date": "1950-01-01", "sex": "female",
         "address": {"community_code": LUYUAN, "building": "7", "door": "301"},
         "needs": [{"code": "mobility"}], "id_document": DOCUMENT},
        lives(DONGFANG),
    )  # fmt: skip
    wanted = {"ids": [str(here), str(there), str(uuid4())]}
    answer = await looked(town, "contacts", wanted, "team", areas=[CHAOHE], sub="team-1")
    (contact,) = answer["contacts"]
    age = contact.pop("age")
    assert age >= 70
    assert contact == {
        "id": str(here), "name": "王秀英", "phone": "13900000001", "sex": "female",
        "needs": ["mobility"],
        "address": {"community_code": LUYUAN, "community_name": "绿园社区", "building": "7",
                    "unit": "1", "door": "301", "lat": None, "lon": None},
    } | {"address": contact["address"]}  # fmt: skip
    assert contact["address"]["community_name"] == "绿园社区"
    assert await audit(town) == [("team-1", "contacts", [here])]
    site = await town.registry.post(
        "/v1/residents:contacts", json=wanted, headers=town.headers("site")
    )
    assert site.status_code == 403
    many = {"ids": [str(uuid4()) for _ in range(501)]}
    answer = await town.registry.post(
        "/v1/residents:contacts", json=many, headers=town.headers("team")
    )
    assert answer.status_code == 422


async def test_areas_are_seen_with_those_above_and_stored_whole_or_not_at_all(town: Town) -> None:
    answer = await town.registry.get("/v1/areas", headers=town.headers("team", areas=[MINGHU]))
    assert [area["code"] for area in answer.json()["items"]] == [DISTRICT, MINGHU, DONGFANG]
    community = {"code": f"{MINGHU}002", "name": "新社区", "kind": "community", "parent": MINGHU}
    path, headers = "/v1/areas:batch", town.headers("district", areas=[MINGHU])
    for wrong in (
        [community, community],
        [community, community | {"code": f"{MINGHU}003", "kind": "office"}],
        [community, {"name": "无"}],
    ):
        refused = await town.registry.put(path, json=wrong, headers=headers)
        assert refused.status_code == 422
    elsewhere = community | {"code": f"{CHAOHE}009"}
    refused = await town.registry.put(path, json=[community, elsewhere], headers=headers)
    assert refused.status_code == 403
    for changed in (1, 0):
        stored = await town.registry.put(path, json=[community], headers=headers)
        assert stored.json() == {"areas": 1, "changed": changed}
    assert (await register(town, lives(f"{MINGHU}002", name="某")))["accepted"] == 1
