"""Milestones: an office has reached so much coverage, or nobody of it is unaccounted any more.

A milestone is a state with two turns, `reached` and `undone`: a correction, a hand that ends or
somebody who joins the roll may take it back. Every turn is told once, under an id of its own.
"""

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal, NamedTuple

from services.reporting.domain.coverage import Line

Milestone = Literal["coverage", "unaccounted"]
"""Coverage (R2) is at the threshold or above it; unaccounted is zero."""

Turn = Literal["reached", "undone"]

UNPLACED = "000"
"""End of codes of people whose office is not known (R5): nobody there works towards anything."""


class Mark(NamedTuple):
    """A milestone of one office in one round."""

    round: str
    office: str
    milestone: Milestone


@dataclass(frozen=True, slots=True)
class Turned:
    """A milestone that stands otherwise than it was told last, and the figures that say so."""

    mark: Mark
    turn: Turn
    line: Line


def turned(
    round_id: str, lines: Iterable[Line], threshold: float, reached: AbstractSet[Mark]
) -> Iterator[Turned]:
    """Tell what has turned in a round.

    An office without anybody on its roll stands nowhere: it has not been told of yet, or anew.

    Args:
        round_id: of the figures
        lines: figures by office
        threshold: share of the eligible that have to be sampled
        reached: what was told to be reached, and not undone since

    """
    for line in lines:
        if not line.roll or line.code.endswith(UNPLACED):
            continue
        covered = line.coverage is not None and line.coverage >= threshold
        stands: dict[Milestone, bool] = {
            "coverage": covered,
            "unaccounted": line.unaccounted == 0,
        }
        for milestone, now in stands.items():
            mark = Mark(round_id, line.code, milestone)
            if now != (mark in reached):
                yield Turned(mark, "reached" if now else "undone", line)
