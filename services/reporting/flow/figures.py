"""Somebody asks how far the round is: sums of counters, and as of when they are (R22).

Cost grows with communities and cells, never with residents.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from services.reporting import store
from services.reporting.domain.areas import AREA_WIDTH, TOTAL, ByArea, name_of
from services.reporting.domain.cells import Cells, add
from services.reporting.domain.coverage import (
    By,
    Coverage,
    Line,
    area_line,
    channel_lines,
    need_lines,
)
from services.reporting.domain.denominators import Outside, Scope
from services.reporting.domain.freshness import View, as_of
from services.reporting.domain.rounds import Round
from services.reporting.domain.series import SeriesRow, points
from shared.contracts.cells import SLOT_SECONDS
from shared.database import Transaction

EVERYWHERE = ("",)
"""Areas of somebody who sees all of them: the empty prefix."""

OutsideByCode: TypeAlias = Mapping[str, Sequence[Outside]]
"""Numbers from outside that measure each area (R3)."""


async def view(tx: Transaction, round_id: str | None, areas: Sequence[str]) -> View:
    """Find the round that is asked for and how far its figures are, in the caller's areas.

    Raises:
        RoundUnknown: there is none.

    """
    generation = await store.current_generation(tx)
    return View(
        generation=generation,
        round=await store.find_round(tx, generation, round_id, areas),
        as_of=as_of(await store.applied(tx), await store.producers(tx)),
        decisions=await store.decisions(tx),
    )


async def coverage(
    tx: Transaction, generation: int, of: Round, by: By, areas: Sequence[str]
) -> Coverage:
    """Read the coverage table of a round, limited to the caller's areas (R2, R3, R4, R5)."""
    outside = await _outside(tx, generation, of, areas)
    if by == "need" or by == "channel":  # noqa: PLR1714 - narrows the type
        cells = await store.cells_of_scope(tx, generation, of.id, areas)
        visits = await store.visits_by_area(tx, generation, of.id, 0, areas)
        rows = need_lines(cells) if by == "need" else channel_lines(cells)
        return Coverage(rows, _total(cells, visits.get("", {}), outside))
    return await _coverage_by_area(tx, generation, of, by, areas, outside)


async def _outside(
    tx: Transaction, generation: int, of: Round, areas: Sequence[str]
) -> OutsideByCode:
    given = await store.denominators(tx, generation, areas)
    if not given:
        return {}
    districts = sorted({office[: AREA_WIDTH["district"]] for office in of.offices})
    codes = await store.area_codes(tx, generation, districts)
    return Scope(of.offices, areas, codes).outside(given)


async def _coverage_by_area(
    tx: Transaction,
    generation: int,
    of: Round,
    by: ByArea,
    areas: Sequence[str],
    outside: OutsideByCode,
) -> Coverage:
    width = AREA_WIDTH[by]
    cells = await store.cells_by_area(tx, generation, of.id, width, areas)
    visits = await store.visits_by_area(tx, generation, of.id, width, areas)
    names = await store.area_names(tx, generation, by, of.offices, areas)
    # Also areas where nothing was counted yet: a corner that is not shown is a blind one.
    codes = sorted(names.keys() | cells.keys() | visits.keys())
    return Coverage(
        rows=[
            area_line(
                code,
                name_of(code, names),
                cells.get(code, {}),
                visits.get(code, {}),
                outside.get(code, ()),
            )
            for code in codes
        ],
        total=_total(add(cells.values()), add(visits.values()), outside),
    )


def _total(cells: Cells, visits: Cells, outside: OutsideByCode) -> Line:
    return area_line("total", "total", cells, visits, outside.get(TOTAL, ()))


async def series(
    tx: Transaction,
    generation: int,
    of: Round,
    by: ByArea,
    areas: Sequence[str],
    *,
    step_seconds: int,
) -> Sequence[SeriesRow]:
    """Read how many were sampled in each step of sampling time, by area (R1, R19)."""
    found = await store.series_by_area(
        tx,
        generation,
        of.id,
        AREA_WIDTH[by],
        areas,
        slots=step_seconds // SLOT_SECONDS,
    )
    names = await store.area_names(tx, generation, by, of.offices, areas)
    return [
        SeriesRow(code, name_of(code, names), points(found.get(code, {})))
        for code in sorted(names.keys() | found.keys())
    ]
