"""Cases open for the untested who cannot come, and close once they are accounted for."""

from dataclasses import replace
from uuid import UUID

import msgspec
import pytest

from services.dispatch.domain import clock, doors, roll
from services.dispatch.domain.policy import Policy
from services.dispatch.domain.roll import Told
from services.dispatch.domain.visits import Sample
from shared.contracts.vocabulary import RoundState
from tests.dispatch.words import (
    ALICE,
    HERE,
    MORNING,
    ROUND,
    THERE,
    assigned,
    done,
    report,
    scene,
    started,
    the_visit,
    told,
    waiting,
)


def test_an_untested_person_who_cannot_come_gets_a_case_and_one_planned_visit() -> None:
    step = roll.settle(ALICE, told(1), scene())

    assert step is not None
    assert step.after.in_case
    assert step.after.home == HERE
    [(before, visit)] = step.moved_visits()
    assert before is None
    assert (visit.status, visit.revision, visit.attempt, visit.community) == ("planned", 1, 1, HERE)
    # Only planned: nobody answers for them yet, so this is no hand.
    assert step.after.hand is None
    assert not step.hand_changed


def test_who_can_come_to_a_site_gets_none() -> None:
    person = done(roll.settle(ALICE, told(1, needs=()), scene()))
    assert person.case is None
    assert person.visit is None


@pytest.mark.parametrize("state", ["draft", "closed", "sealed"])
def test_no_case_opens_in_a_round_that_is_not_open(state: RoundState) -> None:
    person = done(roll.settle(ALICE, told(1), scene(round_=replace(ROUND, state=state))))
    assert not person.in_case
    assert person.visit is None


def test_cases_open_with_the_round() -> None:
    draft = done(roll.settle(ALICE, told(1), scene(round_=replace(ROUND, state="draft"))))
    person = clock.review(draft, scene()).after
    assert person.in_case
    assert the_visit(person).status == "planned"


def test_needs_that_are_not_worth_a_visit_by_policy_open_no_case() -> None:
    policy = Policy(worthy=frozenset({"quarantine"}))
    person = done(roll.settle(ALICE, told(1), scene(policy=policy)))
    assert person.case is None


@pytest.mark.parametrize(
    ("news", "reason"),
    [
        (told(2, "sampled"), "sampled"),
        (told(2, "excluded"), "excluded"),
        (told(2, "off"), "left"),
        (told(2, "off", alive=False), "died"),
        (told(2, "visitor"), "left"),
        (told(2, needs=()), "need_ended"),
    ],
)
def test_r15_whatever_accounts_for_a_person_closes_case_and_visit(news: Told, reason: str) -> None:
    step = roll.settle(assigned(), news, scene())

    person = done(step)
    assert person.case is not None
    assert (person.case.state, person.case.reason) == ("closed", reason)
    assert person.visit is None
    assert person.hand is None
    assert step is not None
    [(_, visit)] = step.moved_visits()
    assert (visit.status, visit.reason) == ("cancelled", reason)
    assert step.hand_changed


def test_r15_a_sample_elsewhere_calls_back_a_team_at_the_door_and_its_report_is_kept() -> None:
    at_the_door = started()
    visit = the_visit(at_the_door)
    elsewhere = roll.settle(at_the_door, told(2, "sampled"), scene())
    assert elsewhere is not None
    [(_, cancelled)] = elsewhere.moved_visits()
    assert cancelled.status == "cancelled"

    step = doors.finish(elsewhere.after, cancelled, report("sampled"), "t1", scene())

    [(before, finished)] = step.moved_visits()
    assert before is not None
    assert (before.status, finished.status, finished.outcome) == (
        "cancelled", "cancelled", "sampled",
    )  # fmt: skip
    assert finished.sample == Sample("s1", MORNING)
    assert finished.id == visit.id
    assert finished.revision > cancelled.revision
    assert step.after.hand is None


def test_losing_the_last_need_lets_a_started_visit_go_on() -> None:
    person = done(roll.settle(started(), told(2, needs=()), scene()))
    assert not person.in_case
    assert the_visit(person).status == "started"
    assert person.hand is not None

    ended = doors.finish(person, the_visit(person), report("absent"), "t1", scene())
    assert ended.after.visit is None
    assert ended.after.hand is None


def test_a_sample_that_was_voided_opens_the_case_again_with_a_new_visit() -> None:
    sampled = done(roll.settle(waiting(), told(2, "sampled"), scene()))
    again = done(roll.settle(sampled, told(3), scene()))
    assert again.in_case
    assert the_visit(again).status == "planned"
    assert again.home == HERE


def test_only_a_newer_revision_counts_and_a_second_half_is_dropped() -> None:
    sampled = done(roll.settle(waiting(), told(5, "sampled"), scene()))
    assert roll.settle(sampled, told(5), scene()) is None
    assert roll.settle(sampled, told(4), scene()) is None


def test_a_new_life_of_registry_outranks_every_revision_of_the_old() -> None:
    sampled = done(roll.settle(waiting(), told(5, "sampled"), scene()))
    restored = msgspec.structs.replace(told(1), incarnation=UUID(int=2))
    assert done(roll.settle(sampled, restored, scene())).in_case


def test_who_moves_is_visited_at_the_new_door() -> None:
    person = assigned()
    old = the_visit(person)

    step = roll.settle(person, told(2, community=THERE), scene())

    assert step is not None
    moved = dict.fromkeys(visit.id for _, visit in step.moved_visits())
    assert set(moved) == {old.id, the_visit(step.after).id}
    assert the_visit(step.after).community == THERE
    assert the_visit(step.after).status == "planned"
    assert step.after.hand is None
    # Their hands stay in the partition they began in.
    assert step.after.key == HERE
