"""A testing day of a small town, the ledger asserted after every step."""

from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from tests.support.live import live
from tests.support.stack import running
from tests.support.town import CHAOHE, DONGFANG, LANQIAO, LUYUAN, MINGHU, OPENS, Town


def lives(community: str, door: str = "1", **more: object) -> dict[str, object]:
    return {"address": {"community_code": community, "building": "1", "door": door}} | more


async def a_day(town: Town) -> None:
    """Tell a day, from the opening to the last visit."""
    walker, grandmother, quarantined, _, elsewhere = await town.people(
        lives(LUYUAN),
        lives(LUYUAN, needs=[{"code": "mobility"}]),
        lives(LANQIAO, needs=[{"code": "quarantine"}]),
        lives(LANQIAO),
        lives(DONGFANG, needs=[{"code": "dialysis"}]),
    )
    round_id = await town.round()
    await town.expect(round_id, roll=5, unaccounted=5, visits_open=3)

    # A team goes on shift: its visits are in its hands, nobody else's.
    team = {
        "name": "第一小组",
        "areas": [CHAOHE],
        "capacity": 10,
        "shift": {"starts": OPENS.isoformat(), "until": (OPENS + timedelta(hours=8)).isoformat()},
        "members": [{"id": "m1", "role": "medic"}],
    }
    put = await town.dispatch.put("/v1/teams/t1", json=team, headers=town.headers("office"))
    assert put.is_success, put.text
    await town.expect(round_id, in_hand=2, unaccounted=3)

    # People come to the site; one of them had a visit due elsewhere, which closes by itself (R15).
    await town.tick(round_id, 2)
    answer = await town.results(
        town.resulted(round_id, walker, "negative"), town.result(round_id, elsewhere)
    )
    assert answer["accepted"] == 2
    await town.expect(round_id, sampled=2, resulted=1, negative=1, visits_open=2)

    # The team knocks: one is sampled at home, one is not there.
    on_the_road = town.headers("team", areas=[CHAOHE], team="t1")
    worklist = (await town.dispatch.get("/v1/teams/t1/worklist", headers=on_the_road)).json()
    assert worklist["contacts"] == "shown"
    visits = {stop["resident"]: stop["visit"] for stop in worklist["items"]}
    assert set(visits) == {str(grandmother), str(quarantined)}
    at = await town.tick(round_id, 3)
    sampled = {
        "report_id": str(uuid4()),
        "outcome": "sampled",
        "sample": {"sample_id": str(uuid4()), "sampled_at": at.isoformat()},
    }
    absent = {"report_id": str(uuid4()), "outcome": "absent"}
    for resident, report in ((grandmother, sampled), (quarantined, absent)):
        visit = f"/v1/visits/{visits[str(resident)]}"
        await town.sent(town.dispatch, f"{visit}:start", None, on_the_road)
        await town.sent(town.dispatch, f"{visit}:finish", report, on_the_road)
    await town.expect(round_id, sampled=3, in_hand=1, visits_done=2, unaccounted=1)

    # An exclusion takes the last one with a need off the list.
    await town.sent(
        town.registry,
        "/v1/exclusions",
        {
            "id": str(uuid4()),
            "round_id": round_id,
            "resident": {"id": str(quarantined)},
            "reason": "tested_elsewhere",
        },
    )
    await town.expect(round_id, excluded=1, in_hand=0, visits_open=0)

    # The day ends. One stays unaccounted, honestly: who neither came nor has a need.
    await town.tick(round_id, 12)
    await town.step(round_id, "close")
    await town.expect(
        round_id, sampled=3, excluded=1, in_hand=0, unaccounted=1, visits_open=0, coverage=3 / 4
    )
    by_office = await town.coverage(round_id, by="office")
    assert {code: row["roll"] for code, row in by_office.items()} == {CHAOHE: 4, MINGHU: 1}


async def test_a_day_in_one_process(town: Town) -> None:
    await a_day(town)


async def test_a_day_on_the_real_servers_through_the_broker(tmp_path: Path) -> None:
    async with running(tmp_path / "state", tmp_path / "data") as up, live(up) as town:
        await a_day(town)
