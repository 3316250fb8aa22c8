"""What happens at a door: a visit is begun, reported (R16), or called off."""

from msgspec.structs import replace

from services.dispatch.domain.consequences import escalate, follow, plan
from services.dispatch.domain.errors import VisitAlreadyFinished, VisitNotAssigned, VisitNotYours
from services.dispatch.domain.hands import Hand
from services.dispatch.domain.people import Person
from services.dispatch.domain.steps import Scene, Step
from services.dispatch.domain.visits import Visit, VisitReport


def start(person: Person, visit: Visit, team: str | None, scene: Scene) -> Step:
    """The team is at the door. Starting again changes nothing.

    Raises:
        VisitNotOpen: there is no visit to be made.
        VisitNotAssigned: no team has it.
        VisitNotYours: another team has it.

    """
    visit.require_open()
    if visit.team is None or person.hand is None:
        raise VisitNotAssigned
    if team is not None and team != visit.team:
        raise VisitNotYours
    if visit.status == "started":
        return Step(person, person)
    hand = replace(person.hand, ends_at=person.hand.due + scene.policy.grace)
    return Step(person, person).put(visit.started(scene.now), current=True).hold(hand)


def finish(
    person: Person, visit: Visit, report: VisitReport, team: str | None, scene: Scene
) -> Step:
    """Take the report of a visit; every outcome leads elsewhere (R16).

    Also one that was only planned or assigned, as far as we knew: the field is often offline, and
    the door was knocked on. A cancelled visit keeps its status, and outcome and sample are stored.

    A team that had the visit before, and knocked in vain, does not take it from the team that has
    it now: that one is on its way and tells what comes of it, in whichever order the two reports
    arrive (R19). A swab is a swab, whoever took it.

    Args:
        person: whom the visit was for
        visit: the visit, open or cancelled
        report: what happened
        team: the team that reports; None when the office enters it, later, from paper
        scene: when and where

    Raises:
        VisitNotYours: the team never had it.
        VisitAlreadyFinished: it was reported before.

    """
    if team is not None and team not in visit.teams:
        raise VisitNotYours
    if visit.outcome is not None:
        raise VisitAlreadyFinished
    if _knocked_before_another(visit, report, team):
        return Step(person, replace(person, attempts=person.attempts + 1))
    reported = visit.reported(report, team, scene.now)
    step = Step(person, person)
    if visit.status == "cancelled":
        return step.put_aside(visit, reported)
    finished = replace(reported, status="finished")
    step = step.so(replace(person, attempts=person.attempts + 1))
    if report.sample is not None:
        return step.put(finished, current=True).hold(_awaiting(person, finished, scene))
    step = step.put(finished, current=False)
    step = _after_door(step, report, scene) if person.in_case else step.hold(None)
    return follow(step, scene)


def cancel(person: Person, visit: Visit, owner: str, scene: Scene) -> Step:
    """Call a visit off. The person is still missing, so the office answers for the next step.

    Called off by an office already, it stays as it is: whoever lost the answer asks again.

    Raises:
        VisitNotOpen: it is over for another reason.

    """
    if visit.reason == "by_office":
        return Step(person, person)
    visit.require_open()
    step = Step(person, person).put(visit.cancelled("by_office", scene.now), current=False)
    if person.in_case:
        step = escalate(step, "visit_cancelled", scene, owner=owner)
    return follow(step, scene)


def _knocked_before_another(visit: Visit, report: VisitReport, team: str | None) -> bool:
    """Tell whether a team that had the visit once speaks late, and without a swab."""
    is_with_another = visit.is_open and visit.team is not None and team not in {None, visit.team}
    return is_with_another and report.sample is None


def _after_door(step: Step, report: VisitReport, scene: Scene) -> Step:
    """Nobody was swabbed, so somebody answers for the next step (R16)."""
    match report.outcome:
        case "absent" | "locked":
            due = scene.due_in(scene.policy.revisit)
            hand = Hand.until(due, "revisit", step.after.office, report.outcome)
            return plan(step, scene).hold(hand)
        case "referred" if report.referral is not None:
            due = scene.round.cap(report.referral.until)
            return step.hold(Hand.until(due, "referral", report.referral.site))
        case _:
            return escalate(step, report.outcome, scene)


def _awaiting(person: Person, visit: Visit, scene: Scene) -> Hand:
    """Keep the hand of a finished visit until registry answers; the clock does not end it."""
    if person.hand is not None and person.hand.kind == "visit":
        return replace(person.hand, ends_at=None)
    due = scene.due_in(scene.policy.grace)
    return Hand("visit", due, None, visit.team or visit.office)
