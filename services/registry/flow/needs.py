"""Needs begin and end by the clock that holds where somebody lives: each by an event (隔离期满)."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from services.registry.domain.areas import office_of
from services.registry.domain.rounds import Round, drilled
from services.registry.flow.residents import share_under_way, take_in
from services.registry.store import residents, rounds, sight
from services.registry.vault import Vault
from shared.database import Transaction

BATCH = 1_000
"""Most people whose needs are judged in one go."""


async def turn(
    tx: Transaction, vault: Vault, now: datetime, offices: Collection[str] | None = None
) -> int:
    """Judge the needs anew that began or ended by the clock of their community; say how many.

    A batch at a time: none is left when it answers 0. Costs a look into an index then.

    Args:
        tx: the transaction
        vault: seals identity numbers
        now: the time, where no drill is under way
        offices: where to look; everywhere, if not said

    """
    await sight.whole(tx)
    under_way = await share_under_way(tx)
    clocks = drilled(under_way, now)
    return await _turn(tx, vault, under_way, clocks, now, offices)


async def turn_before_opening(tx: Transaction, vault: Vault, opening: Round, now: datetime) -> None:
    """Judge the needs of a round's people by its clock, before it opens.

    A drill may open long ago or far ahead: a need that is over today may hold in it, and the other
    way round, so everything with a beginning or an end is judged then. The caller owns the
    residents' lock and the round's; those of the other rounds under way are taken here.
    """
    await _forget(tx, opening, now)
    await _turn_in(tx, vault, opening, now)


async def turn_before_closing(tx: Transaction, vault: Vault, closing: Round, now: datetime) -> None:
    """Judge needs that are due by the clock of a round, before they are frozen with it.

    Those of a drill's people are judged by another clock once it is closed, when needs are turned
    next. The caller owns the same locks as for the opening.
    """
    await _turn_in(tx, vault, closing, now)
    await _forget(tx, closing, now)


async def _turn_in(tx: Transaction, vault: Vault, where: Round, now: datetime) -> None:
    under_way = await share_under_way(tx)
    clocks = drilled({other.id: other for other in (*under_way, where)}.values(), now)
    while await _turn(tx, vault, under_way, clocks, now, where.offices):
        pass


async def _turn(
    tx: Transaction,
    vault: Vault,
    under_way: Sequence[Round],
    clocks: Mapping[str, datetime],
    now: datetime,
    offices: Collection[str] | None,
) -> int:
    due = await residents.due(tx, clocks, now, offices, BATCH)
    if not due:
        return 0
    people = await residents.load_for_change(tx, vault, due, ())
    judged = [(old, old.judged(clocks.get(office_of(old.community), now))) for old in people]
    await take_in(tx, vault, under_way, [], judged, now)
    return len(due)


async def _forget(tx: Transaction, where: Round, now: datetime) -> None:
    """Take every beginning and end for due, where a drill's clock begins or ceases to hold.

    Time may stand still or go back there; wherever else it only runs on.
    """
    concerned = [*await rounds.listed(tx, "open"), where]
    if not drilled(concerned, now).keys().isdisjoint(where.offices):
        clocks = (other.clock_at for other in concerned if other.clock_at)
        await residents.make_due(tx, where.offices, min([now, *clocks]))
