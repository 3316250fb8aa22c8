"""The account, whole, under random days: whatever happens, in whatever order it is heard of.

Four accounts have to be one when all mail has arrived: reporting's counters, registry's recount
from its facts, the model that was written from the rules alone, and dispatch's hands and visits.
On the way no count is ever below zero. At the end nobody with a need is without a visit or a hand,
nobody has two open visits, nobody is visited in vain, and no hand is forgotten.

What chance plays is weighed, so that a day is about something: who lives where the rounds are, has
needs, and is visited; a letter arrives about as often as something happens. Whoever changes the
weights should see what the days come to, and that a mistake made on purpose is still found within
some dozen of them. `make test-long` plays a hundred thousand days.
"""

from collections.abc import Iterable
from itertools import chain
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.registry.books import NOON, WINDOW, Close, Seal, Tick
from tests.registry.chance import (
    BEGUN,
    ENTRIES_COME,
    FIRST,
    NEEDY,
    OPENED,
    PEOPLE_CHANGE,
    ROUNDS_TURN,
    weighed,
)
from tests.whole.days import (
    EVERYTHING,
    TEAMS,
    Arrive,
    Days,
    Deliver,
    Finish,
    Housework,
    TeamIs,
    Work,
)
from tests.whole.mail import FOLLOWERS

SHARES = 8
"""The days are shared out among so many tests, so that several processes play them."""
EXAMPLES = 2_000
LONG = 100_000
HOURS, MOST_STEPS = 3, 8
"""A day is so many stretches of at most so many steps: chance makes single lists too short."""

_at_door = st.sampled_from(
    ("sampled", "sampled", "sampled", "absent", "refused", "moved", "deceased", "ineligible",
     "locked", "referred", "not_executable")
)  # fmt: skip
_visit = st.integers(0, 3)
_team = st.integers(0, len(TEAMS) - 1)
_in_the_field = weighed(
    (1, st.builds(
        TeamIs, _team, st.booleans(), st.sampled_from((1, 10)), st.booleans(),
        st.integers(1, 2 * WINDOW),
    )),
    (1, st.just(Housework())),
    (3, st.builds(Work, _visit, st.sampled_from(("assign", "start", "start", "cancel")), _team)),
    # Later than the clock shows, too: registry refuses such a swab.
    (5, st.builds(Finish, _visit, _at_door, st.integers(0, NOON + 2))),
)  # fmt: skip
_mail = weighed(
    (2, st.builds(
        Deliver, st.sampled_from(FOLLOWERS), st.integers(0, 5), st.sampled_from((1, EVERYTHING))
    )),
    (3, st.just(Arrive())),
)  # fmt: skip
_teams = st.sampled_from(((TeamIs(0), Arrive()), (TeamIs(0), TeamIs(1, capacity=1)), ()))
_evening = st.sampled_from(
    ((), (Tick(0, WINDOW + 2),), (Tick(1, WINDOW + 2),), (Tick(0, WINDOW), Close(0)), (Close(1),),
     (Close(0), Seal(0)))
)  # fmt: skip
"""Late in the day hands end by the clock, and rounds by hand."""
_step = weighed(
    (4, PEOPLE_CHANGE), (6, ENTRIES_COME), (3, ROUNDS_TURN), (5, _in_the_field), (4, _mail)
)

_hours = st.lists(_step, max_size=MOST_STEPS)
_day = st.tuples(FIRST, NEEDY, OPENED, BEGUN, _teams, *[_hours] * HOURS, _evening, _hours)


@pytest.mark.parametrize("_share", range(SHARES))
def test_every_day_balances(days: Days, _share: int) -> None:
    longer = settings().max_examples > EXAMPLES
    searched = settings(
        max_examples=(LONG if longer else EXAMPLES) // SHARES,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )(given(_day)(_play))
    searched(days)


def _play(days: Days, day: tuple[Iterable[Any], ...]) -> None:
    steps = list(chain(*day))
    # As a named example is written, should this day turn out to be one.
    note(f"days.play({', '.join(map(repr, steps))})")
    days.play(*steps)
