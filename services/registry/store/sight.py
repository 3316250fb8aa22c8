"""Whose records a transaction sees: the second wall around personal data (R20, ADR 0019).

PostgreSQL itself shows and takes only those rows of `resident` that a transaction has said it may
see; one that has said nothing sees nobody. This holds whatever a statement asks for, so that a
condition which somebody forgets gives an empty answer and not a whole city.
"""

from collections.abc import Iterable

from shared.database import Transaction

EVERYBODY = "*"


async def whole(tx: Transaction) -> None:
    """See everybody: for the account, which takes any sample anywhere, and to tell who is who.

    Also for the keys of identity numbers, which are everybody's. Whoever calls this shows nothing
    of a person without asking `Caller.covers` first.
    """
    await _see(tx, EVERYBODY)


async def within(tx: Transaction, areas: Iterable[str]) -> None:
    """See from here on those who live in some areas: for whatever is shown to a caller."""
    await _see(tx, ",".join(areas))


async def _see(tx: Transaction, sees: str) -> None:
    # Ends with the transaction: the next one that gets this connection begins blind.
    await tx.do("SELECT set_config('lastmetre.sees', $1, true)", sees)
