"""What everybody may see gives nobody away (R20): whatever the figures, nothing hidden follows.

An attacker knows the sums of rows and columns, that no figure is below zero, that nought is shown,
and which figures are shown. The oracles here are none of the code that chooses: linear algebra for
what follows from sums, and the widest swing that the sums leave for what follows from bounds.
"""

from collections import deque
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.reporting.domain.areas import TOTAL
from services.reporting.domain.publishing import (
    CLASSES,
    COLUMNS,
    ROLL,
    Cell,
    adds_up,
    hidden,
    table_of,
)

LEAST = 10


def tables(offices: int = 5, most: int = 60) -> st.SearchStrategy[dict[Cell, int]]:
    """Small figures beside large ones, as in the first and the last hour of a round."""
    figure = st.one_of(st.just(0), st.integers(0, 12), st.integers(0, most))
    row = st.fixed_dictionaries(dict.fromkeys(CLASSES, figure)).filter(
        lambda row: any(row.values())
    )
    return st.lists(row, min_size=1, max_size=offices).map(
        lambda rows: table_of(
            {
                f"41017100{number}": {**row, ROLL: sum(row.values())}
                for number, row in enumerate(rows)
            }
        )
    )


def equations(table: Mapping[Cell, int]) -> list[dict[Cell, int]]:
    """Everything that has to be zero: each row's and each column's parts less their sum."""
    rows = sorted({row for row, _ in table})
    across = [{(row, each): 1 for each in CLASSES} | {(row, ROLL): -1} for row in rows]
    down = [
        {(row, column): 1 for row in rows if row != TOTAL} | {(TOTAL, column): -1}
        for column in COLUMNS
    ]
    return across + down


def computable(table: Mapping[Cell, int], unknown: AbstractSet[Cell]) -> set[Cell]:
    """Find unknown cells that the sums determine: reduced to echelon form, they stand alone."""
    order = sorted(unknown)
    lines = [[Fraction(equation.get(cell, 0)) for cell in order] for equation in equations(table)]
    found, pivot = set[Cell](), 0
    for place in range(len(order)):
        line = next((each for each in lines[pivot:] if each[place]), None)
        if line is None:
            continue
        lines.remove(line)
        line = [each / line[place] for each in line]
        lines = [
            [a - other[place] * b for a, b in zip(other, line, strict=True)] for other in lines
        ]
        lines.insert(pivot, line)
        pivot += 1
    for line in lines[:pivot]:
        (alone, *others) = [place for place, factor in enumerate(line) if factor]
        if not others:
            found.add(order[alone])
    return found


def swing(table: Mapping[Cell, int], unknown: AbstractSet[Cell], cell: Cell, enough: int) -> int:
    """Say how many other values a cell can have, as far as `enough`, if no unknown may be nought.

    Figures are flows from rows to columns, and sums flow back: what one cell has more, others carry
    away, which are bounded only where they become less.
    """
    return _pushed(table, unknown, cell, enough, up=True) + _pushed(
        table, unknown, cell, enough, up=False
    )


def _pushed(
    table: Mapping[Cell, int], unknown: AbstractSet[Cell], cell: Cell, enough: int, *, up: bool
) -> int:
    """Push one unit after the other around the cell, by Ford and Fulkerson."""
    now = {each: table[each] for each in unknown}
    flows = {each: (each[0] == TOTAL) == (each[1] == ROLL) for each in unknown}
    pushed = 0
    while pushed < enough and (up or now[cell] > 1):
        came: dict[tuple[str, str], tuple[tuple[str, str], Cell, int]] = {}
        # From where the unit arrives back to where it left.
        outward = flows[cell] == up
        start, goal = ("column", cell[1]), ("row", cell[0])
        if not outward:
            start, goal = goal, start
        queue = deque([start])
        while queue and goal not in came:
            here = queue.popleft()
            for each in unknown - {cell}:
                ends = (("row", each[0]), ("column", each[1]))
                for (source, target), with_flow in ((ends, True), (ends[::-1], False)):
                    change = 1 if flows[each] == with_flow else -1
                    if source == here and target not in came and now[each] + change >= 1:
                        came[target] = (here, each, change)
                        queue.append(target)
        if goal not in came:
            return pushed
        while goal != start:
            goal, each, change = came[goal]
            now[each] += change
        now[cell] += 1 if up else -1
        pushed += 1
    return pushed


def test_the_oracles_know_what_follows_from_what() -> None:
    table = table_of({"a": dict(zip(COLUMNS, (5, 50, 0, 45, 100), strict=True)),
                      "b": dict(zip(COLUMNS, (60, 70, 0, 70, 200), strict=True))})  # fmt: skip
    alone = {("a", "sampled")}
    assert computable(table, alone) == alone
    in_row = {("a", "sampled"), ("a", "excluded")}
    assert computable(table, in_row) == in_row
    square = {*product("ab", ("sampled", "excluded"))}
    assert computable(table, square) == set()
    assert swing(table, square, ("a", "sampled"), 100) == 4 + 49
    ones = table_of({each: dict(zip(COLUMNS, (1, 1, 0, 40, 42), strict=True)) for each in "ab"})
    # Sums leave it open, and yet both are one: none of them can be nought.
    assert computable(ones, square) == set()
    assert swing(ones, square, ("a", "sampled"), 100) == 0


@settings(max_examples=300, deadline=None)
@given(table=tables(), before=st.sets(st.tuples(st.sampled_from(["410171000", ""]),
                                                st.sampled_from(COLUMNS))))  # fmt: skip
@example(table_of({"a": dict(zip(COLUMNS, (1, 1, 1, 1, 4), strict=True))}), set())
@example(table_of({"a": dict(zip(COLUMNS, (5, 0, 0, 0, 5), strict=True))}), set())
def test_r20_no_hidden_figure_follows_from_what_is_shown(
    table: dict[Cell, int], before: set[Cell]
) -> None:
    assert adds_up(table)
    unknown = hidden(table, LEAST, before)
    assert {cell for cell, n in table.items() if 0 < n < LEAST} <= unknown
    assert not computable(table, unknown)
    for cell in unknown:
        assert swing(table, unknown, cell, LEAST) >= LEAST, cell


@given(table=tables(most=5000))
def test_nought_is_shown_and_where_nobody_is_few_everything_is(table: dict[Cell, int]) -> None:
    unknown = hidden(table, LEAST)
    assert all(table[cell] for cell in unknown)
    if all(n == 0 or n >= LEAST for n in table.values()):
        assert not unknown


def test_as_little_is_hidden_as_has_to_be_and_sums_last() -> None:
    rows = {
        "a": (900, 4, 40, 56, 1000), "b": (800, 30, 120, 50, 1000), "c": (700, 90, 110, 100, 1000),
    }  # fmt: skip
    table = table_of({code: dict(zip(COLUMNS, row, strict=True)) for code, row in rows.items()})
    assert hidden(table, LEAST) == {
        ("a", "excluded"), ("a", "in_hand"), ("b", "excluded"), ("b", "in_hand"),
    }  # fmt: skip


def test_what_was_hidden_before_is_hidden_again() -> None:
    """In the next quarter of an hour another figure would do as well, and would tell this one."""
    rows = {
        "a": (900, 4, 56, 40, 1000), "b": (800, 30, 50, 120, 1000), "c": (700, 90, 100, 110, 1000),
    }  # fmt: skip
    table = table_of({code: dict(zip(COLUMNS, row, strict=True)) for code, row in rows.items()})
    before = frozenset(product("ac", ("excluded", "unaccounted")))
    assert hidden(table, LEAST, before) == before


@pytest.mark.parametrize(
    ("cell", "by"), [(("a", "sampled"), 1), ((TOTAL, ROLL), -1), (("a", "in_hand"), -60)]
)
def test_a_table_that_does_not_add_up_is_none(cell: Cell, by: int) -> None:
    table = table_of({"a": dict(zip(COLUMNS, (900, 4, 56, 40, 1000), strict=True))})
    assert adds_up(table)
    assert not adds_up({**table, cell: table[cell] + by})
