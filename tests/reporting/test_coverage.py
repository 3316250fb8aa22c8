"""Somebody asks how far the round is (R2, R4, R5, R22)."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from services.reporting.flow import producers
from shared.contracts.dispatch import HANDS, HandsChanged, VisitChange, VisitsChanged
from shared.contracts.envelope import partition_of
from shared.contracts.registry import Area, AreasChanged, Hand, RollChanged, Standing
from shared.errors import TransientError
from tests.reporting.conftest import CHAOHE, FIRST, QIANCHENG, SECOND, THIRD, Desk, round_message
from tests.reporting.producers import change

NOON = datetime(2022, 1, 9, 12, tzinfo=UTC)
UNTESTED = Standing()
SAMPLED = Standing(klass="sampled", channel="site", sampled_at=NOON)
POSITIVE = msgspec.structs.replace(SAMPLED, channel="home_visit", result="positive")
EXCLUDED = Standing(klass="excluded", reason="under_3")
VISITED = Standing(klass="in_hand", hand=Hand("visit", NOON, 1, "x"))


async def told(desk: Desk, round_id: str, community: str, *after: Standing) -> None:
    """Let people of a community, untested until now, stand somewhere."""
    for standing in after:
        before = Standing(needs=standing.needs)
        desk.world.registry.announce(
            RollChanged(round_id, {community: [change(before, standing)]}), community
        )
    await desk.wiring.consumer.catch_up()


async def test_r2_coverage_is_sampled_by_roll_less_exclusions(desk: Desk) -> None:
    """Ten people, two under three: two of eight are sampled, and why two are not is shown."""
    round_id = await desk.open_round({FIRST: 10, SECOND: 4, THIRD: 6})
    await told(desk, round_id, FIRST, SAMPLED, POSITIVE, EXCLUDED, EXCLUDED, VISITED)
    answer = (await desk.get("/v1/coverage", by="office")).json()
    assert answer["round"]["id"] == round_id
    first, second = answer["rows"]
    assert first == {
        "code": QIANCHENG,
        "name": "前程街道",
        "roll": 14,
        "excluded": 2,
        "excluded_by_reason": {"under_3": 2},
        "sampled": 2,
        "resulted": 1,
        "negative": 0,
        "positive": 1,
        "inconclusive": 0,
        "invalid": 0,
        "in_hand": 1,
        "in_hand_by_kind": {"visit": 1},
        "unaccounted": 9,
        "visitors": 0,
        "visits_open": 0,
        "visits_done": 0,
        "coverage": 2 / 12,
        "outside": [],
    }
    assert (second["code"], second["unaccounted"], second["coverage"]) == (CHAOHE, 6, 0)
    assert (answer["total"]["roll"], answer["total"]["coverage"]) == (20, 2 / 18)


async def test_r2_coverage_of_nobody_is_not_a_number(desk: Desk) -> None:
    round_id = await desk.open_round({FIRST: 1})
    await told(desk, round_id, FIRST, EXCLUDED)
    answer = (await desk.get("/v1/coverage")).json()
    assert [row["coverage"] for row in answer["rows"]] == [None, None]


async def test_r5_people_of_no_known_place_have_a_row_of_their_own(desk: Desk) -> None:
    """Neither community nor office known: they are shown, so that totals reconcile."""
    await desk.open_round({FIRST: 5, f"{QIANCHENG}000": 2, "410171000000": 1})
    by_community = (await desk.get("/v1/coverage", by="community")).json()
    assert {row["code"]: (row["name"], row["roll"]) for row in by_community["rows"]} == {
        "410171000000": ("unassigned", 1),
        "410171001000": ("unassigned", 2),
        FIRST: ("韩庄社区", 5),
        SECOND: ("蝶湖社区", 0),
        THIRD: ("滨河社区", 0),
    }
    by_office = (await desk.get("/v1/coverage", by="office")).json()
    assert [(row["name"], row["roll"]) for row in by_office["rows"]] == [
        ("unassigned", 1),
        ("前程街道", 7),
        ("潮河街道", 0),
    ]
    (district,) = (await desk.get("/v1/coverage", by="district")).json()["rows"]
    assert (district["name"], district["roll"]) == ("经济技术开发区", 8)


async def test_needs_overlap_and_channels_know_only_the_sampled(desk: Desk) -> None:
    round_id = await desk.open_round({FIRST: 10})
    both = msgspec.structs.replace(POSITIVE, needs=("mobility", "dialysis"))
    await told(desk, round_id, FIRST, both, SAMPLED)
    by_need = (await desk.get("/v1/coverage", by="need")).json()
    assert [(row["code"], row["sampled"], row["positive"]) for row in by_need["rows"]] == [
        ("dialysis", 1, 1),
        ("mobility", 1, 1),
    ]
    assert by_need["rows"][0]["visits_open"] is None
    by_channel = (await desk.get("/v1/coverage", by="channel")).json()
    assert [(row["code"], row["sampled"], row["roll"]) for row in by_channel["rows"]] == [
        ("home_visit", 1, None),
        ("site", 1, None),
    ]
    assert by_need["total"] == by_channel["total"]
    assert by_need["total"]["sampled"] == 2


async def test_each_caller_sees_the_areas_of_the_token_and_no_others(desk: Desk) -> None:
    await desk.open_round({FIRST: 10, SECOND: 20, THIRD: 30})
    office = desk.read_as("office", areas=(CHAOHE,))
    answer = (await desk.client.get("/v1/coverage?by=community", headers=office)).json()
    assert [row["code"] for row in answer["rows"]] == [THIRD]
    assert (answer["areas"], answer["total"]["roll"]) == ([CHAOHE], 30)
    cadre = desk.read_as("office", areas=(SECOND,))
    answer = (await desk.client.get("/v1/coverage?by=office", headers=cadre)).json()
    assert [(row["code"], row["roll"]) for row in answer["rows"]] == [(QIANCHENG, 20)]
    elsewhere = desk.read_as("office", areas=("510104",))
    assert (await desk.client.get("/v1/coverage", headers=elsewhere)).status_code == 404


async def test_two_tokens_of_different_areas_never_share_an_entity_tag(desk: Desk) -> None:
    await desk.open_round({FIRST: 10, THIRD: 30})
    tags = {
        (await desk.client.get("/v1/coverage", headers=desk.read_as("office", areas=(area,))))
        .headers["ETag"]
        for area in (QIANCHENG, CHAOHE, "410171")
    }  # fmt: skip
    assert len(tags) == 3


@pytest.mark.parametrize("role", ["site", "team"])
async def test_teams_and_sites_do_not_read_the_command_groups_figures(
    desk: Desk, role: str
) -> None:
    answer = await desk.client.get("/v1/coverage", headers=desk.read_as(role))
    assert answer.status_code == 403


async def test_without_a_round_the_newest_open_one_is_meant_else_the_newest(desk: Desk) -> None:
    first = await desk.open_round({FIRST: 1}, number=1)
    second = await desk.open_round({FIRST: 1}, number=2, state="closed")
    assert (await desk.get("/v1/coverage")).json()["round"]["id"] == first
    desk.world.registry.announce(round_message(first, "closed", version=2), first)
    await desk.wiring.consumer.catch_up()
    assert (await desk.get("/v1/coverage")).json()["round"]["id"] == second
    missing = await desk.get("/v1/coverage", round="no-such-round")
    assert missing.status_code == 404
    assert missing.json()["type"] == "/problems/round-unknown"


async def test_without_a_round_tomorrows_draft_does_not_hide_what_was_done_today(
    desk: Desk,
) -> None:
    draft = await desk.open_round({}, number=3, state="draft")
    assert (await desk.get("/v1/coverage")).json()["round"]["id"] == draft
    sealed = await desk.open_round({FIRST: 1}, number=1, state="sealed")
    assert (await desk.get("/v1/coverage")).json()["round"]["id"] == sealed
    closed = await desk.open_round({FIRST: 1}, number=2, state="closed")
    assert (await desk.get("/v1/coverage")).json()["round"]["id"] == closed
    running = await desk.open_round({FIRST: 1}, number=1, state="open")
    assert (await desk.get("/v1/coverage")).json()["round"]["id"] == running


async def test_r22_nothing_new_is_answered_304_and_still_says_as_of_when(desk: Desk) -> None:
    """A dashboard that polls pays for an answer only when one figure moved."""
    round_id = await desk.open_round({FIRST: 10})
    await producers.look(desk.database, desk.wiring.peers)
    answer = await desk.get("/v1/coverage")
    assert answer.headers["Cache-Control"] == "private"
    tag = answer.headers["ETag"]
    assert tag.startswith('W/"')
    await producers.look(desk.database, desk.wiring.peers)
    headers = {**desk.read_as("district"), "If-None-Match": f'"other", {tag}'}
    unchanged = await desk.client.get("/v1/coverage", headers=headers)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["As-Of"] > answer.headers["As-Of"]
    await told(desk, round_id, FIRST, SAMPLED)
    changed = await desk.client.get("/v1/coverage", headers=headers)
    assert (changed.status_code, changed.json()["total"]["sampled"]) == (200, 1)
    assert changed.headers["ETag"] != tag


async def test_a_renamed_community_changes_the_answer(desk: Desk) -> None:
    await desk.open_round({FIRST: 10})
    tag = (await desk.get("/v1/coverage", by="community")).headers["ETag"]
    desk.world.registry.announce(
        AreasChanged([Area(FIRST, "韩庄新社区", "community", QIANCHENG)]), "410171"
    )
    await desk.wiring.consumer.catch_up()
    answer = await desk.get("/v1/coverage", by="community")
    assert answer.headers["ETag"] != tag
    assert answer.json()["rows"][0]["name"] == "韩庄新社区"


async def test_r22_figures_are_as_of_the_moment_the_heads_were_reached(desk: Desk) -> None:
    """Whoever has counted everything knows everything up to when the producers were asked."""
    await desk.open_round({FIRST: 10})
    assert (await desk.get("/v1/coverage")).json()["as_of"]["time"] is None
    before = datetime.now(UTC)
    await producers.look(desk.database, desk.wiring.peers)
    as_of = (await desk.get("/v1/coverage")).json()["as_of"]
    assert datetime.fromisoformat(as_of["time"]) >= before
    assert datetime.fromisoformat(as_of["hands_as_of"]) >= before
    assert datetime.fromisoformat(as_of["visits_as_of"]) >= before
    assert sum(as_of["positions"]["registry.roll.v1"]) == 1


async def test_r22_figures_that_are_behind_are_as_old_as_the_last_event_counted(
    desk: Desk,
) -> None:
    registry = desk.world.registry
    round_id = await desk.open_round({})
    for age in (timedelta(minutes=9), timedelta(minutes=3)):
        registry.announce(RollChanged(round_id, {FIRST: []}), FIRST, age=age)
        if age > timedelta(minutes=5):
            await desk.wiring.consumer.catch_up()
    await producers.look(desk.database, desk.wiring.peers)
    as_of = (await desk.get("/v1/coverage")).json()["as_of"]
    counted = registry.log["registry.roll.v1", partition_of(FIRST)][0]
    assert datetime.fromisoformat(as_of["time"]) == counted.recorded_at


async def test_r22_hands_that_registry_has_not_taken_in_are_not_claimed(desk: Desk) -> None:
    world = desk.world
    round_id = await desk.open_round({FIRST: 10})
    world.dispatch.announce(HandsChanged(round_id, []), FIRST)
    await producers.look(desk.database, desk.wiring.peers)
    assert (await desk.get("/v1/coverage")).json()["as_of"]["hands_as_of"] is None
    world.registry.applied_hands[partition_of(FIRST)] = len(
        world.dispatch.log[HANDS, partition_of(FIRST)]
    )
    await producers.look(desk.database, desk.wiring.peers)
    assert (await desk.get("/v1/coverage")).json()["as_of"]["hands_as_of"] is not None


async def test_r22_a_silent_dispatch_ages_its_own_figures_only(desk: Desk) -> None:
    world = desk.world
    round_id = await desk.open_round({FIRST: 10})
    world.dispatch.announce(
        VisitsChanged(round_id, [VisitChange("v", "r", FIRST, 1, None, "planned")]), FIRST
    )
    await desk.wiring.consumer.catch_up()
    await producers.look(desk.database, desk.wiring.peers)
    first = (await desk.get("/v1/coverage")).json()["as_of"]
    world.dispatch.down = True
    with pytest.raises(TransientError):
        await producers.look(desk.database, desk.wiring.peers)
    second = (await desk.get("/v1/coverage")).json()["as_of"]
    assert second["time"] > first["time"]
    assert second["visits_as_of"] == first["visits_as_of"]


async def test_r19_a_late_sample_moves_the_curve_where_it_belongs(desk: Desk) -> None:
    """Three swabs on paper, entered at night: the curve is by sampling time, not by entry."""
    round_id = await desk.open_round({FIRST: 10, THIRD: 10})
    late = [
        msgspec.structs.replace(SAMPLED, sampled_at=NOON + timedelta(minutes=minutes))
        for minutes in (31, 4, 33)
    ]
    await told(desk, round_id, FIRST, *late)
    rows = (await desk.get("/v1/coverage/series", step="5m")).json()["rows"]
    assert [row["name"] for row in rows] == ["前程街道", "潮河街道"]
    points = rows[0]["points"]
    assert [
        (datetime.fromisoformat(point["at"]) - NOON, point["sampled"], point["cumulative"])
        for point in points
    ] == [(timedelta(0), 1, 1), (timedelta(minutes=30), 2, 3)]
    hourly = (await desk.get("/v1/coverage/series", step="1h")).json()["rows"][0]["points"]
    assert [(point["sampled"], point["cumulative"]) for point in hourly] == [(3, 3)]


async def test_a_voided_sample_leaves_the_curve(desk: Desk) -> None:
    round_id = await desk.open_round({FIRST: 10})
    await told(desk, round_id, FIRST, SAMPLED)
    desk.world.registry.announce(
        RollChanged(round_id, {FIRST: [change(SAMPLED, UNTESTED, rev=2)]}), FIRST
    )
    await desk.wiring.consumer.catch_up()
    answer = (await desk.get("/v1/coverage/series")).json()
    assert all(row["points"] == [] for row in answer["rows"])


async def test_a_wrong_word_is_refused_without_being_repeated(desk: Desk) -> None:
    answer = await desk.get("/v1/coverage", by="household-of-wang")
    assert answer.status_code == 422
    assert "wang" not in answer.text


VISITS = [
    VisitChange("a", "r1", FIRST, 1, None, "planned"),
    VisitChange("a", "r1", FIRST, 2, "planned", "assigned"),
    VisitChange("b", "r2", FIRST, 1, None, "planned"),
    VisitChange("b", "r2", FIRST, 2, "planned", "finished", outcome="absent"),
    VisitChange("c", "r3", THIRD, 1, None, "planned"),
    VisitChange("c", "r3", THIRD, 2, "planned", "cancelled"),
]


async def test_r16_visits_that_were_made_are_done_whatever_happened_at_the_door(
    desk: Desk,
) -> None:
    """One is on its way, one found nobody, one was called off because it was needed no more."""
    round_id = await desk.open_round({FIRST: 3, THIRD: 1})
    for visit in VISITS:
        desk.world.dispatch.announce(VisitsChanged(round_id, [visit]), visit.community)
    await desk.wiring.consumer.catch_up()
    answer = (await desk.get("/v1/coverage", by="office")).json()
    assert [(row["visits_open"], row["visits_done"]) for row in answer["rows"]] == [(1, 1), (0, 0)]
    for by in ("need", "channel"):
        total = (await desk.get("/v1/coverage", by=by)).json()["total"]
        assert (total["visits_open"], total["visits_done"]) == (1, 1)


async def test_visitors_are_counted_beside_the_account(desk: Desk) -> None:
    """Sampled here, living in no office of the round: in nobody's roll, and in no coverage."""
    round_id = await desk.open_round({FIRST: 2})
    visitor = msgspec.structs.replace(SAMPLED, klass="visitor", result="positive")
    desk.world.registry.announce(RollChanged(round_id, {FIRST: [change(None, visitor)]}), FIRST)
    await desk.wiring.consumer.catch_up()
    row = (await desk.get("/v1/coverage", by="office")).json()["rows"][0]
    assert (row["visitors"], row["roll"], row["sampled"], row["positive"]) == (1, 2, 0, 0)
    assert (row["unaccounted"], row["coverage"]) == (2, 0)
    assert (await desk.get("/v1/coverage/series")).json()["rows"][0]["points"] == []


async def test_the_rows_of_every_table_have_the_same_members(desk: Desk) -> None:
    round_id = await desk.open_round({FIRST: 2})
    await told(desk, round_id, FIRST, msgspec.structs.replace(SAMPLED, needs=("mobility",)))
    members = set()
    for by in ("district", "office", "community", "need", "channel"):
        answer = (await desk.get("/v1/coverage", by=by)).json()
        assert set(answer["as_of"]) == {"time", "hands_as_of", "visits_as_of", "positions"}
        assert answer["rows"]
        members |= {frozenset(row) for row in [*answer["rows"], answer["total"]]}
    (own,) = members
    assert own == {
        "code", "name", "roll", "excluded", "excluded_by_reason", "sampled", "resulted", "negative",
        "positive", "inconclusive", "invalid", "in_hand", "in_hand_by_kind", "unaccounted",
        "visitors", "visits_open", "visits_done", "coverage", "outside",
    }  # fmt: skip


async def test_a_draft_shows_its_areas_and_nobody_in_them(desk: Desk) -> None:
    desk.world.registry.announce(round_message("draft", "draft"), "draft")
    await desk.wiring.consumer.catch_up()
    for by in ("district", "office", "community", "need", "channel"):
        answer = (await desk.get("/v1/coverage", by=by)).json()
        assert answer["round"]["state"] == "draft"
        assert all(row["roll"] == 0 for row in answer["rows"])
        assert (answer["total"]["roll"], answer["total"]["coverage"]) == (0, None)
    series = (await desk.get("/v1/coverage/series")).json()
    assert [row["points"] for row in series["rows"]] == [[], []]


@pytest.mark.parametrize("path", ["/v1/coverage", "/v1/coverage/series", "/v1/ledger"])
async def test_before_the_first_round_there_is_a_problem_and_no_fault(
    desk: Desk, path: str
) -> None:
    answer = await desk.get(path)
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/round-unknown")
