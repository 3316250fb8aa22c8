"""Every hand ends: what registry says of it, when it is due, and what follows."""

from dataclasses import replace

from services.dispatch.domain import assignment, clock, doors, roll
from services.dispatch.domain.hands import ToldHand
from tests.dispatch.words import (
    ALICE,
    EVENING,
    HOUR,
    MORNING,
    ROUND,
    TEAM,
    assigned,
    done,
    report,
    scene,
    started,
    the_visit,
    told,
    waiting,
)


def test_the_echo_of_our_own_hand_is_passed_over() -> None:
    person = assigned()
    echo = ToldHand("visit", EVENING, person.hand_revision)
    after = done(roll.settle(person, told(2, "in_hand", hand=echo), scene()))
    assert after.hand == person.hand
    assert after.hand_revision == person.hand_revision


def test_a_hand_we_gave_and_forgot_is_believed_and_not_told_back() -> None:
    forgotten = ToldHand("referral", MORNING + HOUR, 7)
    step = roll.settle(ALICE, told(1, "in_hand", hand=forgotten), scene())
    assert step is not None
    assert step.after.hand is not None
    assert (step.after.hand.kind, step.after.hand_revision) == ("referral", 7)
    assert not step.hand_changed
    # Somebody has them in hand, so there is nothing to plan until it ends.
    assert step.after.visit is None
    ended = clock.expire(step.after, scene(MORNING + 2 * HOUR))
    assert ended is not None
    assert ended.after.hand_revision == 8
    assert the_visit(ended.after).status == "planned"


def test_every_due_time_is_capped_at_the_closing_of_the_round() -> None:
    person = waiting()
    late = replace(TEAM, shift_until=EVENING + 5 * HOUR)
    hand = done(assignment.assign(person, the_visit(person), late, scene())).hand
    assert hand is not None
    assert hand.due == EVENING
    earlier = replace(ROUND, closes_at=MORNING + HOUR)
    capped = clock.review(assigned(), scene(round_=earlier)).after.hand
    assert capped is not None
    assert capped.due == MORNING + HOUR


def test_a_hand_past_its_time_ends_and_the_visit_waits_for_a_team_again() -> None:
    person = assigned()
    assert clock.expire(person, scene(TEAM.shift_until - HOUR)) is None
    step = clock.expire(person, scene(TEAM.shift_until))
    assert step is not None
    assert step.after.hand is None
    assert step.hand_changed
    assert the_visit(step.after).status == "planned"
    assert the_visit(step.after).team is None
    assert the_visit(step.after).teams == ("t1",)


def test_a_started_visit_has_an_hours_grace() -> None:
    person = started()
    assert clock.expire(person, scene(TEAM.shift_until + HOUR / 2)) is None
    step = clock.expire(person, scene(TEAM.shift_until + HOUR))
    assert step is not None
    assert the_visit(step.after).status == "planned"


def test_an_escalation_nobody_decided_makes_a_new_visit() -> None:
    next_day = replace(ROUND, closes_at=MORNING + 100 * HOUR)
    person = done(roll.settle(ALICE, told(1), scene(round_=next_day)))
    person = done(assignment.assign(person, the_visit(person), TEAM, scene(round_=next_day)))
    step = doors.finish(person, the_visit(person), report("refused"), "t1", scene(round_=next_day))
    assert clock.expire(step.after, scene(MORNING + 23 * HOUR, next_day)) is None
    ended = clock.expire(step.after, scene(MORNING + 24 * HOUR, next_day))
    assert ended is not None
    assert the_visit(ended.after).attempt == 2


def test_closing_the_round_cancels_what_was_not_begun_and_lets_a_team_finish() -> None:
    closed = scene(EVENING, replace(ROUND, state="closed"))
    called_off = clock.review(assigned(), closed).after
    assert called_off.case is not None
    assert called_off.case.reason == "round_closed"
    assert (called_off.visit, called_off.hand) == (None, None)

    at_the_door = clock.review(started(), closed).after
    assert the_visit(at_the_door).status == "started"
    sealed = clock.review(at_the_door, scene(EVENING, replace(ROUND, state="sealed"))).after
    assert (sealed.visit, sealed.hand) == (None, None)
    step = clock.expire(at_the_door, replace(closed, now=EVENING + 2 * HOUR))
    assert step is not None
    assert (step.after.visit, step.after.hand) == (None, None)
    [(_, visit)] = step.moved_visits()
    assert visit.status == "cancelled"
