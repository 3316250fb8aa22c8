"""Somebody doubts the figures: fold = recount, or what differs (R22)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from prometheus_client import REGISTRY, generate_latest

from services.reporting import metrics
from services.reporting.flow import figures, ledger
from services.reporting.store import deltas
from shared.contracts.dispatch import HandsChanged
from shared.contracts.envelope import partition_of
from shared.contracts.registry import RollChanged, RoundOpened, RoundTicked
from tests.reporting.conftest import CHAOHE, FIRST, QIANCHENG, THIRD, Desk, round_message
from tests.reporting.days import DAY, NOON, SAMPLED, UNTESTED, small_day
from tests.reporting.producers import change, rolls


async def ask(desk: Desk, **params: str) -> dict[str, Any]:
    answer = await desk.get("/v1/ledger", **params)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


@pytest.fixture
async def day(desk: Desk) -> str:
    """A round in which one person is sampled, one is in hand and two are unaccounted."""
    return await small_day(desk)


async def test_r22_fold_and_recount_agree_at_one_cut(desk: Desk, day: str) -> None:
    told = await ask(desk)
    assert told["balanced"] is True
    assert (told["round"], told["differences"], told["reasons"]) == (day, [], [])
    assert told["parked"] == {"registry": 0, "dispatch": 0, "reporting": 0}
    heads = desk.world.registry.heads("registry.roll.v1")
    assert told["cut"] == {"registry.roll.v1": [head["pos"] for head in heads]}
    account = told["account"]
    assert (
        account["roll"]
        == 4
        == sum(account[name] for name in ("sampled", "excluded", "in_hand", "unaccounted"))
    )
    assert told["hands"] == {"balanced": True, "registry": {"visit": 1}, "dispatch": {"visit": 1}}


async def test_r22_it_is_pending_until_reporting_has_reached_the_cut(desk: Desk, day: str) -> None:
    desk.world.registry.announce(RollChanged(day, {THIRD: [change(UNTESTED, SAMPLED)]}), THIRD)
    desk.world.testify(day, [*DAY[:3], (THIRD, SAMPLED)], visit=1)
    told = await ask(desk)
    assert (told["balanced"], told["reasons"]) == (None, ["not_reached"])
    await desk.wiring.consumer.catch_up()
    assert (await ask(desk))["balanced"] is True


async def test_r22_it_can_be_proven_at_a_cut_that_lies_behind_us(desk: Desk, day: str) -> None:
    """Registry recounts for seconds while the day goes on: its cut is an earlier moment."""
    for _ in range(3):
        desk.world.registry.announce(RollChanged(day, {THIRD: [change(None, UNTESTED)]}), THIRD)
    await desk.wiring.consumer.catch_up()
    assert (await ask(desk))["balanced"] is True
    async with desk.database.snapshot() as tx:
        fold = await ledger.fold_at(tx, day, {})
    assert fold.communities[THIRD]["roll"] == 4


async def test_r22_a_cut_older_than_what_is_kept_cannot_be_proven(desk: Desk, day: str) -> None:
    desk.world.registry.announce(RollChanged(day, {THIRD: [change(None, UNTESTED)]}), THIRD)
    await desk.wiring.consumer.catch_up()
    await desk.database.transact(deltas.trim, datetime.now(UTC) + timedelta(hours=1))
    told = await ask(desk)
    assert (told["balanced"], told["reasons"]) == (None, ["cut_too_old"])


async def test_r22_what_was_old_when_it_came_is_not_kept_by_position(desk: Desk, day: str) -> None:
    """After a silence of hours the deltas of those hours are not worth keeping."""
    hours = timedelta(hours=3)
    old = RollChanged(day, {THIRD: [change(None, UNTESTED)]})
    desk.world.registry.announce(old, THIRD, age=hours)
    await desk.wiring.consumer.catch_up()
    assert (await ask(desk))["reasons"] == ["cut_too_old"]
    desk.world.testify(day, [*DAY, (THIRD, UNTESTED)], visit=1)
    assert (await ask(desk))["balanced"] is True


async def test_r22_it_turns_false_and_names_the_cell(desk: Desk, day: str) -> None:
    """Somebody changes one counter by hand in the database."""
    async with desk.database.begin() as tx:
        await tx.do(
            "UPDATE counter SET n = n + 1"
            " WHERE round = $1 AND community = $2 AND cell = 'unaccounted'",
            day, THIRD,
        )  # fmt: skip
    told = await ask(desk)
    assert (told["balanced"], told["reasons"], told["differing"]) == (False, ["cells_differ"], 2)
    assert told["differences"] == [
        {"community": THIRD, "cell": "unaccounted", "registry": 1, "reporting": 2},
        {"community": THIRD, "cell": "account", "registry": 0, "reporting": -1},
    ]


async def test_r22_the_series_is_proven_too_and_its_five_minutes_are_named(
    desk: Desk, day: str
) -> None:
    """A sample moved to another time leaves every other figure as it is."""
    async with desk.database.begin() as tx:
        await tx.do("UPDATE series SET slot = slot + 1 WHERE round = $1", day)
    told = await ask(desk)
    assert (told["balanced"], told["reasons"]) == (False, ["cells_differ"])
    assert told["differences"] == [
        {"community": FIRST, "cell": cell, "registry": registry, "reporting": reporting}
        for cell, registry, reporting in (
            ("sampled_at.2022-01-09T12:00Z", 1, 0),
            ("sampled_at.2022-01-09T12:05Z", 0, 1),
        )
    ]


async def test_r22_the_series_can_be_told_at_a_cut_that_lies_behind_us(
    desk: Desk, day: str
) -> None:
    later = msgspec.structs.replace(SAMPLED, sampled_at=NOON + timedelta(minutes=7))
    for before, after in ((UNTESTED, later), (SAMPLED, later)):
        desk.world.registry.announce(RollChanged(day, {FIRST: [change(before, after)]}), FIRST)
    await desk.wiring.consumer.catch_up()
    assert (await ask(desk))["balanced"] is True


async def test_hands_that_end_after_sealing_are_not_missed(desk: Desk, day: str) -> None:
    """A sealed account is final in registry; in dispatch the clock still ends its hands."""
    desk.world.registry.announce(round_message(day, "sealed", version=2), day)
    await desk.wiring.consumer.catch_up()
    desk.world.testify(day, DAY, state="sealed", visit=1)
    desk.world.dispatch.totals[day]["hands"] = {}
    told = await ask(desk)
    assert (told["balanced"], told["hands"]["balanced"]) == (True, None)
    assert told["hands"]["registry"] == {"visit": 1}


async def test_a_registry_that_tells_no_series_yet_proves_nothing(desk: Desk, day: str) -> None:
    """While services are brought to a new version one by one, that is no alarm."""
    del desk.world.registry.totals[day]["series"]
    told = await ask(desk)
    assert (told["balanced"], told["reasons"]) == (None, ["registry_unreachable"])


async def test_an_account_that_does_not_add_up_is_false_even_if_both_agree(desk: Desk) -> None:
    """Whoever stands in no class at all is a blind corner, also when both miss them."""
    round_id = await desk.open_round({FIRST: 2})
    desk.world.testify(round_id, [(FIRST, UNTESTED)] * 2)
    desk.world.registry.totals[round_id]["communities"][FIRST]["unaccounted"] = 1
    async with desk.database.begin() as tx:
        await tx.do("UPDATE counter SET n = 1 WHERE cell = 'unaccounted'")
    told = await ask(desk)
    assert told["balanced"] is False
    assert told["differences"] == [
        {"community": FIRST, "cell": "account", "registry": 1, "reporting": 1}
    ]


async def test_hands_are_compared_once_registry_has_taken_them_in(desk: Desk, day: str) -> None:
    world = desk.world
    world.dispatch.announce(HandsChanged(day, []), FIRST)
    world.dispatch.totals[day] = {
        "heads": world.dispatch.heads("dispatch.hands.v1"),
        "hands": {"visit": 2},
    }
    told = await ask(desk)
    assert (told["balanced"], told["hands"]["balanced"]) == (True, None)
    world.registry.applied_hands[partition_of(FIRST)] = 1
    world.testify(day, DAY, visit=1)
    world.dispatch.totals[day]["hands"] = {"visit": 2}
    told = await ask(desk)
    assert (told["balanced"], told["reasons"]) == (False, ["hands_differ"])


@pytest.mark.parametrize("service", ["registry", "dispatch"])
async def test_nothing_is_balanced_while_an_event_is_parked_anywhere(
    desk: Desk, day: str, service: str
) -> None:
    getattr(desk.world, service).parked = {"registry.roll.v1": 1}
    told = await ask(desk, round=day)
    assert (told["balanced"], told["parked"][service]) == (False, 1)
    assert told["reasons"] == ["parked"]


@pytest.mark.parametrize("service", ["registry", "dispatch"])
async def test_a_silent_witness_leaves_it_open(desk: Desk, day: str, service: str) -> None:
    getattr(desk.world, service).down = True
    told = await ask(desk, round=day)
    assert told["balanced"] is None
    assert f"{service}_unreachable" in told["reasons"]
    assert told["account"]["roll"] == 4


async def test_a_registry_with_another_history_proves_nothing(desk: Desk, day: str) -> None:
    totals = desk.world.registry.totals[day]
    for head in totals["heads"]:
        head["incarnation"] = "0190a7ae-0000-7000-8000-000000000000"
    assert (await ask(desk))["reasons"] == ["other_incarnation"]


async def test_an_office_reads_the_verdict_and_its_own_differences(desk: Desk, day: str) -> None:
    async with desk.database.begin() as tx:
        await tx.do("UPDATE counter SET n = n + 1 WHERE community = $1", THIRD)
    for area, differs, roll in ((QIANCHENG, False, 3), (CHAOHE, True, 2)):
        headers = desk.read_as("office", areas=(area,))
        told = (await desk.client.get("/v1/ledger", headers=headers)).json()
        assert told["round"] == day
        assert told["balanced"] is False
        assert bool(told["differences"]) is differs
        assert told["account"]["roll"] == roll


async def test_gauges_tell_each_office_and_leave_with_a_round_that_is_long_over(
    desk: Desk, day: str
) -> None:
    watch = ledger.Watch(desk.database, desk.wiring.peers)

    async def scrape(sealed_after: datetime) -> str:
        await watch.recount(sealed_after)
        await watch.prove()
        metrics.CAMPAIGN.survey = await watch.survey(sealed_after)
        return generate_latest(REGISTRY).decode()

    now = datetime.now(UTC)
    told = await scrape(now)
    assert f'lastmetre_unaccounted{{office="{QIANCHENG}",round="{day}"}} 1.0' in told
    assert f'lastmetre_coverage_ratio{{office="{CHAOHE}",round="{day}"}} 0.0' in told
    assert f'lastmetre_ledger_balanced{{round="{day}"}} 1.0' in told
    assert f'lastmetre_round_open{{round="{day}"}} 1.0' in told
    assert f'lastmetre_office_info{{name="潮河街道",office="{CHAOHE}"}} 1.0' in told
    desk.world.registry.down = True
    assert f'lastmetre_ledger_balanced{{round="{day}"}} NaN' in await scrape(now)
    desk.world.registry.down = False
    desk.world.registry.announce(round_message(day, "sealed", version=2), day)
    await desk.wiring.consumer.catch_up()
    sealed = await scrape(now)
    assert "lastmetre_ledger_balanced{" not in sealed
    assert f'round="{day}"' in sealed
    assert f'round="{day}"' not in await scrape(datetime.now(UTC) + timedelta(days=1))


async def test_r13_results_are_late_by_the_clock_of_the_round(desk: Desk) -> None:
    """Three were swabbed at noon; one has a result."""
    awaited = msgspec.structs.replace(SAMPLED, result=None)
    round_id = await desk.open_round({FIRST: 4, THIRD: 1})
    moved = [change(UNTESTED, each) for each in (SAMPLED, awaited, awaited)]
    desk.world.registry.announce(RollChanged(round_id, {FIRST: moved}), FIRST)
    long_ago = datetime.now(UTC) - timedelta(days=1)

    async def late(clock: datetime) -> dict[str, int]:
        desk.world.registry.announce(RoundTicked(round_id, clock), round_id)
        await desk.wiring.consumer.catch_up()
        async with desk.database.snapshot() as tx:
            overdue = await figures.overdue(tx, timedelta(hours=6), long_ago)
        return overdue[round_id]

    assert await late(NOON + timedelta(hours=6)) == {QIANCHENG: 0, CHAOHE: 0}
    assert await late(NOON + timedelta(hours=6, minutes=5)) == {QIANCHENG: 2, CHAOHE: 0}


async def test_the_metrics_hold_the_counters_of_the_moment_against_the_last_recount(
    desk: Desk, day: str
) -> None:
    """A recount of millions is dear and may rest; a counter changed by hand is still seen."""
    watch = ledger.Watch(desk.database, desk.wiring.peers)
    long_ago = datetime.now(UTC) - timedelta(days=1)

    async def balanced() -> dict[str, bool | None]:
        await watch.prove()
        return dict((await watch.survey(long_ago)).balanced)

    assert await balanced() == {}
    await watch.recount(long_ago)
    desk.world.registry.down = True
    assert await balanced() == {day: True}
    desk.world.registry.announce(RollChanged(day, {FIRST: [change(UNTESTED, SAMPLED)]}), FIRST)
    desk.world.registry.down = False
    await desk.wiring.consumer.catch_up()
    assert await balanced() == {day: True}
    async with desk.database.begin() as tx:
        await tx.do("UPDATE counter SET n = n - 1 WHERE cell = 'sampled'")
    assert await balanced() == {day: False}


async def test_freshness_weighs_every_result(desk: Desk, day: str) -> None:
    """One event stands for many results, and each of them was waited for."""

    def counted() -> float:
        found = REGISTRY.get_sample_value("lastmetre_freshness_seconds_count")
        assert found is not None
        return found

    before = counted()
    message = RollChanged(day, {FIRST: []}, results=250)
    desk.world.registry.announce(message, FIRST, age=timedelta(seconds=4))
    await desk.wiring.consumer.catch_up()
    assert counted() - before == 250
    assert REGISTRY.get_sample_value("lastmetre_freshness_seconds_bucket", {"le": "3.0"}) == before


async def test_a_round_opened_twice_over_different_partitions_is_one_round(desk: Desk) -> None:
    """The opening comes partition by partition; until the last one came it is pending."""
    round_id = await desk.open_round({FIRST: 2})
    (communities,) = rolls({THIRD: 5}).values()
    desk.world.registry.announce(RoundOpened(round_id, communities), THIRD)
    desk.world.testify(round_id, [*[(FIRST, UNTESTED)] * 2, *[(THIRD, UNTESTED)] * 5])
    assert (await ask(desk))["balanced"] is None
    await desk.wiring.consumer.catch_up()
    told = await ask(desk)
    assert (told["balanced"], told["account"]["roll"]) == (True, 7)
