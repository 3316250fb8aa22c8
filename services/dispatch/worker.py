"""dispatch's worker: event type → use case, as a table; and the clock that ends hands."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import structlog
from prometheus_client import Gauge

from services.dispatch.domain.policy import Policy
from services.dispatch.flow import adoption, roll, rounds, teams
from services.dispatch.settings import Settings
from services.dispatch.store import rounds as known_rounds
from services.dispatch.store import totals
from services.dispatch.wiring import TOPICS, Wiring, connect
from shared.consumer import Consumer, Handler, Handlers, Source, wait_for
from shared.contracts.envelope import Event
from shared.contracts.registry import (
    ROLL,
    ROUNDS,
    AreasChanged,
    RollChanged,
    RollSnapshotEnded,
    RollStated,
    RoundChanged,
    RoundsSnapshotEnded,
    RoundTicked,
    VisitsAnswered,
)
from shared.database import Transaction
from shared.errors import TransientError
from shared.http import Ops
from shared.relay import Relay

WAITING = Gauge("lastmetre_visits_waiting", "Visits that wait for a team.", ["round", "office"])
OLDEST_WAITING = Gauge(
    "lastmetre_oldest_waiting_seconds",
    "How long the visit waits for a team that waits longest, by the round's clock; 0: none does.",
    ["round", "office"],
)

BREATH_SECONDS = 0.2
"""Least time between two rounds of housekeeping: a busy roll wakes it without end."""

log = structlog.get_logger(__name__)


def handlers(policy: Policy) -> Handlers:
    """What each message of registry does here; `RoundOpened` has nothing for us."""
    return {
        AreasChanged: rounds.learn_areas,
        RoundChanged: partial(rounds.follow_rounds, policy=policy),
        RoundTicked: partial(rounds.tick, policy=policy),
        RollChanged: partial(roll.settle, policy=policy),
        VisitsAnswered: partial(roll.take_answers, policy=policy),
        RollStated: partial(adoption.take_states, policy=policy),
        RollSnapshotEnded: partial(adoption.forget_people, policy=policy),
        RoundsSnapshotEnded: partial(adoption.forget_rounds, policy=policy),
    }


def consumer(wiring: Wiring, wake: Callable[[], None] | None = None) -> Consumer:
    """Follow registry; `wake` is called whenever something was applied."""
    table = handlers(wiring.policy)
    if wake is not None:
        table = {message: _waking(handler, wake) for message, handler in table.items()}
    return Consumer(
        "dispatch",
        wiring.database,
        [Source(wiring.registry, (ROUNDS, ROLL))],
        table,
        wiring.kafka,
    )


def _waking(handler: Handler, wake: Callable[[], None]) -> Handler:
    async def handle(tx: Transaction, events: Sequence[Event[Any]]) -> None:
        await handler(tx, events)
        tx.after_commit(wake)

    return handle


async def keep_house(wiring: Wiring) -> int:
    """End hands that are past their time and give waiting visits to teams; say how many moved.

    Each round and batch in a transaction of its own, until nothing is left to do.
    """
    async with wiring.database.begin(readonly=True) as tx:
        running = await known_rounds.running(tx)
    moved = 0
    for round_id in running:
        for work in (
            partial(rounds.end_hands, policy=wiring.policy),
            partial(teams.assign_waiting, assigner=wiring.assigner, policy=wiring.policy),
        ):
            moved += await _until_done(wiring, work, round_id)
    return moved


async def _until_done(wiring: Wiring, work: Callable[..., Awaitable[int]], round_id: str) -> int:
    total = 0
    while count := await wiring.database.transact(work, round_id):
        total += count
    return total


async def run(settings: Settings, ops: Ops, stop: asyncio.Event) -> None:
    """Follow registry and keep house until told to stop."""
    woken = asyncio.Event()
    async with connect(settings) as wiring, asyncio.TaskGroup() as tasks:
        ops.checks["database"] = wiring.database.ping
        ops.gauges.append(partial(gauge_waiting, wiring))
        tasks.create_task(consumer(wiring, woken.set).run(stop))
        tasks.create_task(_keep_house_until(stop, woken, wiring))


async def _keep_house_until(stop: asyncio.Event, woken: asyncio.Event, wiring: Wiring) -> None:
    while not stop.is_set():
        woken.clear()
        try:
            await keep_house(wiring)
        except TransientError as error:
            log.warning("housekeeping_interrupted", why=str(error))
        await wait_for(stop, BREATH_SECONDS)
        await _pause(stop, woken, wiring.settings.housekeeping_seconds)


async def _pause(stop: asyncio.Event, woken: asyncio.Event, seconds: float) -> None:
    """Wait for something to do, or until told to stop."""
    async with asyncio.TaskGroup() as tasks:
        sleep = tasks.create_task(wait_for(woken, seconds))
        stopped = tasks.create_task(stop.wait())
        await asyncio.wait((sleep, stopped), return_when=asyncio.FIRST_COMPLETED)
        sleep.cancel()
        stopped.cancel()


async def gauge_waiting(wiring: Wiring) -> None:
    """Count who waits for a team per round and office, when somebody asks."""
    async with wiring.database.begin(readonly=True) as tx:
        queues = await totals.queues(tx)
    WAITING.clear()
    OLDEST_WAITING.clear()
    for queue in queues:
        waited = (queue.now - queue.since).total_seconds() if queue.since else 0.0
        WAITING.labels(queue.round, queue.office).set(queue.visits)
        OLDEST_WAITING.labels(queue.round, queue.office).set(max(0.0, waited))


async def relay(settings: Settings, ops: Ops, stop: asyncio.Event) -> None:
    """Keep dispatch's outbox roomy and, with a broker, published, until told to stop."""
    async with connect(settings) as wiring:
        ops.checks["database"] = wiring.database.ping
        publisher = Relay("dispatch", wiring.database, TOPICS, wiring.kafka)
        ops.gauges.append(publisher.gauge)
        await publisher.run(stop)
