"""Samples and results come in: stored once, counted once, each row answered (R1, R4, R10, R21)."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from services.registry.domain.answers import RowAnswer
from services.registry.domain.batch import Batch
from services.registry.domain.entries import Entry
from services.registry.domain.rounds import Round
from services.registry.domain.swabs import Swab
from services.registry.flow.settle import settle
from services.registry.store import residents, results, rounds, sight, swabs
from services.registry.vault import Vault
from shared.database import Transaction


async def record(
    tx: Transaction, vault: Vault, entries: Sequence[Entry], now: datetime
) -> list[RowAnswer]:
    """Take in samples and results of any number of people and rounds; answer every row.

    A row that came before is `duplicate`; one whose id came before with other content, or that
    breaks a rule, is `rejected` with the rule. A bad row never fails its neighbours, and rejections
    are not remembered: the row may come again when what was wrong is mended.

    A row may correct what was said of a swab: whose it is, when and in which round it was taken.
    Then the account of both people in both rounds is settled, and reports follow the swab.
    """
    await sight.whole(tx)
    # What rows correct is locked with all the rest, in order; where it stands is asked again then.
    corrected = await swabs.load(tx, {entry.sample for entry in entries if entry.corrects})
    before = [swab.stands for swab in corrected.values()]
    where = await rounds.share(
        tx, {*(entry.round for entry in entries), *(s.round for s in before)}
    )
    named = await _named(tx, vault, entries)
    locked = await residents.lock(tx, {*named.values(), *(s.person for s in before)})

    batch = Batch(
        entries,
        {ordinal: person for ordinal, person in named.items() if person in locked},
        {person: found.id for person, found in locked.items() if found.id != person},
        now,
    )
    batch.check(where)
    free = await results.claim(tx, batch.rows())
    batch.match(free, await results.known(tx, batch.unclaimed(free)))
    brought = batch.swabs()
    free = await results.claim(tx, brought)
    batch.match_swabs(free, await results.known(tx, {swab[0] for swab in brought} - free))
    if batch.waits():
        filed = await _held(tx, where, {found.id for found in locked.values()}, batch.unsure())
        batch.decide(
            filed, await swabs.reported(tx, batch.corrected_reports(), where.keys()), where
        )
    await results.release(tx, batch.released())

    await results.add_samples(tx, batch.samples())
    await swabs.correct(tx, batch.corrected())
    await results.add_reports(tx, batch.reports())
    for round_id, superseded in batch.superseded():
        await results.supersede(tx, round_id, superseded)
    for round_id, touched in batch.touched():
        await settle(tx, where[round_id], touched, results=True)
    return batch.answers()


async def _named(tx: Transaction, vault: Vault, entries: Sequence[Entry]) -> dict[int, UUID]:
    """Find whom each row names, on file or not; documents of strangers are left out."""
    documents = await residents.identify(tx, vault, (e.document for e in entries if e.document))
    named = {
        entry.ordinal: entry.resident or documents.get(entry.document)  # type: ignore[arg-type]
        for entry in entries
    }
    return {ordinal: person for ordinal, person in named.items() if person}


async def _held(
    tx: Transaction, where: dict[UUID, Round], people: set[UUID], ids: Collection[UUID]
) -> dict[UUID, Swab]:
    """Load swabs together with the locks on where they stand; `where` gains their rounds.

    Whoever moves a swab holds its round and its person, so that one which was moved since it was
    looked for is looked for again. Locked out of order, but these are few, and deadlocks are
    retried.
    """
    while True:
        filed = await swabs.load(tx, ids)
        rounds_missing = {swab.stands.round for swab in filed.values()} - where.keys()
        people_missing = {swab.stands.person for swab in filed.values()} - people
        if not rounds_missing and not people_missing:
            return filed
        where |= await rounds.share(tx, rounds_missing)
        await residents.lock(tx, people_missing)
        people |= people_missing
