"""registry's clock opens, closes and seals rounds, begins and ends needs: each by an event.

On the wall it is the worker's; that of a drill moves when somebody ticks it. Every step is a
transaction of its own, so that whoever looks in between sees a whole account.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from prometheus_client import Counter

from services.registry.domain.rounds import Round, StepName
from services.registry.flow import needs, rounds
from services.registry.vault import Vault
from shared.database import Database
from shared.errors import PermanentError

STEPPED = Counter(
    "lastmetre_rounds_stepped_total", "Rounds opened, closed or sealed by the clock.", ["step"]
)
TURNED = Counter(
    "lastmetre_needs_turned_total", "Residents whose needs were judged anew by the clock."
)

log = structlog.get_logger(__name__)


class Timekeeper:
    """Does what is due by the clock.

    Any number of them may be at work, and people at the same buttons: a step that was taken
    already is not taken again, needs that were judged already are judged the same.

    Args:
        database: registry's
        vault: seals identity numbers
        seal_after: how long after its closing a round takes late entries

    """

    def __init__(self, database: Database, vault: Vault, seal_after: timedelta) -> None:
        self._database = database
        self._vault = vault
        self._seal_after = seal_after

    async def keep(self, now: datetime) -> int:
        """Do what is due by the clock on the wall; say how much that was.

        Raises:
            TransientError: a fault of the moment; what was not done is due the next time.

        """
        done = 0
        for where in await self._database.transact(rounds.scheduled):
            _, steps = await self._follow(where, now)
            done += steps
        return done + await self._turn(now)

    async def tick(self, round_id: UUID, clock_at: datetime, now: datetime) -> Round:
        """Move a manual clock on; what is due by then has been done when this answers.

        Raises:
            RoundUnknown, ClockRunsForward
            TransientError: a fault of the moment; the same tick again does what is left.

        """
        ticked = await self._database.transact(rounds.tick, round_id, clock_at)
        where, _ = await self._follow(ticked, now)
        await self._turn(now, where.offices)
        return where

    async def _follow(self, where: Round, now: datetime) -> tuple[Round, int]:
        """Take the steps whose time has come, one after the other; say how many there were."""
        steps = 0
        while step := where.due(now, self._seal_after):
            try:
                where = await self._take(step, where, now)
            except PermanentError as refusal:
                # Another round's step, and everything else that is due, must not wait for it.
                log.warning("round_not_stepped", round=str(where.id), step=step, why=str(refusal))
                break
            STEPPED.labels(step).inc()
            log.info("round_stepped", round=str(where.id), step=step)
            steps += 1
        return where, steps

    async def _take(self, step: StepName, where: Round, now: datetime) -> Round:
        if step == "open":
            return await self._database.transact(rounds.open_round, self._vault, where.id, now)
        if step == "close":
            # In batches what closing would do in one: it freezes the needs of its people.
            await self._turn(now, where.offices)
            return await self._database.transact(rounds.close_round, self._vault, where.id, now)
        return await self._database.transact(rounds.seal_round, where.id, now)

    async def _turn(self, now: datetime, offices: Collection[str] | None = None) -> int:
        """Judge anew the needs that are due, batch by batch."""
        turned = 0
        while count := await self._database.transact(needs.turn, self._vault, now, offices):
            turned += count
        TURNED.inc(turned)
        return turned
