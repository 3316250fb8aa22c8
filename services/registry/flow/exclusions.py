"""A stated reason not to be tested is filed, or revoked. It is shown, never hidden (R2)."""

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


async def exclude(tx: Transaction, filed: Exclusion, now: datetime) -> RowStatus:
    """File an exclusion for one person in one round, also before it opens.

    Raises:
        RoundUnknown, RoundNotOpen, ResidentUnknown
        IdReused: the id came before for something else.

    """
    where = await _take_round(tx, filed.round)
    if not await residents.lock(tx, [filed.resident]):
        raise ResidentUnknown("resident: not on file")
    claimed = await results.claim(tx, [(filed.id, "E", filed.digest, filed.round)])
    if not claimed:
        known = await results.known(tx, [filed.id])
        if known[filed.id] != ("E", filed.digest):
            raise IdReused("id: came before with other content")
        return "duplicate"
    await results.add_exclusion(
        tx, (filed.id, filed.round, filed.resident, filed.reason, filed.filed_by, now)
    )
    await _settle(tx, where, filed.resident)
    return "accepted"


async def revoke(tx: Transaction, exclusion_id: UUID, who: str, now: datetime) -> RowStatus:
    """Revoke an exclusion: the person is back in the class the remaining facts give.

    Raises:
        ExclusionUnknown, RoundNotOpen

    """
    filed = await results.find_exclusion(tx, exclusion_id)
    if filed is None:
        raise ExclusionUnknown("id: no such exclusion")
    where = await _take_round(tx, filed["round"])
    await residents.lock(tx, [filed["resident"]])
    if not await results.revoke(tx, exclusion_id, who, now):
        return "duplicate"
    await _settle(tx, where, filed["resident"])
    return "accepted"


async def _take_round(tx: Transaction, round_id: UUID) -> Round:
    await locks.share_rounds(tx, [round_id])
    where = await rounds.load(tx, round_id)
    if where.state == "sealed":
        raise RoundNotOpen("round_id: the round is sealed")
    return where


async def _settle(tx: Transaction, where: Round, resident: UUID) -> None:
    # A draft has no account yet; opening it settles the exclusions that stand by then.
    if where.state != "draft":
        await settle(tx, where, [resident])
