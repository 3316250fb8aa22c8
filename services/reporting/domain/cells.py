"""Cells: single figures of one community, named by `shared.contracts.cells`.

Everything shown is a sum of cells; nothing is a remainder of anything else, so a hole in the
account stays visible.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeAlias

Cells: TypeAlias = Mapping[str, int]
"""Figures of one place, by cell. A cell that is not there is zero."""

CLASSES = ("sampled", "excluded", "in_hand", "unaccounted")
"""The four places a person on the roll can be; exactly one holds, so they sum to the roll."""


def family(cells: Cells, prefix: str) -> dict[str, int]:
    """Members of a family of cells by the rest of their name; zero ones are left out."""
    return {
        cell.removeprefix(prefix): n for cell, n in cells.items() if cell.startswith(prefix) and n
    }


def add(parts: Iterable[Cells]) -> dict[str, int]:
    """Sum figures of several places."""
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return total


def remainder(cells: Cells) -> int:
    """Roll - (sampled + excluded + in hand + unaccounted): zero, or somebody is miscounted."""
    return cells.get("roll", 0) - sum(cells.get(name, 0) for name in CLASSES)
