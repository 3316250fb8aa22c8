"""What chance may make happen to registry, for hypothesis to choose from."""

from typing import Any

from hypothesis import strategies as st

from tests.registry.books import (
    NOON,
    PEOPLE,
    WINDOW,
    Absorb,
    Again,
    Close,
    Correct,
    Exclude,
    Keep,
    Life,
    Lives,
    Needs,
    Open,
    Part,
    Report,
    Revoke,
    Seal,
    Swab,
    Swabs,
    Tick,
    Void,
)
from tests.support.town import DONGFANG, LUYUAN

Steps = tuple[Any, ...]


def weighed(*ways: tuple[int, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Choose between ways, each as often as its weight says.

    `one_of` would not: it passes over what is named twice, and unfolds a choice within a choice,
    so that a group comes as often as it has members.
    """
    table = [way for weight, way in ways for _ in range(weight)]
    return st.integers(0, len(table) - 1).flatmap(table.__getitem__)


WHO = st.integers(0, len(PEOPLE) - 1)
ROUND = st.sampled_from((0, 0, 1))
_outcome = st.sampled_from(("negative", "positive"))
_index = st.integers(0, 3)
# Mostly within the rounds: of whom no round knows there is little to tell.
_where = st.sampled_from((0, 0, 1, 1, 2, 3, 4))
_need = st.sampled_from(("mobility", "quarantine"))
_needs, _some_needs = st.frozensets(_need), st.frozensets(_need, min_size=1)
_hour = st.none() | st.integers(1, 2 * WINDOW)
_swab = st.builds(
    Swab, WHO, ROUND, st.integers(0, NOON), st.none() | _outcome, st.booleans(), st.booleans(),
    st.sampled_from((None, LUYUAN, DONGFANG)),
)  # fmt: skip

PEOPLE_CHANGE = weighed(
    (3, st.builds(Lives, WHO, _where, st.none() | st.integers(-1, 14))),
    (1, st.builds(Needs, WHO, _needs)),
    (2, st.builds(Needs, WHO, _needs, _hour, _hour)),
    (1, st.builds(Life, WHO, st.booleans())),
    (2, st.builds(Absorb, WHO, WHO)),
    (1, st.builds(Part, WHO)),
)
ENTRIES_COME = weighed(
    (2, st.builds(Swabs, st.lists(_swab, min_size=1, max_size=3).map(tuple))),
    (3, st.builds(Swabs, st.tuples(_swab))),
    (1, st.builds(Report, _index, _outcome, st.booleans(), _index)),
    (1, st.builds(Void, _index, _index)),
    (2, st.builds(Correct, _index, WHO, ROUND, st.integers(0, NOON))),
    (1, st.just(Again())),
    (2, st.builds(Exclude, WHO, ROUND, st.sampled_from(("recovered", "under_3")))),
    (1, st.builds(Revoke, _index)),
)
ROUNDS_TURN = weighed(
    (3, st.builds(Tick, ROUND, st.integers(NOON, WINDOW + NOON))),
    (1, st.just(Keep())),
    (2, st.builds(Open, ROUND)),
    (1, st.builds(Close, ROUND)),
    (1, st.builds(Seal, ROUND)),
)

FIRST: st.SearchStrategy[Steps] = st.tuples(
    *(st.builds(Lives, st.just(who), _where) for who in range(3))
)
"""Three people who live somewhere."""
NEEDY: st.SearchStrategy[Steps] = st.tuples(
    st.builds(Needs, st.just(0), _some_needs),
    st.builds(Needs, st.just(1), _some_needs, st.none(), st.none() | st.integers(NOON, 2 * WINDOW)),
)
"""Two of them have needs, one perhaps until some hour of the rounds."""
OPENED: st.SearchStrategy[Steps] = st.sampled_from(
    ((Open(0),), (Open(0), Open(1)), (Open(0),), (Open(0), Open(1)), ())
)
"""Rounds that open before anything else happens."""
BEGUN: st.SearchStrategy[Steps] = st.one_of(
    st.just(()), st.tuples(st.builds(Swabs, st.tuples(_swab, _swab)))
)
"""Perhaps two swabs, so that there is something to report on, to void and to correct."""
