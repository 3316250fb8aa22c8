"""People looked up: within one's areas, numbers masked, and every look noted (R20)."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from services.registry.api.masking import masked_name, masked_phone
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
        rows = await tx.rows("SELECT who, action, targets FROM audit_log ORDER BY seq")
    return [(who, did, [UUID(target) for target in found]) for who, did, found in rows]


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
    assert contact.pop("age") >= 70
    assert UUID(contact.pop("household"))
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


@pytest.mark.parametrize(
    ("role", "name", "phone", "did"),
    [
        ("team", "王秀英", "13900000001", "contacts"),
        ("office", "王秀英", "13900000001", "contacts"),
        ("system", "王秀英", "13900000001", "contacts"),
        ("supervisor", "王**", "139****0001", "masked contacts"),
    ],
)
async def test_r20_contacts_are_whole_for_those_who_knock(
    town: Town, role: str, name: str, phone: str, did: str
) -> None:
    here, mute = await town.people(lives(name="王秀英", phone="13900000001"), lives())
    answer = await looked(town, "contacts", {"ids": [str(here), str(mute)]}, role, sub="li")
    whole, without = sorted(answer["contacts"], key=lambda contact: contact["id"] == str(mute))
    assert (whole["name"], whole["phone"]) == (name, phone)
    assert whole["address"]["door"] == "1"
    assert without["phone"] is None
    assert await audit(town) == [("li", did, [here, mute])]


@pytest.mark.parametrize(
    ("role", "phone", "noted"),
    [
        ("office", "13900000001", ["read", "search by document", "read"]),
        ("system", "13900000001", ["read", "search by document", "read"]),
        ("district", "139****0001", ["search by document"]),
        ("admin", "139****0001", ["search by document"]),
    ],
)
async def test_r20_phones_are_shown_one_by_one_to_those_who_call(
    town: Town, role: str, phone: str, noted: list[str]
) -> None:
    (here,) = await town.people(lives(id_document=DOCUMENT, phone="13900000001"))
    headers = town.headers(role)
    single = await town.registry.get(f"/v1/residents/{here}", headers=headers)
    found = await looked(town, "search", {"id_document": DOCUMENT}, role)
    changed = await town.registry.patch(
        f"/v1/residents/{here}", json={"sex": "female"}, headers=headers
    )
    phones = [single.json()["phone"], found["items"][0]["phone"], changed.json()["phone"]]
    assert phones == [phone] * 3
    # A list is nobody's call: it shows enough to tell people apart.
    listed = await town.registry.get("/v1/residents", headers=headers)
    assert listed.json()["items"][0]["phone"] == "139****0001"
    assert [(did, who) for _, did, who in await audit(town)] == [(did, [here]) for did in noted]


async def test_numbers_of_other_lengths_are_masked_too() -> None:
    assert masked_phone("+8613900000001") == "+86*******0001"
    assert masked_phone("67891234") == "67****34"
    assert masked_phone("110") == "***"
    assert masked_name("王") == "王"


async def test_a_household_is_behind_one_door(town: Town) -> None:
    door = {"community_code": LUYUAN, "building": "7", "unit": "2", "door": "301A"}
    typed = door | {"building": " \uff17", "door": "301a"}
    neighbour = door | {"door": "302"}
    one, two, three = await town.people(
        {"address": door}, {"address": typed}, {"address": neighbour}
    )

    async def home(resident: UUID) -> str:
        answer = await town.registry.get(
            f"/v1/residents/{resident}", headers=town.headers("office")
        )
        household: str = answer.json()["household"]
        return household

    async def behind(household: str, **claims: Any) -> list[str]:
        answer = await town.registry.get(
            "/v1/residents", params={"household": household},
            headers=town.headers("office", **claims),
        )  # fmt: skip
        return [item["id"] for item in answer.json()["items"]]

    assert await home(one) == await home(two) != await home(three)
    assert await behind(await home(one)) == sorted([str(one), str(two)])
    assert await behind(await home(one), areas=[MINGHU]) == []
    await register(town, {"id": str(two), "address": {"door": "302"}})
    assert await behind(await home(three)) == sorted([str(two), str(three)])
    contacts = await looked(town, "contacts", {"ids": [str(two)]}, "team")
    assert contacts["contacts"][0]["household"] == await home(three)


async def test_r5_nobody_shares_a_door_that_is_not_known(town: Town) -> None:
    door = {"building": "7", "unit": "2", "door": "301"}
    people = await town.people(
        *({"address": {"community_code": LUYUAN, "building": "7", "door": ""}} for _ in range(2)),
        *({"address": door | {"community_code": CHAOHE}} for _ in range(2)),
        *({"address": door | {"community_code": None}} for _ in range(2)),
    )
    listed = await town.registry.get("/v1/residents", headers=town.headers("office"))
    households = {item["household"] for item in listed.json()["items"]}
    assert len(households) == len(people)
    # Once the address is mapped they are behind one door, as they always were.
    mapped = [{"id": str(one), "address": {"community_code": LUYUAN}} for one in people[2:]]
    await register(town, *mapped)
    listed = await town.registry.get("/v1/residents", headers=town.headers("office"))
    homes = {item["id"]: item["household"] for item in listed.json()["items"]}
    assert len({homes[str(one)] for one in people[2:]}) == 1


async def test_needs_of_a_contact_are_those_that_hold(town: Town) -> None:
    over = {"code": "quarantine", "until": "2022-01-01T00:00:00Z"}
    (here,) = await town.people(lives(needs=[over, {"code": "mobility"}]))
    answer = await looked(town, "contacts", {"ids": [str(here)]}, "team")
    assert answer["contacts"][0]["needs"] == ["mobility"]


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
