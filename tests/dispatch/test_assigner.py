"""Who goes where: the simple assigner keeps room, area, order and community together."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from services.dispatch.assigner import Crew, Waiting, in_order, why_waiting
from services.dispatch.domain.policy import Policy
from services.dispatch.domain.teams import Team

MORNING = datetime(2022, 1, 7, 8, tzinfo=UTC)
LAST, SEPARATE = Policy(quarantine="last"), Policy(quarantine="separate")
PLACES = ["410171001001", "410171001002", "410171002001"]


def crew(name: str, *areas: str, room: int = 10, suits: bool = False) -> Crew:
    team = Team(name, name, areas or ("410171",), (), MORNING, MORNING + timedelta(hours=6), 10,
                serves_quarantine=suits)  # fmt: skip
    return Crew(team, room)


def visit(
    number: int, community: str = PLACES[0], priority: int = 0, *, quarantined: bool = False
) -> Waiting:
    return Waiting(UUID(int=number), f"r{number}", community, priority, quarantined)


def test_r16_whom_we_missed_before_comes_first() -> None:
    plan = in_order([visit(1), visit(2, priority=1)], [crew("t1", room=1)], LAST)
    assert list(plan) == [UUID(int=2)]


def test_a_community_stays_with_one_team_while_it_has_room() -> None:
    visits = [visit(n, PLACES[n % 2]) for n in range(8)]
    plan = in_order(visits, [crew("t1", room=4), crew("t2", room=4)], LAST)
    teams_of = {place: {plan[v.id].id for v in visits if v.community == place} for place in PLACES}
    assert [len(teams) for teams in teams_of.values()] == [1, 1, 0]


def test_r17_quarantined_homes_are_last_in_the_tour() -> None:
    visits = [visit(1, priority=5, quarantined=True), visit(2)]
    assert list(in_order(visits, [crew("t1", room=1)], LAST)) == [UUID(int=2)]


def test_r17_or_have_a_team_of_their_own() -> None:
    visits = [visit(1, quarantined=True), visit(2)]
    plan = in_order(visits, [crew("t1"), crew("suits", suits=True)], SEPARATE)
    assert {key.int: team.id for key, team in plan.items()} == {1: "suits", 2: "t1"}


def test_a_waiting_visit_has_a_reason() -> None:
    elsewhere, full = crew("t1", PLACES[2]), crew("t2", PLACES[0], room=0)
    asleep, suits = crew("t3", PLACES[0]).team, crew("t4", suits=True).team
    for reason, place, quarantined, crews, resting in (
        ("no_team", PLACES[0], False, [elsewhere], []),
        ("no_team", PLACES[0], False, [elsewhere], [suits]),
        ("off_shift", PLACES[0], False, [elsewhere], [asleep]),
        ("teams_full", PLACES[0], False, [elsewhere, full], [asleep]),
        ("no_quarantine_team", PLACES[0], True, [full], []),
        ("no_quarantine_team", PLACES[0], True, [elsewhere], [asleep]),
        ("off_shift", PLACES[0], True, [full], [suits]),
        ("no_team", PLACES[1], True, [full], []),
        (None, PLACES[2], False, [elsewhere], []),
    ):
        assert why_waiting(place, quarantined, crews, resting, SEPARATE) == reason


@given(
    visits=st.lists(
        st.builds(
            visit,
            st.integers(1, 10**6),
            st.sampled_from(PLACES),
            st.integers(0, 3),
            quarantined=st.booleans(),
        ),
        unique_by=lambda v: v.id,
        max_size=60,
    ),
    rooms=st.lists(st.integers(0, 12), min_size=3, max_size=3),
    policy=st.sampled_from([LAST, SEPARATE]),
)
def test_no_team_goes_elsewhere_or_beyond_its_room_and_nobody_waits_without_reason(
    visits: list[Waiting], rooms: list[int], policy: Policy
) -> None:
    crews = [
        crew("a", "410171001", room=rooms[0]),
        crew("b", PLACES[0], PLACES[2], room=rooms[1], suits=True),
        crew("c", room=rooms[2]),
    ]
    plan = in_order(visits, crews, policy)

    left = {c.team.id: c.room for c in crews}
    for each in visits:
        team = plan.get(each.id)
        if team is not None:
            assert team.serves(each.community)
            assert team.takes(each.quarantined, policy)
            left[team.id] -= 1
    assert min(left.values()) >= 0
    now = [Crew(c.team, left[c.team.id]) for c in crews]
    for each in visits:
        if each.id not in plan:
            assert why_waiting(each.community, each.quarantined, now, [], policy) is not None
