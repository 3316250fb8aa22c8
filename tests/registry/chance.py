"""What chance may make happen to registry, for hypothesis to choose from."""

from typing import Any

from hypothesis import strategies as st

from tests.registry.books import (
    COMMUNITIES,
    NOON,
    PEOPLE,
    ROUNDS,
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

Steps = tuple[Any, ...]

WHO = st.integers(0, len(PEOPLE) - 1)
ROUND = st.integers(0, len(ROUNDS) - 1)
_outcome = st.sampled_from(("negative", "positive"))
_index = st.integers(0, 3)
_where = st.integers(0, len(COMMUNITIES) - 1)
_needs = st.frozensets(st.sampled_from(("mobility", "quarantine")))
_hour = st.none() | st.integers(1, 2 * WINDOW)
_swab = st.builds(
    Swab, WHO, ROUND, st.integers(0, NOON), st.none() | _outcome, st.booleans(), st.booleans(),
    st.booleans(),
)  # fmt: skip

PEOPLE_CHANGE: st.SearchStrategy[Any] = st.one_of(
    st.builds(Lives, WHO, _where, st.none() | st.integers(-1, 14)),
    st.builds(Lives, WHO, _where, st.none() | st.integers(-1, 14)),
    st.builds(Needs, WHO, _needs),
    st.builds(Needs, WHO, _needs, _hour, _hour),
    st.builds(Life, WHO, st.booleans()),
    st.builds(Absorb, WHO, WHO),
    st.builds(Part, WHO),
)
ENTRIES_COME: st.SearchStrategy[Any] = st.one_of(
    st.builds(Swabs, st.lists(_swab, min_size=1, max_size=3).map(tuple)),
    st.builds(Swabs, st.tuples(_swab)),
    st.builds(Report, _index, _outcome, st.booleans(), _index),
    st.builds(Void, _index, _index),
    st.builds(Correct, _index, WHO, ROUND, st.integers(0, NOON)),
    st.just(Again()),
    st.builds(Exclude, WHO, ROUND, st.sampled_from(("recovered", "under_3"))),
    st.builds(Revoke, _index),
)
ROUNDS_TURN: st.SearchStrategy[Any] = st.one_of(
    st.builds(Tick, ROUND, st.integers(NOON, WINDOW + NOON)),
    st.just(Keep()),
    st.builds(Open, ROUND),
    st.builds(Close, ROUND),
    st.builds(Seal, ROUND),
)

FIRST: st.SearchStrategy[Steps] = st.tuples(
    *(st.builds(Lives, st.just(who), _where) for who in range(3))
)
"""Three people who live somewhere."""
NEEDY: st.SearchStrategy[Steps] = st.tuples(
    *(st.builds(Needs, st.just(who), _needs) for who in range(2))
)
"""Two of them may have needs."""
OPENED: st.SearchStrategy[Steps] = st.sampled_from(((Open(0),), (Open(0), Open(1)), ()))
"""Rounds that open before anything else happens."""
