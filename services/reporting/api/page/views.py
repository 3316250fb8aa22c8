"""What a view shows: figures of everybody somebody answers for, by office or by community."""

import time
from dataclasses import dataclass
from datetime import timedelta

from services.reporting.api.answers import tag_of
from services.reporting.api.page.rendering import Parts, Rendition, part
from services.reporting.api.page.words import SPEECH, Language, Speech
from services.reporting.api.shelf import Shelf
from services.reporting.domain.areas import AREA_WIDTH, ByArea
from services.reporting.domain.coverage import Coverage
from services.reporting.domain.freshness import Edition
from services.reporting.domain.pace import Pace, finishing
from services.reporting.flow import figures
from services.reporting.wiring import Wiring
from shared.database import Transaction
from shared.errors import NotFound

COLUMNS = (
    "unaccounted", "coverage", "roll", "sampled", "excluded", "in_hand", "visits_open",
)  # fmt: skip
"""Of the table, after the name and the bar."""

ROUNDS_BEFORE = 3
"""Earlier rounds drawn beside this one."""

PACE_SECONDS = 10.0
"""The curve is summed anew no more often: it is as long as the round, and hardly moves."""


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody looks at. Those who ask the same see the same."""

    language: Language
    areas: tuple[str, ...]
    round: str | None = None
    office: str | None = None

    @property
    def within(self) -> tuple[str, ...]:
        """The areas to read.

        Raises:
            NotFound: the office is not in the areas of the token, nor any of it

        """
        office = self.office
        if office is None:
            return self.areas
        if office.startswith(self.areas):
            return (office,)
        parts = tuple(area for area in self.areas if area.startswith(office))
        if not parts:
            raise NotFound("there is no such office in the areas of the token")
        return parts


class Views:
    """Views of the figures, each rendered once a change."""

    def __init__(self, wiring: Wiring) -> None:
        self._database = wiring.database
        self._shelf: Shelf[Parts] = Shelf()
        self._paces: Shelf[Pace] = Shelf()

    async def look(self, question: Question) -> Rendition:
        """Show what is asked for, as it is now.

        Raises:
            RoundUnknown, NotFound: there is nothing like it in the areas of the token

        """
        async with self._database.snapshot() as tx:
            edition = await figures.edition(tx, question.round, question.within)
            tag = tag_of(edition, "page", question.language, question.office, _slot())
            round_ = edition.view.round
            key = (question, round_.id)
            parts = await self._shelf.copy(key, tag, lambda: self._render(tx, edition, question))
        as_of = edition.as_of.time.isoformat() if edition.as_of.time else ""
        return Rendition(tag, as_of, round_.id, parts)

    async def _render(self, tx: Transaction, edition: Edition, question: Question) -> Parts:
        by: ByArea = "office" if question.office is None else "community"
        table = await figures.coverage(tx, edition.view, by)
        say, round_ = SPEECH[question.language], edition.view.round
        heading = f"{round_.name} · {say(f'state.{round_.state}')}"
        if question.office is not None:
            heading = f"{await figures.name(tx, edition.view, question.office)} · {heading}"
        pace = await self._pace(tx, edition)
        return {
            "heading": part("heading", heading),
            **_parts(say, table, edition, pace, question),
        }

    async def _pace(self, tx: Transaction, edition: Edition) -> Pace:
        view = edition.view
        key = (view.round.id, tuple(view.areas))
        moment = f"{view.generation} {_slot()}"
        return await self._paces.copy(
            key, moment, lambda: figures.pace(tx, view, rounds_before=ROUNDS_BEFORE)
        )


def _slot() -> int:
    """A view changes by itself once in a while: its curve, and when it would be over."""
    return int(time.time() // PACE_SECONDS)


def _parts(say: Speech, table: Coverage, edition: Edition, pace: Pace, question: Question) -> Parts:
    round_ = edition.view.round
    rows = sorted(table.rows, key=lambda line: (-(line.unaccounted or 0), line.code))
    length = max(round_.closes_at - round_.opens_at, timedelta(hours=1))
    made = {"headline": part("headline", say, table.total, _finish(say, table, edition, pace))}
    for line in rows:
        link = None
        if question.office is None and len(line.code) == AREA_WIDTH["office"]:
            chosen = f"&round={question.round}" if question.round else ""
            link = f"/office/{line.code}?lang={say.language}{chosen}"
        made[f"row-{line.code}"] = part("row", say, line, COLUMNS, link)
    made["total"] = part("total", say, table.total, COLUMNS)
    hours = -(-length // timedelta(hours=1))
    made["curve"] = part("curve", say, pace.curves(length), hours)
    made["kinds"] = part("kinds", say, table.total)
    return made


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
