"""registry's clock: needs begin and end, rounds open, close and are sealed, each by an event."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from services.registry import worker
from services.registry.domain.errors import WrongState
from services.registry.domain.rounds import Round, drilled, time_where
from services.registry.flow import needs
from services.registry.flow.clock import Timekeeper
from shared.contracts.registry import ROUNDS
from shared.errors import TransientError
from shared.http import Ops
from tests.registry.words import announced, assert_account, exclude, hour, lives, register
from tests.support.town import CHAOHE, DISTRICT, DONGFANG, JSON, LUYUAN, MINGHU, OPENS, Town
from tests.support.waiting import eventually

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
"""What the clock on the wall shows, where a story says so."""
SEALED = timedelta(hours=12 + 72)
"""From the opening of a round of half a day until nothing is taken any more."""


def timekeeper(town: Town) -> Timekeeper:
    """Registry's own."""
    kept: Timekeeper = town.apps["registry"].state.wiring.timekeeper
    return kept


def quarantine(begins: float | None, ends: float | None) -> list[JSON]:
    """A quarantine from and until so many hours after the first round's opening."""
    bounds = {"from": begins, "until": ends}
    return [{"code": "quarantine"} | {k: hour(h) for k, h in bounds.items() if h is not None}]


async def ill(town: Town, begins: float | None, ends: float | None, **more: Any) -> UUID:
    """Somebody in quarantine."""
    (resident,) = await town.people(lives(needs=quarantine(begins, ends), **more))
    return resident


async def quarantined(town: Town, round_id: str) -> int:
    """How many of the roll are in quarantine; the account balances."""
    await town.assert_balanced(round_id)
    totals = await town.totals(round_id)
    return sum(cells.get("need.quarantine.roll", 0) for cells in totals.values())


async def state(town: Town, round_id: str) -> str:
    """The state of a round."""
    answer = await town.registry.get(f"/v1/rounds/{round_id}", headers=town.headers("team"))
    shown: str = answer.json()["state"]
    return shown


async def drafted(town: Town, opens: datetime, hours: float = 12, **more: Any) -> str:
    """A round on the clock of the wall, or as said."""
    plan = {
        "id": str(uuid4()), "campaign": "2026-03", "number": 1, "name": "第1轮",
        "opens_at": opens.isoformat(), "offices": [DISTRICT],
        "closes_at": (opens + timedelta(hours=hours)).isoformat(),
    }  # fmt: skip
    made: str = (await town.sent(town.registry, "/v1/rounds", plan | more))["id"]
    return made


# --- needs ---


async def test_a_quarantine_begins_and_ends_at_the_tick(town: Town) -> None:
    await ill(town, 2, 5)
    round_id = await town.round()
    for at, expected in ((1, 0), (2, 1), (4, 1), (5, 0), (6, 0)):
        await town.tick(round_id, at)
        assert await quarantined(town, round_id) == expected, at
    changes = await announced(town, "roll_changed")
    # Of which the first says that it began, the second that it ended.
    assert len(changes) == 2


async def test_a_quarantine_that_ends_calls_its_planned_visit_back(whole_town: Town) -> None:
    await ill(whole_town, None, 5)
    round_id = await whole_town.round()
    await whole_town.tick(round_id, 4)
    await whole_town.expect(round_id, visits_open=1, unaccounted=1)
    await whole_town.tick(round_id, 5)
    await whole_town.expect(round_id, visits_open=0, unaccounted=1)
    by_need = await whole_town.coverage(round_id, "need")
    assert by_need.get("quarantine", {"roll": 0})["roll"] == 0


async def test_a_quarantine_that_begins_brings_a_visit(whole_town: Town) -> None:
    await ill(whole_town, 3, None)
    round_id = await whole_town.round()
    await whole_town.expect(round_id, visits_open=0, unaccounted=1)
    await whole_town.tick(round_id, 3)
    await whole_town.expect(round_id, visits_open=1, unaccounted=1)


async def test_who_is_sampled_or_excluded_turns_too(town: Town) -> None:
    sampled, excluded = await ill(town, 2, 5), await ill(town, 2, 5)
    round_id = await town.round()
    await town.tick(round_id, 1)
    await town.results(town.result(round_id, sampled))
    await exclude(town, round_id, excluded)
    for at, there in ((3, 1), (5, 0)):
        await town.tick(round_id, at)
        await assert_account(
            town, round_id, sampled=1, excluded=1,
            need__quarantine__sampled=there, need__quarantine__excluded=there,
        )  # fmt: skip


async def test_on_the_wall_needs_turn_by_the_wall(town: Town) -> None:
    opens = datetime.now(UTC) - timedelta(hours=1)
    until = datetime.now(UTC) + timedelta(hours=1)
    need = {"code": "quarantine", "until": until.isoformat()}
    await town.people(lives(needs=[need]))
    round_id = await drafted(town, opens)
    await town.step(round_id, "open")
    assert await quarantined(town, round_id) == 1
    assert await timekeeper(town).keep(until - timedelta(seconds=1)) == 0
    assert await timekeeper(town).keep(until) == 1
    assert await timekeeper(town).keep(until) == 0
    assert await quarantined(town, round_id) == 0


async def test_a_drill_has_the_needs_of_its_own_day_and_leaves_those_of_today(town: Town) -> None:
    over, today, for_ever = (
        await ill(town, 2, 5),
        await ill(town, 8, None),
        await ill(town, 1, None),
    )
    assert await needed(town) == {today, for_ever}
    round_id = await town.round(opened=False)
    await town.tick(round_id, 3)
    # The clock of a round that is not open yet is nobody's.
    await town.settle()
    assert await quarantined(town, round_id) == 2
    assert await needed(town) == {over, for_ever}
    await town.tick(round_id, 9)
    assert await needed(town) == {today, for_ever}
    await town.step(round_id, "close")
    await town.settle()
    assert await quarantined(town, round_id) == 2


async def test_a_drill_long_ago_does_not_keep_the_wall_busy_nor_the_wall_the_drill(
    town: Town,
) -> None:
    await ill(town, None, 5)
    round_id = await town.round()
    for _ in range(2):
        assert await timekeeper(town).keep(datetime.now(UTC)) == 0
        assert await quarantined(town, round_id) == 1
    await town.step(round_id, "close")
    assert await timekeeper(town).keep(datetime.now(UTC)) == 1
    assert await timekeeper(town).keep(datetime.now(UTC)) == 0
    # What was frozen stays as it was.
    assert await quarantined(town, round_id) == 1
    assert await needed(town) == set()


async def test_a_drill_ahead_of_today_is_left_for_today_again(town: Town) -> None:
    ahead = datetime.now(UTC) + timedelta(days=30)
    need = {"code": "quarantine", "until": (ahead - timedelta(days=1)).isoformat()}
    (resident,) = await town.people(lives(needs=[need]))
    assert await needed(town) == {resident}
    round_id = await drafted(town, ahead, manual_clock=True)
    await town.step(round_id, "open")
    assert await quarantined(town, round_id) == 0
    await town.step(round_id, "close")
    await town.settle()
    assert await needed(town) == {resident}
    assert await quarantined(town, round_id) == 0


async def test_a_round_on_the_wall_outranks_a_drill_of_the_same_people(town: Town) -> None:
    resident = await ill(town, None, 5)
    drill = await town.round()
    assert await needed(town) == {resident}
    real = await drafted(town, datetime.now(UTC) - timedelta(hours=1))
    await town.step(real, "open")
    assert await needed(town) == set()
    for round_id in (drill, real):
        assert await quarantined(town, round_id) == 0
    await town.step(real, "close")
    await town.settle()
    assert await needed(town) == {resident}
    assert (await quarantined(town, drill), await quarantined(town, real)) == (1, 0)


async def test_each_community_has_the_clock_of_its_own_drills(town: Town) -> None:
    here, there = await ill(town, None, 5), await ill(town, None, 5, address=DONGFANG_DOOR)
    first = await town.round(1, offices=[CHAOHE])
    assert await needed(town) == {here}
    second = await town.round(2, offices=[DISTRICT])
    # The newest clock of several holds: that of the second day.
    assert await needed(town) == set()
    await register(town, {"id": str(there), "needs": quarantine(None, 26)})
    assert await needed(town) == {there}
    await town.tick(second, 2, day=2)
    assert await needed(town) == set()
    for round_id in (first, second):
        assert await quarantined(town, round_id) == 0
    await town.step(second, "close")
    await town.settle()
    # And of those that are left over.
    assert await needed(town) == {here}
    assert (await quarantined(town, first), await quarantined(town, second)) == (1, 0)


async def test_whoever_moves_moves_to_the_clock_that_is_there(town: Town) -> None:
    resident = await ill(town, None, 5)
    round_id = await town.round(offices=[CHAOHE])
    assert await needed(town) == {resident}
    await register(town, {"id": str(resident), "address": DONGFANG_DOOR})
    assert await needed(town) == set()
    await register(town, {"id": str(resident), "address": LUYUAN_DOOR})
    assert await needed(town) == {resident}
    assert await quarantined(town, round_id) == 1


async def test_more_people_than_a_batch_turn_at_one_tick(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(needs, "BATCH", 2)
    for _ in range(5):
        await ill(town, None, 5)
    round_id = await town.round()
    assert await quarantined(town, round_id) == 5
    await town.tick(round_id, 5)
    assert await quarantined(town, round_id) == 0


DONGFANG_DOOR = {"community_code": DONGFANG, "building": "1", "unit": "1", "door": "1"}
LUYUAN_DOOR = {"community_code": LUYUAN, "building": "1", "unit": "1", "door": "1"}


async def needed(town: Town) -> set[UUID]:
    """Whose quarantine holds, as the list by need has it."""
    answer = await town.registry.get(
        "/v1/residents?need=quarantine", headers=town.headers("office")
    )
    return {UUID(resident["id"]) for resident in answer.json()["items"]}


# --- rounds ---


async def test_a_round_opens_closes_and_is_sealed_by_the_wall(town: Town) -> None:
    await town.people(lives(), lives())
    round_id = await drafted(town, NOW)
    hours = timedelta(hours=1)
    for at, expected in (
        (-hours, "draft"), (0 * hours, "open"), (11 * hours, "open"), (12 * hours, "closed"),
        (83 * hours, "closed"), (84 * hours, "sealed"), (100 * hours, "sealed"),
    ):  # fmt: skip
        await timekeeper(town).keep(NOW + at)
        assert await state(town, round_id) == expected, at
    told = [(t["version"], t["state"]) for t in await announced(town, "round_changed", ROUNDS)]
    assert told == [(1, "draft"), (2, "open"), (3, "closed"), (4, "sealed")]
    await assert_account(town, round_id, unaccounted=2)


async def test_r19_a_window_that_is_past_opens_and_closes_so_that_paper_can_be_entered(
    town: Town,
) -> None:
    (resident,) = await town.people(lives())
    opens = datetime.now(UTC) - timedelta(days=2)
    round_id = await drafted(town, opens)
    await town.settle()
    assert await state(town, round_id) == "closed"
    late = (opens + timedelta(hours=3)).isoformat()
    await town.results(town.result(round_id, resident, sampled_at=late))
    await assert_account(town, round_id, sampled=1)


async def test_a_round_that_is_not_automatic_waits_for_somebody(town: Town) -> None:
    round_id = await drafted(town, NOW, automatic=False)
    ticking = await drafted(town, OPENS, campaign="2022-01", manual_clock=True, automatic=False)
    await timekeeper(town).keep(NOW + timedelta(days=100))
    await town.tick(ticking, 1000)
    for waiting in (round_id, ticking):
        assert await state(town, waiting) == "draft"
    await town.step(round_id, "open")
    await timekeeper(town).keep(NOW + timedelta(days=100))
    assert await state(town, round_id) == "open"


async def test_a_drill_moves_at_its_ticks_only(town: Town) -> None:
    await town.people(lives())
    round_id = await town.round(opened=False)
    await timekeeper(town).keep(NOW)
    assert await state(town, round_id) == "draft"
    path = f"/v1/rounds/{round_id}:tick"
    for hours, expected in ((0, "open"), (11, "open"), (12.5, "closed"), (84.5, "sealed")):
        ticked = await town.sent(town.registry, path, {"clock_at": hour(hours)})
        assert ticked["state"] == expected
        assert ticked == await town.sent(town.registry, path, {"clock_at": hour(hours)})
    assert ticked["closes_at"] == hour(12).replace("+00:00", "Z")
    assert ticked["closed_at"] == hour(12.5).replace("+00:00", "Z")
    assert ticked["sealed_at"] == hour(84.5).replace("+00:00", "Z")
    await assert_account(town, round_id, unaccounted=1)


async def test_one_tick_beyond_everything_takes_every_step(town: Town) -> None:
    resident = await ill(town, 1, 3)
    round_id = await town.round(opened=False)
    await town.tick(round_id, 13)
    assert await state(town, round_id) == "closed"
    assert await quarantined(town, round_id) == 0
    await town.results(town.result(round_id, resident))
    await assert_account(town, round_id, sampled=1)


async def test_needs_that_end_before_the_closing_are_over_in_the_frozen_account(
    town: Town,
) -> None:
    await ill(town, None, 8)
    round_id = await town.round()
    assert await quarantined(town, round_id) == 1
    await town.tick(round_id, 12)
    assert await state(town, round_id) == "closed"
    assert await quarantined(town, round_id) == 0


async def test_closing_by_hand_comes_before_the_clock(town: Town) -> None:
    round_id = await drafted(town, datetime.now(UTC) - timedelta(hours=1))
    await town.settle()
    assert await state(town, round_id) == "open"
    closed = await town.step(round_id, "close")
    await timekeeper(town).keep(datetime.now(UTC) + timedelta(hours=24))
    answer = await town.registry.get(f"/v1/rounds/{round_id}", headers=town.headers("team"))
    assert answer.json() == closed
    # Sealed so many hours after it was closed, not after it was to close.
    await timekeeper(town).keep(datetime.now(UTC) + timedelta(hours=72))
    assert await state(town, round_id) == "sealed"


async def test_a_step_that_is_refused_holds_up_nobody(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = await drafted(town, NOW, offices=[CHAOHE])
    taken = await drafted(town, NOW, offices=[MINGHU], number=2)
    as_it_is = Round.open

    def open_(self: Round, now: datetime) -> Round:
        if str(self.id) == refused:
            raise WrongState("nothing to open")
        return as_it_is(self, now)

    monkeypatch.setattr(Round, "open", open_)
    with capture_logs() as logs:
        assert await timekeeper(town).keep(NOW) == 1
    assert [state_ for r in (refused, taken) if (state_ := await state(town, r))] == [
        "draft",
        "open",
    ]
    (told,) = [entry for entry in logs if entry["event"] == "round_not_stepped"]
    assert (told["round"], told["step"]) == (refused, "open")


# --- many at once, and by themselves ---


async def test_two_keepers_and_a_person_at_the_button_take_one_step(town: Town) -> None:
    await town.people(lives(), lives(needs=[{"code": "mobility"}]))
    round_id = await drafted(town, NOW)
    steps = (("open", NOW), ("close", NOW + timedelta(hours=12)), ("seal", NOW + SEALED))
    for step, at in steps:
        await asyncio.gather(
            timekeeper(town).keep(at), town.step(round_id, step), timekeeper(town).keep(at)
        )
    told = [(t["version"], t["state"]) for t in await announced(town, "round_changed", ROUNDS)]
    assert told == [(1, "draft"), (2, "open"), (3, "closed"), (4, "sealed")]
    await assert_account(town, round_id, unaccounted=2, need__mobility__unaccounted=1)


async def test_needs_turn_once_however_many_turn_them_and_whatever_is_sent_meanwhile(
    town: Town,
) -> None:
    people = [await ill(town, hours, hours + 4) for hours in range(8)]
    round_id = await town.round()
    rows = [{"id": str(resident), "phone": "1"} for resident in people]
    for at in range(12):
        tick = {"clock_at": hour(at)}
        path = f"/v1/rounds/{round_id}:tick"
        await asyncio.gather(
            town.sent(town.registry, path, tick),
            register(town, *reversed(rows)),
            town.sent(town.registry, path, tick),
            town.results(town.result(round_id, people[at % 8], 0)),
            register(town, *rows),
        )
        await town.settle()
        expected = {resident for n, resident in enumerate(people) if n <= at < n + 4}
        assert await needed(town) == expected, at
        assert await quarantined(town, round_id) == len(expected), at


async def test_the_worker_keeps_the_time_by_itself_and_through_faults(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    round_id = await drafted(town, datetime.now(UTC) - timedelta(hours=1))
    settings = town.apps["registry"].state.wiring.settings
    often = settings.model_copy(update={"clock_seconds": 0.01})
    faults, as_it_is = [TransientError("the database restarts")], Timekeeper.keep

    async def keep(self: Timekeeper, now: datetime) -> int:
        if faults:
            raise faults.pop()
        return await as_it_is(self, now)

    monkeypatch.setattr(Timekeeper, "keep", keep)
    stop, ops = asyncio.Event(), Ops()

    async def opened() -> bool:
        return await state(town, round_id) == "open"

    with capture_logs() as logs:
        working = asyncio.create_task(worker.work(often, ops, stop))
        await eventually(opened)
        stop.set()
        await asyncio.wait_for(working, 10)
    assert not faults
    events = {entry["event"] for entry in logs}
    assert {"clock_interrupted", "round_stepped"} <= events


# --- what time it is ---


def test_the_time_where_rounds_are_under_way() -> None:
    drill, later, real = (
        Round(
            id=UUID(int=n), version=1, campaign="c", number=n, name="n", state="open",
            opens_at=OPENS, closes_at=OPENS + timedelta(hours=12), offices=offices,
            manual_clock=clock is not None, clock_at=clock,
        )
        for n, offices, clock in (
            (1, (CHAOHE,), OPENS),
            (2, (CHAOHE, MINGHU), OPENS + timedelta(hours=5)),
            (3, (MINGHU,), None),
        )
    )  # fmt: skip
    assert time_where([], NOW) == NOW
    assert time_where([real], NOW) == NOW
    assert time_where([drill, later], NOW) == later.clock_at
    assert time_where([drill, real], NOW) == NOW
    assert drilled([drill, later, real], NOW) == {CHAOHE: later.clock_at, MINGHU: NOW}
    assert drilled([real], NOW) == {}
