"""Stated reasons not to be tested are filed, or revoked. They are shown, never hidden (R2)."""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from services.registry.domain.answers import RowAnswer, RowStatus
from services.registry.domain.errors import ExclusionUnknown, ResidentUnknown, RoundNotOpen
from services.registry.domain.exclusions import Exclusion, Filing
from services.registry.flow.settle import settle
from services.registry.store import exclusions, locks, residents, results, rounds, sight
from shared.database import Transaction


async def exclude(
    tx: Transaction, rows: Sequence[Exclusion], covers: Callable[[str], bool], now: datetime
) -> list[RowAnswer]:
    """File exclusions of any number of people and rounds, also before they open; answer each (R21).

    A bad row never fails its neighbours, and rejections are not remembered.

    Args:
        tx: the transaction
        rows: the exclusions
        covers: says whether whoever files them answers for a community
        now: the time

    """
    await sight.whole(tx)
    where = await rounds.share(tx, (row.round for row in rows))
    on_file = await residents.lock(tx, (row.resident for row in rows))
    people = {known: who.id for known, who in on_file.items() if covers(who.community)}
    filing = Filing(rows, where, people)
    free = await results.claim(tx, filing.claims())
    filing.match(free, await results.known(tx, filing.unclaimed(free)))

    await exclusions.add(tx, filing.rows(now))
    for concerned, touched in filing.touched():
        await settle(tx, concerned, touched)
    return filing.answers()


async def revoke(
    tx: Transaction, exclusion_id: UUID, who: str, covers: Callable[[str], bool], now: datetime
) -> RowStatus:
    """Revoke an exclusion: the person is back in the class the remaining facts give.

    Raises:
        ExclusionUnknown, RoundNotOpen, ResidentUnknown

    """
    await sight.whole(tx)
    filed = await exclusions.find(tx, exclusion_id)
    if filed is None:
        raise ExclusionUnknown("id: no such exclusion")
    await locks.share_rounds(tx, [filed["round"]])
    where = await rounds.load(tx, filed["round"])
    # Whoever was named stays so; the record that stands for them now is the one it is filed under.
    person = (await residents.lock(tx, [filed["named"]])).get(filed["named"])
    if person is None or not covers(person.community):
        raise ResidentUnknown("resident: not on file in the caller's areas")
    if not await exclusions.revoke(tx, exclusion_id, who, now):
        return "duplicate"
    # Asked last: what was revoked in time is a duplicate for ever after.
    if where.state == "sealed":
        raise RoundNotOpen("round_id: the round is sealed")
    if where.state != "draft":
        await settle(tx, where, [person.id])
    return "accepted"


async def page(
    tx: Transaction,
    round_id: UUID,
    patterns: Sequence[str],
    *,
    prefix: str,
    reason: str | None,
    revoked: bool,
    after: tuple[UUID, UUID] | None,
    limit: int,
) -> list[asyncpg.Record]:
    """Read a page of a round's exclusions within some areas.

    Raises:
        RoundUnknown: there is none of this id.

    """
    await sight.whole(tx)  # who moved away since counts where a closed round had them
    await rounds.load(tx, round_id)
    return await exclusions.page(
        tx, round_id, patterns, prefix=prefix, reason=reason, revoked=revoked, after=after,
        limit=limit,
    )  # fmt: skip
