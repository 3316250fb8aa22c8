"""The account, whole, under random days: whatever happens, in whatever order it is heard of.

Four accounts have to be one when all mail has arrived: reporting's counters, registry's recount
from its facts, the model that was written from the rules alone, and dispatch's hands and visits.
On the way no count is ever below zero, and nobody has two open visits; at the end nobody with a
need is without a visit or a hand. `make test-long` plays a hundred thousand days.
"""

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
    ROUND,
    ROUNDS_TURN,
    WHO,
    Steps,
)
from tests.whole.days import EVERYTHING, TEAMS, Days, Deliver, Finish, Housework, TeamIs, Work
from tests.whole.mail import FOLLOWERS

SHARES = 8
"""The days are shared out among so many tests, so that several processes play them."""
EXAMPLES = 2_000
LONG = 100_000
MOST_STEPS = 24

_at_door = st.sampled_from(
    ("sampled", "sampled", "absent", "refused", "moved", "deceased", "ineligible", "locked",
     "referred", "not_executable")
)  # fmt: skip
_in_the_field = st.one_of(
    st.builds(
        TeamIs, st.integers(0, len(TEAMS) - 1), st.booleans(), st.sampled_from((1, 10)),
        st.booleans(), st.integers(1, 2 * WINDOW),
    ),
    st.just(Housework()),
    st.builds(
        Work, WHO, ROUND, st.sampled_from(("assign", "start", "cancel")),
        st.integers(0, len(TEAMS) - 1), st.booleans(),
    ),
    st.builds(Finish, WHO, ROUND, _at_door, st.integers(0, NOON), st.booleans()),
)  # fmt: skip
_mail = st.builds(
    Deliver, st.sampled_from(FOLLOWERS), st.integers(0, 5), st.sampled_from((1, EVERYTHING))
)
_step = st.one_of(
    PEOPLE_CHANGE, ENTRIES_COME, ENTRIES_COME, ROUNDS_TURN, _in_the_field, _in_the_field,
    _in_the_field, _mail, _mail,
)  # fmt: skip


@pytest.mark.parametrize("_share", range(SHARES))
def test_every_day_balances(days: Days, _share: int) -> None:
    longer = settings().max_examples > EXAMPLES
    searched = settings(
        max_examples=(LONG if longer else EXAMPLES) // SHARES,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )(given(FIRST, NEEDY, OPENED, st.lists(_step, max_size=MOST_STEPS))(_play))
    searched(days)


def _play(days: Days, first: Steps, needs: Steps, opened: Steps, day: list[Any]) -> None:
    steps = (*first, *needs, *opened, *day)
    # As a named example is written, should this day turn out to be one.
    note(f"days.play({', '.join(map(repr, steps))})")
    days.play(*steps)
