"""The day of dispatch on a real database: what is heard, done, stored and announced."""

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from services.dispatch import domain, migrations, store
from services.dispatch.api.visits import ReportIn
from services.dispatch.domain import Sample, Visit, VisitReport
from services.dispatch.flow import visits
from shared import migrating
from shared.auth import Caller
from shared.contracts.dispatch import HandsChanged, VisitsChanged
from shared.contracts.envelope import partition_of
from shared.contracts.registry import RollChanged, RoundTicked, VisitAnswer, VisitsAnswered
from shared.contracts.vocabulary import VisitOutcome
from shared.errors import Forbidden, IdReused, NotFound
from tests.dispatch.conftest import (
    EVENING,
    HERE,
    HOUR,
    MORNING,
    OFFICE,
    OFFICER,
    THERE,
    Day,
    change,
    hands_in,
    standing,
    visits_in,
)
from tests.support.servers import DatabaseUrl

TEAM = Caller("member", frozenset({"team"}), (OFFICE,), team="t1")


def told(outcome: VisitOutcome, report_id: UUID | None = None) -> VisitReport:
    sample = Sample("sample-1", MORNING, "tube-1") if outcome == "sampled" else None
    return VisitReport(report_id or uuid4(), outcome, sample=sample)


async def finish(day: Day, visit: Visit, report: VisitReport, caller: Caller = TEAM) -> Visit:
    return await day.database.transact(
        visits.finish_visit, visit.id, report, caller, policy=day.policy
    )


async def a_team_has(day: Day, resident: str = "ann") -> Visit:
    """The round is open, somebody cannot come, and team t1 has the visit."""
    await day.round_is("open")
    await day.roll(change(resident, standing("unaccounted", "mobility")))
    await day.team()
    assert await day.keep_house() == 1
    return await day.visit_of(resident)


def test_the_migrations_make_exactly_the_tables(database_url: DatabaseUrl) -> None:
    migrating.check(database_url("dispatch"), migrations.HERE)


# --- the roll ---


async def test_the_special_needs_cases_of_a_round_become_visits_when_it_opens(day: Day) -> None:
    # The roll and the rounds come by different partitions: the roll may well be first.
    await day.roll(
        change("ann", standing("unaccounted", "mobility")),
        change("bob", standing("unaccounted")),
        change("cyn", standing("sampled", "disabled")),
        change("dan", standing("excluded", "quarantine", reason="recovered")),
    )
    assert await day.announced() == []

    await day.round_is("open")

    announced = await day.announced()
    [visit] = visits_in(announced)
    assert (visit.resident, visit.before, visit.after, visit.revision) == (
        "ann", None, "planned", 1,
    )  # fmt: skip
    assert visit.community == HERE
    assert hands_in(announced) == []
    # Bob can come to a site: dispatch does not so much as know him.
    assert await day.residents() == {"ann", "cyn", "dan"}


async def test_an_empty_community_in_a_standing_is_the_one_of_its_group(day: Day) -> None:
    await day.round_is("open")
    await day.roll(
        change("ann", standing("unaccounted", "mobility")),
        change("bob", standing("unaccounted", "mobility", counted_in=THERE)),
        change("cyn", standing("unaccounted", "mobility", counted_in=HERE, lived_in=THERE)),
        community=HERE,
    )
    where = {r: (await day.visit_of(r)).community for r in ("ann", "bob", "cyn")}
    assert where == {"ann": HERE, "bob": THERE, "cyn": THERE}


async def test_r15_a_sample_at_a_site_closes_the_visit_by_itself(day: Day) -> None:
    await a_team_has(day)
    await day.announced()

    await day.roll(change("ann", standing("sampled", "mobility", channel="site")))

    person = await day.person("ann")
    assert person.case is not None
    assert (person.case.state, person.case.reason) == ("closed", "sampled")
    announced = await day.announced()
    [visit] = visits_in(announced)
    assert (visit.before, visit.after) == ("assigned", "cancelled")
    [hand] = hands_in(announced)
    assert (hand.kind, hand.due, hand.revision) == (None, None, 2)


async def test_the_two_halves_of_a_move_count_once_whichever_comes_first(day: Day) -> None:
    await day.round_is("open")
    before = standing("unaccounted", "mobility", counted_in=HERE)
    after = standing("unaccounted", "mobility", counted_in=THERE)
    await day.roll(change("ann", before, rev=1))
    half = change("ann", after, before, rev=2)
    await day.announced()

    await day.roll(half, community=THERE)
    first = await day.announced()
    await day.roll(half, community=HERE)

    assert {(v.before, v.after, v.community) for v in visits_in(first)} == {
        ("planned", "cancelled", HERE),
        (None, "planned", THERE),
    }
    assert await day.announced() == []


async def test_two_halves_at_the_same_moment_make_one_visit(day: Day) -> None:
    await day.round_is("open")
    half = change("ann", standing("unaccounted", "mobility", counted_in=THERE), rev=1)
    await asyncio.gather(day.roll(half, community=HERE), day.roll(half, community=THERE))
    [visit] = visits_in(await day.announced())
    assert visit.community == THERE


async def test_registry_restored_from_a_backup_is_believed_again(day: Day) -> None:
    await day.round_is("open")
    await day.roll(change("ann", standing("sampled", "mobility"), rev=9))
    restored = change("ann", standing("unaccounted", "mobility"), rev=2)
    await day.roll(restored)
    assert not (await day.person("ann")).in_case
    await day.hear(RollChanged("r1", {HERE: [restored]}), incarnation=UUID(int=2))
    assert (await day.person("ann")).in_case


async def test_who_lost_every_need_while_a_team_was_at_the_door_is_still_followed(
    day: Day,
) -> None:
    visit = await a_team_has(day)
    await day.database.transact(visits.start_visit, visit.id, TEAM, policy=day.policy)
    needy = standing("in_hand", "mobility")
    await day.roll(change("ann", standing("in_hand"), needy))
    assert (await day.visit_of("ann")).status == "started"
    # Nothing in this change speaks of a need or a hand, and yet a team is at the door.
    await day.roll(change("ann", standing("sampled"), standing("in_hand")))
    assert (await day.person("ann")).visit is None


async def test_our_own_hand_comes_back_as_an_echo_and_changes_nothing(day: Day) -> None:
    await a_team_has(day)
    before = await day.person("ann")
    async with day.database.begin() as tx:
        life = await store.our_life(tx)
    assert before.hand is not None
    echo = ("visit", before.hand.due - HOUR, before.hand_revision, life)
    await day.roll(change("ann", standing("in_hand", "mobility", hand=echo)))
    after = await day.person("ann")
    assert after.hand == before.hand
    foreign = ("referral", MORNING, 99, str(UUID(int=9)))
    await day.roll(change("ann", standing("in_hand", "mobility", hand=foreign)))
    assert (await day.person("ann")).hand == before.hand


async def test_thousands_of_cases_open_at_once_and_are_announced_in_big_messages(
    day: Day,
) -> None:
    await day.round_is("open")
    await day.roll(*(change(f"r{n}", standing("unaccounted", "mobility")) for n in range(2500)))
    announced = await day.announced()
    sizes = [len(m.visits) for _, m in announced if isinstance(m, VisitsChanged)]
    assert sizes == [1000, 1000, 500]
    assert {partition for partition, _ in announced} == {partition_of(HERE)}


# --- teams ---


async def test_a_team_gets_the_visits_of_its_area_up_to_its_capacity(day: Day) -> None:
    await day.round_is("open")
    for community in (HERE, THERE):
        await day.roll(
            *(change(f"{community}-{n}", standing("unaccounted", "mobility")) for n in range(3)),
            community=community,
        )
    await day.team(capacity=2)
    await day.announced()

    assert await day.keep_house() == 2

    hands = await day.hands()
    assert len(hands) == 2
    assert {(hand.kind, hand.due) for hand in hands} == {("visit", MORNING + 6 * HOUR)}
    assert {hand.resident[:12] for hand in hands} == {HERE}
    # A visit that was made takes room of the shift like one that is to be made.
    made = await day.visit_of(hands[0].resident)
    await finish(day, made, told("refused"))
    assert await day.keep_house() == 0


async def test_a_team_that_drops_out_hands_its_visits_to_another(day: Day) -> None:
    await a_team_has(day)
    await day.team("t2")
    await day.announced()

    await day.team(active=False)
    assert (await day.visit_of("ann")).status == "planned"
    assert [hand.kind for hand in await day.hands()] == [None]

    await day.keep_house()
    assert (await day.visit_of("ann")).team == "t2"
    assert [(hand.kind, hand.revision) for hand in await day.hands()] == [("visit", 3)]


async def test_a_longer_shift_gives_its_hands_more_time(day: Day) -> None:
    await a_team_has(day)
    await day.announced()
    await day.team(shift_until=EVENING + HOUR)
    [hand] = await day.hands()
    assert hand.due == EVENING


async def test_a_team_works_where_its_office_may_send_it(day: Day) -> None:
    stranger = Caller("stranger", frozenset({"office"}), (THERE[:9],))
    await day.team()
    with pytest.raises(Forbidden):
        await day.team(caller=stranger)
    with pytest.raises(Forbidden):
        await day.team(caller=stranger, areas=(THERE,))


async def test_r17_quarantined_homes_are_last_or_have_a_team_of_their_own(day: Day) -> None:
    await day.round_is("open")
    await day.roll(
        change("ann", standing("unaccounted", "quarantine")),
        change("bob", standing("unaccounted", "mobility")),
    )
    day.policy = replace(day.policy, quarantine="separate")
    day.wiring = replace(day.wiring, policy=day.policy)
    await day.team()
    await day.keep_house()
    assert (await day.visit_of("ann")).status == "planned"
    assert (await day.visit_of("bob")).team == "t1"
    await day.team("suits", serves_quarantine=True)
    await day.keep_house()
    assert (await day.visit_of("ann")).team == "suits"


# --- at the door ---


async def test_a_swab_at_the_door_waits_for_registry_and_is_completed_by_it(day: Day) -> None:
    visit = await a_team_has(day)
    await day.database.transact(visits.start_visit, visit.id, TEAM, policy=day.policy)
    await day.announced()

    finished = await finish(day, visit, told("sampled"))

    assert (finished.status, finished.answer) == ("finished", "awaited")
    [change_] = visits_in(await day.announced())
    assert (change_.before, change_.after, change_.outcome) == ("started", "finished", "sampled")
    assert change_.sample is not None
    assert (change_.sample.sample, change_.sample.tube_code) == ("sample-1", "tube-1")
    # The hand does not expire while the answer is awaited.
    await day.tick(EVENING + 50 * HOUR)
    assert (await day.person("ann")).hand is not None
    assert await day.hands() == []

    await day.answer(finished)
    await day.roll(change("ann", standing("sampled", "mobility", channel="home_visit")))

    person = await day.person("ann")
    assert (person.visit, person.hand, person.in_case) == (None, None, False)
    assert [hand.kind for hand in await day.hands()] == [None]


async def test_a_sample_registry_refuses_becomes_an_escalation(day: Day) -> None:
    visit = await a_team_has(day)
    finished = await finish(day, visit, told("sampled"))
    await day.announced()
    await day.answer(finished, "/problems/id-reused")
    [hand] = await day.hands()
    assert (hand.kind, hand.due) == ("escalation", EVENING)
    # The answer again, as a re-driven record would bring it, changes nothing.
    await day.answer(finished, "/problems/id-reused")
    assert await day.announced() == []


async def test_two_answers_for_one_person_at_once_are_taken_one_after_the_other(
    day: Day,
) -> None:
    first = await a_team_has(day)
    excluded = standing("excluded", "mobility", reason="recovered")
    await day.roll(change("ann", excluded))
    late = await finish(day, first, told("sampled"))
    await day.roll(change("ann", standing("unaccounted", "mobility")))
    await day.keep_house()
    second = await finish(day, await day.visit_of("ann"), told("sampled"))
    assert (late.status, second.status) == ("cancelled", "finished")

    await day.hear(
        VisitsAnswered(
            "r1",
            [
                VisitAnswer(str(visit.id), "ann", "sample-1", "refused", "round-closed")
                for visit in (late, second)
            ],
        )
    )

    person = await day.person("ann")
    assert person.visit is None
    assert person.hand is not None
    assert person.hand.kind == "escalation"


async def test_r16_absent_makes_a_revisit_that_goes_before_the_others(day: Day) -> None:
    visit = await a_team_has(day)
    await day.roll(change("bob", standing("unaccounted", "mobility")))
    await day.announced()

    await finish(day, visit, told("absent"))

    announced = await day.announced()
    assert [(v.before, v.after) for v in visits_in(announced)] == [
        ("assigned", "finished"),
        (None, "planned"),
    ]
    [hand] = hands_in(announced)
    assert (hand.kind, hand.due) == ("revisit", MORNING + 4 * HOUR)
    await day.team("t1", active=False)
    await day.team("t2", capacity=1)
    await day.keep_house()
    assert (await day.visit_of("ann")).team == "t2"
    assert (await day.visit_of("bob")).team is None


async def test_r19_the_same_report_twice_is_one_and_its_id_is_not_used_for_another(
    day: Day,
) -> None:
    visit = await a_team_has(day)
    report = told("refused")
    first = await finish(day, visit, report)
    await day.announced()

    assert await finish(day, visit, report) == first
    assert await day.announced() == []
    with pytest.raises(IdReused):
        await finish(day, visit, told("absent", report.id))
    with pytest.raises(domain.VisitAlreadyFinished):
        await finish(day, visit, told("absent"))


async def test_r19_the_same_moment_told_in_another_zone_is_the_same_report(day: Day) -> None:
    visit = await a_team_has(day)
    body = {"report_id": str(uuid4()), "outcome": "refused"}
    utc = ReportIn.model_validate(body | {"at": "2022-01-07T09:00:00Z"})
    local = ReportIn.model_validate(body | {"at": "2022-01-07T17:00:00+08:00"})
    first = await finish(day, visit, utc.report())
    assert await finish(day, visit, local.report()) == first


async def test_r19_rejections_are_not_remembered(day: Day) -> None:
    visit = await a_team_has(day)
    await finish(day, visit, told("absent"))
    second = await day.visit_of("ann")
    report = told("refused")
    with pytest.raises(domain.VisitAlreadyFinished):
        await finish(day, visit, report, OFFICER)
    assert (await finish(day, second, report, OFFICER)).outcome == "refused"


async def test_cancelled_while_the_team_is_at_the_door_keeps_the_report(day: Day) -> None:
    visit = await a_team_has(day)
    await day.roll(change("ann", standing("sampled", "mobility", channel="site")))
    await day.announced()

    finished = await finish(day, visit, told("sampled"))

    assert (finished.status, finished.outcome) == ("cancelled", "sampled")
    [change_] = visits_in(await day.announced())
    assert (change_.before, change_.after) == ("cancelled", "cancelled")
    assert change_.sample is not None


async def test_a_team_sees_no_door_but_its_own(day: Day) -> None:
    visit = await a_team_has(day)
    stranger = replace(TEAM, team="t2")
    with pytest.raises(NotFound):
        await finish(day, visit, told("absent"), stranger)
    with pytest.raises(NotFound):
        await finish(day, visit, told("absent"), replace(TEAM, areas=(THERE,)))
    with pytest.raises(NotFound):
        await finish(day, visit, told("absent"), replace(TEAM, team=None))


# --- the clock ---


async def test_the_manual_clock_ends_hands_when_it_ticks(day: Day) -> None:
    await a_team_has(day)
    await day.announced()
    await day.tick(MORNING + 5 * HOUR)
    assert await day.announced() == []

    await day.tick(MORNING + 6 * HOUR)

    announced = await day.announced()
    assert [(v.before, v.after, v.team) for v in visits_in(announced)] == [
        ("assigned", "planned", None)
    ]
    assert [hand.kind for hand in hands_in(announced)] == [None]
    # A clock does not go back.
    await day.tick(MORNING)
    async with day.database.begin() as tx:
        assert (await store.enter_round(tx, "r1")).clock_at == MORNING + 6 * HOUR


async def test_the_wall_clock_ends_hands_in_the_workers_round(day: Day) -> None:
    await a_team_has(day)
    async with day.database.begin() as tx:
        await tx.do("UPDATE round SET manual_clock = false")
    await day.announced()
    assert await day.keep_house() == 1
    assert [hand.kind for hand in await day.hands()] == [None]
    assert await day.keep_house() == 0


async def test_closing_the_round_closes_every_case(day: Day) -> None:
    await a_team_has(day)
    await day.roll(change("bob", standing("unaccounted", "mobility")))
    await day.announced()
    await day.round_is("closed", clock_at=EVENING)
    announced = await day.announced()
    assert {visit.after for visit in visits_in(announced)} == {"cancelled"}
    assert len(visits_in(announced)) == 2
    assert [(hand.resident, hand.kind) for hand in hands_in(announced)] == [("ann", None)]
    assert await day.keep_house() == 0


async def test_an_older_word_of_a_round_changes_nothing(day: Day) -> None:
    await day.round_is("open")
    async with day.database.begin() as tx:
        await tx.do("UPDATE round SET version = 99")
    await day.round_is("closed")
    async with day.database.begin() as tx:
        assert (await store.enter_round(tx, "r1")).state == "open"


async def test_a_tick_of_a_round_we_never_heard_of_makes_a_stub(day: Day) -> None:
    await day.hear(RoundTicked("unheard's", EVENING))
    async with day.database.begin() as tx:
        stub = await store.enter_round(tx, "unheard's")
    assert (stub.version, stub.state, stub.clock_at) == (0, "draft", EVENING)


async def test_two_rounds_are_two_accounts_of_one_person(day: Day) -> None:
    await day.round_is("open")
    needy = change("ann", standing("unaccounted", "mobility"))
    await day.hear(RollChanged("r1", {HERE: [needy]}), RollChanged("r2", {HERE: [needy]}))
    messages = [message for _, message in await day.announced()]
    assert [m.round for m in messages if isinstance(m, VisitsChanged | HandsChanged)] == ["r1"]
