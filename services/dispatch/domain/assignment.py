"""Who has a visit: it is given to a team, and taken back from one that cannot make it any more."""

from typing import Literal

from services.dispatch.domain.consequences import let_go
from services.dispatch.domain.errors import RoundNotOpen, TeamCannotServe
from services.dispatch.domain.hands import Hand
from services.dispatch.domain.people import Person
from services.dispatch.domain.steps import Scene, Step
from services.dispatch.domain.teams import Team
from services.dispatch.domain.visits import Visit

Unable = Literal["off-shift", "elsewhere", "quarantine"]
_UNABLE: dict[Unable, str] = {
    "off-shift": "the team is not on shift",
    "elsewhere": "the team works elsewhere",
    "quarantine": "quarantined homes have a team of their own (R17)",
}


def assign(person: Person, visit: Visit, team: Team, scene: Scene, *, room: int = 1) -> Step:
    """Give an open visit to a team; the person is in its hands until its shift ends.

    Args:
        person: whom the visit is for
        visit: the visit; another team may have it
        team: who is to go
        scene: when and where
        room: visits the team can still take in its shift

    Raises:
        RoundNotOpen: the round does not run.
        VisitNotOpen: there is no visit to be made.
        TeamCannotServe: the team does not work there and then, not for such homes (R17), or has
            no room.

    """
    visit.require_open()
    if not scene.round.runs(scene.now):
        raise RoundNotOpen
    if unable := _unable(team, visit, scene):
        raise TeamCannotServe(_UNABLE[unable], reason=unable)
    if visit.team == team.id:
        return Step(person, person)
    if room <= 0:
        raise TeamCannotServe("the team has all the visits its shift holds", reason="full")
    hand = Hand.until(scene.round.cap(team.shift_until), "visit", team.id)
    return Step(person, person).put(visit.given_to(team.id, scene.now), current=True).hold(hand)


def regroup(person: Person, team: Team, scene: Scene) -> Step | None:
    """Follow a team that changed: what it cannot make any more waits for another.

    That is everything if it dropped out; and of what it has not begun, whatever its shift, areas
    or kind of homes rule out now. The rest is due when the shift now ends.
    """
    visit, hand = person.visit, person.hand
    if visit is None or hand is None or not visit.is_open or visit.team != team.id:
        return None
    if not team.active or (visit.status == "assigned" and _unable(team, visit, scene)):
        return let_go(person, scene)
    due = scene.round.cap(team.shift_until)
    if due == hand.due or not team.on_shift(scene.now):
        return None  # who is at a door when the shift ends keeps the hour of grace
    return Step(person, person).hold(hand.due_at(due))


def _unable(team: Team, visit: Visit, scene: Scene) -> Unable | None:
    """Say why a team cannot make a visit now, if it cannot."""
    if not team.on_shift(scene.now):
        return "off-shift"
    if not team.serves(visit.community):
        return "elsewhere"
    return None if team.takes(visit.quarantined, scene.policy) else "quarantine"
