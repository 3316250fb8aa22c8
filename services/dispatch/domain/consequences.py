"""START HERE: what follows from whatever was heard, done or decided: nobody is left out.

Every decision ends in `follow`. It opens the case of who cannot come and is untested in an open
round, plans a visit wherever there is neither one nor a hand, and takes both away once the case is
closed.
"""

from msgspec.structs import replace

from services.dispatch.domain.cases import PATIENT, Case, Closing
from services.dispatch.domain.hands import Hand
from services.dispatch.domain.people import Person, Standing
from services.dispatch.domain.steps import Scene, Step
from services.dispatch.domain.visits import Visit


def follow(step: Step, scene: Scene) -> Step:
    """Open or close the case and see that an open one has a visit or a hand."""
    closing = _closing(step.after.standing, scene)
    if closing is None:
        return _see_to(_opened(step, scene), scene)
    return _closed(step, closing, scene)


def let_go(person: Person, scene: Scene) -> Step:
    """End a person's hand; a visit in it waits for a team again."""
    step = Step(person, person).hold(None)
    visit = person.visit
    if visit is not None and visit.status in {"assigned", "started"}:
        step = step.put(visit.waiting_again(scene.now), current=True)
    return follow(step, scene)


def plan(step: Step, scene: Scene) -> Step:
    """Plan a person's next visit, at the door where they live now."""
    person = step.after
    visit = Visit(
        id=scene.new_id(),
        round=person.round,
        resident=person.resident,
        community=person.standing.community,
        planned_at=scene.now,
        attempt=person.attempts + 1,
        priority=person.attempts,  # whom we missed before comes first (R16)
        quarantined=person.standing.quarantined,
        needs=person.standing.needs,
    )
    return step.put(visit, current=True)


def escalate(step: Step, reason: str, scene: Scene, *, owner: str | None = None) -> Step:
    """Let people decide: their office, or `owner`, has a day to settle it (R16)."""
    due = scene.due_in(scene.policy.escalation)
    return step.hold(Hand.until(due, "escalation", owner or step.after.office, reason))


def _closing(standing: Standing, scene: Scene) -> Closing | None:  # noqa: PLR0911 - one per reason
    """Say why there is no case; None when there is one."""
    if not standing.alive and standing.klass not in {"sampled", "excluded"}:
        return "died"
    match standing.klass:
        case "sampled":
            return "sampled"
        case "excluded":
            return "excluded"
        case "off" | "visitor":
            return "left"
    if not standing.community:
        return "left"
    if scene.policy.worthy.isdisjoint(standing.needs):
        return "need_ended"
    return None if scene.round.state == "open" else "round_closed"


def _opened(step: Step, scene: Scene) -> Step:
    person = step.after
    if person.in_case:
        return step
    home = person.home or person.standing.community
    return step.so(replace(person, case=Case("open", scene.now), home=home))


def _see_to(step: Step, scene: Scene) -> Step:
    """Plan a visit where there is neither one nor a hand; keep the one there is at the right door.

    Nobody is left out: whenever a hand ends or a visit falls away, this plans the next.
    """
    step = _owned_where_they_live(step)
    visit, standing = step.after.visit, step.after.standing
    if visit is None:
        return step if step.after.hand is not None else plan(step, scene)
    if visit.status in {"planned", "assigned"} and visit.community != standing.community:
        step = step.put(visit.cancelled("moved_home", scene.now), current=False)
        if visit.status == "assigned":
            step = step.hold(None)
        return plan(step, scene)
    fitting = replace(visit, quarantined=standing.quarantined, needs=standing.needs)
    if visit.is_open and visit.quarantined != standing.quarantined:
        return _refitted(step, fitting, scene)
    if visit.status == "planned" and visit.needs != standing.needs:
        return step.put(fitting, current=True)
    return step


def _owned_where_they_live(step: Step) -> Step:
    """Hand what an office answers for to the office they moved to: the old one has them no more."""
    hand, lives_in = step.after.hand, step.after.office
    moved = lives_in != step.before.office
    if hand is None or not moved or hand.kind not in {"revisit", "escalation"}:
        return step
    return step.hold(replace(hand, owner=lives_in))


def _refitted(step: Step, visit: Visit, scene: Scene) -> Step:
    """Follow a quarantine that began or ended; where teams are separate, another has to go (R17).

    A team that is at the door already finishes.
    """
    if visit.status == "assigned" and scene.policy.quarantine == "separate":
        return step.put(visit.waiting_again(scene.now), current=True).hold(None)
    return step.put(visit, current=True)


def _closed(step: Step, closing: Closing, scene: Scene) -> Step:
    case, visit = step.after.case, step.after.visit
    if case is not None and case.is_open:
        step = step.so(replace(step.after, case=case.closed(closing, scene.now)))
    if visit is not None and not visit.is_open:
        return step  # a sample awaits registry's answer: its hand stays
    if visit is not None:
        patient = closing in PATIENT and scene.round.state != "sealed"
        if visit.status == "started" and patient:
            return step
        step = step.put(visit.cancelled(closing, scene.now), current=False)
    return step.hold(None)
