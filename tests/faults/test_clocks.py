"""The clock on the wall jumps hours ahead, or back, in the middle of a day, and is set right."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from deploy.local.servers import Postgres
from services.reporting.flow import producers
from services.reporting.metrics import FRESHNESS
from shared.contracts.registry import ROLL
from tests.faults.clocks import WallClock
from tests.journeys.field import door, knock, on_shift, open_visits
from tests.registry.words import assert_account, lives, register, told
from tests.shared.exchange import following, producing
from tests.support.issuer import Issuer
from tests.support.servers import DatabaseUrl
from tests.support.town import DISTRICT, JSON, LANQIAO, Ground, Town

AHEAD, BACK = 6, -6
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture
def clock(ground: Ground, postgres: Postgres) -> WallClock:
    return WallClock(postgres, ground.databases.values())


def right(hours: float = 0) -> str:
    """So many hours from now, by a clock that is right."""
    return (datetime.now(UTC) + hours * HOUR).isoformat()


async def round_of_today(town: Town, *, until: float, automatic: bool = False) -> str:
    """A round by the clock on the wall that opened two hours ago."""
    plan = {
        "id": str(uuid4()), "campaign": "2026-03", "number": 1, "name": "第1轮",
        "opens_at": right(-2), "closes_at": right(until), "offices": [DISTRICT],
        "automatic": automatic,
    }  # fmt: skip
    drafted: str = (await town.sent(town.registry, "/v1/rounds", plan))["id"]
    await town.step(drafted, "open")
    await town.settle()
    return drafted


def swab(town: Town, round_id: str, resident: UUID) -> JSON:
    """A swab of a minute ago, by the clock of a site, which is right."""
    return town.result(round_id, resident, sampled_at=right(-1 / 60))


async def as_of(town: Town) -> datetime:
    """How old reporting says its figures are, once it has asked the others."""
    wiring = town.apps["reporting"].state.wiring
    await producers.look(wiring.database, wiring.peers)
    answer = await town.reporting.get("/v1/coverage", headers=town.headers("district"))
    return datetime.fromisoformat(answer.headers["As-Of"])


def seconds_to_be_counted() -> float:
    """The sum of the freshness histogram."""
    (histogram,) = FRESHNESS.collect()
    return next(each.value for each in histogram.samples if each.name.endswith("_sum"))


@pytest.mark.parametrize("hours", [AHEAD, BACK])
async def test_the_day_is_counted_through_a_clock_that_jumps_and_is_set_right(
    ground: Ground, clock: WallClock, monkeypatch: pytest.MonkeyPatch, hours: float
) -> None:
    async with ground.town() as town:
        clock.hang_in(monkeypatch)
        stays, moves, grandmother = await town.people(
            lives(), lives(), lives(needs=[{"code": "mobility"}])
        )
        round_id = await round_of_today(town, until=10)
        await on_shift(town, shift={"starts": right(-1), "until": right(4)})
        await town.expect(round_id, roll=3, in_hand=1, unaccounted=2)

        clock.jump(hours)
        (newcomer,) = await town.people(lives())
        await register(town, lives(LANQIAO, id=str(moves)))
        rows = [swab(town, round_id, each) for each in (newcomer, moves)]
        answer = told(await town.results(*rows))
        if hours == AHEAD:
            # By this clock the shift is over, and the visit waits for another team.
            assert answer == ["accepted", "accepted"]
            await town.expect(round_id, roll=4, sampled=2, in_hand=0, unaccounted=2)
        else:
            assert answer == ["from-the-future", "from-the-future"]
            await town.expect(round_id, roll=4, sampled=0, in_hand=1, unaccounted=3)

        assert abs(await as_of(town) - datetime.now(UTC) - clock.ahead) < MINUTE

        clock.jump(0)
        again = told(await town.results(*rows))
        assert again == (["duplicate"] * 2 if hours == AHEAD else ["accepted"] * 2)
        before = seconds_to_be_counted()
        await town.results(swab(town, round_id, stays))
        assert 0 <= seconds_to_be_counted() - before < MINUTE.total_seconds()
        await town.expect(round_id, roll=4, sampled=3, in_hand=1)
        assert abs(await as_of(town) - datetime.now(UTC)) < MINUTE
        (visit,) = await open_visits(town, round_id, grandmother)
        found = door("sampled")
        found["sample"]["sampled_at"] = right(-1 / 60)
        await knock(town, visit, found)
        await town.expect(round_id, roll=4, sampled=4)

        # Whoever came or moved while the clock was wrong was a member when it closed.
        await town.step(round_id, "close")
        await town.expect(round_id, roll=4, sampled=4)


async def test_what_happens_after_the_closing_does_not_move_before_it_with_the_clock(
    ground: Ground, clock: WallClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ground.town() as town:
        clock.hang_in(monkeypatch)
        (moves,) = await town.people(lives())
        round_id = await round_of_today(town, until=10)
        await town.results(swab(town, round_id, moves))
        await town.step(round_id, "close")
        clock.jump(BACK)
        await register(town, lives(LANQIAO, id=str(moves)))
        await assert_account(town, round_id, sampled=1)


async def test_a_round_that_a_wrong_clock_closed_still_takes_the_swabs_of_the_day(
    ground: Ground, clock: WallClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ground.town() as town:
        clock.hang_in(monkeypatch)
        somebody, _ = await town.people(lives(), lives())
        round_id = await round_of_today(town, until=3, automatic=True)
        clock.jump(AHEAD)
        await town.settle()
        clock.jump(0)
        shown = await town.registry.get(f"/v1/rounds/{round_id}", headers=town.headers("district"))
        assert shown.json()["state"] == "closed"
        await town.results(swab(town, round_id, somebody))
        await assert_account(town, round_id, sampled=1, unaccounted=1)


async def test_the_age_of_what_is_not_applied_yet_does_not_jump(
    database_url: DatabaseUrl,
    issuer: Issuer,
    postgres: Postgres,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = WallClock(postgres, ())
    clock.hang_in(monkeypatch)
    async with (
        producing(database_url(""), issuer) as producer,
        following(database_url(""), producer) as (follower,),
    ):
        await producer.announce(1)
        for hours in (0, AHEAD, BACK):
            clock.jump(hours)
            await follower.consumer.sweep(stale_after=HOUR.total_seconds())
            assert 0 < follower.consumer.oldest_unapplied(ROLL) < MINUTE.total_seconds()
