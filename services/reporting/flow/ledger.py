"""Somebody doubts the figures: fold = recount, cell by cell at one cut, or what differs (R22)."""

from datetime import datetime

import structlog

from services.reporting import domain, metrics, store
from services.reporting.clients import Peers
from services.reporting.domain import Fold, Heads, Ledger
from services.reporting.flow import figures
from shared.database import Database, Transaction

MAX_AGE = 2.0
"""Seconds a recount may be old for the metrics: whoever watches shares it with whoever asks."""

log = structlog.get_logger(__name__)


async def reconcile(
    database: Database, peers: Peers, round_id: str, max_age: float = 0.0
) -> Ledger:
    """Compare our counters with a recount, at exactly the positions of the recount's snapshot.

    A recount may be up to `max_age` seconds old.
    """
    evidence = await peers.testify(round_id, max_age)
    cut = evidence.recount.roll_heads if evidence.recount else {}
    async with database.snapshot() as tx:
        fold = await fold_at(tx, round_id, cut)
    return domain.weigh(round_id, evidence, fold)


async def fold_at(tx: Transaction, round_id: str, cut: Heads) -> Fold:
    """Tell our figures at a cut, and what one must know to trust them."""
    generation = await store.current_generation(tx)
    positions = {partition: head.pos for partition, head in cut.items()}
    return Fold(
        applied=await store.roll_heads(tx),
        floor=await store.delta_floor(tx, generation),
        communities=await store.counters_at(tx, generation, round_id, positions),
        parked=await store.count_parked(tx),
    )


async def survey(database: Database, peers: Peers, sealed_after: datetime) -> metrics.Survey:
    """Look at every round that is still shown: its offices, and whether its account balances.

    Sealed rounds are final and not proven again; they are shown until long enough ago.
    """
    async with database.snapshot() as tx:
        generation = await store.current_generation(tx)
        rounds = await store.watched_rounds(tx, generation, sealed_after)
        offices = {
            each.id: (
                await figures.coverage(tx, generation, each, "office", figures.EVERYWHERE)
            ).rows
            for each in rounds
        }
    live = [each.id for each in rounds if each.state != "sealed"]
    verdicts = {round_id: await reconcile(database, peers, round_id, MAX_AGE) for round_id in live}
    for round_id, verdict in verdicts.items():
        if verdict.balanced is False:
            log.warning("ledger_not_balanced", round=round_id, why=list(verdict.reasons))
    return metrics.Survey(
        offices, {round_id: verdict.balanced for round_id, verdict in verdicts.items()}
    )
