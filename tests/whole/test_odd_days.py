"""Odd days by name: what random ones found, and what was thought of beforehand."""

from tests.registry.books import Absorb, Close, Lives, Needs, Open, Seal, Swab, Swabs, Tick, Void
from tests.support.town import LANQIAO, LUYUAN
from tests.whole.days import Arrive, Days, Deliver, Finish, TeamIs, Work

HERE, NEXT = 0, 1

NEEDY_DAY = (Lives(0, HERE), Needs(0, frozenset({"mobility"})), Open(0), TeamIs(0), Arrive())
"""Somebody who cannot come, and a team that has the visit in hand."""


def test_of_two_swabs_of_one_moment_the_first_id_counts_whichever_is_heard_of_first(
    days: Days,
) -> None:
    # Random days: the one from the door was made first, and arrived after the one from the site.
    days.play(*NEEDY_DAY, Finish(0, at=3), Swabs((Swab(0, 0, at=3),)))
    assert days.counted()[LUYUAN]["channel.home_visit"] == 1


def test_who_is_in_hand_when_a_round_is_sealed_is_in_nobodys_hand_for_ever(days: Days) -> None:
    # Dispatch ends the hand when it hears of the closing; by then the account was final.
    days.play(*NEEDY_DAY, Close(0), Seal(0))
    assert "in_hand" not in days.counted()[LUYUAN]
    assert days.counted()[LUYUAN]["unaccounted"] == 1


def test_a_team_at_the_door_of_somebody_who_was_sampled_elsewhere_is_still_heard(
    days: Days,
) -> None:
    days.play(
        *NEEDY_DAY, Work(0, "start"), Swabs((Swab(0, 0, at=2),)), Arrive(), Finish(0, at=3),
        Arrive(), Void(0),
    )  # fmt: skip
    assert days.counted()[LUYUAN]["channel.home_visit"] == 1


def test_an_absorbed_record_takes_its_visit_with_it(days: Days) -> None:
    days.play(
        *NEEDY_DAY,
        Lives(1, NEXT),
        Arrive(),
        Absorb(0, into=1),
        Deliver("dispatch"),
        Finish(0, at=3),
    )
    assert days.counted() == {
        LANQIAO: {
            "roll": 1, "sampled": 1, "channel.home_visit": 1,
            "need.mobility.roll": 1, "need.mobility.sampled": 1,
        },
    }  # fmt: skip


def test_a_quarantine_that_ends_by_the_clock_calls_the_visit_off(days: Days) -> None:
    days.play(
        Lives(0, HERE), Needs(0, frozenset({"quarantine"}), until=8), Open(0), TeamIs(0), Arrive(),
        Tick(0, 9),
    )  # fmt: skip
    assert days.counted()[LUYUAN] == {"roll": 1, "unaccounted": 1}
