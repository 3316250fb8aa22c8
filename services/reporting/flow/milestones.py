"""Somebody reached something: turns of milestones are noted, and owed to whoever wants to know.

Counters move by signed sums, often by parts of a change, and whoever catches up sees the past. So a
turn counts once two looks at level figures agree on it, with the producers asked anew in between.
It is noted in one transaction with all deliveries of it: none is lost, and none is told twice.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import msgspec
import structlog

from services.reporting.domain.freshness import as_of
from services.reporting.domain.milestones import Mark, Turn, Turned, turned
from services.reporting.domain.rounds import Round, View
from services.reporting.flow.figures import EVERYWHERE, coverage
from services.reporting.store import freshness, generations, milestones, parked, rounds
from shared.database import Database, Transaction

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Level:
    """Whether our figures are level."""

    since: datetime | None
    """When registry was asked for the heads that we have reached, all of them; None: not yet."""
    figures: object = None
    """Tells apart figures that differ; the same while nothing moves, and then there is no need to
    look."""


class Lookout:
    """Looks at the offices of rounds that are not sealed, whenever the producers were asked.

    Args:
        database: ours
        threshold: of coverage

    """

    def __init__(self, database: Database, threshold: float) -> None:
        self._database = database
        self._threshold = threshold
        self._looked = Level(None)
        self._seen: set[tuple[Mark, Turn]] = set()

    async def look(self) -> int:
        """Note what has turned, if our figures are level and were asked for anew; say how much."""
        async with self._database.snapshot() as tx:
            level = await _level(tx)
        if level.since in {None, self._looked.since}:
            return 0
        if level.figures == self._looked.figures and not self._seen:
            self._looked = level
            return 0
        async with self._database.session_lock("reporting.milestones") as held:
            return await self._look_closely() if held else 0

    async def _look_closely(self) -> int:
        async with self._database.snapshot() as tx:
            level = await _level(tx)
            if level.since is None:
                return 0
            found = {(each.mark, each.turn): (each, of) for each, of in await self._turned(tx)}
        sure = [told for key, told in found.items() if key in self._seen]
        self._looked, self._seen = level, set(found)
        return await self._database.transact(note, sure) if sure else 0

    async def _turned(self, tx: Transaction) -> list[tuple[Turned, Round]]:
        generation = await generations.current(tx)
        known = await milestones.reached(tx)
        found: list[tuple[Turned, Round]] = []
        for each in await rounds.watched(tx, generation, datetime.now(UTC)):
            lines = (await coverage(tx, View(generation, each, EVERYWHERE), "office")).rows
            found += ((one, each) for one in turned(each.id, lines, self._threshold, known))
        return found


async def _level(tx: Transaction) -> Level:
    producers = await freshness.producers(tx)
    reached = as_of(await freshness.applied(tx), producers)
    figures = (await generations.current(tx), reached.positions, await parked.decisions(tx))
    asked_at = producers["registry"].asked_at if "registry" in producers else None
    return Level(asked_at if reached.time == asked_at else None, figures)


async def note(tx: Transaction, found: Iterable[tuple[Turned, Round]]) -> int:
    """Note turns with all deliveries of them; say how many were new."""
    noted = 0
    for each, of in sorted(found, key=lambda told: told[0].mark):
        if await milestones.turn(tx, each):
            await milestones.announce(tx, uuid4(), each, _body(each, of, datetime.now(UTC)))
            noted += 1
            log.info("milestone", **each.mark._asdict(), turn=each.turn)
    return noted


def _body(each: Turned, of: Round, at: datetime) -> str:
    line = each.line
    told = {
        "type": f"milestone.{each.turn}",
        "timestamp": at.isoformat(),
        "data": {
            "round": of.id,
            "campaign": of.campaign,
            "number": of.number,
            "office": line.code,
            "name": line.name,
            "milestone": each.mark.milestone,
            "roll": line.roll,
            "excluded": line.excluded,
            "sampled": line.sampled,
            "in_hand": line.in_hand,
            "unaccounted": line.unaccounted,
            "coverage": line.coverage,
        },
    }
    return msgspec.json.encode(told).decode()
