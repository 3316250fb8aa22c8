"""Who is left: the lines of a coverage table, by area, need or channel."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict, cast

from services.reporting.domain.areas import ByArea
from services.reporting.domain.cells import Cells, family
from services.reporting.domain.denominators import Measured, Outside

By = Literal[ByArea, "need", "channel"]
"""What the rows of a coverage table stand for."""

OPEN_VISITS = ("status.planned", "status.assigned", "status.started")
DONE_VISITS = "status.finished"
"""Cells of visits."""


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a coverage table. None: this figure is not kept by what the rows stand for."""

    code: str
    name: str
    sampled: int
    roll: int | None = None
    excluded: int | None = None
    excluded_by_reason: Cells | None = None
    resulted: int | None = None
    negative: int | None = None
    positive: int | None = None
    inconclusive: int | None = None
    invalid: int | None = None
    in_hand: int | None = None
    in_hand_by_kind: Cells | None = None
    unaccounted: int | None = None
    visitors: int | None = None
    visits_open: int | None = None
    visits_done: int | None = None
    coverage: float | None = None
    outside: Sequence[Measured] | None = None


@dataclass(frozen=True, slots=True)
class Coverage:
    """A coverage table: its rows, and the line of everybody in the caller's areas."""

    rows: Sequence[Line]
    total: Line


class _Counts(TypedDict):
    roll: int
    sampled: int
    excluded: int
    in_hand: int
    unaccounted: int
    resulted: int
    negative: int
    positive: int
    inconclusive: int
    invalid: int


def _counts(cells: Cells) -> _Counts:
    """Read the figures that every whole account has, also that of one need (R4)."""
    return cast("_Counts", {name: cells.get(name, 0) for name in _Counts.__required_keys__})


def eligible(cells: Cells) -> int:
    """Who has to be sampled (R2): the roll, less those who are excluded."""
    return cells.get("roll", 0) - cells.get("excluded", 0)


def coverage_of(cells: Cells) -> float | None:
    """Coverage by R2: sampled ÷ (roll - excluded); None when nobody has to be sampled."""
    people = eligible(cells)
    return cells.get("sampled", 0) / people if people else None


def area_line(
    code: str, name: str, cells: Cells, visits: Cells, outside: Iterable[Outside] = ()
) -> Line:
    """Line of an area: the whole account, its visits, and the numbers of others."""
    return Line(
        code=code,
        name=name,
        **_counts(cells),
        excluded_by_reason=family(cells, "excluded."),
        in_hand_by_kind=family(cells, "in_hand."),
        visitors=cells.get("visitors", 0),
        visits_open=sum(visits.get(status, 0) for status in OPEN_VISITS),
        visits_done=visits.get(DONE_VISITS, 0),
        coverage=coverage_of(cells),
        outside=[each.measure(cells.get("sampled", 0)) for each in outside],
    )


def need_lines(cells: Cells) -> list[Line]:
    """Lines by need. A person may have several: these overlap and do not sum to the total."""
    by_need = {
        need: family(cells, f"need.{need}.")
        for need in {cell.split(".", 2)[1] for cell in cells if cell.startswith("need.")}
    }
    return [
        Line(code=need, name=need, **_counts(own), coverage=coverage_of(own))
        for need, own in sorted(by_need.items())
    ]


def channel_lines(cells: Cells) -> list[Line]:
    """Lines by channel: only the sampled are known by channel."""
    return [
        Line(code=channel, name=channel, sampled=n)
        for channel, n in sorted(family(cells, "channel.").items())
    ]
