"""The rules of the field, each by its name, told over the three services together.

A story opens a round for a few people, something happens to them, and the district looks at its
figures. `town.expect` holds the ledger each time it looks.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID, uuid4

import pytest

from services.reporting.flow import producers
from tests.journeys.field import (
    case_of,
    door,
    knock,
    on_shift,
    open_visits,
    tour,
    visits_of,
)
from tests.registry.words import exclude, history, hour, lives, register, ric, told
from tests.support.town import (
    CHAOHE,
    DISTRICT,
    DONGFANG,
    JSON,
    LANQIAO,
    LUYUAN,
    MINGHU,
    Town,
)

CANNOT_COME: JSON = {"needs": [{"code": "mobility"}]}
QUARANTINED: JSON = {"needs": [{"code": "quarantine"}]}


async def revoked(town: Town, exclusion: UUID) -> None:
    """Take an exclusion back; `exclude` files it under its person's id."""
    await town.sent(town.registry, f"/v1/exclusions/{exclusion}:revoke")


def again(row: JSON, **more: object) -> JSON:
    """A later row about the same swab."""
    return row | {"result_id": str(uuid4())} | more


def void(row: JSON) -> JSON:
    """The swab was none: a wrong name on the tube, or an empty one."""
    return again(row, corrects=row["sample_id"], void=True)


# --- R1: several samples of one resident in a round count once in coverage ---


async def test_r1_several_samples_of_one_person_count_once(town: Town) -> None:
    keen, _ = await town.people(lives(), lives())
    round_id = await town.round()
    await town.tick(round_id, 6)
    await town.results(
        town.result(round_id, keen, 4), town.result(round_id, keen, 5, channel="session")
    )
    await town.results(town.result(round_id, keen, 6))
    await town.expect(round_id, roll=2, sampled=1, unaccounted=1, coverage=1 / 2)


async def test_r1_a_swab_at_the_site_and_one_at_the_door_count_once(town: Town) -> None:
    (grandmother,) = await town.people(lives(**CANNOT_COME))
    round_id = await town.round()
    await on_shift(town)
    await town.tick(round_id, 3)
    (visit,) = await open_visits(town, round_id, grandmother)
    # Her son carried her to the site at one o'clock; the team, offline, swabs her at two.
    await town.results(town.resulted(round_id, grandmother, "negative", 1))
    await knock(town, visit, door("sampled", 2))
    await town.expect(round_id, sampled=1, negative=1, resulted=1, in_hand=0, unaccounted=0)
    by_channel = await town.coverage(round_id, by="channel")
    assert {code: row["sampled"] for code, row in by_channel.items() if row["sampled"]} == {
        "site": 1
    }


async def test_r1_the_earliest_counts_until_it_is_voided(town: Town) -> None:
    (resident,) = await town.people(lives())
    round_id = await town.round()
    await town.tick(round_id, 6)
    late = town.resulted(round_id, resident, "negative", 5)
    early = town.result(round_id, resident, 1, channel="sweep")
    await town.results(late, early)
    await town.expect(round_id, sampled=1, negative=0)
    await town.results(void(early))
    await town.expect(round_id, sampled=1, negative=1)
    await town.results(void(late))
    await town.expect(round_id, sampled=0, negative=0, unaccounted=1)


# --- R2: coverage = distinct eligible sampled / (roll - exclusions), exclusions by reason ---


async def test_r2_coverage_leaves_exclusions_out_and_shows_them_by_reason(town: Town) -> None:
    people = await town.people(*(lives() for _ in range(5)))
    round_id = await town.round()
    await town.tick(round_id, 1)
    for resident, reason in zip(people, ("under_3", "recovered", "recovered"), strict=False):
        await exclude(town, round_id, resident, reason=reason)
    await town.results(town.result(round_id, people[4]))
    await town.expect(round_id, roll=5, excluded=3, sampled=1, unaccounted=1, coverage=1 / 2)
    shown = (await town.coverage(round_id))["excluded_by_reason"]
    assert shown == {"under_3": 1, "recovered": 2}

    await revoked(town, people[0])
    await town.expect(round_id, excluded=2, unaccounted=2, coverage=1 / 3)


async def test_r2_a_sample_outranks_an_exclusion_which_stays_on_file(town: Town) -> None:
    resident, _ = await town.people(lives(), lives())
    round_id = await town.round()
    await town.tick(round_id, 2)
    await exclude(town, round_id, resident, reason="vaccinated_48h")
    row = town.result(round_id, resident)
    await town.results(row)
    await town.expect(round_id, sampled=1, excluded=0, coverage=1 / 2)
    await town.results(void(row))
    await town.expect(round_id, sampled=0, excluded=1, coverage=0)


async def test_r2_visitors_are_not_eligible(town: Town) -> None:
    _, guest = await town.people(lives(), lives(DONGFANG))
    round_id = await town.round(offices=[CHAOHE])
    await town.tick(round_id, 2)
    await town.results(town.result(round_id, guest, site=LUYUAN))
    await town.expect(round_id, roll=1, sampled=0, visitors=1, coverage=0)


async def test_r2_coverage_of_nobody_is_no_number(town: Town) -> None:
    (resident,) = await town.people(lives())
    round_id = await town.round()
    await exclude(town, round_id, resident)
    assert (await town.coverage(round_id))["coverage"] is None
    await town.expect(round_id, roll=1, excluded=1)


# --- R3: coverage against a number from outside is shown beside ours, flagged, never capped ---


async def test_r3_coverage_against_a_census_is_shown_beside_ours_and_flagged_above_all(
    town: Town,
) -> None:
    people = await town.people(*(lives() for _ in range(4)), lives(DONGFANG))
    round_id = await town.round()
    await town.tick(round_id, 2)
    census = {"source": "census", "as_of": "2020-11-01"}
    police = {"source": "police_list", "as_of": "2022-01-10"}
    numbers = [census | {"code": CHAOHE, "people": 6}, police | {"code": CHAOHE, "people": 2}]
    put = await town.registry.put(
        "/v1/denominators:batch", json=numbers, headers=town.headers("district")
    )
    assert told(put.json()) == ["accepted", "accepted"]
    await town.results(*(town.result(round_id, resident) for resident in people[:3]))
    await town.expect(round_id, roll=5, sampled=3, coverage=3 / 5)
    offices = await town.coverage(round_id, by="office")
    assert offices[CHAOHE]["coverage"] == 3 / 4
    # The police know two people here, and three were sampled: somebody is missing on a list.
    assert offices[CHAOHE]["outside"] == [
        census | {"people": 6, "coverage": 3 / 6, "over": False},
        police | {"people": 2, "coverage": 3 / 2, "over": True},
    ]
    assert offices[MINGHU]["outside"] == []


async def test_r3_the_last_number_of_a_source_holds(town: Town) -> None:
    (resident,) = await town.people(lives())
    round_id = await town.round()
    await town.tick(round_id, 2)
    await town.results(town.result(round_id, resident))
    for people, over in ((0, True), (1, False), (4, False)):
        number = {"code": DISTRICT, "source": "census", "people": people, "as_of": "2020-11-01"}
        put = await town.registry.put(
            "/v1/denominators:batch", json=[number], headers=town.headers("district")
        )
        assert told(put.json()) == ["accepted"]
        await town.expect(round_id, sampled=1, coverage=1)
        (outside,) = (await town.coverage(round_id))["outside"]
        assert outside["coverage"] == (1 / people if people else None)
        assert outside["over"] is over


# --- R4: sampled, resulted and negative are separate counts ---


async def test_r4_sampled_resulted_and_negative_are_separate_counts(town: Town) -> None:
    people = await town.people(*(lives() for _ in range(6)))
    round_id = await town.round()
    await town.tick(round_id, 2)
    rows = [town.result(round_id, resident) for resident in people]
    await town.results(*rows)
    await town.expect(round_id, sampled=6, resulted=0, negative=0)

    outcomes = ("negative", "negative", "positive", "inconclusive", "invalid")
    await town.results(
        *(
            again(row, outcome=outcome, released_at=hour(2))
            for row, outcome in zip(rows, outcomes, strict=False)
        )
    )
    await town.expect(
        round_id, sampled=6, resulted=5, negative=2, positive=1, inconclusive=1, invalid=1
    )


# --- R5: a resident counts where they live; totals reconcile ---


async def test_r5_a_resident_counts_where_they_live(town: Town) -> None:
    # Registered in Beijing, sampled in the other office, living here.
    (student,) = await town.people(
        lives(LANQIAO, id_document={"type": "cn_ric", "number": ric("11010120010101001")})
    )
    round_id = await town.round()
    await town.tick(round_id, 2)
    await town.results(town.result(round_id, student, site=DONGFANG))
    await town.expect(round_id, roll=1, sampled=1, visitors=0)
    rows = await town.coverage(round_id, by="community")
    assert {code for code, row in rows.items() if row["roll"]} == {LANQIAO}


async def test_r5_who_cannot_be_mapped_has_a_row_of_their_own_and_totals_reconcile(
    town: Town,
) -> None:
    mapped, in_office, nowhere = await town.people(lives(), lives(f"{CHAOHE}777"), lives(None))
    round_id = await town.round()
    await town.tick(round_id, 2)
    await town.results(*(town.result(round_id, who) for who in (mapped, in_office)))
    await town.expect(round_id, roll=3, sampled=2, unaccounted=1)
    rows = await town.coverage(round_id, by="community")
    unassigned = {f"{CHAOHE}000": (1, 1), f"{DISTRICT}000000": (1, 0)}
    counted = {code: (row["roll"], row["sampled"]) for code, row in rows.items() if row["roll"]}
    assert counted == {LUYUAN: (1, 1)} | unassigned
    assert {rows[code]["name"] for code in unassigned} == {"unassigned"}

    # The street office finds out where they live: the row empties, the total is the same.
    for resident, community in ((in_office, LANQIAO), (nowhere, DONGFANG)):
        await register(town, {"id": str(resident), "address": {"community_code": community}})
    await town.expect(round_id, roll=3, sampled=2, unaccounted=1)
    rows = await town.coverage(round_id, by="office")
    counted = {code: (row["roll"], row["sampled"]) for code, row in rows.items() if row["roll"]}
    assert counted == {CHAOHE: (2, 2), MINGHU: (1, 0)}


# --- R10: nothing is published before its release; a correction is appended ---


async def test_r10_no_result_is_published_before_the_laboratory_releases_it(town: Town) -> None:
    (resident,) = await town.people(lives())
    round_id = await town.round()
    await town.tick(round_id, 4)
    draft = town.result(round_id, resident, outcome="positive", resulted_at=hour(3))
    await town.results(draft)
    await town.expect(round_id, sampled=1, resulted=0, positive=0)
    assert not {"outcome", "result_id"} & (await history(town, resident))[0].keys()

    await town.results(again(draft, released_at=hour(4)))
    await town.expect(round_id, sampled=1, resulted=1, positive=1)
    assert [swab["outcome"] for swab in await history(town, resident)] == ["positive"]


async def test_r10_a_correction_is_appended_and_nothing_is_overwritten(town: Town) -> None:
    (resident,) = await town.people(lives())
    round_id = await town.round()
    await town.tick(round_id, 6)
    wrong = town.resulted(round_id, resident, "positive")
    await town.results(wrong)
    right = again(wrong, corrects=wrong["result_id"], outcome="negative", released_at=None)
    await town.results(right)
    # Nor does a correction work before its release.
    await town.expect(round_id, positive=1, negative=0)
    released = again(right, released_at=hour(6))
    await town.results(released)
    await town.expect(round_id, sampled=1, resulted=1, positive=0, negative=1)
    # All of it is on file: each row is known when it comes again, and changes nothing.
    assert told(await town.results(wrong, right, released)) == ["duplicate"] * 3
    await town.expect(round_id, positive=0, negative=1)


# --- R14: a result's validity runs from sampling time ---


async def test_r14_validity_runs_from_the_sampling_time_however_late_the_result(
    town: Town,
) -> None:
    (traveller,) = await town.people(lives())
    round_id = await town.round()
    await town.tick(round_id, 11)
    row = town.result(round_id, traveller, 2)
    await town.results(row)
    await town.results(again(row, outcome="negative", released_at=hour(11)))
    (swab,) = await history(town, traveller)
    valid = datetime.fromisoformat(swab["valid_until"]) - datetime.fromisoformat(hour(2))
    assert valid == timedelta(hours=48)
    await town.assert_balanced(round_id)


# --- R15: at most one open visit per resident per round; any sample anywhere closes it ---


@pytest.mark.parametrize("channel", ["site", "session", "sweep", "home_visit"])
async def test_r15_any_sample_anywhere_closes_the_visit(town: Town, channel: str) -> None:
    (grandmother,) = await town.people(lives(**CANNOT_COME))
    round_id = await town.round()
    await on_shift(town)
    await town.tick(round_id, 2)
    await town.expect(round_id, in_hand=1, visits_open=1)
    assert await tour(town) == [grandmother]

    await town.results(town.result(round_id, grandmother, channel=channel, site=DONGFANG))
    await town.expect(round_id, sampled=1, in_hand=0, visits_open=0, visits_done=0)
    assert await tour(town) == []
    (visit,) = await visits_of(town, round_id, grandmother)
    assert (visit["status"], visit["cancelled_because"]) == ("cancelled", "sampled")


async def test_r15_at_most_one_visit_is_open_whatever_happens(town: Town) -> None:
    (resident,) = await town.people(lives(**CANNOT_COME))
    round_id = await town.round()
    await on_shift(town)
    happens: list[JSON] = [
        {"needs": [{"code": "mobility"}, {"code": "dialysis"}]},
        {"needs": []},
        {"needs": [{"code": "quarantine"}]},
        {"address": {"community_code": LANQIAO}},
        {"address": {"community_code": DONGFANG}},
        {"needs": [{"code": "mobility"}]},
        {"address": {"community_code": LUYUAN}},
    ]
    for change in happens:
        await register(town, {"id": str(resident)} | change)
        due = [] if change == {"needs": []} else [str(resident)]
        visits = await open_visits(town, round_id, resident)
        assert [visit["resident"] for visit in visits] == due
        await town.expect(round_id, roll=1, visits_open=len(due))


async def test_r15_each_round_has_its_own_visit(town: Town) -> None:
    (resident,) = await town.people(lives(**CANNOT_COME))
    first, second = await town.round(1), await town.round(2)
    await town.tick(first, 2)
    await town.results(town.result(first, resident))
    await town.expect(first, sampled=1, visits_open=0)
    await town.expect(second, unaccounted=1, visits_open=1)


async def test_r15_who_is_sampled_elsewhere_while_the_team_is_at_the_door(town: Town) -> None:
    (resident,) = await town.people(lives(**CANNOT_COME))
    round_id = await town.round()
    await on_shift(town)
    await town.tick(round_id, 2)
    (visit,) = await open_visits(town, round_id, resident)
    await town.sent(
        town.dispatch,
        f"/v1/visits/{visit['id']}:start",
        None,
        town.headers("team", areas=[CHAOHE], team="t1"),
    )
    await town.results(town.result(round_id, resident))
    await town.expect(round_id, sampled=1, in_hand=0, visits_open=0)
    # What the team tells of the door is kept; the visit stays called off.
    finished = await knock(town, visit, door("absent"))
    assert (finished["status"], finished["outcome"]) == ("cancelled", "absent")
    await town.expect(round_id, sampled=1, in_hand=0, visits_open=0)


# --- R16: every outcome is distinct; absent makes a revisit, refused an escalation ---

LEADS_TO: dict[str, dict[str, int]] = {
    "sampled": {},
    "absent": {"revisit": 1},
    "locked": {"revisit": 1},
    "refused": {"escalation": 1},
    "moved": {"escalation": 1},
    "deceased": {"escalation": 1},
    "ineligible": {"escalation": 1},
    "not_executable": {"escalation": 1},
    "referred": {"referral": 1},
}


@pytest.mark.parametrize(("outcome", "hands"), LEADS_TO.items())
async def test_r16_every_outcome_is_kept_and_leads_to_its_own_next_step(
    town: Town, outcome: str, hands: dict[str, int]
) -> None:
    (resident,) = await town.people(lives(**CANNOT_COME))
    round_id = await town.round()
    await on_shift(town, capacity=1)
    await town.tick(round_id, 2)
    (visit,) = await open_visits(town, round_id, resident)
    await knock(town, visit, door(outcome, 2))
    await town.expect(
        round_id,
        roll=1,
        sampled=int(outcome == "sampled"),
        in_hand=sum(hands.values()),
        unaccounted=0,
        visits_done=1,
        visits_open=hands.get("revisit", 0),
    )
    assert (await town.coverage(round_id))["in_hand_by_kind"] == hands
    made = (await visits_of(town, round_id, resident))[0]
    assert (made["status"], made["outcome"]) == ("finished", outcome)


async def test_r16_who_was_missed_before_comes_first(town: Town) -> None:
    people = await town.people(*(lives(**CANNOT_COME) for _ in range(3)))
    missed = people[::2]
    round_id = await town.round()
    await on_shift(town, capacity=3)
    await town.tick(round_id, 1)
    for resident in missed:
        (visit,) = await open_visits(town, round_id, resident)
        await knock(town, visit, door("absent"))
    await on_shift(town, capacity=3, active=False)
    await on_shift(town, "t2", capacity=2)
    assert set(await tour(town, "t2")) == set(missed)
    (visit,) = await open_visits(town, round_id, missed[0])
    assert (visit["attempt"], visit["priority"]) == (2, 1)
    await town.expect(round_id, in_hand=2, unaccounted=1, visits_open=3, visits_done=2)


async def test_r16_a_revisit_is_due_in_four_hours_and_then_waits_for_a_team(town: Town) -> None:
    (resident,) = await town.people(lives(**CANNOT_COME))
    round_id = await town.round()
    await on_shift(town, capacity=1)
    await town.tick(round_id, 1)
    (visit,) = await open_visits(town, round_id, resident)
    await knock(town, visit, door("locked"))
    case = await case_of(town, round_id, resident)
    assert datetime.fromisoformat(case["hand"]["due"]) == datetime.fromisoformat(hour(5))
    await town.tick(round_id, 4.9)
    await town.expect(round_id, in_hand=1, unaccounted=0)
    await town.tick(round_id, 5)
    await town.expect(round_id, in_hand=0, unaccounted=1, visits_open=1)
    case = await case_of(town, round_id, resident)
    assert (case["hand"], case["waiting_for_team"]) == (None, True)


async def test_r16_an_escalation_is_answered_for_and_ends_with_the_round(town: Town) -> None:
    (resident,) = await town.people(lives(**CANNOT_COME))
    round_id = await town.round()
    await on_shift(town, capacity=1)
    await town.tick(round_id, 1)
    (visit,) = await open_visits(town, round_id, resident)
    await knock(town, visit, door("refused"))
    hand = (await case_of(town, round_id, resident))["hand"]
    assert (hand["kind"], hand["owner"], hand["reason"]) == ("escalation", CHAOHE, "refused")
    # A day, but no longer than the round.
    assert datetime.fromisoformat(hand["due"]) == datetime.fromisoformat(hour(12))
    await town.tick(round_id, 12)
    await town.expect(round_id, in_hand=0, unaccounted=1)


# --- R17: quarantined homes are served by a separate team or last in the tour, by policy ---


async def test_r17_quarantined_homes_come_last_in_the_tour(town: Town) -> None:
    people = await town.people(
        *(lives(**needs) for needs in (QUARANTINED, CANNOT_COME, QUARANTINED, CANNOT_COME))
    )
    round_id = await town.round()
    await on_shift(town)
    stops = await tour(town)
    assert set(stops[2:]) == {people[0], people[2]}
    # Also one that was missed before, whom a tour would else begin with.
    (visit,) = await open_visits(town, round_id, people[0])
    await knock(town, visit, door("absent"))
    assert (await tour(town))[2:] == [people[0], people[2]]
    await town.expect(round_id, in_hand=4, unaccounted=0)


async def test_r17_or_quarantined_homes_have_a_team_of_their_own(town: Town) -> None:
    dispatch = town.apps["dispatch"]
    wiring = dispatch.state.wiring
    dispatch.state.wiring = replace(wiring, policy=replace(wiring.policy, quarantine="separate"))
    quarantined, walker = await town.people(lives(**QUARANTINED), lives(**CANNOT_COME))
    round_id = await town.round()
    await on_shift(town)
    assert await tour(town) == [walker]
    await town.expect(round_id, in_hand=1, unaccounted=1, visits_open=2)
    assert (await case_of(town, round_id, quarantined))["why_waiting"] == "no_quarantine_team"

    await on_shift(town, "t2", serves_quarantine=True)
    assert await tour(town, "t2") == [quarantined]
    await town.expect(round_id, in_hand=2, unaccounted=0)


# --- R19: repeats, reorderings and duplicates lead to the same state; paper is merged ---


async def until_taken(town: Town, rows: list[JSON]) -> None:
    """Send rows one by one and again, as a device does, until none of them is rejected."""
    while rows:
        answers = [told(await town.results(row)) for row in rows]
        rows = [row for row, said in zip(rows, answers, strict=True) if "nothing" in said[0]]


@pytest.mark.parametrize("seed", range(4))
async def test_r19_repeats_and_reorderings_lead_to_the_same_state(town: Town, seed: int) -> None:
    people = await town.people(*(lives() for _ in range(4)))
    round_id = await town.round()
    await town.tick(round_id, 6)
    swabs = [town.result(round_id, resident, at) for at, resident in enumerate(people)]
    early = town.result(round_id, people[1], 0.5, channel="sweep")
    first = again(swabs[0], outcome="positive", released_at=hour(3))
    rows = [
        *swabs[:3],
        early,
        first,
        again(swabs[0], outcome="negative", released_at=hour(4), corrects=first["result_id"]),
        again(swabs[1], outcome="positive", released_at=hour(3)),
        void(swabs[2]),
    ]
    Random(seed).shuffle(rows)  # noqa: S311 - an order, not a secret
    await until_taken(town, rows)
    await until_taken(town, rows[::-1])
    await town.expect(
        round_id, roll=4, sampled=2, resulted=1, negative=1, positive=0, unaccounted=2
    )


async def test_r19_a_report_from_a_door_counts_once_however_often_it_is_sent(town: Town) -> None:
    (resident,) = await town.people(lives(**CANNOT_COME))
    round_id = await town.round()
    await on_shift(town)
    await town.tick(round_id, 2)
    (visit,) = await open_visits(town, round_id, resident)
    report = door("sampled", 2)
    first, second = [await knock(town, visit, report) for _ in range(2)]
    assert (second["status"], second["report_id"]) == (first["status"], report["report_id"])
    await town.expect(round_id, sampled=1, visits_done=1)
    # The device sends the same swab to registry, too.
    row = town.result(round_id, resident, channel="home_visit") | report["sample"]
    del row["result_id"]
    assert told(await town.results(row)) == ["duplicate"]
    await town.expect(round_id, sampled=1, visits_done=1)


async def test_r19_when_the_system_is_out_paper_is_entered_later_and_merged(town: Town) -> None:
    walker, grandmother, missing = await town.people(lives(), lives(**CANNOT_COME), lives())
    round_id = await town.round()
    await on_shift(town)
    await town.tick(round_id, 3)
    (visit,) = await open_visits(town, round_id, grandmother)
    scan = town.result(round_id, walker, 2)
    await town.results(scan)

    # registry is out of dispatch's reach; the team writes on, and paper piles up at the site.
    town.switches["registry"].down = True
    finish = f"/v1/visits/{visit['id']}:finish"
    on_the_road = town.headers("team", areas=[CHAOHE], team="t1")
    await town.sent(town.dispatch, finish, door("sampled", 3), on_the_road)
    town.switches["registry"].down = False
    await town.tick(round_id, 12)
    await town.step(round_id, "close")
    await town.expect(round_id, sampled=2, unaccounted=1, in_hand=0)

    # The next day: the pile, with a form of somebody who was scanned as well.
    paper = [town.result(round_id, missing, 4), town.result(round_id, walker, 1.5)]
    assert told(await town.results(*paper, scan)) == ["accepted", "accepted", "duplicate"]
    await town.expect(round_id, sampled=3, unaccounted=0, coverage=1)
    assert [point["sampled"] for point in await series(town, round_id)] == [1, 1, 1]


async def series(town: Town, round_id: str) -> list[JSON]:
    """The district's curve by sampling time, in steps of an hour."""
    answer = await town.reporting.get(
        "/v1/coverage/series",
        params={"round": round_id, "by": "district", "step": "1h"},
        headers=town.headers("district"),
    )
    assert answer.is_success, answer.text
    (row,) = answer.json()["rows"]
    points: list[JSON] = row["points"]
    return points


# --- R21: row by row: accepted, duplicate, or rejected with a reason ---


async def test_r21_every_row_is_answered_and_nothing_is_dropped_in_silence(town: Town) -> None:
    household = [lives(name="甲", id=str(uuid4())), lives(name="乙", id=str(uuid4()))]
    answer = await register(
        town, household[0], household[0], lives(), household[1], {"phone": "1", "name": "丙" * 201}
    )
    assert told(answer) == ["accepted", "duplicate", "bad-input", "accepted", "bad-input"]
    assert (answer["accepted"], answer["duplicate"], answer["rejected"]) == (2, 1, 2)
    first, second = (UUID(row["id"]) for row in household)

    round_id = await town.round()
    await town.tick(round_id, 2)
    good = town.result(round_id, first)
    rows = [
        good,
        good,
        good | {"channel": "sweep"},
        town.result(round_id, uuid4()),
        town.result(round_id, second, 3),
        town.result(round_id, second, -1),
        town.result(str(uuid4()), second),
        town.result(round_id, second, channel="post"),
    ]
    answer = await town.results(*rows)
    assert told(answer) == [
        "accepted", "duplicate", "id-reused", "resident-unknown", "from-the-future",
        "outside-window", "round-unknown", "bad-input",
    ]  # fmt: skip
    assert [row["ref"] for row in answer["rows"]] == [row["result_id"] for row in rows]
    assert all(row["reason"]["detail"] for row in answer["rows"][2:])
    # A rejection is not remembered: mended, the row is taken.
    await town.expect(round_id, roll=2, sampled=1, unaccounted=1)
    await town.tick(round_id, 3)
    assert told(await town.results(rows[4])) == ["accepted"]
    await town.expect(round_id, sampled=2, unaccounted=0)


# --- R22: every figure says as of when, and can be reconciled with its source on demand ---


async def test_r22_every_figure_says_as_of_when(town: Town) -> None:
    (resident,) = await town.people(lives(**CANNOT_COME))
    round_id = await town.round()
    await town.tick(round_id, 2)
    sent_at = datetime.now(UTC)
    # What registry has recorded and reporting has not counted, the figures do not claim.
    row = town.result(round_id, resident)
    await town.sent(town.registry, "/v1/results:batch", [row], town.headers("site"))
    behind = await as_of(town, round_id)
    assert (await town.coverage(round_id))["sampled"] == 0
    assert datetime.fromisoformat(behind["time"]) < sent_at
    assert (await town.ledger(round_id))["balanced"] is None

    await town.expect(round_id, sampled=1)
    now = await as_of(town, round_id)
    for moment in ("time", "hands_as_of", "visits_as_of"):
        assert datetime.fromisoformat(now[moment]) > sent_at
    assert now["positions"] != behind["positions"]


async def as_of(town: Town, round_id: str) -> JSON:
    """As of when reporting's figures are, once its worker has looked how far the others are."""
    wiring = town.apps["reporting"].state.wiring
    await producers.look(wiring.database, wiring.peers)
    answer = await town.reporting.get(
        "/v1/coverage", params={"round": round_id}, headers=town.headers("district")
    )
    found: JSON = answer.json()["as_of"]
    assert datetime.fromisoformat(answer.headers["As-Of"]) == datetime.fromisoformat(found["time"])
    return found


async def test_r22_figures_are_reconciled_with_their_source_on_demand(town: Town) -> None:
    people = await town.people(*(lives() for _ in range(3)))
    round_id = await town.round()
    await town.tick(round_id, 2)
    await town.results(town.result(round_id, people[0]))
    await exclude(town, round_id, people[1])
    proven = await town.ledger(round_id)
    assert (proven["balanced"], proven["differences"]) == (True, [])
    source = await town.registry.get(
        f"/v1/rounds/{round_id}/totals?max_age=0", headers=town.headers("district")
    )
    cells = source.json()["communities"][LUYUAN]
    figures = await town.coverage(round_id)
    classes = ("roll", "sampled", "excluded", "unaccounted")
    assert {name: cells[name] for name in classes} == {name: figures[name] for name in classes}
    assert source.json()["as_of"]
    # Without its source nothing is claimed.
    town.switches["registry"].down = True
    unproven = await town.ledger(round_id)
    assert unproven["balanced"] is None
    assert "registry_unreachable" in unproven["reasons"]
