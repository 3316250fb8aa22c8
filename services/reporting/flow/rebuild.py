"""All figures once more from position zero, beside those that are read, and swapped in one moment.

Somebody asks for it; a worker does it, and goes on where it was if it is restarted meanwhile. The
live events go on feeding the current generation until the new one has reached them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from services.reporting.domain.generations import Generation
from services.reporting.store import freshness, generations
from shared import audit
from shared.auth import Caller
from shared.consumer import Consumer
from shared.database import Database, Transaction

TRIES = 20
"""How often live events may be ahead again before the swap is left to the next round."""

MakeConsumer = Callable[[Generation], Consumer]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """A generation, and how far it is of what the current one has counted, in events."""

    generation: Generation
    applied: int
    target: int


async def begin(tx: Transaction, caller: Caller) -> Progress:
    """Begin a rebuild; a worker will take it up.

    Raises:
        RebuildRunning: one is under way.

    """
    begun = await _progress(tx, await generations.begin(tx))
    await audit.record(tx, caller, "rebuild", generation=begun.generation.id)
    return begun


async def progress(tx: Transaction) -> list[Progress]:
    """Tell the generations and how far each is, newest first."""
    return [await _progress(tx, generation) for generation in await generations.listed(tx)]


async def _progress(tx: Transaction, generation: Generation) -> Progress:
    target = sum(position.pos for position in await freshness.applied(tx))
    applied = target
    if generation.state == "building":
        applied = sum(position.pos for position in await freshness.applied(tx, generation.consumer))
    return Progress(generation, applied, target)


async def build(database: Database, make_consumer: MakeConsumer) -> Generation | None:
    """Take up the rebuild that was begun, if one was; one worker at a time.

    Returns the generation that is now read, or None when none was swapped.

    Raises:
        TransientError: a producer or our database does not answer; it goes on from there.

    """
    async with database.session_lock("reporting.rebuild") as held:
        async with database.begin(readonly=True) as tx:
            building = await generations.building(tx)
        if building is None or not held:
            return None
        consumer = make_consumer(building)
        for _ in range(TRIES):
            await consumer.catch_up()
            match await database.transact(generations.swap, building):
                case "swapped":
                    log.info("rebuild_swapped", generation=building.id)
                    return building
                case "outdated":
                    # What was folded cannot be told apart any more: from zero, without it.
                    await database.transact(generations.begin_anew, building)
                    log.info("rebuild_begun_anew", generation=building.id)
                    return None
        log.warning("rebuild_not_swapped_yet", generation=building.id)
        return None
