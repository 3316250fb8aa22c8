"""Every second: how far are the others? What is told of them makes figures say how old they are."""

from datetime import UTC, datetime

from services.reporting import clients
from services.reporting.clients import Peers
from services.reporting.domain.freshness import Producer, counted_until
from services.reporting.store import freshness
from shared.contracts.dispatch import HANDS
from shared.database import Database
from shared.errors import TransientError


async def look(database: Database, peers: Peers) -> None:
    """Ask the producers for their heads and note them, with the moment before each was asked.

    dispatch comes first and registry's own heads last: hands that registry had taken in by then are
    in the roll up to those heads.

    Raises:
        TransientError: one of them does not answer; what it said before holds, and grows old.

    """
    failed: TransientError | None = None
    try:
        await _ask_dispatch(database, peers)
    except TransientError as error:
        failed = error
    await _ask_registry(database, peers)
    if failed is not None:
        raise failed


async def _ask_dispatch(database: Database, peers: Peers) -> None:
    asked_at = datetime.now(UTC)
    heads = await clients.heads(peers.dispatch)
    told = Producer("dispatch", asked_at, heads)
    await database.transact(freshness.save_producer, told, datetime.now(UTC))


async def _ask_registry(database: Database, peers: Peers) -> None:
    taken_in = await peers.hands_applied()
    asked_at = datetime.now(UTC)
    heads = await clients.heads(peers.registry)
    async with database.begin(readonly=True) as tx:
        dispatch = (await freshness.producers(tx)).get("dispatch")
    hands_as_of = (
        counted_until(dispatch.heads[HANDS], taken_in, dispatch.asked_at)
        if dispatch is not None and HANDS in dispatch.heads
        else None
    )
    told = Producer("registry", asked_at, heads, hands_as_of)
    await database.transact(freshness.save_producer, told, datetime.now(UTC))
