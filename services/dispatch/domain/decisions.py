"""What an office decides of a case that no team is on the way to."""

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from msgspec.structs import replace

from services.dispatch.domain.consequences import plan
from services.dispatch.domain.errors import CaseInHand, CaseNotOpen, VisitPlanned
from services.dispatch.domain.hands import Hand
from services.dispatch.domain.people import Person
from services.dispatch.domain.steps import Scene, Step
from services.dispatch.domain.visits import Referral
from shared.errors import BadInput

Verb = Literal["take", "revisit", "refer"]
"""What an office may say of a case that no team is on the way to."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What an office says of a case that no team is on the way to; its id is client-made (R19).

    `take`: I answer for it from now on. `revisit`: the next step is a visit, now. `refer`: the
    next step is theirs, at a named site, by a named time.

    Raises:
        BadInput: a referral comes without its site, or a site with something else.

    """

    id: UUID
    verb: Verb
    referral: Referral | None = None

    def __post_init__(self) -> None:
        if (self.verb == "refer") != (self.referral is not None):
            raise BadInput.at("site", "comes with a referral, and only with it")


def decide(person: Person, decision: Decision, by: str, scene: Scene) -> Step:
    """Let an office settle what it is answerable for, before the clock does.

    Args:
        person: whose case it is
        decision: what is to happen
        by: who says so, and answers for it
        scene: when and where

    Raises:
        CaseNotOpen: there is nothing to decide.
        CaseInHand: a team has the visit, or a swab awaits registry's answer.
        VisitPlanned: a visit waits for a team already, so that none is asked for.
        BadInput: the time of a referral has passed.

    """
    if not person.in_case:
        raise CaseNotOpen
    hand, step = person.hand, Step(person, person)
    if person.is_with_a_team:
        raise CaseInHand
    if decision.referral is not None:
        return _referred(step, decision.referral, scene)
    if decision.verb == "revisit" and person.visit is None:
        due = scene.due_in(scene.policy.revisit)
        return plan(step, scene).hold(Hand.until(due, "revisit", by, "by_office"))
    if decision.verb == "take" and hand is not None:
        return step.hold(replace(hand, owner=by))
    raise VisitPlanned


def _referred(step: Step, referral: Referral, scene: Scene) -> Step:
    if referral.until <= scene.now:
        raise BadInput.at("until", "lies after the present, by the round's clock")
    visit = step.after.visit
    if visit is not None:
        step = step.put(visit.cancelled("by_office", scene.now), current=False)
    due = scene.round.cap(referral.until)
    return step.hold(Hand.until(due, "referral", referral.site, "by_office"))
