"""Visits are given to teams that can make them, and taken back from those that cannot."""

from dataclasses import replace

import pytest

from services.dispatch.domain import assignment, roll
from services.dispatch.domain.errors import (
    RoundNotOpen,
    TeamCannotServe,
)
from services.dispatch.domain.hands import Hand
from services.dispatch.domain.policy import Policy
from services.dispatch.domain.teams import Team
from tests.dispatch.words import (
    ALICE,
    EVENING,
    HOUR,
    MORNING,
    OTHER,
    TEAM,
    THERE,
    assigned,
    done,
    scene,
    started,
    the_visit,
    told,
    waiting,
)


def test_assigning_puts_a_person_into_the_teams_hand_until_its_shift_ends() -> None:
    person = assigned()
    assert person.hand == Hand("visit", TEAM.shift_until, TEAM.shift_until, "t1")
    assert the_visit(person).team == "t1"


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
    with pytest.raises(TeamCannotServe) as refused:
        assignment.assign(person, the_visit(person), team, scene())
    assert refused.value.extensions == {"reason": reason}


def test_r17_where_teams_are_separate_a_quarantined_home_has_its_own() -> None:
    separate = Policy(quarantine="separate")
    at_home = done(roll.settle(ALICE, told(1, needs=("quarantine",)), scene()))
    visit = the_visit(at_home)
    assert visit.quarantined
    with pytest.raises(TeamCannotServe):
        assignment.assign(at_home, visit, TEAM, scene(policy=separate))
    protected = replace(TEAM, serves_quarantine=True)
    step = assignment.assign(at_home, visit, protected, scene(policy=separate))
    assert the_visit(step.after).status == "assigned"
    # And it goes to no other homes.
    person = waiting()
    with pytest.raises(TeamCannotServe):
        assignment.assign(person, the_visit(person), protected, scene(policy=separate))


def test_r17_a_quarantine_that_ends_makes_the_visit_an_ordinary_one() -> None:
    both = done(roll.settle(ALICE, told(1, needs=("mobility", "quarantine")), scene()))
    assert the_visit(both).quarantined
    step = roll.settle(both, told(2), scene())
    assert step is not None
    assert not the_visit(step.after).quarantined
    # All that others hear is with which needs it waits.
    ((before, after),) = step.moved_visits()
    assert before is not None
    assert (before.status, before.needs) == ("planned", ("mobility", "quarantine"))
    assert (after.status, after.needs) == ("planned", ("mobility",))


def test_r17_a_quarantine_that_begins_takes_the_visit_from_a_team_that_must_not_go() -> None:
    news = told(2, needs=("mobility", "quarantine"))
    separate = scene(policy=Policy(quarantine="separate"))
    taken = done(roll.settle(assigned(), news, separate))
    assert (the_visit(taken).status, taken.hand) == ("planned", None)
    last = done(roll.settle(assigned(), news, scene()))
    assert the_visit(last).status == "assigned"
    at_the_door = done(roll.settle(started(), news, separate))
    assert the_visit(at_the_door).status == "started"


def test_a_team_that_drops_out_gives_its_visits_back() -> None:
    gone = replace(TEAM, active=False)
    step = assignment.regroup(started(), gone, scene())
    assert step is not None
    assert the_visit(step.after).status == "planned"
    assert step.after.hand is None
    assert assignment.regroup(started(), replace(OTHER, active=False), scene()) is None


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
    given_back = done(assignment.regroup(assigned(), changed, separate))
    assert (the_visit(given_back).status, given_back.hand) == ("planned", None)
    assert assignment.regroup(started(), changed, separate) is None


def test_a_longer_shift_moves_what_is_due() -> None:
    longer = replace(TEAM, shift_until=TEAM.shift_until + HOUR)
    step = assignment.regroup(started(), longer, scene())
    assert step is not None
    assert step.after.hand is not None
    assert step.after.hand.due == longer.shift_until
    assert step.after.hand.ends_at == longer.shift_until + HOUR
    assert assignment.regroup(started(), TEAM, scene()) is None


def test_a_shift_that_is_over_leaves_a_team_at_the_door_its_hour_of_grace() -> None:
    shorter = replace(TEAM, shift_until=MORNING + HOUR)
    assert assignment.regroup(started(), shorter, scene(MORNING + 2 * HOUR)) is None
    back = done(assignment.regroup(assigned(), shorter, scene(MORNING + 2 * HOUR)))
    assert back.hand is None


def test_a_team_without_room_is_not_sent_but_keeps_what_it_has() -> None:
    person = waiting()
    with pytest.raises(TeamCannotServe) as refused:
        assignment.assign(person, the_visit(person), TEAM, scene(), room=0)
    assert refused.value.extensions == {"reason": "full"}
    has_it = assigned()
    assert assignment.assign(has_it, the_visit(has_it), TEAM, scene(), room=0).after == has_it


def test_work_is_not_handed_out_after_the_closing_time() -> None:
    person = waiting()
    tired = replace(TEAM, shift_until=EVENING + 9 * HOUR)
    with pytest.raises(RoundNotOpen):
        assignment.assign(person, the_visit(person), tired, scene(EVENING))
