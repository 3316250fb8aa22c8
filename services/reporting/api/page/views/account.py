"""The account of everybody somebody answers for, row by row: by office or by community."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import ClassVar, NamedTuple

from services.reporting.api.page.rendering import Parts, part
from services.reporting.api.page.serving import address
from services.reporting.api.page.views.question import Question
from services.reporting.api.page.views.view import FiguresView, heading
from services.reporting.api.page.words import SPEECH, Language, Speech
from services.reporting.api.shelf import Shelf
from services.reporting.domain.areas import AREA_WIDTH, ByArea
from services.reporting.domain.coverage import Coverage
from services.reporting.domain.freshness import Edition
from services.reporting.domain.pace import Pace, finishing
from services.reporting.flow import figures
from services.reporting.wiring import Wiring
from shared.database import Transaction


class Shown(NamedTuple):
    """What a row shows of a line, and nothing else: who shows the same has the same HTML."""

    code: str
    name: str
    unaccounted: int | None
    coverage: float | None
    roll: int | None
    sampled: int
    excluded: int | None
    in_hand: int | None
    visits_open: int | None


_shown = attrgetter(*Shown._fields)

COLUMNS = Shown._fields[2:]
"""Of the table, after the name and the bar."""

ROWS = 2048
"""Rows remembered, a kilobyte each. In a second few change: most are there from the last look."""

ROUNDS_BEFORE = 3
"""Earlier rounds drawn beside this one."""

PACE_SECONDS = 10.0
"""The curve is summed anew no more often: it is as long as the round, and hardly moves."""


class Account(FiguresView):
    """The account with its headline, and how it comes about."""

    template = "account.html"
    by: ClassVar[ByArea]
    """What a row stands for."""

    def __init__(self, wiring: Wiring) -> None:
        super().__init__(wiring)
        self._paces: Shelf[Pace] = Shelf()

    def setting(self, question: Question) -> Mapping[str, object]:
        """The head of the table."""
        return {"columns": COLUMNS, "by": self.by, "office": question.office}

    def moment(self) -> object:
        """It changes by itself once in a while: its curve, and when it would be over."""
        return _slot()

    async def parts(self, tx: Transaction, edition: Edition, question: Question) -> Parts:
        """Render heading, headline, rows, total, what is to be done, curve and kinds."""
        office = question.office
        place = None if office is None else await figures.name(tx, edition.view, office)
        table = await figures.coverage(tx, edition.view, self.by)
        now = edition.view.round.time(datetime.now(UTC))
        _, work = await figures.work(tx, edition.view, "district", now)
        pace = await self._pace(tx, edition)
        return {
            "heading": heading(edition, question, place),
            **_parts(table, edition, pace, question),
            "work": part("work.work", question.say, work),
        }

    async def _pace(self, tx: Transaction, edition: Edition) -> Pace:
        view = edition.view
        key = (view.round.id, tuple(view.areas))
        moment = f"{view.generation} {_slot()}"
        return await self._paces.copy(
            key, moment, lambda: figures.pace(tx, view, rounds_before=ROUNDS_BEFORE)
        )


def _slot() -> int:
    return int(time.time() // PACE_SECONDS)


def _parts(table: Coverage, edition: Edition, pace: Pace, question: Question) -> Parts:
    say, round_ = question.say, edition.view.round
    rows = sorted(table.rows, key=lambda line: (-(line.unaccounted or 0), line.code))
    length = max(round_.closes_at - round_.opens_at, timedelta(hours=1))
    finish = _finish(say, table, edition, pace)
    made = {"headline": part("account.headline", say, table.total, finish)}
    for line in rows:
        link = None
        if question.office is None and len(line.code) == AREA_WIDTH["office"]:
            link = f"/office/{line.code}?{address(lang=say.language, round=question.round)}"
        made[f"row-{line.code}"] = _row(say.language, Shown(*_shown(line)), link)
    made["total"] = part("account.total", say, table.total, COLUMNS)
    hours = -(-length // timedelta(hours=1))
    made["curve"] = part("account.curve", say, pace.curves(length), hours)
    made["kinds"] = part("account.kinds", say, table.total)
    return made


@lru_cache(ROWS)
def _row(language: Language, shown: Shown, link: str | None) -> str:
    return part("account.row", SPEECH[language], shown, COLUMNS, link)


def _finish(say: Speech, table: Coverage, edition: Edition, pace: Pace) -> str:
    total = table.total
    left = (total.unaccounted or 0) + (total.in_hand or 0)
    if not left:
        return say("finish.done")
    if edition.view.round.state in {"closed", "sealed"}:
        return say("finish.over")
    now = edition.view.round.clock_at or edition.as_of.time
    at = finishing(pace.now.points, left, now) if now else None
    return say.moment(at) if at else say("finish.never")
