"""The worker: applies events, keeps `as_of` and the metrics fresh, and rebuilds when asked to."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import httpx
import structlog

from services.reporting import metrics
from services.reporting.clients import receivers
from services.reporting.domain.throughput import SLOT
from services.reporting.flow import (
    account,
    figures,
    ledger,
    operations,
    producers,
    publishing,
    rebuild,
    snapshots,
    webhooks,
)
from services.reporting.flow.milestones import Lookout
from services.reporting.settings import Settings
from services.reporting.store import deltas, generations, throughput
from services.reporting.wiring import Folds, Wiring, connect
from shared.consumer import wait_for
from shared.contracts.dispatch import VisitsChanged, VisitsCounted, VisitsSnapshotBegun
from shared.contracts.registry import (
    AreasChanged,
    DenominatorsChanged,
    RollCounted,
    RollMoved,
    RollSnapshotBegun,
    RoundChanged,
    RoundOpened,
    RoundsSnapshotBegun,
    RoundTicked,
)
from shared.errors import TransientError
from shared.http import Ops

HANDLERS: Folds = {
    AreasChanged: account.name_areas,
    DenominatorsChanged: account.take_denominators,
    RoundChanged: account.follow_rounds,
    RoundTicked: account.follow_clocks,
    RoundOpened: account.enter_rolls,
    RollMoved: account.settle_changes,
    VisitsChanged: account.follow_visits,
    RoundsSnapshotBegun: snapshots.forget_rounds,
    RollSnapshotBegun: snapshots.forget_roll,
    RollCounted: snapshots.take_counts,
    VisitsSnapshotBegun: snapshots.forget_visits,
    VisitsCounted: snapshots.take_visits,
}

MILESTONE_SECONDS = 0.3
"""Oftener than the producers are asked: between two answers there is a moment of being level."""
DELIVERY_SECONDS = 1.0
PUBLISH_SECONDS = 5.0
REBUILD_SECONDS = 1.0
LATE_SECONDS = 30.0
TRIM_SECONDS = 60.0
PROVING = 1 / 30
LOOKING = 1 / 10
"""The most of the time that chores of this kind may take. At millions of residents a recount takes
registry seconds, and telling our figures as of then takes the longer, the more has come since: on
the very cores that are to carry the round."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Chore:
    """What is done again and again."""

    seconds: float
    """Of rest in between, at the least."""
    do: Callable[[], Awaitable[object]]
    share: float = 1.0
    """The most of the time that it may take."""

    @property
    def name(self) -> str:
        """What it is called in the log."""
        do = self.do.func if isinstance(self.do, partial) else self.do
        return getattr(do, "__name__", "")

    def rest(self, took: float) -> float:
        """Tell how long it rests."""
        return max(self.seconds, took / self.share - took)


async def work(settings: Settings, ops: Ops, stop: asyncio.Event) -> None:
    """Do the work of a worker until told to stop."""
    async with connect(settings, HANDLERS) as wiring:
        ops.checks["database"] = wiring.database.ping
        await live(wiring, stop)


async def live(wiring: Wiring, stop: asyncio.Event) -> None:
    """Apply events and do the chores until told to stop; a failing part stops all of it."""
    async with receivers() as strangers, asyncio.TaskGroup() as tasks:
        tasks.create_task(wiring.consumer.run(stop))
        for chore in _chores(wiring, strangers):
            tasks.create_task(_every(chore, stop))


def _chores(wiring: Wiring, strangers: httpx.AsyncClient) -> list[Chore]:
    settings, database = wiring.settings, wiring.database
    watch = ledger.Watch(database, wiring.peers)
    lookout = Lookout(database, settings.milestone_coverage)

    def sealed_after() -> datetime:
        return datetime.now(UTC) - timedelta(seconds=settings.sealed_gauge_seconds)

    async def recount() -> None:
        await watch.recount(sealed_after())
        await prove()

    async def prove() -> None:
        await watch.prove()
        await survey()

    async def survey() -> None:
        metrics.CAMPAIGN.survey = await watch.survey(sealed_after())

    async def look_for_late() -> None:
        patience = timedelta(hours=settings.result_hours)
        async with database.snapshot() as tx:
            metrics.CAMPAIGN.overdue = await figures.overdue(tx, patience, sealed_after())

    async def publish() -> None:
        every = timedelta(minutes=settings.public_minutes)
        await publishing.publish(database, datetime.now(UTC), every, settings.public_least)

    async def tidy() -> None:
        await database.transact(deltas.trim, datetime.now(UTC) - account.KEEP)
        await database.transact(generations.drop_retired)
        await database.transact(throughput.trim, datetime.now(UTC) - operations.DRAWN)

    published = [Chore(PUBLISH_SECONDS, publish, LOOKING)] if settings.public else []
    return [
        *published,
        Chore(settings.watch_seconds, partial(producers.look, database, wiring.peers)),
        Chore(settings.ledger_seconds, recount, PROVING),
        Chore(settings.ledger_seconds, prove, PROVING),
        Chore(settings.ledger_seconds, survey, LOOKING),
        Chore(LATE_SECONDS, look_for_late, LOOKING),
        Chore(MILESTONE_SECONDS, lookout.look, LOOKING),
        Chore(DELIVERY_SECONDS, partial(webhooks.deliver, database, strangers)),
        Chore(REBUILD_SECONDS, partial(rebuild.build, database, wiring.builder)),
        Chore(TRIM_SECONDS, tidy),
        Chore(SLOT.total_seconds(), partial(operations.tell, database)),
    ]


async def _every(chore: Chore, stop: asyncio.Event) -> None:
    """Do a chore again and again until told to stop; what fails for the moment is done later.

    A long chore is cut short by a stop: each of them may be left anywhere and taken up again.
    """
    async with asyncio.TaskGroup() as tasks:
        loop = tasks.create_task(_repeat(chore, stop))
        await stop.wait()
        loop.cancel()


async def _repeat(chore: Chore, stop: asyncio.Event) -> None:
    failing = False
    while not stop.is_set():
        began = time.monotonic()
        try:
            await chore.do()
        except TransientError as error:
            if not failing:  # an hour of silence is one line, not thousands
                log.warning("chore_failing", chore=chore.name, why=str(error))
            failing = True
        else:
            if failing:
                log.info("chore_works_again", chore=chore.name)
            failing = False
        await wait_for(stop, chore.rest(time.monotonic() - began))
