"""What an office decides, and where its word does not reach."""

from uuid import UUID

import pytest

from services.dispatch.domain import decisions, roll
from services.dispatch.domain.decisions import Decision, Verb
from services.dispatch.domain.errors import CaseInHand, CaseNotOpen, VisitPlanned
from services.dispatch.domain.people import Person
from services.dispatch.domain.roll import VisitAnswer
from services.dispatch.domain.visits import Referral
from shared.contracts.vocabulary import VisitOutcome
from shared.errors import BadInput
from tests.dispatch.words import (
    EVENING,
    HOUR,
    MORNING,
    OFFICE,
    THERE,
    assigned,
    done,
    fresh_id,
    reported,
    scene,
    started,
    the_visit,
    told,
    waiting,
)


def decision(verb: Verb = "take", hours: float = 2) -> Decision:
    referral = Referral("site-9", MORNING + hours * HOUR) if verb == "refer" else None
    return Decision(fresh_id(), verb, referral)


def test_an_escalation_is_taken_over_by_somebody_and_its_time_stays() -> None:
    escalated = reported("refused").after
    step = decisions.decide(escalated, decision("take"), "officer-7", scene())
    assert step.after.hand is not None
    assert (step.after.hand.owner, step.after.hand.due) == ("officer-7", EVENING)
    # Who owns it is the office's own business: registry has heard kind and time already.
    assert not step.hand_changed


def test_an_escalation_is_settled_with_a_visit_before_its_time() -> None:
    step = decisions.decide(reported("refused").after, decision("revisit"), "officer-7", scene())
    visit = the_visit(step.after)
    assert (visit.status, visit.attempt, visit.priority) == ("planned", 2, 1)
    hand = step.after.hand
    assert hand is not None
    assert (hand.kind, hand.owner, hand.due) == ("revisit", "officer-7", MORNING + 4 * HOUR)


@pytest.mark.parametrize("person", [reported("refused").after, waiting()], ids=["hand", "waits"])
def test_who_can_walk_after_all_is_referred_to_a_site(person: Person) -> None:
    step = decisions.decide(person, decision("refer"), "officer-7", scene())
    assert step.after.visit is None
    assert step.after.hand is not None
    assert (step.after.hand.kind, step.after.hand.owner) == ("referral", "site-9")
    assert step.after.hand.due == MORNING + 2 * HOUR
    # A visit that waited for a team is called off with it.
    assert {after.status for _, after in step.moved_visits()} <= {"cancelled"}
    with pytest.raises(BadInput):
        decisions.decide(person, decision("refer", hours=0), "officer-7", scene())


@pytest.mark.parametrize("verb", ["take", "revisit", "refer"])
def test_nothing_is_decided_over_the_head_of_a_team_or_of_registry(verb: Verb) -> None:
    swabbed = reported("sampled").after
    visit = the_visit(swabbed)
    recorded = VisitAnswer(visit.id, "alice", "s1", None)
    for person in (
        assigned(), started(), swabbed, done(roll.answer(swabbed, visit, recorded, scene())),
    ):  # fmt: skip
        with pytest.raises(CaseInHand):
            decisions.decide(person, decision(verb), "officer-7", scene())


def test_nothing_is_decided_where_a_visit_waits_or_the_case_is_closed() -> None:
    for verb in ("take", "revisit"):
        with pytest.raises(VisitPlanned):
            decisions.decide(waiting(), decision(verb), "officer-7", scene())
    sampled = done(roll.settle(waiting(), told(2, "sampled"), scene()))
    with pytest.raises(CaseNotOpen):
        decisions.decide(sampled, decision("refer"), "officer-7", scene())
    with pytest.raises(BadInput):
        Decision(UUID(int=1), "revisit", Referral("site-9", EVENING))


@pytest.mark.parametrize("outcome", ["refused", "absent"])
def test_what_an_office_answers_for_moves_with_the_person(outcome: VisitOutcome) -> None:
    escalated = reported(outcome).after
    mine = decisions.decide(escalated, decision("take"), "officer-7", scene()).after
    for person in (escalated, mine):
        moved = done(roll.settle(person, told(2, community=THERE), scene()))
        assert moved.hand is not None
        assert moved.hand.owner == THERE[:9]
        assert moved.visit is None or moved.visit.community == THERE
    next_door = done(roll.settle(mine, told(2, community=OFFICE + "002"), scene()))
    assert next_door.hand is not None
    assert next_door.hand.owner == "officer-7"
