"""Locks, in the one order everybody takes them.

residents' lock → rounds' locks (by id) → [applied] → residents' rows (by id) → facts (by id)
→ state rows (by resident) → population → outbox heads. The first two are advisory: shared for
whoever writes the account, exclusive for opening, closing and sealing.
"""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from shared.database import Transaction

_RESIDENTS = "registry:residents"


async def share_residents(tx: Transaction) -> None:
    """Keep rounds from opening and closing while residents are written."""
    await tx.do("SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 0))", _RESIDENTS)


async def own_residents(tx: Transaction) -> None:
    """Keep residents as they are while a round opens or closes."""
    await tx.do("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", _RESIDENTS)


async def share_rounds(tx: Transaction, rounds: Iterable[UUID]) -> None:
    """Keep rounds in their state while their account is written."""
    for round_id in sorted(rounds):
        await tx.do("SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 0))", _key(round_id))


async def own_round(tx: Transaction, round_id: UUID) -> None:
    """Keep everybody off a round's account while its state changes."""
    await tx.do("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", _key(round_id))


async def noting(tx: Transaction) -> datetime:
    """Tell when what is written now is put on file: after every closing, whatever the clock says.

    Behind the residents' lock. A clock that was set back would put it before closings of an hour
    ago, which do not know of it.
    """
    moment: datetime = await tx.value(
        "SELECT greatest(clock_timestamp(),"
        " (SELECT max(frozen_at) FROM round) + interval '1 microsecond')"
    )
    return moment


async def freezing(tx: Transaction) -> datetime:
    """Tell when the membership of a round is frozen: not before anything that is on file.

    Behind the residents' lock, all to ourselves. A clock that was set back would leave out people
    who came an hour ago, and are counted.
    """
    moment: datetime = await tx.value(
        "SELECT greatest(clock_timestamp(), (SELECT max(noted_at) FROM resident),"
        " (SELECT max(noted_at) FROM residence_past))"
    )
    return moment


def _key(round_id: UUID) -> str:
    return f"registry:round:{round_id}"
