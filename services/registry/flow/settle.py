"""The end of every use case that moves the account."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from services.registry import messages
from services.registry.domain.rounds import Round
from services.registry.store import account
from shared.database import Transaction


async def settle(
    tx: Transaction, where: Round, residents: Sequence[UUID], *, results: bool = False
) -> None:
    """Compute where members stand now, and announce whose standing changed.

    The caller holds the round's lock and the residents' row locks.
    """
    moved = await account.settle(tx, where, residents)
    announce(tx, messages.roll_changed(where, moved, results=results))


def announce(tx: Transaction, keyed: Iterable[messages.Keyed]) -> None:
    """Announce messages, each through the partition of its key."""
    for message, key in keyed:
        tx.announce(message, key=key)
