"""Samples and results come in: stored once, counted once, each row answered (R1, R4, R10, R21)."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from services.registry.domain.answers import RowAnswer
from services.registry.domain.batch import Batch
from services.registry.domain.entries import Entry
from services.registry.flow.settle import settle
from services.registry.store import locks, residents, results, rounds
from services.registry.vault import Vault
from shared.database import Transaction


async def record(
    tx: Transaction, vault: Vault, entries: Sequence[Entry], now: datetime
) -> list[RowAnswer]:
    """Take in samples and results of any number of people and rounds; answer every row.

    A row that came before is `duplicate`; one whose id came before with other content, or that
    breaks a rule, is `rejected` with the rule. A bad row never fails its neighbours, and rejections
    are not remembered: the row may come again when what was wrong is mended.
    """
    named = list({entry.round for entry in entries})
    # Rounds that exist only: a file of made-up ids must not use up the server's locks.
    await locks.share_rounds(tx, await rounds.find(tx, named))
    where = await rounds.find(tx, named)
    batch = Batch(entries, await _people(tx, vault, entries))
    batch.check(where, now)
    free = await results.claim(tx, batch.rows())
    batch.match(free, await results.known(tx, batch.unclaimed(free)))
    for round_id, named in batch.corrections():
        batch.correct(round_id, await results.correctable(tx, round_id, named))
    swabs = batch.swabs()
    free = await results.claim(tx, swabs)
    batch.match_swabs(free, await results.known(tx, {swab[0] for swab in swabs} - free))
    await results.release(tx, batch.released())

    await results.add_samples(tx, batch.samples(now))
    await results.add_reports(tx, batch.reports(now))
    for round_id, superseded in batch.superseded():
        await results.supersede(tx, round_id, superseded)
    for round_id, touched in batch.touched():
        await settle(tx, where[round_id], touched, results=True)
    return batch.answers()


async def _people(tx: Transaction, vault: Vault, entries: Sequence[Entry]) -> dict[int, UUID]:
    """Find whom each row is about, and lock them; rows about strangers are left out."""
    documents = await residents.identify(tx, vault, (e.document for e in entries if e.document))
    named = {
        entry.ordinal: entry.resident or documents.get(entry.document)  # type: ignore[arg-type]
        for entry in entries
    }
    on_file = await residents.lock(tx, (person for person in named.values() if person))
    return {o: on_file[person].id for o, person in named.items() if person in on_file}
