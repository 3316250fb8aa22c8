"""What everybody may see: figures of offices, without those that are about a few people (R20).

A table of offices has rows and columns that add up, so that one hidden figure is what the others
leave over. What has to be hidden hides others with it, until whatever is shown leaves each hidden
figure open: rows and columns are the two sides of a graph, hidden figures its edges, and a figure
cannot be computed if it lies on a cycle of them (D. Gusfield, 1988). Figures are never negative,
and nought is shown; so a cycle must also leave room: along it the figure can be greater by as many
as are few, and all sums stay as they are.
"""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import TypeAlias

from services.reporting.domain.areas import TOTAL

CLASSES = ("sampled", "excluded", "in_hand", "unaccounted")
ROLL = "roll"
COLUMNS = (*CLASSES, ROLL)
"""The classes, and what they add up to."""

Cell: TypeAlias = tuple[str, str]
"""Row and column; the row `TOTAL` is what the offices add up to."""

Table: TypeAlias = Mapping[Cell, int]

_DEARER = {ROLL: 20.0, "sampled": 2.0, "unaccounted": 2.0}
_DEARER_TOTAL = 20.0
_HIDDEN_BEFORE = 0.01
_HIDDEN = 1e-6


@dataclass(frozen=True, slots=True)
class PublicRow:
    """One office as everybody sees it; None: not shown."""

    code: str
    name: str
    figures: Mapping[str, int | None]

    @property
    def coverage(self) -> float | None:
        """Coverage, if whoever sees the row can compute it anyway."""
        roll, excluded, sampled = (self.figures[name] for name in (ROLL, "excluded", "sampled"))
        if roll is None or excluded is None or sampled is None or roll <= excluded:
            return None
        return sampled / (roll - excluded)


@dataclass(frozen=True, slots=True)
class Release:
    """What everybody is told, until the next one."""

    round: str
    round_name: str
    state: str
    made_at: datetime
    as_of: datetime | None
    least: int
    rows: Sequence[PublicRow]
    total: PublicRow

    @property
    def hidden(self) -> frozenset[Cell]:
        """Everything that is not shown."""
        return frozenset(
            (row.code, column)
            for row in (*self.rows, self.total)
            for column, n in row.figures.items()
            if n is None
        )


def adds_up(table: Table) -> bool:
    """Say whether a table is one: nothing below zero, and rows and columns are their sums."""
    rows, offices = _rows(table), [row for row in _rows(table) if row != TOTAL]
    return (
        all(n >= 0 for n in table.values())
        and all(table[row, ROLL] == sum(table[row, each] for each in CLASSES) for row in rows)
        and all(
            table[TOTAL, column] == sum(table[office, column] for office in offices)
            for column in COLUMNS
        )
    )


def hidden(table: Table, least: int, before: AbstractSet[Cell] = frozenset()) -> frozenset[Cell]:
    """Choose the figures that are not shown: those of few people, and what would give them away.

    From what is shown it follows of no hidden figure which of more than `least` numbers it is.

    Args:
        table: adds up
        least: figures from 1 to below this are of few people; nought is of nobody
        before: hidden in the table before: hidden again rather than others, so that the difference
            of the two tells less

    """
    few = sorted(cell for cell, n in table.items() if 0 < n < least)
    chosen = set(few)
    for cell in few:
        cycle = _cheapest_cycle(table, cell, least, chosen, before)
        if cycle is None:  # so few people altogether that nothing can be said of any
            return frozenset(cell for cell, n in table.items() if n)
        chosen.update(cycle)
    return frozenset(chosen)


def _cheapest_cycle(
    table: Table, cell: Cell, least: int, chosen: AbstractSet[Cell], before: AbstractSet[Cell]
) -> list[Cell] | None:
    """Find the way from a cell's row to its column along which it can grow by `least`.

    Whoever adds to the cell takes from the next one on the way, and so on in turn: those that are
    taken from must have enough to stay above nought. Sums count the other way round.
    """
    start, goal = (True, cell[0]), (False, cell[1])
    best = {start: 0.0}
    came: dict[tuple[bool, str], tuple[tuple[bool, str], Cell]] = {}
    queue = [(0.0, start)]
    while queue:
        cost, here = heapq.heappop(queue)
        if here == goal:
            return list(_way(came, goal))
        if cost > best[here]:
            continue
        for over in _cells_at(table, here):
            if over == cell or not table[over]:
                continue
            from_row = here[0]
            grows = (_is_part(over) == _is_part(cell)) != from_row
            if not grows and table[over] <= least:
                continue
            there = (False, over[1]) if from_row else (True, over[0])
            dearer = cost + _price(table, over, chosen, before)
            if dearer < best.get(there, float("inf")):
                best[there] = dearer
                came[there] = (here, over)
                heapq.heappush(queue, (dearer, there))
    return None


def _way(
    came: Mapping[tuple[bool, str], tuple[tuple[bool, str], Cell]], place: tuple[bool, str]
) -> Iterator[Cell]:
    while place in came:
        place, cell = came[place]
        yield cell


def _cells_at(table: Table, place: tuple[bool, str]) -> Iterator[Cell]:
    is_row, name = place
    if is_row:
        yield from ((name, column) for column in COLUMNS)
    else:
        yield from ((row, name) for row in _rows(table))


def _is_part(cell: Cell) -> bool:
    """Tell parts from sums, which count the other way; the sum of all is both at once."""
    row, column = cell
    return (row == TOTAL) == (column == ROLL)


def _price(table: Table, cell: Cell, chosen: AbstractSet[Cell], before: AbstractSet[Cell]) -> float:
    """Say how much it costs the reader to have a figure hidden."""
    if cell in chosen:
        return _HIDDEN
    row, column = cell
    price = _DEARER.get(column, 1.0) * (_DEARER_TOTAL if row == TOTAL else 1.0)
    price *= 1 + table[cell] / (1 + table[TOTAL, ROLL])
    return price * (_HIDDEN_BEFORE if cell in before else 1.0)


def _rows(table: Table) -> list[str]:
    return sorted({row for row, _ in table})


def table_of(rows: Mapping[str, Mapping[str, int]]) -> dict[Cell, int]:
    """Lay out the figures of offices, with their total."""
    table = {(row, column): rows[row][column] for row, column in product(rows, COLUMNS)}
    for column in COLUMNS:
        table[TOTAL, column] = sum(figures[column] for figures in rows.values())
    return table
