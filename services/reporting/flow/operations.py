"""Somebody looks after the system: how fast it counts, who is behind, and what waits for them."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import httpx

from services.reporting import clients
from services.reporting.clients import Peers
from services.reporting.domain.generations import CONSUMER
from services.reporting.domain.operations import (
    At,
    Follower,
    Operations,
    Place,
    Relay,
    followed,
    stuck,
    waiting,
)
from services.reporting.domain.throughput import COUNTED, per_second
from services.reporting.store import freshness, throughput
from shared import parked, positions
from shared.auth import Caller
from shared.consumer import Consumer
from shared.contracts.envelope import PARTITIONS
from shared.database import Database, Transaction
from shared.errors import TransientError
from shared.parked import DiscardIn, MendIn, Parked, ParkedWhole, Tried

T = TypeVar("T")

DRAWN = timedelta(minutes=15)
"""How far back one sees how much was counted."""

ASKED = PARTITIONS
"""Events that are asked for at most, to tell how long the oldest one has waited."""

LISTED = 100
"""Parked events of one service that are listed."""


async def tell(database: Database) -> None:
    """Tell the others how much this worker has counted."""
    counted = COUNTED.finished(datetime.now(UTC))
    if counted:
        await database.transact(throughput.save, counted)
        COUNTED.forget(counted)


@dataclass(frozen=True, slots=True)
class _Told:
    """What one service said of itself."""

    heads: Mapping[Place, At]
    applied: Mapping[Place, At]
    parked: Mapping[str, int]
    relays: Sequence[Relay]


async def survey(database: Database, peers: Peers) -> Operations:
    """Ask everybody how they are doing; who does not answer is told as silent."""
    now = datetime.now(UTC)
    async with database.snapshot() as tx:
        counted = await throughput.since(tx, now - DRAWN)
        ours = await _ourselves(tx)
    named = peers.named()
    others: list[_Told | None] = await asyncio.gather(
        *(_or_none(_ask(*each)) for each in named.items())
    )
    told = {**dict(zip(named, others, strict=True)), "reporting": ours}
    answered = {name: each for name, each in told.items() if each is not None}
    heads = {place: at for each in answered.values() for place, at in each.heads.items()}
    followers = [
        one for name, each in answered.items() for one in await _follow(named, name, each, heads)
    ]
    return Operations(
        at=now,
        followers=followers,
        relays=[relay for each in answered.values() for relay in each.relays],
        silent=[name for name in told if name not in answered],
        rates=per_second(counted, now, DRAWN),
    )


async def _ourselves(tx: Transaction) -> _Told:
    applied = {
        (each.topic, each.partition): At(each.pos, each.recorded_at)
        for each in await freshness.applied(tx)
    }
    return _Told({}, applied, await positions.parked(tx, CONSUMER), [])


async def _ask(name: str, client: httpx.AsyncClient) -> _Told:
    # Positions before heads: nobody can have applied what was not announced.
    applied, parked_ = await clients.consumed(client)
    heads = await clients.head_places(client)
    relays = [
        Relay(name, each.topic, each.unpublished, each.oldest_seconds)
        for each in await clients.backlog(client)
    ]
    return _Told(heads, applied, parked_, relays)


async def _follow(
    named: Mapping[str, httpx.AsyncClient], name: str, told: _Told, heads: Mapping[Place, At]
) -> list[Follower]:
    """Tell how far one service is with what it follows."""
    nexts: dict[Place, datetime] = {}
    for place, after in stuck(told.applied, heads, datetime.now(UTC))[:ASKED]:
        client = named[place[0].partition(".")[0]]
        at = await _or_none(clients.announced_at(client, place, after))
        if at is not None:
            nexts[place] = at
    return [
        waiting(one, told.applied, heads, nexts)
        for one in followed(name, told.applied, heads, told.parked)
    ]


async def set_aside(database: Database, peers: Peers) -> dict[str, Sequence[Parked] | None]:
    """List by service what nobody decided on; None: it does not answer."""
    async with database.begin(readonly=True) as tx:
        ours = await parked.listed(tx, CONSUMER, "parked", 0, LISTED)
    named = peers.named()
    theirs = await asyncio.gather(
        *(_or_none(clients.parked_events(client, LISTED)) for client in named.values())
    )
    return {**dict(zip(named, theirs, strict=True)), "reporting": ours}


@dataclass(frozen=True, slots=True)
class OurLetters:
    """Our own dead letters, as our API shows them and decides on them."""

    database: Database
    consumer: Consumer
    caller: Caller

    async def show(self, parked_id: int) -> ParkedWhole:
        """Show one event, whole."""
        return await self.database.transact(
            parked.shown, self.consumer.name, parked_id, self.caller
        )

    async def mend(self, parked_id: int, asked: MendIn) -> Parked:
        """Give it other data."""
        return await self.database.transact(
            parked.mend, self.consumer, parked_id, asked, self.caller
        )

    async def attempt(self, parked_id: int) -> Tried:
        """Say what re-driving it would do."""
        return await parked.attempt(self.database, self.consumer, parked_id, None)

    async def redrive(self, parked_id: int) -> Parked:
        """Apply it now."""
        return await parked.redrive_one(self.database, self.consumer, parked_id, self.caller)

    async def discard(self, parked_id: int, asked: DiscardIn) -> Parked:
        """Give it up."""
        return await self.database.transact(
            parked.discard, self.consumer, parked_id, asked, self.caller
        )


async def _or_none(asked: Awaitable[T]) -> T | None:
    try:
        return await asked
    except TransientError:
        return None
