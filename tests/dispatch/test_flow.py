"""The day of dispatch on a real database: what is heard, done, stored and announced."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest
from msgspec.structs import replace as replace_struct

from services.dispatch import migrations
from services.dispatch.api.visits import ReportIn
from services.dispatch.domain.errors import TeamCannotServe, VisitAlreadyFinished
from services.dispatch.domain.visits import Sample, Visit, VisitReport
from services.dispatch.flow import visits
from services.dispatch.store import people, rounds, teams
from shared import migrating
from shared.auth import Caller
from shared.contracts.dispatch import HandsChanged, VisitsChanged
from shared.contracts.envelope import partition_of
from shared.contracts.registry import (
    RollChanged,
    RoundTicked,
    Standing,
    VisitAnswer,
    VisitsAnswered,
)
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
        life = await people.our_life(tx)
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
    with pytest.raises(VisitAlreadyFinished):
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
    with pytest.raises(VisitAlreadyFinished):
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
        assert (await rounds.enter(tx, "r1")).clock_at == MORNING + 6 * HOUR


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
        assert (await rounds.enter(tx, "r1")).state == "open"


async def test_a_tick_of_a_round_we_never_heard_of_makes_a_stub(day: Day) -> None:
    await day.hear(RoundTicked("unheard's", EVENING))
    async with day.database.begin() as tx:
        stub = await rounds.enter(tx, "unheard's")
    assert (stub.version, stub.state, stub.clock_at) == (0, "draft", EVENING)


async def test_two_rounds_are_two_accounts_of_one_person(day: Day) -> None:
    await day.round_is("open")
    needy = change("ann", standing("unaccounted", "mobility"))
    await day.hear(RollChanged("r1", {HERE: [needy]}), RollChanged("r2", {HERE: [needy]}))
    messages = [message for _, message in await day.announced()]
    assert [m.round for m in messages if isinstance(m, VisitsChanged | HandsChanged)] == ["r1"]


# --- rounds that open and close by themselves ---


async def test_a_whole_round_in_one_batch_leaves_nothing_open(day: Day) -> None:
    """We slept through the day: its opening, closing and sealing come at once."""
    await day.roll(change("ann", standing("unaccounted", "mobility")))
    await day.round_is("draft")

    told_at_once = [day.round_told(state, EVENING) for state in ("open", "closed", "sealed")]
    await day.hear(*told_at_once)

    person = await day.person("ann")
    assert person.case is not None
    assert (person.case.state, person.case.reason) == ("closed", "round_closed")
    assert (person.visit, person.hand) == (None, None)
    announced = await day.announced()
    assert [(v.before, v.after) for v in visits_in(announced)] == [
        (None, "planned"),
        ("planned", "cancelled"),
    ]
    assert hands_in(announced) == []


@pytest.mark.parametrize("outcome", ["sampled", "absent"])
async def test_a_round_that_closes_lets_the_team_at_the_door_finish(
    day: Day, outcome: VisitOutcome
) -> None:
    visit = await a_team_has(day)
    await day.database.transact(visits.start_visit, visit.id, TEAM, policy=day.policy)
    noon = MORNING + 4 * HOUR
    # Before its time: what was due in the evening is due now.
    await day.round_is("closed", closes_at=noon, clock_at=noon)
    hand = (await day.person("ann")).hand
    assert hand is not None
    assert (hand.due, hand.ends_at) == (noon, noon + HOUR)

    await finish(day, visit, told(outcome))

    if outcome == "sampled":
        await day.tick(noon + 5 * HOUR)
        assert (await day.person("ann")).hand is not None
        await day.answer(await day.visit_of("ann"))
    person = await day.person("ann")
    assert (person.visit, person.hand, person.in_case) == (None, None, False)


async def test_sealing_a_round_takes_the_last_visit_back_and_a_late_report_is_kept(
    day: Day,
) -> None:
    visit = await a_team_has(day)
    await day.database.transact(visits.start_visit, visit.id, TEAM, policy=day.policy)
    await day.hear(*(day.round_told(state, EVENING) for state in ("closed", "sealed")))
    assert (await day.person("ann")).visit is None
    finished = await finish(day, visit, told("sampled"))
    assert (finished.status, finished.outcome) == ("cancelled", "sampled")
    await day.answer(finished, "round-sealed")
    assert (await day.person("ann")).hand is None


async def test_closing_reviews_a_city_batch_by_batch(
    day: Day, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.dispatch.flow.rounds.BATCH", 3)
    await day.roll(*(change(f"r{n}", standing("unaccounted", "mobility")) for n in range(10)))
    await day.round_is("open")
    await day.roll(*(change(f"r{n}", standing("sampled", "mobility")) for n in range(4)))
    await day.announced()
    await day.round_is("closed")
    assert {v.resident for v in visits_in(await day.announced())} == {f"r{n}" for n in range(4, 10)}


# --- a shift holds so many visits ---


async def test_a_team_has_one_shift_whichever_rounds_it_serves(day: Day) -> None:
    await day.round_is("open")
    await day.hear(day.round_told("open", EVENING, "r2"))
    needy = standing("unaccounted", "mobility")
    await day.hear(
        *(
            RollChanged(r, {HERE: [change(f"{r}-{n}", needy) for n in range(3)]})
            for r in ("r1", "r2")
        )
    )
    await day.team(capacity=4)
    assert await day.keep_house() == 4


async def test_what_was_made_in_this_shift_counts_and_what_was_called_off_does_not(
    day: Day,
) -> None:
    await day.round_is("open")
    await day.roll(*(change(f"r{n}", standing("unaccounted", "mobility")) for n in range(4)))
    await day.team(capacity=2)
    await day.keep_house()
    async with day.database.begin() as tx:
        made, called_off = (await teams.held_by(tx, "t1"))["r1"]
    await finish(day, await day.visit_of(made), told("refused"))
    await day.database.transact(
        visits.cancel_visit, (await day.visit_of(called_off)).id, OFFICER, policy=day.policy
    )
    assert await day.keep_house() == 1
    # A new shift has room again, less what the team has in hand already.
    await day.tick(MORNING + HOUR)
    await day.team(capacity=2, shift_from=MORNING + HOUR)
    assert await day.keep_house() == 1


async def test_the_last_place_is_given_once_however_many_ask(day: Day) -> None:
    await day.round_is("open")
    await day.roll(*(change(f"r{n}", standing("unaccounted", "mobility")) for n in range(8)))
    await day.team(capacity=3)
    doors = [await day.visit_of(f"r{n}") for n in range(8)]

    async def give(visit: Visit) -> None:
        await day.database.transact(visits.assign_visit, visit.id, "t1", OFFICER, policy=day.policy)

    outcomes = await asyncio.gather(*map(give, doors), day.keep_house(), return_exceptions=True)

    full = [each for each in outcomes if isinstance(each, TeamCannotServe)]
    assert {each.extensions["reason"] for each in full} == {"full"}
    async with day.database.begin() as tx:
        assert len((await teams.held_by(tx, "t1"))["r1"]) == 3


async def test_a_team_whose_shift_moves_to_tomorrow_gives_todays_visits_back(day: Day) -> None:
    visit = await a_team_has(day)
    await day.announced()
    await day.team(shift_from=MORNING + 24 * HOUR, shift_until=MORNING + 30 * HOUR)
    announced = await day.announced()
    assert [(v.visit, v.after) for v in visits_in(announced)] == [(str(visit.id), "planned")]
    assert [hand.kind for hand in hands_in(announced)] == [None]


# --- the field is offline, and life goes on ---


async def test_r15_the_database_itself_refuses_a_second_open_visit(day: Day) -> None:
    visit = await a_team_has(day)
    async with day.database.begin() as tx:
        with pytest.raises(asyncpg.UniqueViolationError, match="round_resident"):
            await tx.do(
                "INSERT INTO visit SELECT (jsonb_populate_record(visit, $2)).* FROM visit"
                " WHERE id = $1",
                visit.id,
                msgspec.json.encode({"id": str(uuid4()), "status": "planned"}).decode(),
            )


GONE = {
    "moved away": standing("off", "mobility"),
    "merged into another record": standing("off", "mobility", alive=False),
    "died": standing("off", "mobility", alive=False),
    "excluded": standing("excluded", "mobility", reason="recovered"),
    "sampled elsewhere": standing("sampled", "mobility", channel="site"),
}


@pytest.mark.parametrize("after", GONE.values(), ids=GONE.keys())
async def test_r19_a_report_that_comes_hours_late_is_kept_whatever_became_of_the_person(
    day: Day, after: Standing
) -> None:
    visit = await a_team_has(day)
    await day.database.transact(visits.start_visit, visit.id, TEAM, policy=day.policy)
    await day.roll(change("ann", after))
    await day.tick(MORNING + 5 * HOUR)
    await day.announced()
    report = replace(told("sampled"), at=MORNING + HOUR)

    first = await finish(day, visit, report)
    again = await finish(day, visit, report)

    assert again == first
    assert (first.status, first.outcome, first.ended_at) == (
        "cancelled", "sampled", MORNING + HOUR,
    )  # fmt: skip
    # Registry hears of the swab, once, and decides what it is worth.
    [heard] = visits_in(await day.announced())
    assert heard.sample is not None
    assert heard.sample.sample == "sample-1"
    # Refused or not, nobody is sent to that door again, and nobody has to answer for it.
    await day.answer(first, "resident-unknown")
    person = await day.person("ann")
    assert (person.visit, person.hand, person.in_case) == (None, None, False)


async def test_r19_reports_of_two_teams_end_alike_in_either_order(day: Day) -> None:
    await day.round_is("open")
    await day.team("t1")
    await day.roll(change("ann", standing("unaccounted", "mobility")),
                   change("bob", standing("unaccounted", "mobility")))  # fmt: skip
    await day.keep_house()
    await day.team("t2", capacity=9)
    await day.team("t1", active=False)
    await day.keep_house()
    other = replace(TEAM, team="t2")
    vain, swab = told("absent"), told("sampled")

    await finish(day, await day.visit_of("ann"), vain, TEAM)
    ann = await finish(day, await day.visit_of("ann"), swab, other)
    bob = await finish(day, await day.visit_of("bob"), replace(swab, id=uuid4()), other)
    with pytest.raises(VisitAlreadyFinished):
        await finish(day, bob, replace(vain, id=uuid4()), TEAM)

    assert {(v.status, v.outcome, v.team) for v in (ann, bob)} == {("finished", "sampled", "t2")}
    async with day.database.begin() as tx:
        kept = await tx.rows("SELECT outcome, told_by FROM report WHERE visit = $1", ann.id)
    assert {row["outcome"] for row in kept} == {"absent", "sampled"}
    assert {row["told_by"] for row in kept} == {"member"}


async def test_r17_a_quarantine_begins_and_ends_while_a_visit_is_on_its_way(day: Day) -> None:
    day.policy = replace(day.policy, quarantine="separate")
    day.wiring = replace(day.wiring, policy=day.policy)
    both, plain = (standing("unaccounted", "mobility", *more) for more in (["quarantine"], []))
    await a_team_has(day)
    await day.team("suits", serves_quarantine=True)

    await day.roll(change("ann", both))
    assert (await day.visit_of("ann")).status == "planned"
    await day.keep_house()
    assert (await day.visit_of("ann")).team == "suits"
    await day.roll(change("ann", plain))
    await day.keep_house()
    visit = await day.visit_of("ann")
    assert visit.team == "t1"

    # At the door the quarantine begins: who is there finishes; the next visit is the others'.
    await day.database.transact(visits.start_visit, visit.id, TEAM, policy=day.policy)
    await day.roll(change("ann", both))
    assert (await day.visit_of("ann")).status == "started"
    await finish(day, visit, told("absent"))
    await day.keep_house()
    assert (await day.visit_of("ann")).team == "suits"


async def test_the_hour_of_grace_is_an_hour_on_the_wall_clock_too(day: Day) -> None:
    now = datetime.now(UTC)
    await day.hear(replace_struct(day.round_told("open", now + 9 * HOUR), manual_clock=False))
    await day.roll(*(change(each, standing("unaccounted", "mobility")) for each in ("ann", "bob")))
    await day.team(shift_from=now - HOUR, shift_until=now + HOUR)
    await day.keep_house()
    ann = await day.visit_of("ann")
    await day.database.transact(visits.start_visit, ann.id, TEAM, policy=day.policy)

    async def an_hour_and_a_half_later() -> None:
        async with day.database.begin() as tx:
            await tx.do(
                "UPDATE team SET shift_until = shift_until - interval '90 minutes';"
                "UPDATE person SET hand_due = hand_due - interval '90 minutes',"
                " hand_ends_at = hand_ends_at - interval '90 minutes'"
            )

    await an_hour_and_a_half_later()
    await day.keep_house()
    assert (await day.visit_of("ann")).status == "started"
    assert (await day.visit_of("bob")).status == "planned"
    await an_hour_and_a_half_later()
    await day.keep_house()
    assert (await day.visit_of("ann")).status == "planned"
    assert (await day.person("ann")).hand is None
