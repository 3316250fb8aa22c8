"""What happens at one door leads on (R16), by whomever and whenever it is told (R19)."""

from functools import partial
from uuid import UUID

import pytest
from msgspec.structs import replace

from services.dispatch.domain import assignment, clock, doors, roll
from services.dispatch.domain.errors import (
    VisitAlreadyFinished,
    VisitNotAssigned,
    VisitNotOpen,
    VisitNotYours,
)
from services.dispatch.domain.people import Person
from services.dispatch.domain.roll import VisitAnswer
from services.dispatch.domain.visits import Referral, Sample, VisitReport
from shared.contracts.vocabulary import VisitOutcome
from shared.errors import BadInput
from tests.dispatch.words import (
    EVENING,
    HOUR,
    MORNING,
    OFFICE,
    OTHER,
    TEAM,
    assigned,
    done,
    report,
    reported,
    scene,
    started,
    the_visit,
    told,
    waiting,
)


@pytest.mark.parametrize("outcome", ["absent", "locked"])
def test_r16_absent_and_locked_make_one_prioritised_revisit(outcome: VisitOutcome) -> None:
    step = reported(outcome)

    visit = the_visit(step.after)
    assert (visit.status, visit.attempt, visit.priority) == ("planned", 2, 1)
    assert [after.status for _, after in step.moved_visits()] == ["finished", "planned"]
    assert step.after.hand is not None
    assert (step.after.hand.kind, step.after.hand.due) == ("revisit", MORNING + 4 * HOUR)
    # Until a team has it, or the four hours have passed.
    taken = assignment.assign(step.after, visit, OTHER, scene()).after.hand
    assert taken is not None
    assert taken.kind == "visit"
    passed = clock.expire(step.after, scene(MORNING + 4 * HOUR))
    assert passed is not None
    assert passed.after.hand is None
    assert the_visit(passed.after).id == visit.id


@pytest.mark.parametrize(
    "outcome", ["refused", "moved", "deceased", "ineligible", "not_executable"]
)
def test_r16_what_people_have_to_decide_is_an_escalation_of_the_office(
    outcome: VisitOutcome,
) -> None:
    person = reported(outcome).after
    assert person.visit is None
    assert person.hand is not None
    assert (person.hand.kind, person.hand.owner, person.hand.reason) == (
        "escalation", OFFICE, outcome,
    )  # fmt: skip
    assert person.hand.due == EVENING  # 24 h, but the round closes before


def test_a_referral_is_in_hand_until_the_named_time_and_then_followed_up() -> None:
    step = reported("referred")
    assert step.after.hand is not None
    assert (step.after.hand.kind, step.after.hand.owner) == ("referral", "site-9")
    assert step.after.hand.due == MORNING + 2 * HOUR
    followed_up = clock.expire(step.after, scene(MORNING + 2 * HOUR))
    assert followed_up is not None
    assert the_visit(followed_up.after).status == "planned"


def test_a_sample_keeps_its_hand_until_registry_answers() -> None:
    step = reported("sampled")
    assert not step.hand_changed
    assert step.after.awaits_answer
    assert clock.expire(step.after, scene(EVENING + 100 * HOUR)) is None


def test_a_recorded_sample_ends_the_hand_with_the_roll() -> None:
    finished = reported("sampled").after
    visit = the_visit(finished)
    answered = done(
        roll.answer(finished, visit, VisitAnswer(visit.id, "alice", "s1", None), scene())
    )
    # The roll's own word may be on its way: nothing new is planned, but not for ever.
    assert answered.visit is None
    assert answered.hand is not None
    assert answered.hand.ends_at == MORNING + HOUR
    sampled = done(roll.settle(answered, told(2, "sampled"), scene()))
    assert sampled.hand is None
    assert not sampled.in_case


def test_the_rolls_word_may_come_before_the_answer() -> None:
    finished = reported("sampled").after
    visit = the_visit(finished)
    sampled = done(roll.settle(finished, told(2, "sampled"), scene()))
    assert sampled.hand is not None
    answered = done(
        roll.answer(sampled, visit, VisitAnswer(visit.id, "alice", "s1", None), scene())
    )
    assert (answered.visit, answered.hand) == (None, None)
    assert roll.answer(answered, replace(visit, answer="recorded"),
                         VisitAnswer(visit.id, "alice", "s1", None), scene()) is None  # fmt: skip


def test_a_refused_sample_is_an_escalation() -> None:
    finished = reported("sampled").after
    visit = the_visit(finished)
    step = roll.answer(
        finished, visit, VisitAnswer(visit.id, "alice", "s1", "/problems/x"), scene()
    )
    person = done(step)
    assert person.hand is not None
    assert (person.hand.kind, person.hand.reason) == ("escalation", "sample_refused:/problems/x")
    assert person.visit is None
    assert step is not None
    # Registry said so itself; only the hand is news.
    assert list(step.moved_visits()) == []


def test_r19_a_visit_may_be_finished_that_was_never_started_as_far_as_we_know() -> None:
    person = assigned()
    given_back = done(clock.expire(person, scene(TEAM.shift_until)))
    visit = the_visit(given_back)
    step = doors.finish(given_back, visit, report("sampled"), "t1", scene())
    assert the_visit(step.after).status == "finished"
    assert step.after.hand is not None
    assert step.after.hand.kind == "visit"


def test_a_team_reports_its_own_doors_only() -> None:
    person = started()
    visit = the_visit(person)
    with pytest.raises(VisitNotYours):
        doors.finish(person, visit, report("absent"), "t2", scene())
    with pytest.raises(VisitNotYours):
        doors.start(person, visit, "t2", scene())


def test_a_visit_is_reported_once() -> None:
    step = reported("refused")
    [(_, visit)] = step.moved_visits()
    with pytest.raises(VisitAlreadyFinished):
        doors.finish(step.after, visit, report("absent"), "t1", scene())
    for act in (
        partial(assignment.assign, step.after, visit, TEAM, scene()),
        partial(doors.start, step.after, visit, "t1", scene()),
        partial(doors.cancel, step.after, visit, "office", scene()),
    ):
        with pytest.raises(VisitNotOpen):
            act()


def test_starting_twice_is_starting_once_and_a_planned_visit_is_not_started() -> None:
    person = started()
    assert doors.start(person, the_visit(person), "t1", scene()).after == person
    planned = waiting()
    with pytest.raises(VisitNotAssigned):
        doors.start(planned, the_visit(planned), None, scene())


def test_calling_a_visit_off_leaves_the_person_in_the_hands_of_who_did() -> None:
    person = assigned()
    step = doors.cancel(person, the_visit(person), "officer-7", scene())
    assert step.after.visit is None
    assert step.after.hand is not None
    assert (step.after.hand.kind, step.after.hand.owner) == ("escalation", "officer-7")


def given_to_another() -> Person:
    """Team t1 had the visit and was taken off it; now t2 has it."""
    person = assigned()
    return done(assignment.assign(person, the_visit(person), OTHER, scene()))


def test_r19_a_team_that_knocked_in_vain_before_does_not_take_the_visit_from_the_next() -> None:
    person = given_to_another()
    late = doors.finish(person, the_visit(person), report("absent"), "t1", scene())
    # It counts as an attempt; the visit stays with the team that is on its way.
    assert list(late.moved_visits()) == []
    assert (late.after.visit, late.after.hand) == (person.visit, person.hand)
    assert late.after.attempts == 1
    swab = doors.finish(late.after, the_visit(late.after), report("sampled"), "t2", scene())
    assert (the_visit(swab.after).outcome, the_visit(swab.after).team) == ("sampled", "t2")


def test_r19_a_swab_of_the_team_before_is_a_swab() -> None:
    person = given_to_another()
    step = doors.finish(person, the_visit(person), report("sampled"), "t1", scene())
    visit = the_visit(step.after)
    assert (visit.status, visit.outcome, visit.team) == ("finished", "sampled", "t1")
    assert step.after.awaits_answer
    with pytest.raises(VisitAlreadyFinished):
        doors.finish(step.after, visit, report("absent"), "t2", scene())


def test_paper_told_in_by_the_office_ends_a_visit_whoever_has_it() -> None:
    person = given_to_another()
    step = doors.finish(person, the_visit(person), report("refused"), None, scene())
    assert step.after.hand is not None
    assert step.after.hand.kind == "escalation"


@pytest.mark.parametrize(
    ("outcome", "sample", "referral"),
    [
        ("sampled", None, None),
        ("absent", Sample("s1", MORNING), None),
        ("referred", None, None),
        ("refused", None, Referral("site", EVENING)),
    ],
)
def test_a_report_tells_what_belongs_to_its_outcome(
    outcome: VisitOutcome, sample: Sample | None, referral: Referral | None
) -> None:
    with pytest.raises(BadInput):
        VisitReport(UUID(int=1), outcome, sample=sample, referral=referral)
