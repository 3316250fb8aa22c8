"""What is to be done: visits by state, who waits for a team, and what is past due."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from services.reporting.store import generations
from shared.contracts.dispatch import (
    VisitChange,
    VisitsChanged,
    VisitsCounted,
    VisitsSnapshotBegun,
    Waiting,
)
from shared.contracts.registry import (
    CommunityCount,
    Hand,
    RollChanged,
    RollCounted,
    RollSnapshotBegun,
    RoundTicked,
    Standing,
)
from shared.contracts.vocabulary import HandKind, Need, VisitStatus
from tests.reporting.conftest import CHAOHE, FIRST, QIANCHENG, SECOND, THIRD, Desk
from tests.reporting.producers import change
from tests.reporting.test_page import look, sign_in

NINE = datetime(2022, 1, 1, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
UNTESTED = Standing()


def held(kind: HandKind, due: datetime, revision: int = 1) -> Standing:
    return Standing(klass="in_hand", hand=Hand(kind, due, revision, "x"))


async def hold(desk: Desk, round_id: str, community: str, *after: Standing) -> None:
    """Let people of a community come into hands."""
    told = [change(UNTESTED, standing) for standing in after]
    desk.world.registry.announce(RollChanged(round_id, {community: told}), community)
    await desk.wiring.consumer.catch_up()


async def move(
    desk: Desk,
    round_id: str,
    community: str,
    path: list[tuple[VisitStatus, datetime | None]],
    needs: tuple[Need, ...] = ("mobility",),
) -> None:
    """Let one visit move on through its statuses; where it waits, since when."""
    visit, before, waited = str(uuid4()), None, None
    for status, since in path:
        waits = Waiting(since, needs) if since else None
        moved = VisitChange(visit, "r", community, 1, before, status, waits=waits, waited=waited)
        desk.world.dispatch.announce(VisitsChanged(round_id, [moved]), community)
        before, waited = status, waits
    await desk.wiring.consumer.catch_up()


async def tick(desk: Desk, round_id: str, at: datetime) -> None:
    desk.world.registry.announce(RoundTicked(round_id, at), round_id)
    await desk.wiring.consumer.catch_up()


async def work(desk: Desk, **params: str) -> Any:
    answer = await desk.get("/v1/coverage/work", **params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_visits_stand_where_they_are_in_their_life(desk: Desk) -> None:
    round_id = await desk.open_round({FIRST: 5, THIRD: 5})
    await move(desk, round_id, FIRST, [("planned", NINE), ("assigned", None), ("started", None)])
    await move(desk, round_id, THIRD, [("planned", NINE), ("cancelled", None)])
    told = await work(desk)
    nothing = dict.fromkeys(("planned", "assigned", "started", "finished", "cancelled"), 0)
    assert [row["visits"] for row in told["rows"]] == [
        {**nothing, "started": 1},
        {**nothing, "cancelled": 1},
    ]
    assert told["total"]["visits"] == {**nothing, "started": 1, "cancelled": 1}


async def test_who_waits_for_a_team_is_told_with_needs_and_since_when(desk: Desk) -> None:
    round_id = await desk.open_round({FIRST: 5, SECOND: 5})
    await move(desk, round_id, FIRST, [("planned", NINE), ("assigned", None)])
    await move(desk, round_id, FIRST, [("planned", NINE + HOUR)], ("mobility", "dialysis"))
    # Their team dropped out: they wait once more, and not since this morning.
    back: list[tuple[VisitStatus, datetime | None]] = [
        ("planned", NINE), ("assigned", None), ("planned", NINE + 2 * HOUR),
    ]  # fmt: skip
    await move(desk, round_id, SECOND, back)
    row = (await work(desk))["rows"][0]
    assert row["waiting"] == {
        "visits": 2,
        "since": "2022-01-01T10:00:00Z",
        "by_need": {"mobility": 2, "dialysis": 1},
    }
    nobody = (await work(desk))["rows"][1]
    assert nobody["waiting"] == {"visits": 0, "since": None, "by_need": {}}


async def test_a_quiet_system_still_becomes_overdue(desk: Desk) -> None:
    """Nothing is announced but the time: what was due is past due."""
    round_id = await desk.open_round({FIRST: 5, THIRD: 5})
    await tick(desk, round_id, NINE)
    await hold(desk, round_id, FIRST, held("referral", NINE + HOUR), held("visit", NINE + 3 * HOUR))
    await hold(desk, round_id, THIRD, held("referral", NINE + 4 * MINUTE))
    told = await work(desk)
    assert told["rows"][0]["hands"]["referral"] == {
        "people": 1, "past_due": 0, "first_due": "2022-01-01T10:00:00Z",
    }  # fmt: skip
    # Five minutes is as fine as it is counted: nobody is called late who is not.
    await tick(desk, round_id, NINE + HOUR + 4 * MINUTE)
    late = {kind: told["past_due"] for kind, told in (await work(desk))["total"]["hands"].items()}
    assert late == {"visit": 0, "referral": 1, "revisit": 0, "escalation": 0, "session": 0}
    await tick(desk, round_id, NINE + HOUR + 5 * MINUTE)
    rows = (await work(desk))["rows"]
    assert [row["hands"]["referral"]["past_due"] for row in rows] == [1, 1]


async def test_the_tag_changes_when_something_may_have_become_overdue(desk: Desk) -> None:
    round_id = await desk.open_round({FIRST: 5})
    await tick(desk, round_id, NINE)
    first = await desk.get("/v1/coverage/work")
    asked = {**desk.read_as("district"), "If-None-Match": first.headers["etag"]}
    same = await desk.client.get("/v1/coverage/work", headers=asked)
    assert (same.status_code, same.content) == (304, b"")
    await tick(desk, round_id, NINE + 5 * MINUTE)
    assert (await desk.client.get("/v1/coverage/work", headers=asked)).status_code == 200


async def test_a_hand_that_is_put_off_or_over_is_not_past_due(desk: Desk) -> None:
    round_id = await desk.open_round({FIRST: 5})
    await tick(desk, round_id, NINE + 2 * HOUR)
    first, later = held("revisit", NINE), held("revisit", NINE + 9 * HOUR, 2)
    sampled = Standing(klass="sampled", channel="site", sampled_at=NINE)
    told = [change(UNTESTED, first), change(first, later), change(UNTESTED, first)]
    told.append(change(first, sampled))
    desk.world.registry.announce(RollChanged(round_id, {FIRST: told}), FIRST)
    await desk.wiring.consumer.catch_up()
    assert (await work(desk))["total"]["hands"]["revisit"] == {
        "people": 1, "past_due": 0, "first_due": "2022-01-01T18:00:00Z",
    }  # fmt: skip


async def test_an_office_sees_its_own(desk: Desk) -> None:
    round_id = await desk.open_round({FIRST: 5, THIRD: 5})
    await move(desk, round_id, FIRST, [("planned", NINE)])
    await move(desk, round_id, THIRD, [("planned", NINE - HOUR)])
    answer = await desk.client.get(
        "/v1/coverage/work?by=community", headers=desk.read_as("office", areas=(QIANCHENG,))
    )
    told = answer.json()
    assert {row["code"] for row in told["rows"]} == {FIRST, SECOND}
    assert told["total"]["waiting"]["since"] == "2022-01-01T09:00:00Z"
    assert CHAOHE not in answer.text


async def test_a_producer_that_tells_anew_replaces_what_is_due_and_who_waits(desk: Desk) -> None:
    round_id = await desk.open_round({FIRST: 5})
    await tick(desk, round_id, NINE + 2 * HOUR)
    await hold(desk, round_id, FIRST, held("referral", NINE), held("referral", NINE))
    await move(desk, round_id, FIRST, [("planned", NINE)])
    registry, dispatch = desk.world.registry, desk.world.dispatch
    registry.announce(RollSnapshotBegun(), FIRST)
    slot = int(NINE.timestamp()) // 300
    cells = {"roll": 5, "unaccounted": 4, "in_hand": 1, "in_hand.referral": 1}
    count = CommunityCount(cells, {}, {"referral": {slot: 1}})
    registry.announce(RollCounted(round_id, {FIRST: count}), FIRST)
    dispatch.announce(VisitsSnapshotBegun(), FIRST)
    visits = {"status.planned": 2, "waiting.dialysis": 2}
    dispatch.announce(VisitsCounted(round_id, {FIRST: visits}, {FIRST: {slot + 12: 2}}), FIRST)
    await desk.wiring.consumer.catch_up()
    total = (await work(desk))["total"]
    assert total["hands"]["referral"]["past_due"] == 1
    assert total["waiting"] == {
        "visits": 2, "since": "2022-01-01T10:00:00Z", "by_need": {"dialysis": 2},
    }  # fmt: skip


# --- by when hands are due is proven like the counters ---


async def test_r22_what_is_due_is_proven_and_its_five_minutes_are_named(desk: Desk) -> None:
    round_id = await desk.open_round({FIRST: 1})
    standing = held("referral", NINE)
    await hold(desk, round_id, FIRST, standing)
    desk.world.testify(round_id, [(FIRST, standing)], referral=1)
    assert (await desk.get("/v1/ledger")).json()["balanced"] is True
    async with desk.database.begin() as tx:
        await tx.do("UPDATE slot_counter SET slot = slot + 1")
    told = (await desk.get("/v1/ledger")).json()
    assert told["balanced"] is False
    assert told["differences"] == [
        {"community": FIRST, "cell": f"due.referral.2022-01-01T09:0{minute}Z", "registry": here,
         "reporting": 1 - here}
        for minute, here in ((0, 1), (5, 0))
    ]  # fmt: skip


async def test_counters_of_an_older_version_say_that_they_do_not_know(desk: Desk) -> None:
    """Processes of both versions fed them during an upgrade: a rebuild counts everything."""
    round_id = await desk.open_round({FIRST: 1})
    standing = held("referral", NINE)
    await hold(desk, round_id, FIRST, standing)
    await move(desk, round_id, FIRST, [("planned", NINE)])
    desk.world.testify(round_id, [(FIRST, standing)], referral=1)
    async with desk.database.begin() as tx:
        await tx.do("UPDATE generation SET fold = 1")
        await tx.do("DELETE FROM slot_counter")
    total = (await work(desk))["total"]
    assert total["hands"]["referral"] == {"people": 1, "past_due": None, "first_due": None}
    assert total["waiting"] == {"visits": 1, "since": None, "by_need": None}
    assert (await desk.get("/v1/ledger")).json()["balanced"] is True

    await desk.database.transact(generations.begin)
    async with desk.database.snapshot() as tx:
        building = await generations.building(tx)
        assert building is not None
        assert await generations.counts_along_time(tx, building.id)


async def test_a_registry_of_an_older_version_leaves_the_ledger_as_it_was(desk: Desk) -> None:
    round_id = await desk.open_round({FIRST: 1})
    standing = held("referral", NINE)
    await hold(desk, round_id, FIRST, standing)
    desk.world.testify(round_id, [(FIRST, standing)], referral=1)
    del desk.world.registry.totals[round_id]["due"]
    assert (await desk.get("/v1/ledger")).json()["balanced"] is True


# --- on the page ---


async def test_the_page_says_what_is_to_be_done(desk: Desk) -> None:
    round_id = await desk.open_round({FIRST: 5, THIRD: 5})
    await tick(desk, round_id, NINE + 2 * HOUR)
    await hold(desk, round_id, FIRST, held("referral", NINE), held("escalation", NINE + 9 * HOUR))
    await move(desk, round_id, FIRST, [("planned", NINE)], ("mobility", "dialysis"))
    await move(desk, round_id, THIRD, [("planned", NINE), ("assigned", None)])
    await sign_in(desk, "district")
    work = section(await look(desk, f"/office/{QIANCHENG}?lang=en"))
    for said in (
        "planned 1", "assigned 0", "1 · the longest since 1 Jan 17:00", "mobility 1", "dialysis 1",
        "referral 1 1 1 Jan 17:00", "escalation 1 0 2 Jan 02:00", "session 0 0 -",
    ):  # fmt: skip
        assert said in work, said
    assert "assigned 1" in section(await look(desk, "/?lang=en"))
    async with desk.database.begin() as tx:
        await tx.do("UPDATE generation SET fold = 1")
    # Another generation is another edition; here only its mark was changed.
    assert "have to be rebuilt" in section(
        await look(desk, f"/office/{QIANCHENG}?lang=en&round={round_id}")
    )


def section(page: str) -> str:
    """Read the part as words, one space apart."""
    work = page[page.index('<section id="work"') :]
    return " ".join(re.sub(r"<[^>]*>", " ", work[: work.index("</section>")]).split())
