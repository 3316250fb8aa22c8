"""Everybody is told of a round: by the clock, and without what is about a few people (R20)."""

from datetime import datetime, timedelta

import structlog

from services.reporting.domain.areas import TOTAL
from services.reporting.domain.publishing import (
    COLUMNS,
    Cell,
    PublicRow,
    Release,
    adds_up,
    hidden,
    table_of,
)
from services.reporting.flow.figures import EVERYWHERE, coverage, edition
from services.reporting.store import releases
from shared.database import Database, Transaction
from shared.errors import RoundUnknown

log = structlog.get_logger(__name__)


async def publish(
    database: Database, now: datetime, every: timedelta, least: int
) -> Release | None:
    """Make the release that is due by the clock, if one is and nobody else makes it.

    The difference of two tables may tell what neither does. So there are few of them: everybody is
    shown the same one, and it is made when its time has come, not when something has happened.
    """
    async with database.session_lock("reporting.release") as held:
        return await database.transact(_publish, now, every, least) if held else None


async def _publish(tx: Transaction, now: datetime, every: timedelta, least: int) -> Release | None:
    before = await releases.made_at(tx)
    if before is not None and _slot(before, every) >= _slot(now, every):
        return None
    made = await _release(tx, now, least)
    if made is not None:
        await releases.save(tx, made)
    return made


def _slot(at: datetime, every: timedelta) -> int:
    return int(at.timestamp() // every.total_seconds())


async def _release(tx: Transaction, now: datetime, least: int) -> Release | None:
    """Make one of the round that is looked at now; None while there is nothing to tell.

    A table that does not add up is not published: what is hidden in it might follow from the rest.
    """
    try:
        found = await edition(tx, None, EVERYWHERE)
    except RoundUnknown:
        return None
    round_ = found.view.round
    lines = (await coverage(tx, found.view, "office")).rows
    figures = {
        line.code: {column: getattr(line, column) for column in COLUMNS}
        for line in lines
        if line.roll
    }
    if round_.state == "draft" or not figures:
        return None
    table = table_of(figures)
    if not adds_up(table):
        log.warning("figures_not_published", round=round_.id, why="they do not add up")
        return None
    last = await releases.of(tx, round_.id)
    left_out = hidden(table, least, last.hidden if last else frozenset())

    def row(code: str, name: str) -> PublicRow:
        return PublicRow(
            code, name, {column: _shown(table, (code, column), left_out) for column in COLUMNS}
        )

    return Release(
        round=round_.id,
        round_name=round_.name,
        state=round_.state,
        made_at=now,
        as_of=found.as_of.time,
        least=least,
        rows=[row(line.code, line.name) for line in lines if line.code in figures],
        total=row(TOTAL, "all"),
    )


def _shown(table: dict[Cell, int], cell: Cell, left_out: frozenset[Cell]) -> int | None:
    return None if cell in left_out else table[cell]
