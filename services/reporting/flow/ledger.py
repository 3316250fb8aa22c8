"""Somebody doubts the figures: fold = recount, cell by cell at one cut, or what differs (R22)."""

from dataclasses import replace
from datetime import datetime

import structlog

from services.reporting import metrics
from services.reporting.clients import Peers
from services.reporting.domain.evidence import Evidence, Fold, Heads
from services.reporting.domain.ledger import Ledger, Proof, kept, weigh
from services.reporting.domain.rounds import View
from services.reporting.flow.figures import EVERYWHERE, coverage
from services.reporting.store import deltas, figures, freshness, generations, parked, proofs, rounds
from shared.database import Database, Transaction

MAX_AGE = 1.0
"""Seconds a recount may be old for the metrics: whoever watches shares it with whoever asks."""

log = structlog.get_logger(__name__)


async def reconcile(
    database: Database, peers: Peers, round_id: str, max_age: float = 0.0
) -> Ledger:
    """Compare our counters with a recount, at exactly the positions of the recount's snapshot.

    A recount may be up to `max_age` seconds old.
    """
    return await prove(database, round_id, await peers.testify(round_id, max_age))


async def prove(database: Database, round_id: str, evidence: Evidence) -> Ledger:
    """Hold our counters of this moment against what the others said, at the cut they said it."""
    cut = evidence.recount.roll_heads if evidence.recount else {}
    async with database.snapshot() as tx:
        fold = await fold_at(tx, round_id, cut)
    return weigh(round_id, evidence, fold)


async def fold_at(tx: Transaction, round_id: str, cut: Heads) -> Fold:
    """Tell our figures at a cut, and what one must know to trust them."""
    generation = await generations.current(tx)
    positions = {partition: head.pos for partition, head in cut.items()}
    return Fold(
        applied=await freshness.roll_heads(tx),
        floor=await deltas.floor(tx, generation),
        communities=await figures.at_cut(tx, generation, round_id, positions),
        parked=await parked.undecided(tx),
        tells_due=await generations.counts_along_time(tx, generation),
    )


async def proven_at(tx: Transaction, round_id: str) -> datetime | None:
    """Tell when a round was proven last; of every proof it is another time."""
    return await proofs.proven_at(tx, round_id)


async def last(tx: Transaction, round_id: str) -> Proof | None:
    """Read the last proof of a round."""
    return await proofs.last(tx, round_id)


class Watch:
    """Every round that is still shown, looked at again and again, for the metrics.

    A recount is dear in a big round, and our own side of the comparison is not: so a new recount
    may rest for a while, and later counters are held against the last one.
    """

    def __init__(self, database: Database, peers: Peers) -> None:
        self._database = database
        self._peers = peers
        self._evidence: dict[str, Evidence] = {}
        self._verdicts: dict[str, bool | None] = {}
        self._kept: dict[str, Proof] = {}

    async def recount(self, sealed_after: datetime) -> None:
        """Have the others count every round that is not sealed; a sealed one until it is proven.

        Args:
            sealed_after: rounds that were sealed before are not shown any more

        """
        async with self._database.snapshot() as tx:
            generation = await generations.current(tx)
            watched = await rounds.watched(tx, generation, sealed_after)
            done = await proofs.final(tx, [each.id for each in watched])
        live = [each.id for each in watched if each.state != "sealed" or each.id not in done]
        self._evidence = {each: await self._peers.testify(each, MAX_AGE) for each in live}

    async def prove(self) -> None:
        """Hold the counters of this moment against what the others counted last."""
        self._verdicts = {
            round_id: await self._verdict(round_id, evidence)
            for round_id, evidence in self._evidence.items()
        }

    async def survey(self, sealed_after: datetime) -> metrics.Survey:
        """Look at the offices of every round, and whether its account balanced when last proven."""
        async with self._database.snapshot() as tx:
            generation = await generations.current(tx)
            watched = await rounds.watched(tx, generation, sealed_after)
            views = [View(generation, each, EVERYWHERE) for each in watched]
            offices = {view.round.id: (await coverage(tx, view, "office")).rows for view in views}
        balanced = {
            each.id: self._verdicts[each.id]
            for each in watched
            if each.state != "sealed" and each.id in self._verdicts
        }
        return metrics.Survey(watched, offices, balanced)

    async def _verdict(self, round_id: str, evidence: Evidence) -> bool | None:
        proven = await prove(self._database, round_id, evidence)
        if proven.balanced is False:
            log.warning("ledger_not_balanced", round=round_id, why=list(proven.reasons))
        await self._keep(kept(proven, final=_is_final(proven, evidence)))
        return proven.balanced

    async def _keep(self, proof: Proof) -> None:
        """Let those see it who look at the page; how far we are by now is no news to them."""
        news = replace(proof, applied=())
        if news != self._kept.get(proof.round):
            await self._database.transact(proofs.save, proof)
            self._kept[proof.round] = news


def _is_final(proven: Ledger, evidence: Evidence) -> bool:
    sealed = evidence.recount is not None and evidence.recount.state == "sealed"
    return sealed and proven.balanced is True
