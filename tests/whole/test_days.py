"""The account, whole, under random days: whatever happens, in whatever order it is heard of.

Four accounts have to be one when all mail has arrived: reporting's counters, registry's recount
from its facts, the model that was written from the rules alone, and dispatch's hands and visits.
On the way no count is ever below zero, and nobody has two open visits; at the end nobody with a
need is without a visit or a hand. `make test-long` plays a hundred thousand days.
"""

from collections.abc import Iterable
from itertools import chain
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.registry.books import NOON, WINDOW
from tests.registry.chance import (
    ENTRIES_COME,
    FIRST,
    NEEDY,
    OPENED,
    PEOPLE_CHANGE,
    ROUNDS_TURN,
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
HOURS, MOST_STEPS = 4, 9
"""A day is so many stretches of at most so many steps: chance makes single lists too short."""

_at_door = st.sampled_from(
    ("sampled", "sampled", "absent", "refused", "moved", "deceased", "ineligible", "locked",
     "referred", "not_executable")
)  # fmt: skip
_visit = st.integers(0, 3)
_in_the_field = st.one_of(
    st.builds(
        TeamIs, st.integers(0, len(TEAMS) - 1), st.booleans(), st.sampled_from((1, 10)),
        st.booleans(), st.integers(1, 2 * WINDOW),
    ),
    st.just(Housework()),
    st.builds(
        Work, _visit, st.sampled_from(("assign", "start", "start", "cancel")),
        st.integers(0, len(TEAMS) - 1),
    ),
    st.builds(Finish, _visit, _at_door, st.integers(0, NOON)),
)  # fmt: skip
_mail = st.one_of(
    st.builds(
        Deliver, st.sampled_from(FOLLOWERS), st.integers(0, 5), st.sampled_from((1, EVERYTHING))
    ),
    st.just(Arrive()),
)
_teams = st.sampled_from(((TeamIs(0), Arrive()), (TeamIs(0), TeamIs(1, capacity=1)), ()))
_step = st.one_of(
    PEOPLE_CHANGE, ENTRIES_COME, ENTRIES_COME, ROUNDS_TURN, _in_the_field, _in_the_field,
    _in_the_field, _mail, _mail,
)  # fmt: skip


_hours = (st.lists(_step, max_size=MOST_STEPS) for _ in range(HOURS))
_day = st.tuples(FIRST, NEEDY, OPENED, _teams, *_hours)


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
