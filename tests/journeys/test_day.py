"""A testing day of a small town, the ledger asserted after every step."""

from datetime import timedelta

from tests.support.town import CHAOHE, DISTRICT, DONGFANG, LANQIAO, LUYUAN, OPENS, Town


def lives(community: str, door: str = "1", **more: object) -> dict[str, object]:
    return {"address": {"community_code": community, "building": "1", "door": door}} | more


async def test_a_day_from_the_opening_to_the_last_visit(town: Town) -> None:
    walker, grandmother, quarantined, late, elsewhere = await town.people(
        lives(LUYUAN),
        lives(LUYUAN, needs=[{"code": "mobility"}]),
        lives(LANQIAO, needs=[{"code": "quarantine"}]),
        lives(LANQIAO),
        lives(DONGFANG, needs=[{"code": "dialysis"}]),
    )
    round_id = await town.round()
    figures = await town.coverage(round_id)
    assert (figures["roll"], figures["unaccounted"], figures["visits_open"]) == (5, 5, 3)
    await town.assert_balanced(round_id)

    # A team goes on shift: its visits are in its hands, nobody else's.
    team = {
        "name": "第一小组", "areas": [CHAOHE], "capacity": 10,
        "shift": {"starts": OPENS.isoformat(),
                  "until": (OPENS + timedelta(hours=8)).isoformat()},
        "members": [{"id": "m1", "role": "medic"}],
    }  # fmt: skip
    put = await town.dispatch.put("/v1/teams/t1", json=team, headers=town.headers("office"))
    assert put.is_success, put.text
    await town.settle()
    figures = await town.coverage(round_id)
    assert (figures["in_hand"], figures["unaccounted"]) == (2, 3)
    await town.assert_balanced(round_id)

    # People come to the site; one of them had a visit due elsewhere, which closes by itself (R15).
    await town.tick(round_id, 2)
    answer = await town.results(
        town.resulted(round_id, walker, "negative"), town.result(round_id, elsewhere)
    )
    assert answer["accepted"] == 2
    figures = await town.coverage(round_id)
    assert (figures["sampled"], figures["negative"], figures["visits_open"]) == (2, 1, 2)
    await town.assert_balanced(round_id)

    # The team knocks: one is sampled at home, one is not there.
    team_headers = town.headers("team", areas=[CHAOHE], team="t1")
    worklist = (await town.dispatch.get("/v1/teams/t1/worklist", headers=team_headers)).json()
    visits = {stop["resident"]: stop["visit"] for stop in worklist["items"]}
    assert set(visits) == {str(grandmother), str(quarantined)}
    await town.tick(round_id, 3)
    for resident, outcome in ((grandmother, "sampled"), (quarantined, "absent")):
        path = f"/v1/visits/{visits[str(resident)]}"
        await town.sent(town.dispatch, f"{path}:start", None, team_headers)
        report = {"report_id": str(resident), "outcome": outcome}
        if outcome == "sampled":
            report["sample"] = {  # type: ignore[assignment]
                "sample_id": str(grandmother),
                "sampled_at": (OPENS + timedelta(hours=3)).isoformat(),
            }
        await town.sent(town.dispatch, f"{path}:finish", report, team_headers)
    await town.settle()
    figures = await town.coverage(round_id)
    assert (figures["sampled"], figures["in_hand"], figures["visits_done"]) == (3, 1, 2)
    await town.assert_balanced(round_id)

    # An exclusion takes the last one with a need off the list; one stays unaccounted, honestly.
    await town.sent(
        town.registry,
        "/v1/exclusions",
        {"id": str(late), "round_id": round_id, "resident": {"id": str(quarantined)},
         "reason": "tested_elsewhere"},
    )  # fmt: skip
    await town.settle()
    await town.assert_balanced(round_id)
    await town.tick(round_id, 12)
    await town.step(round_id, "close")
    await town.settle()
    figures = await town.coverage(round_id)
    assert (figures["sampled"], figures["excluded"], figures["in_hand"]) == (3, 1, 0)
    assert (figures["unaccounted"], figures["visits_open"]) == (1, 0)
    assert figures["coverage"] == 3 / 4
    await town.assert_balanced(round_id)
    by_office = await town.coverage(round_id, by="office")
    assert by_office[CHAOHE]["roll"] == 4
    assert DISTRICT not in by_office
