"""The processes of dispatch: the worker follows and keeps house by itself, two never collide."""

import asyncio
from collections import Counter

import pytest

from services.dispatch import worker
from services.dispatch.__main__ import PROGRAM
from services.dispatch.domain.visits import VisitReport
from services.dispatch.flow import visits
from services.dispatch.settings import Settings
from services.dispatch.store.visits import new_id
from shared.auth import Caller
from shared.errors import Conflict
from shared.http import Ops
from shared.settings import SettingsError
from tests.dispatch.conftest import (
    OFFICE,
    Day,
    change,
    hands_in,
    standing,
    visits_in,
)
from tests.support.waiting import eventually

TEAM = Caller("member", frozenset({"team"}), (OFFICE,), team="t1")


async def crowd(day: Day, size: int) -> list[str]:
    """An open round with people who wait for a visit."""
    residents = [f"r{n}" for n in range(size)]
    await day.round_is("open")
    await day.roll(*(change(each, standing("unaccounted", "mobility")) for each in residents))
    return residents


async def test_the_worker_assigns_by_itself_and_stops_when_told(
    day: Day, dispatch_settings: Settings
) -> None:
    await crowd(day, 1)
    stop, ops = asyncio.Event(), Ops()
    running = asyncio.create_task(worker.run(dispatch_settings, ops, stop))
    await day.team()

    async def assigned() -> bool:
        return (await day.visit_of("r0")).status == "assigned"

    # Registry is not there at all: housekeeping goes on without it.
    await eventually(assigned)
    assert (await ops.readiness())[0]
    stop.set()
    await asyncio.wait_for(running, 10)


async def test_a_relay_without_a_broker_waits_to_be_stopped(dispatch_settings: Settings) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(worker.relay(dispatch_settings, Ops(), stop))
    stop.set()
    await asyncio.wait_for(running, 10)


async def test_two_workers_assign_each_visit_once(day: Day) -> None:
    residents = await crowd(day, 30)
    for name in ("t1", "t2"):
        await day.team(name, capacity=20)
    await day.announced()

    await asyncio.gather(*(day.keep_house() for _ in range(4)))

    announced = await day.announced()
    assert Counter(hand.resident for hand in hands_in(announced)) == Counter(residents)
    teams = Counter(visit.team for visit in visits_in(announced))
    assert sum(teams.values()) == 30


async def test_a_report_and_a_sample_elsewhere_at_the_same_moment_agree(day: Day) -> None:
    residents = await crowd(day, 12)
    await day.team()
    await day.keep_house()
    doors = {each: await day.visit_of(each) for each in residents}
    await day.announced()

    async def report(resident: str) -> None:
        absent = VisitReport(new_id(), "absent")
        await day.database.transact(
            visits.finish_visit, doors[resident].id, absent, TEAM, policy=day.policy
        )

    async def sampled(resident: str) -> None:
        await day.roll(change(resident, standing("sampled", "mobility")))

    await asyncio.gather(*(each(resident) for resident in residents for each in (report, sampled)))

    for resident in residents:
        person = await day.person(resident)
        assert (person.visit, person.hand, person.in_case) == (None, None, False)
    # Whichever was first, others heard one unbroken story of each visit.
    story: dict[str, tuple[int, str]] = {
        str(visit.id): (visit.revision, visit.status) for visit in doors.values()
    }
    for told in visits_in(await day.announced()):
        known = story.get(told.visit)
        assert (told.revision, told.before) == ((known[0] + 1, known[1]) if known else (1, None))
        story[told.visit] = (told.revision, told.after)
    assert {status for _, status in story.values()} <= {"finished", "cancelled"}


async def test_one_visit_reported_twice_at_once_by_two_devices_is_reported_once(day: Day) -> None:
    await crowd(day, 1)
    await day.team()
    await day.keep_house()
    visit = await day.visit_of("r0")
    outcomes = await asyncio.gather(
        *(
            day.database.transact(
                visits.finish_visit,
                visit.id,
                VisitReport(new_id(), "refused"),
                TEAM,
                policy=day.policy,
            )
            for _ in range(3)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(each, Conflict) for each in outcomes) == 2


async def test_a_team_that_drops_out_while_visits_are_handed_out_keeps_none(day: Day) -> None:
    residents = await crowd(day, 20)
    await day.team()
    await asyncio.gather(day.keep_house(), day.team(active=False), day.keep_house())
    for resident in residents:
        assert (await day.visit_of(resident)).status == "planned"


def test_ids_of_visits_are_in_the_order_of_time() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert {each.version for each in ids} == {7}
    assert ids[0] < ids[-1]


def test_the_processes_are_named_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert PROGRAM.main(["--help"]) == 0
    assert "{api,worker,relay,migrate}" in capsys.readouterr().out


def test_settings_come_from_the_environment_and_make_the_policy() -> None:
    plain = {"LASTMETRE_JWKS": "jwks.json", "LASTMETRE_DISPATCH_DATABASE_URL": "postgresql://x"}
    settings = Settings.from_environment(
        plain
        | {
            "LASTMETRE_DISPATCH_WORTHY_NEEDS": "quarantine, mobility",
            "LASTMETRE_DISPATCH_QUARANTINE_POLICY": "separate",
        }
    )
    assert settings.policy.worthy == {"quarantine", "mobility"}
    assert settings.policy.quarantine == "separate"
    with pytest.raises(SettingsError, match="LASTMETRE_DISPATCH_WORTHY_NEEDS"):
        Settings.from_environment(plain | {"LASTMETRE_DISPATCH_WORTHY_NEEDS": "boredom"})
