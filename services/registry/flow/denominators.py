"""Somebody outside says how many people live in an area; coverage is held against it too (R3)."""

from collections.abc import Callable, Sequence

from services.registry import messages
from services.registry.domain.answers import RowAnswer
from services.registry.domain.denominators import Book, Denominator
from services.registry.flow.settle import announce
from services.registry.store import denominators, rounds
from shared.database import Transaction


async def note(
    tx: Transaction, given: Sequence[tuple[int, Denominator]], covers: Callable[[str], bool]
) -> list[RowAnswer]:
    """Take numbers in and answer each row (R21); the account does not move, only its measure.

    Args:
        tx: the transaction
        given: the rows with their places in the request
        covers: says whether the sender answers for an area

    """
    on_file = await denominators.lock(tx, (each.key for _, each in given))
    book = Book(on_file, await rounds.known_areas(tx), covers)
    answers = book.enter(given)
    noted = [each for _, each in sorted(book.noted.items())]
    await denominators.save(tx, noted)
    announce(tx, messages.denominators_changed(noted))
    return answers


async def page(
    tx: Transaction, patterns: Sequence[str], after: tuple[str, str], limit: int
) -> list[Denominator]:
    """Read a page of the numbers of the caller's areas."""
    return await denominators.page(tx, patterns, after, limit)
