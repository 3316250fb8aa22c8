"""A stated reason not to be tested is filed, or revoked. It is shown, never hidden (R2)."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from services.registry.domain.answers import RowStatus
from services.registry.domain.entries import Exclusion
from services.registry.domain.errors import (
    ExclusionUnknown,
    ResidentUnknown,
    RoundNotOpen,
)
from services.registry.domain.rounds import Round
from services.registry.flow.settle import settle
from services.registry.store import locks, residents, results, rounds
from shared.database import Transaction
from shared.errors import IdReused


async def exclude(
    tx: Transaction, filed: Exclusion, covers: Callable[[str], bool], now: datetime
) -> RowStatus:
    """File an exclusion for one person in one round, also before it opens.

    Args:
        tx: the transaction
        filed: the exclusion
        covers: says whether whoever files it answers for a community
        now: the time

    Raises:
        RoundUnknown, RoundNotOpen, ResidentUnknown
        IdReused: the id came before for something else.

    """
    where = await _take_round(tx, filed.round)
    await _take_resident(tx, filed.resident, covers)
    if not await results.claim(tx, [(filed.id, "E", filed.digest, filed.round)]):
        known = await results.known(tx, [filed.id])
        if known[filed.id] != ("E", filed.digest):
            raise IdReused("id: came before with other content")
        return "duplicate"
    _must_take(where)
    await results.add_exclusion(
        tx, (filed.id, filed.round, filed.resident, filed.reason, filed.filed_by, now)
    )
    await _settle(tx, where, filed.resident)
    return "accepted"


async def revoke(
    tx: Transaction, exclusion_id: UUID, who: str, covers: Callable[[str], bool], now: datetime
) -> RowStatus:
    """Revoke an exclusion: the person is back in the class the remaining facts give.

    Raises:
        ExclusionUnknown, RoundNotOpen, ResidentUnknown

    """
    filed = await results.find_exclusion(tx, exclusion_id)
    if filed is None:
        raise ExclusionUnknown("id: no such exclusion")
    where = await _take_round(tx, filed["round"])
    await _take_resident(tx, filed["resident"], covers)
    if not await results.revoke(tx, exclusion_id, who, now):
        return "duplicate"
    _must_take(where)
    await _settle(tx, where, filed["resident"])
    return "accepted"


async def _take_round(tx: Transaction, round_id: UUID) -> Round:
    await locks.share_rounds(tx, [round_id])
    return await rounds.load(tx, round_id)


def _must_take(where: Round) -> None:
    # Asked last: what was filed in time is a duplicate for ever after.
    if where.state == "sealed":
        raise RoundNotOpen("round_id: the round is sealed")


async def _take_resident(tx: Transaction, resident: UUID, covers: Callable[[str], bool]) -> None:
    found = (await residents.lock(tx, [resident])).get(resident)
    if found is None or not covers(found.community):
        raise ResidentUnknown("resident: not on file in the caller's areas")


async def _settle(tx: Transaction, where: Round, resident: UUID) -> None:
    # A draft has no account yet; opening it settles the exclusions that stand by then.
    if where.state != "draft":
        await settle(tx, where, [resident])
