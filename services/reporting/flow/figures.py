"""Somebody asks how far the round is: sums of counters, and as of when they are (R22).

Cost grows with communities and cells, never with residents.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from services.reporting.domain.areas import AREA_WIDTH, TOTAL, ByArea, name_of
from services.reporting.domain.cells import Cells, add
from services.reporting.domain.coverage import (
    By,
    Coverage,
    Line,
    area_line,
    channel_lines,
    eligible,
    need_lines,
)
from services.reporting.domain.denominators import Outside, Scope
from services.reporting.domain.freshness import Edition, as_of
from services.reporting.domain.pace import Course, Pace
from services.reporting.domain.rounds import View
from services.reporting.domain.series import SeriesRow, points
from services.reporting.domain.work import Along, Work, along_all, work_of
from services.reporting.store import (
    areas,
    denominators,
    figures,
    freshness,
    generations,
    parked,
    rounds,
)
from shared.contracts.cells import SLOT_SECONDS, slot_of
from shared.contracts.geometry import Geometry
from shared.database import Transaction

EVERYWHERE = ("",)
"""Areas of somebody who sees all of them: the empty prefix."""

OutsideByCode: TypeAlias = Mapping[str, Sequence[Outside]]
"""Numbers from outside that measure each area (R3)."""


async def edition(tx: Transaction, round_id: str | None, within: Sequence[str]) -> Edition:
    """Find the round that is asked for, and how far its figures are.

    Raises:
        RoundUnknown: there is none in these areas.

    """
    return Edition(
        view=await view_of(tx, round_id, within),
        as_of=as_of(await freshness.applied(tx), await freshness.producers(tx)),
        decisions=await parked.decisions(tx),
    )


async def view_of(tx: Transaction, round_id: str | None, within: Sequence[str]) -> View:
    """Find the round that is asked for, limited to the caller's areas.

    Raises:
        RoundUnknown: there is none in these areas.

    """
    generation = await generations.current(tx)
    return View(generation, await rounds.find(tx, generation, round_id, within), within)


async def coverage(tx: Transaction, view: View, by: By) -> Coverage:
    """Read the coverage table of a round, limited to the caller's areas (R2, R3, R4, R5)."""
    outside = await _outside(tx, view)
    if by == "need" or by == "channel":  # noqa: PLR1714 - narrows the type
        cells = await figures.cells_of_scope(tx, view)
        visits = await figures.visits_by_area(tx, view, 0)
        rows = need_lines(cells) if by == "need" else channel_lines(cells)
        return Coverage(rows, _total(cells, visits.get("", {}), outside))
    return await _coverage_by_area(tx, view, by, outside)


async def _outside(tx: Transaction, view: View) -> OutsideByCode:
    given = await denominators.seen(tx, view)
    if not given:
        return {}
    offices = view.round.offices
    districts = sorted({office[: AREA_WIDTH["district"]] for office in offices})
    codes = await areas.codes(tx, view.generation, districts)
    return Scope(offices, view.areas, codes).outside(given)


async def _coverage_by_area(
    tx: Transaction, view: View, by: ByArea, outside: OutsideByCode
) -> Coverage:
    cells = await figures.cells_by_area(tx, view, AREA_WIDTH[by])
    visits = await figures.visits_by_area(tx, view, AREA_WIDTH[by])
    names = await areas.names(tx, view, by)
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


async def work(tx: Transaction, view: View, by: ByArea, now: datetime) -> tuple[list[Work], Work]:
    """Read what is to be done in each area and in all of them, and what is past due by `now`."""
    width = AREA_WIDTH[by]
    cells = await figures.cells_by_area(tx, view, width)
    visits = await figures.visits_by_area(tx, view, width)
    along = await _along_time(tx, view, width, now)
    names = await areas.names(tx, view, by)
    rows = [
        work_of(
            code,
            name_of(code, names),
            cells.get(code, {}),
            visits.get(code, {}),
            None if along is None else along.get(code, {}),
        )
        for code in sorted(names.keys() | cells.keys() | visits.keys())
    ]
    everywhere = None if along is None else along_all(along.values())
    total = work_of("total", "total", add(cells.values()), add(visits.values()), everywhere)
    return rows, total


async def _along_time(
    tx: Transaction, view: View, width: int, now: datetime
) -> dict[str, dict[str, Along]] | None:
    if not await generations.counts_along_time(tx, view.generation):
        return None
    return await figures.along_by_area(tx, view, width, slot_of(now))


async def overdue(
    tx: Transaction, patience: timedelta, sealed_after: datetime
) -> dict[str, dict[str, int]]:
    """Count, by round and office, results that are late: of swabs older than the patience (R13).

    Told from the series and the account, so it is what is missing for certain: a younger swab that
    has its result already stands in for an older one that has none. Of rounds that are not sealed.
    """
    generation = await generations.current(tx)
    late: dict[str, dict[str, int]] = {}
    for each in await rounds.watched(tx, generation, sealed_after):
        if each.state == "sealed":
            continue
        view, width = View(generation, each, EVERYWHERE), AREA_WIDTH["office"]
        due = each.time(datetime.now(UTC)) - patience
        cells = await figures.cells_by_area(tx, view, width)
        swabs = await figures.sampled_before(tx, view, width, int(due.timestamp() // SLOT_SECONDS))
        late[each.id] = {
            office: max(0, swabs.get(office, 0) - counted.get("resulted", 0))
            for office, counted in cells.items()
        }
    return late


async def geometries(tx: Transaction, view: View, by: ByArea) -> Mapping[str, Geometry]:
    """Tell where the areas of the round lie; nobody has told it of some."""
    return await areas.geometries(tx, view, by)


async def name(tx: Transaction, view: View, office: str) -> str:
    """Name an office of the round; its code, if it has no name."""
    return name_of(office, await areas.names(tx, view, "office"))


async def names(tx: Transaction, view: View, *levels: ByArea) -> Mapping[str, str]:
    """Name the areas of these levels that the round covers and the caller may see, by code."""
    named: dict[str, str] = {}
    for by in levels:
        named |= await areas.names(tx, view, by)
    return named


async def pace(tx: Transaction, view: View, *, rounds_before: int) -> Pace:
    """Read how fast a round is and was, over everybody in the caller's areas."""
    others = await rounds.earlier(tx, view, rounds_before)
    return Pace(
        now=await _course(tx, view),
        before=[await _course(tx, replace(view, round=each)) for each in others],
    )


async def _course(tx: Transaction, view: View) -> Course:
    by_district = await figures.series_by_area(tx, view, AREA_WIDTH["district"], slots=1)
    sampled: Counter[int] = Counter()
    for slots in by_district.values():
        sampled.update(slots)
    cells = await figures.cells_by_area(tx, view, AREA_WIDTH["district"])
    return Course(view.round, points(sampled), eligible(add(cells.values())))


async def series(
    tx: Transaction, view: View, by: ByArea, *, step_seconds: int
) -> Sequence[SeriesRow]:
    """Read how many were sampled in each step of sampling time, by area (R1, R19)."""
    found = await figures.series_by_area(
        tx, view, AREA_WIDTH[by], slots=step_seconds // SLOT_SECONDS
    )
    names = await areas.names(tx, view, by)
    return [
        SeriesRow(code, name_of(code, names), points(found.get(code, {})))
        for code in sorted(names.keys() | found.keys())
    ]
