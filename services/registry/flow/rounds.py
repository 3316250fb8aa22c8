"""A round is drafted, opened, closed and sealed; a manual clock ticks."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import asyncpg

from services.registry import messages
from services.registry.domain.areas import Area, scope
from services.registry.domain.errors import NumberTaken, RoundsOverlap
from services.registry.domain.rounds import Round
from services.registry.flow import needs
from services.registry.flow.settle import announce, settle
from services.registry.store import account, exclusions, locks, residents, rounds, sight
from services.registry.vault import Vault
from shared.database import Transaction
from shared.errors import IdReused


async def draft(tx: Transaction, new: Round) -> Round:
    """Make a round. The same round again is answered as it is on file.

    Raises:
        AreaUnknown: an office is not on file.
        IdReused: the id is another round's.
        RoundsOverlap: an office already has a round in that window.
        NumberTaken: the campaign has another round of this number.

    """
    await locks.own_residents(tx)
    new = replace(new, offices=scope(new.offices, await rounds.known_areas(tx)))
    if await rounds.overlapping(tx, new):
        raise RoundsOverlap("offices: one of them has a round in this window already")
    if await rounds.is_taken(tx, new):
        raise NumberTaken("number: the campaign has another round of this number")
    if await rounds.add(tx, new):
        announce(tx, [messages.round_changed(new)])
        return new
    known = await rounds.load(tx, new.id)
    if _plan(known) != _plan(new):
        raise IdReused("id: another round has it")
    return known


def _plan(where: Round) -> tuple[object, ...]:
    # Not when it closes: closing early moves that.
    return (
        where.campaign, where.number, where.name, where.opens_at, where.offices,
        where.manual_clock, where.automatic,
    )  # fmt: skip


async def open_round(tx: Transaction, vault: Vault, round_id: UUID, now: datetime) -> Round:
    """Open a round: everybody enters it unaccounted, whoever has a need with a row of their own.

    Costs in proportion to communities and special-needs residents, not to the population. What is
    open already is answered as it is; so it is with closing and sealing.

    Raises:
        RoundUnknown, WrongState

    """
    await sight.whole(tx)
    await locks.own_residents(tx)
    await locks.own_round(tx, round_id)
    draft = await rounds.load(tx, round_id)
    opened = draft.open(now)
    if opened is draft:
        return opened
    await needs.turn_before_opening(tx, vault, opened, now)
    await rounds.save(tx, opened)
    announce(tx, [messages.round_changed(opened)])

    special = await account.enter_special(tx, opened)
    announce(tx, messages.round_opened(opened, await account.rolls(tx, opened), special))
    announce(tx, messages.roll_changed(opened, special))
    if standing := await exclusions.standing(tx, round_id):
        await residents.lock(tx, standing)
        await settle(tx, opened, standing)
    return opened


async def close_round(tx: Transaction, vault: Vault, round_id: UUID, now: datetime) -> Round:
    """Close a round: sampling time ends and membership freezes; entries are taken until sealed.

    Raises:
        RoundUnknown, WrongState

    """
    await sight.whole(tx)
    await locks.own_residents(tx)
    await locks.own_round(tx, round_id)
    known = await rounds.load(tx, round_id)
    closed = known.close(now, await locks.freezing(tx))
    if closed is known:
        return closed
    await needs.turn_before_closing(tx, vault, known, now)
    await account.freeze(tx, closed)
    await rounds.save(tx, closed)
    announce(tx, [messages.round_changed(closed)])
    return closed


async def seal_round(tx: Transaction, round_id: UUID, now: datetime) -> Round:
    """Seal a round: its account is final, and nobody is in a hand any more.

    All hands were due at its closing. What has not ended until now, as dispatch was away or the
    clock took a leap, would never end: a sealed account hears of nothing.

    Raises:
        RoundUnknown, WrongState

    """
    await sight.whole(tx)
    await locks.own_round(tx, round_id)
    known = await rounds.load(tx, round_id)
    sealed = known.seal(now)
    if sealed is known:
        return sealed
    if held := await account.end_hands(tx, round_id):
        await residents.lock(tx, held)
        await settle(tx, known, held)
    await rounds.save(tx, sealed)
    announce(tx, [messages.round_changed(sealed)])
    return sealed


async def tick(tx: Transaction, round_id: UUID, clock_at: datetime) -> Round:
    """Move a manual clock on; dispatch ends what is due by then. The same tick again is no news.

    Raises:
        RoundUnknown, ClockRunsForward

    """
    await locks.own_round(tx, round_id)
    before = await rounds.load(tx, round_id)
    ticked = before.tick(clock_at)
    if ticked != before:
        await rounds.save(tx, ticked)
        announce(tx, [messages.round_ticked(ticked)])
    return ticked


async def load(tx: Transaction, round_id: UUID) -> Round:
    """Load a round.

    Raises:
        RoundUnknown: there is none of this id.

    """
    return await rounds.load(tx, round_id)


async def scheduled(tx: Transaction) -> list[Round]:
    """List the rounds that the wall clock opens, closes or seals some day."""
    return await rounds.scheduled(tx)


async def listed(tx: Transaction, state: str | None) -> list[Round]:
    """List rounds, the newest first."""
    return await rounds.listed(tx, state)


async def areas(tx: Transaction, patterns: Sequence[str], *, placed: bool = False) -> list[Area]:
    """List areas matching the patterns, and those above them; `placed`: with their borders."""
    return await rounds.areas(tx, patterns, placed=placed)


async def untested(
    tx: Transaction, where: Round, community: str, after: UUID | None, limit: int
) -> list[asyncpg.Record]:
    """Read a page of a community's untested members."""
    await sight.within(tx, [community])
    return await account.untested(tx, where, community, after, limit)
