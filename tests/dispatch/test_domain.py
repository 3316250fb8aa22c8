"""What dispatch decides, one person and one door at a time; and that nobody is ever left out."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from services.dispatch import domain
from services.dispatch.domain import (
    Person,
    Policy,
    Referral,
    Round,
    Sample,
    Scene,
    Standing,
    Step,
    Team,
    Told,
    ToldHand,
    Visit,
    VisitAnswer,
    VisitReport,
)
from shared.contracts.vocabulary import Class, Need, RoundState, VisitOutcome
from shared.errors import BadInput, LastmetreError

HOUR = timedelta(hours=1)
MORNING = datetime(2022, 1, 7, 8, tzinfo=UTC)
EVENING = MORNING + 12 * HOUR
LIFE = UUID(int=1)
HERE, THERE = "410171001001", "410171002001"
OFFICE = HERE[:9]
ROUND = Round("r1", LIFE, 1, state="open", opens_at=MORNING, closes_at=EVENING)
ALICE = Person("r1", "alice")
TEAM = Team("t1", "first", ("410171",), (), MORNING - HOUR, MORNING + 6 * HOUR, 40)
OTHER = replace(TEAM, id="t2")

_ids = count(1)


def scene(at: datetime = MORNING, round_: Round = ROUND, policy: Policy | None = None) -> Scene:
    return Scene(round_, at, policy or Policy(), lambda: UUID(int=next(_ids)))


def told(
    rev: int,
    klass: Class = "unaccounted",
    community: str = HERE,
    needs: tuple[Need, ...] = ("mobility",),
    *,
    alive: bool = True,
    hand: ToldHand | None = None,
) -> Told:
    return Told("alice", LIFE, rev, Standing(klass, community, needs, alive), hand)


def done(step: Step | None) -> Person:
    assert step is not None
    return step.after


def the_visit(person: Person) -> Visit:
    assert person.visit is not None
    return person.visit


def waiting() -> Person:
    """Alice cannot come, is untested, and a visit is planned."""
    return done(domain.settle(ALICE, told(1), scene()))


def assigned() -> Person:
    person = waiting()
    return done(domain.assign(person, the_visit(person), TEAM, scene()))


def started(at: datetime = MORNING) -> Person:
    person = assigned()
    return done(domain.start(person, the_visit(person), "t1", scene(at)))


def report(outcome: VisitOutcome) -> VisitReport:
    return VisitReport(
        UUID(int=next(_ids)),
        outcome,
        sample=Sample("s1", MORNING) if outcome == "sampled" else None,
        referral=Referral("site-9", MORNING + 2 * HOUR) if outcome == "referred" else None,
    )


def reported(outcome: VisitOutcome) -> Step:
    person = started()
    return domain.finish(person, the_visit(person), report(outcome), "t1", scene())


# --- cases ---


def test_an_untested_person_who_cannot_come_gets_a_case_and_one_planned_visit() -> None:
    step = domain.settle(ALICE, told(1), scene())

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
    person = done(domain.settle(ALICE, told(1, needs=()), scene()))
    assert person.case is None
    assert person.visit is None


@pytest.mark.parametrize("state", ["draft", "closed", "sealed"])
def test_no_case_opens_in_a_round_that_is_not_open(state: RoundState) -> None:
    person = done(domain.settle(ALICE, told(1), scene(round_=replace(ROUND, state=state))))
    assert not person.in_case
    assert person.visit is None


def test_cases_open_with_the_round() -> None:
    draft = done(domain.settle(ALICE, told(1), scene(round_=replace(ROUND, state="draft"))))
    person = domain.review(draft, scene()).after
    assert person.in_case
    assert the_visit(person).status == "planned"


def test_needs_that_are_not_worth_a_visit_by_policy_open_no_case() -> None:
    policy = Policy(worthy=frozenset({"quarantine"}))
    person = done(domain.settle(ALICE, told(1), scene(policy=policy)))
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
    step = domain.settle(assigned(), news, scene())

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
    elsewhere = domain.settle(at_the_door, told(2, "sampled"), scene())
    assert elsewhere is not None
    [(_, cancelled)] = elsewhere.moved_visits()
    assert cancelled.status == "cancelled"

    step = domain.finish(elsewhere.after, cancelled, report("sampled"), "t1", scene())

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
    person = done(domain.settle(started(), told(2, needs=()), scene()))
    assert not person.in_case
    assert the_visit(person).status == "started"
    assert person.hand is not None

    ended = domain.finish(person, the_visit(person), report("absent"), "t1", scene())
    assert ended.after.visit is None
    assert ended.after.hand is None


def test_a_sample_that_was_voided_opens_the_case_again_with_a_new_visit() -> None:
    sampled = done(domain.settle(waiting(), told(2, "sampled"), scene()))
    again = done(domain.settle(sampled, told(3), scene()))
    assert again.in_case
    assert the_visit(again).status == "planned"
    assert again.home == HERE


def test_only_a_newer_revision_counts_and_a_second_half_is_dropped() -> None:
    sampled = done(domain.settle(waiting(), told(5, "sampled"), scene()))
    assert domain.settle(sampled, told(5), scene()) is None
    assert domain.settle(sampled, told(4), scene()) is None


def test_a_new_life_of_registry_outranks_every_revision_of_the_old() -> None:
    sampled = done(domain.settle(waiting(), told(5, "sampled"), scene()))
    restored = replace(told(1), incarnation=UUID(int=2))
    assert done(domain.settle(sampled, restored, scene())).in_case


def test_who_moves_is_visited_at_the_new_door() -> None:
    person = assigned()
    old = the_visit(person)

    step = domain.settle(person, told(2, community=THERE), scene())

    assert step is not None
    moved = dict.fromkeys(visit.id for _, visit in step.moved_visits())
    assert set(moved) == {old.id, the_visit(step.after).id}
    assert the_visit(step.after).community == THERE
    assert the_visit(step.after).status == "planned"
    assert step.after.hand is None
    # Their hands stay in the partition they began in.
    assert step.after.key == HERE


# --- hands and echoes ---


def test_the_echo_of_our_own_hand_is_passed_over() -> None:
    person = assigned()
    echo = ToldHand("visit", EVENING, person.hand_revision)
    after = done(domain.settle(person, told(2, "in_hand", hand=echo), scene()))
    assert after.hand == person.hand
    assert after.hand_revision == person.hand_revision


def test_a_hand_we_gave_and_forgot_is_believed_and_not_told_back() -> None:
    forgotten = ToldHand("referral", MORNING + HOUR, 7)
    step = domain.settle(ALICE, told(1, "in_hand", hand=forgotten), scene())
    assert step is not None
    assert step.after.hand is not None
    assert (step.after.hand.kind, step.after.hand_revision) == ("referral", 7)
    assert not step.hand_changed
    # Somebody has them in hand, so there is nothing to plan until it ends.
    assert step.after.visit is None
    ended = domain.expire(step.after, scene(MORNING + 2 * HOUR))
    assert ended is not None
    assert ended.after.hand_revision == 8
    assert the_visit(ended.after).status == "planned"


def test_assigning_puts_a_person_into_the_teams_hand_until_its_shift_ends() -> None:
    person = assigned()
    assert person.hand == domain.Hand("visit", TEAM.shift_until, TEAM.shift_until, "t1")
    assert the_visit(person).team == "t1"


def test_every_due_time_is_capped_at_the_closing_of_the_round() -> None:
    person = waiting()
    late = replace(TEAM, shift_until=EVENING + 5 * HOUR)
    hand = done(domain.assign(person, the_visit(person), late, scene())).hand
    assert hand is not None
    assert hand.due == EVENING
    earlier = replace(ROUND, closes_at=MORNING + HOUR)
    capped = domain.review(assigned(), scene(round_=earlier)).after.hand
    assert capped is not None
    assert capped.due == MORNING + HOUR


@pytest.mark.parametrize(
    ("team", "reason"),
    [
        (replace(TEAM, active=False), "off-shift"),
        (replace(TEAM, shift_until=MORNING), "off-shift"),
        (replace(TEAM, areas=(THERE[:9],)), "elsewhere"),
    ],
)
def test_a_team_that_cannot_go_is_not_sent(team: Team, reason: str) -> None:
    person = waiting()
    with pytest.raises(domain.TeamCannotServe) as refused:
        domain.assign(person, the_visit(person), team, scene())
    assert refused.value.extensions == {"reason": reason}


def test_r17_where_teams_are_separate_a_quarantined_home_has_its_own() -> None:
    separate = Policy(quarantine="separate")
    at_home = done(domain.settle(ALICE, told(1, needs=("quarantine",)), scene()))
    visit = the_visit(at_home)
    assert visit.quarantined
    with pytest.raises(domain.TeamCannotServe):
        domain.assign(at_home, visit, TEAM, scene(policy=separate))
    protected = replace(TEAM, serves_quarantine=True)
    step = domain.assign(at_home, visit, protected, scene(policy=separate))
    assert the_visit(step.after).status == "assigned"
    # And it goes to no other homes.
    person = waiting()
    with pytest.raises(domain.TeamCannotServe):
        domain.assign(person, the_visit(person), protected, scene(policy=separate))


def test_r17_a_quarantine_that_ends_makes_the_visit_an_ordinary_one() -> None:
    both = done(domain.settle(ALICE, told(1, needs=("mobility", "quarantine")), scene()))
    assert the_visit(both).quarantined
    step = domain.settle(both, told(2), scene())
    assert step is not None
    assert not the_visit(step.after).quarantined
    assert list(step.moved_visits()) == []


def test_r17_a_quarantine_that_begins_takes_the_visit_from_a_team_that_must_not_go() -> None:
    news = told(2, needs=("mobility", "quarantine"))
    separate = scene(policy=Policy(quarantine="separate"))
    taken = done(domain.settle(assigned(), news, separate))
    assert (the_visit(taken).status, taken.hand) == ("planned", None)
    last = done(domain.settle(assigned(), news, scene()))
    assert the_visit(last).status == "assigned"
    at_the_door = done(domain.settle(started(), news, separate))
    assert the_visit(at_the_door).status == "started"


def test_a_hand_past_its_time_ends_and_the_visit_waits_for_a_team_again() -> None:
    person = assigned()
    assert domain.expire(person, scene(TEAM.shift_until - HOUR)) is None
    step = domain.expire(person, scene(TEAM.shift_until))
    assert step is not None
    assert step.after.hand is None
    assert step.hand_changed
    assert the_visit(step.after).status == "planned"
    assert the_visit(step.after).team is None
    assert the_visit(step.after).teams == ("t1",)


def test_a_started_visit_has_an_hours_grace() -> None:
    person = started()
    assert domain.expire(person, scene(TEAM.shift_until + HOUR / 2)) is None
    step = domain.expire(person, scene(TEAM.shift_until + HOUR))
    assert step is not None
    assert the_visit(step.after).status == "planned"


def test_a_team_that_drops_out_gives_its_visits_back() -> None:
    gone = replace(TEAM, active=False)
    step = domain.regroup(started(), gone, scene())
    assert step is not None
    assert the_visit(step.after).status == "planned"
    assert step.after.hand is None
    assert domain.regroup(started(), replace(OTHER, active=False), scene()) is None


@pytest.mark.parametrize(
    "changed",
    [
        replace(TEAM, areas=(THERE[:9],)),
        replace(TEAM, shift_from=MORNING + HOUR),
        replace(TEAM, shift_from=MORNING + 24 * HOUR, shift_until=MORNING + 30 * HOUR),
        replace(TEAM, serves_quarantine=True),
    ],
    ids=["elsewhere", "later", "tomorrow", "quarantine"],
)
def test_a_team_that_changed_gives_back_what_it_cannot_make_but_not_the_door_it_is_at(
    changed: Team,
) -> None:
    separate = scene(policy=Policy(quarantine="separate"))
    given_back = done(domain.regroup(assigned(), changed, separate))
    assert (the_visit(given_back).status, given_back.hand) == ("planned", None)
    assert domain.regroup(started(), changed, separate) is None


def test_a_longer_shift_moves_what_is_due() -> None:
    longer = replace(TEAM, shift_until=TEAM.shift_until + HOUR)
    step = domain.regroup(started(), longer, scene())
    assert step is not None
    assert step.after.hand is not None
    assert step.after.hand.due == longer.shift_until
    assert step.after.hand.ends_at == longer.shift_until + HOUR
    assert domain.regroup(started(), TEAM, scene()) is None


def test_a_shift_that_is_over_leaves_a_team_at_the_door_its_hour_of_grace() -> None:
    shorter = replace(TEAM, shift_until=MORNING + HOUR)
    assert domain.regroup(started(), shorter, scene(MORNING + 2 * HOUR)) is None
    back = done(domain.regroup(assigned(), shorter, scene(MORNING + 2 * HOUR)))
    assert back.hand is None


def test_a_team_without_room_is_not_sent_but_keeps_what_it_has() -> None:
    person = waiting()
    with pytest.raises(domain.TeamCannotServe) as refused:
        domain.assign(person, the_visit(person), TEAM, scene(), room=0)
    assert refused.value.extensions == {"reason": "full"}
    has_it = assigned()
    assert domain.assign(has_it, the_visit(has_it), TEAM, scene(), room=0).after == has_it


def test_work_is_not_handed_out_after_the_closing_time() -> None:
    person = waiting()
    tired = replace(TEAM, shift_until=EVENING + 9 * HOUR)
    with pytest.raises(domain.RoundNotOpen):
        domain.assign(person, the_visit(person), tired, scene(EVENING))


def test_closing_the_round_cancels_what_was_not_begun_and_lets_a_team_finish() -> None:
    closed = scene(EVENING, replace(ROUND, state="closed"))
    called_off = domain.review(assigned(), closed).after
    assert called_off.case is not None
    assert called_off.case.reason == "round_closed"
    assert (called_off.visit, called_off.hand) == (None, None)

    at_the_door = domain.review(started(), closed).after
    assert the_visit(at_the_door).status == "started"
    sealed = domain.review(at_the_door, scene(EVENING, replace(ROUND, state="sealed"))).after
    assert (sealed.visit, sealed.hand) == (None, None)
    step = domain.expire(at_the_door, replace(closed, now=EVENING + 2 * HOUR))
    assert step is not None
    assert (step.after.visit, step.after.hand) == (None, None)
    [(_, visit)] = step.moved_visits()
    assert visit.status == "cancelled"


# --- what happened at the door ---


@pytest.mark.parametrize("outcome", ["absent", "locked"])
def test_r16_absent_and_locked_make_one_prioritised_revisit(outcome: VisitOutcome) -> None:
    step = reported(outcome)

    visit = the_visit(step.after)
    assert (visit.status, visit.attempt, visit.priority) == ("planned", 2, 1)
    assert [after.status for _, after in step.moved_visits()] == ["finished", "planned"]
    assert step.after.hand is not None
    assert (step.after.hand.kind, step.after.hand.due) == ("revisit", MORNING + 4 * HOUR)
    # Until a team has it, or the four hours have passed.
    taken = domain.assign(step.after, visit, OTHER, scene()).after.hand
    assert taken is not None
    assert taken.kind == "visit"
    passed = domain.expire(step.after, scene(MORNING + 4 * HOUR))
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


def test_an_escalation_nobody_decided_makes_a_new_visit() -> None:
    next_day = replace(ROUND, closes_at=MORNING + 100 * HOUR)
    person = done(domain.settle(ALICE, told(1), scene(round_=next_day)))
    person = done(domain.assign(person, the_visit(person), TEAM, scene(round_=next_day)))
    step = domain.finish(person, the_visit(person), report("refused"), "t1", scene(round_=next_day))
    assert domain.expire(step.after, scene(MORNING + 23 * HOUR, next_day)) is None
    ended = domain.expire(step.after, scene(MORNING + 24 * HOUR, next_day))
    assert ended is not None
    assert the_visit(ended.after).attempt == 2


def test_a_referral_is_in_hand_until_the_named_time_and_then_followed_up() -> None:
    step = reported("referred")
    assert step.after.hand is not None
    assert (step.after.hand.kind, step.after.hand.owner) == ("referral", "site-9")
    assert step.after.hand.due == MORNING + 2 * HOUR
    followed_up = domain.expire(step.after, scene(MORNING + 2 * HOUR))
    assert followed_up is not None
    assert the_visit(followed_up.after).status == "planned"


def test_a_sample_keeps_its_hand_until_registry_answers() -> None:
    step = reported("sampled")
    assert not step.hand_changed
    assert step.after.awaits_answer
    assert domain.expire(step.after, scene(EVENING + 100 * HOUR)) is None


def test_a_recorded_sample_ends_the_hand_with_the_roll() -> None:
    finished = reported("sampled").after
    visit = the_visit(finished)
    answered = done(
        domain.answer(finished, visit, VisitAnswer(visit.id, "alice", "s1", None), scene())
    )
    # The roll's own word may be on its way: nothing new is planned, but not for ever.
    assert answered.visit is None
    assert answered.hand is not None
    assert answered.hand.ends_at == MORNING + HOUR
    sampled = done(domain.settle(answered, told(2, "sampled"), scene()))
    assert sampled.hand is None
    assert not sampled.in_case


def test_the_rolls_word_may_come_before_the_answer() -> None:
    finished = reported("sampled").after
    visit = the_visit(finished)
    sampled = done(domain.settle(finished, told(2, "sampled"), scene()))
    assert sampled.hand is not None
    answered = done(
        domain.answer(sampled, visit, VisitAnswer(visit.id, "alice", "s1", None), scene())
    )
    assert (answered.visit, answered.hand) == (None, None)
    assert domain.answer(answered, replace(visit, answer="recorded"),
                         VisitAnswer(visit.id, "alice", "s1", None), scene()) is None  # fmt: skip


def test_a_refused_sample_is_an_escalation() -> None:
    finished = reported("sampled").after
    visit = the_visit(finished)
    step = domain.answer(
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
    given_back = done(domain.expire(person, scene(TEAM.shift_until)))
    visit = the_visit(given_back)
    step = domain.finish(given_back, visit, report("sampled"), "t1", scene())
    assert the_visit(step.after).status == "finished"
    assert step.after.hand is not None
    assert step.after.hand.kind == "visit"


def test_a_team_reports_its_own_doors_only() -> None:
    person = started()
    visit = the_visit(person)
    with pytest.raises(domain.VisitNotYours):
        domain.finish(person, visit, report("absent"), "t2", scene())
    with pytest.raises(domain.VisitNotYours):
        domain.start(person, visit, "t2", scene())


def test_a_visit_is_reported_once() -> None:
    step = reported("refused")
    [(_, visit)] = step.moved_visits()
    with pytest.raises(domain.VisitAlreadyFinished):
        domain.finish(step.after, visit, report("absent"), "t1", scene())
    for act in (
        partial(domain.assign, step.after, visit, TEAM, scene()),
        partial(domain.start, step.after, visit, "t1", scene()),
        partial(domain.cancel, step.after, visit, "office", scene()),
    ):
        with pytest.raises(domain.VisitNotOpen):
            act()


def test_starting_twice_is_starting_once_and_a_planned_visit_is_not_started() -> None:
    person = started()
    assert domain.start(person, the_visit(person), "t1", scene()).after == person
    planned = waiting()
    with pytest.raises(domain.VisitNotAssigned):
        domain.start(planned, the_visit(planned), None, scene())


def test_calling_a_visit_off_leaves_the_person_in_the_hands_of_who_did() -> None:
    person = assigned()
    step = domain.cancel(person, the_visit(person), "officer-7", scene())
    assert step.after.visit is None
    assert step.after.hand is not None
    assert (step.after.hand.kind, step.after.hand.owner) == ("escalation", "officer-7")


# --- two teams at one door ---


def given_to_another() -> Person:
    """Team t1 had the visit and was taken off it; now t2 has it."""
    person = assigned()
    return done(domain.assign(person, the_visit(person), OTHER, scene()))


def test_r19_a_team_that_knocked_in_vain_before_does_not_take_the_visit_from_the_next() -> None:
    person = given_to_another()
    late = domain.finish(person, the_visit(person), report("absent"), "t1", scene())
    # It counts as an attempt; the visit stays with the team that is on its way.
    assert list(late.moved_visits()) == []
    assert (late.after.visit, late.after.hand) == (person.visit, person.hand)
    assert late.after.attempts == 1
    swab = domain.finish(late.after, the_visit(late.after), report("sampled"), "t2", scene())
    assert (the_visit(swab.after).outcome, the_visit(swab.after).team) == ("sampled", "t2")


def test_r19_a_swab_of_the_team_before_is_a_swab() -> None:
    person = given_to_another()
    step = domain.finish(person, the_visit(person), report("sampled"), "t1", scene())
    visit = the_visit(step.after)
    assert (visit.status, visit.outcome, visit.team) == ("finished", "sampled", "t1")
    assert step.after.awaits_answer
    with pytest.raises(domain.VisitAlreadyFinished):
        domain.finish(step.after, visit, report("absent"), "t2", scene())


def test_paper_told_in_by_the_office_ends_a_visit_whoever_has_it() -> None:
    person = given_to_another()
    step = domain.finish(person, the_visit(person), report("refused"), None, scene())
    assert step.after.hand is not None
    assert step.after.hand.kind == "escalation"


# --- what an office decides ---


def decision(verb: domain.Verb = "take", hours: float = 2) -> domain.Decision:
    referral = Referral("site-9", MORNING + hours * HOUR) if verb == "refer" else None
    return domain.Decision(UUID(int=next(_ids)), verb, referral)


def test_an_escalation_is_taken_over_by_somebody_and_its_time_stays() -> None:
    escalated = reported("refused").after
    step = domain.decide(escalated, decision("take"), "officer-7", scene())
    assert step.after.hand is not None
    assert (step.after.hand.owner, step.after.hand.due) == ("officer-7", EVENING)
    # Who owns it is the office's own business: registry has heard kind and time already.
    assert not step.hand_changed


def test_an_escalation_is_settled_with_a_visit_before_its_time() -> None:
    step = domain.decide(reported("refused").after, decision("revisit"), "officer-7", scene())
    visit = the_visit(step.after)
    assert (visit.status, visit.attempt, visit.priority) == ("planned", 2, 1)
    hand = step.after.hand
    assert hand is not None
    assert (hand.kind, hand.owner, hand.due) == ("revisit", "officer-7", MORNING + 4 * HOUR)


@pytest.mark.parametrize("person", [reported("refused").after, waiting()], ids=["hand", "waits"])
def test_who_can_walk_after_all_is_referred_to_a_site(person: Person) -> None:
    step = domain.decide(person, decision("refer"), "officer-7", scene())
    assert step.after.visit is None
    assert step.after.hand is not None
    assert (step.after.hand.kind, step.after.hand.owner) == ("referral", "site-9")
    assert step.after.hand.due == MORNING + 2 * HOUR
    # A visit that waited for a team is called off with it.
    assert {after.status for _, after in step.moved_visits()} <= {"cancelled"}
    with pytest.raises(BadInput):
        domain.decide(person, decision("refer", hours=0), "officer-7", scene())


@pytest.mark.parametrize("verb", ["take", "revisit", "refer"])
def test_nothing_is_decided_over_the_head_of_a_team_or_of_registry(verb: domain.Verb) -> None:
    swabbed = reported("sampled").after
    visit = the_visit(swabbed)
    recorded = VisitAnswer(visit.id, "alice", "s1", None)
    for person in (
        assigned(), started(), swabbed, done(domain.answer(swabbed, visit, recorded, scene())),
    ):  # fmt: skip
        with pytest.raises(domain.CaseInHand):
            domain.decide(person, decision(verb), "officer-7", scene())


def test_nothing_is_decided_where_a_visit_waits_or_the_case_is_closed() -> None:
    for verb in ("take", "revisit"):
        with pytest.raises(domain.VisitPlanned):
            domain.decide(waiting(), decision(verb), "officer-7", scene())
    sampled = done(domain.settle(waiting(), told(2, "sampled"), scene()))
    with pytest.raises(domain.CaseNotOpen):
        domain.decide(sampled, decision("refer"), "officer-7", scene())
    with pytest.raises(BadInput):
        domain.Decision(UUID(int=1), "revisit", Referral("site-9", EVENING))


@pytest.mark.parametrize("outcome", ["refused", "absent"])
def test_what_an_office_answers_for_moves_with_the_person(outcome: VisitOutcome) -> None:
    escalated = reported(outcome).after
    mine = domain.decide(escalated, decision("take"), "officer-7", scene()).after
    for person in (escalated, mine):
        moved = done(domain.settle(person, told(2, community=THERE), scene()))
        assert moved.hand is not None
        assert moved.hand.owner == THERE[:9]
        assert moved.visit is None or moved.visit.community == THERE
    next_door = done(domain.settle(mine, told(2, community=OFFICE + "002"), scene()))
    assert next_door.hand is not None
    assert next_door.hand.owner == "officer-7"


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


# --- nobody is left out, whatever happens in whatever order ---

KLASSES: list[Class] = ["unaccounted", "in_hand", "sampled", "excluded", "off", "visitor"]
NEEDS: list[tuple[Need, ...]] = [(), ("mobility",), ("quarantine",), ("mobility", "quarantine")]


class OneLife(RuleBasedStateMachine):
    """One resident in one round; registry, teams, offices and the clock do as they please."""

    def __init__(self) -> None:
        super().__init__()
        self.person = ALICE
        self.round = ROUND
        self.policy = Policy()
        self.now = MORNING
        self.rev = 0
        self.visits: dict[UUID, Visit] = {}
        self.heard_visits: dict[UUID, Visit] = {}
        self.heard_hand: tuple[object, ...] | None = None

    def scene(self) -> Scene:
        return scene(self.now, self.round, self.policy)

    @initialize(quarantine=st.sampled_from(["last", "separate"]))
    def by_policy(self, quarantine: domain.QuarantinePolicy) -> None:
        self.policy = Policy(quarantine=quarantine)

    def take(self, step: Step | None) -> None:
        if step is None:
            return
        assert step.after.hand_revision >= self.person.hand_revision
        for before, after in step.visits:
            assert before == self.visits.get(after.id)
            self.visits[after.id] = after
        for before, after in step.moved_visits():
            heard = self.heard_visits.get(after.id)
            assert (heard and heard.status) == (before and before.status)
            assert after.revision == (heard.revision if heard else 0) + 1
            assert after.community == (heard.community if heard else after.community)
            self.heard_visits[after.id] = after
        hand = step.after.hand
        if step.hand_changed:
            self.heard_hand = (hand.kind, hand.due) if hand else None
        assert self.heard_hand == ((hand.kind, hand.due) if hand else None)
        self.person = step.after

    @rule(
        klass=st.sampled_from(KLASSES),
        needs=st.sampled_from(NEEDS),
        community=st.sampled_from([HERE, THERE]),
        alive=st.booleans(),
    )
    def registry_tells(
        self, klass: Class, needs: tuple[Need, ...], community: str, alive: bool
    ) -> None:
        self.rev += 1
        news = told(self.rev, klass, community, needs, alive=alive)
        self.take(domain.settle(self.person, news, self.scene()))

    @rule(state=st.sampled_from(["open", "closed", "sealed"]), hours=st.integers(1, 30))
    def the_round_changes(self, state: RoundState, hours: int) -> None:
        self.round = replace(self.round, state=state, closes_at=MORNING + hours * HOUR)
        self.take(domain.review(self.person, self.scene()))

    @rule(hours=st.sampled_from([0.5, 3, 9, 25]))
    def time_passes(self, hours: float) -> None:
        self.now += hours * HOUR
        self.take(domain.expire(self.person, self.scene()))

    @precondition(lambda self: self.visits)
    @rule(data=st.data(), act=st.sampled_from(["assign", "start", "cancel", "report", "answer"]))
    def somebody_acts(self, data: st.DataObject, act: str) -> None:
        visit = self.visits[data.draw(st.sampled_from(sorted(self.visits)))]
        person, now = self.person, self.scene()
        until = self.now + data.draw(st.sampled_from([1, 8])) * HOUR
        name = data.draw(st.sampled_from(["t1", "t2"]))
        team = replace(TEAM, id=name, shift_until=until, serves_quarantine=name == "t2")
        try:
            match act:
                case "assign":
                    self.take(domain.assign(person, visit, team, now))
                case "start":
                    self.take(domain.start(person, visit, team.id, now))
                case "cancel":
                    self.take(domain.cancel(person, visit, "office", now))
                case "report":
                    outcome = data.draw(st.sampled_from(sorted(domain.OUTCOMES)))
                    by = data.draw(st.sampled_from([None, "t1", "t2"]))
                    self.take(domain.finish(person, visit, report(outcome), by, now))
                case "answer":
                    refusal = data.draw(st.sampled_from([None, "/problems/no"]))
                    self.take(
                        domain.answer(
                            person, visit, VisitAnswer(visit.id, "alice", "s1", refusal), now
                        )
                    )
        except LastmetreError:
            return

    @rule(
        team=st.sampled_from([TEAM, OTHER]),
        active=st.booleans(),
        area=st.sampled_from(["410171", THERE[:9]]),
        begins=st.sampled_from([-1, 2]),
    )
    def a_team_changes(self, team: Team, active: bool, area: str, begins: int) -> None:
        changed = replace(
            team,
            active=active,
            areas=(area,),
            shift_from=self.now + begins * HOUR,
            shift_until=self.now + 5 * HOUR,
        )
        self.take(domain.regroup(self.person, changed, self.scene()))

    @rule(verb=st.sampled_from(["take", "revisit", "refer"]), hours=st.sampled_from([1, 30]))
    def an_office_decides(self, verb: domain.Verb, hours: int) -> None:
        referral = Referral("site-9", self.now + hours * HOUR) if verb == "refer" else None
        said = domain.Decision(UUID(int=next(_ids)), verb, referral)
        try:
            self.take(domain.decide(self.person, said, "officer-7", self.scene()))
        except LastmetreError:
            return

    @invariant()
    def r15_at_most_one_visit_is_open(self) -> None:
        still_open = [visit for visit in self.visits.values() if visit.is_open]
        assert len(still_open) <= 1
        if still_open:
            assert self.person.visit == still_open[0]

    @invariant()
    def an_open_case_has_a_visit_or_a_hand_and_a_closed_one_neither(self) -> None:
        person = self.person
        if person.in_case:
            assert self.round.state == "open"
            assert person.visit is not None or person.hand is not None
        elif person.visit is None:
            assert person.hand is None
        else:
            assert person.visit.status in {"started", "finished"}

    @invariant()
    def every_hand_ends(self) -> None:
        person, hand = self.person, self.person.hand
        if hand is None:
            assert person.visit is None or person.visit.status == "planned"
            return
        if hand.ends_at is None:
            assert person.awaits_answer
        if self.round.closes_at is not None:
            assert hand.due <= self.round.closes_at

    @invariant()
    def every_hand_is_somebodys(self) -> None:
        hand, lives_in = self.person.hand, self.person.standing.community[:9]
        if hand is not None and hand.kind in {"revisit", "escalation"}:
            assert hand.owner in {lives_in, "officer-7", "office"}
        assert hand is None or hand.owner

    @invariant()
    def what_is_current_is_what_was_stored(self) -> None:
        visit = self.person.visit
        assert visit is None or self.visits[visit.id] == visit


def test_nobody_is_left_out_whatever_happens() -> None:
    run_state_machine_as_test(
        OneLife, settings=settings(max_examples=150, stateful_step_count=40, deadline=None)
    )
