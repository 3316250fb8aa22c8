"""Contracts ↔ domain: what an announced change moves in the figures.

The hot path. Standings are counted as they are written, before they are read: in a batch of
thousands of changes few differ, and what one means is remembered.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import TypeAlias, TypeVar

import msgspec

from services.reporting.domain.series import SAMPLED_AT
from services.reporting.domain.work import DUE, WAITING
from shared.contracts.cells import cells_of, slot_of
from shared.contracts.dispatch import VisitChange, VisitsChanged, VisitsCounted
from shared.contracts.registry import (
    CommunityCount,
    CommunityRoll,
    Hand,
    RollCounted,
    RollMoved,
    RoundOpened,
    Standing,
)

Moves: TypeAlias = dict[tuple[str, str, str], int]
"""By how much each figure moves: (round, community, cell) → n."""

SlotMoves: TypeAlias = dict[tuple[str, str, str, int], int]
"""By how much each figure along time moves: (round, community, cell, slot) → n."""

K = TypeVar("K")

KNOWN = 20_000
"""Standings as written whose meaning is remembered: sampling times tell them apart, by the second
or finer, so there are as many as a round is long."""


@dataclass(frozen=True, slots=True, eq=False)
class _Meaning:
    """What a standing counts; one object for all that mean the same, so that it hashes at once."""

    counted_in: str
    cells: tuple[str, ...]
    slot: tuple[str, int] | None
    """Along time: the sampled by sampling time, those in hand by kind and when it is due."""


class RollFold:
    """Adds up what roll changes move: +1 where a person stands now, -1 where they stood.

    No guard and no clamping: a repeated change is kept out by its position, not here.
    """

    def __init__(self) -> None:
        self._left: dict[tuple[str, str], Counter[_Meaning]] = defaultdict(Counter)
        self._came: dict[tuple[str, str], Counter[_Meaning]] = defaultdict(Counter)

    def add(self, message: RollMoved) -> None:
        """Take one message in.

        Raises:
            msgspec.ValidationError: a standing is none.

        """
        # No loop over changes in Python: there are hundreds of millions of them in a round.
        for community, changes in message.communities.items():
            place = (message.round, community)
            self._left[place].update(map(_was, map(bytes, map(_BEFORE, changes))))
            self._came[place].update(map(_is, map(bytes, map(_AFTER, changes))))

    def moves(self) -> tuple[Moves, SlotMoves]:
        """Name the cells and the slots of time that move; zeros are left out."""
        cells: Moves = defaultdict(int)
        slots: SlotMoves = defaultdict(int)
        for counts, sign in ((self._left, -1), (self._came, 1)):
            for (round_id, community), standings in counts.items():
                for meaning, n in standings.items():
                    # The other half of a change that touches two communities folds the other side.
                    if meaning.counted_in not in ("", community):
                        continue
                    for cell in meaning.cells:
                        cells[round_id, community, cell] += sign * n
                    if meaning.slot is not None:
                        slots[round_id, community, *meaning.slot] += sign * n
        return without_zeros(cells), without_zeros(slots)


_BEFORE, _AFTER = attrgetter("before"), attrgetter("after")
_read_before = msgspec.json.Decoder(Standing | None).decode
_read_after = msgspec.json.Decoder(Standing).decode


@lru_cache(maxsize=KNOWN)
def _was(written: bytes) -> _Meaning:
    standing = _read_before(written)
    return _the_same("", (), None) if standing is None else _meaning(standing)


@lru_cache(maxsize=KNOWN)
def _is(written: bytes) -> _Meaning:
    return _meaning(_read_after(written))


def _meaning(standing: Standing) -> _Meaning:
    slot, hand = None, standing.hand
    if standing.klass == "sampled" and standing.sampled_at is not None:
        slot = (SAMPLED_AT, slot_of(standing.sampled_at))
    elif standing.klass == "in_hand" and hand is not None and hand.due is not None:
        slot = (f"{DUE}{hand.kind}", slot_of(hand.due))
    # Of whom it is told, and when, no cell depends.
    timeless = msgspec.structs.replace(
        standing,
        counted_in="",
        lived_in="",
        sampled_at=None,
        hand=hand and Hand(hand.kind, None, 0, ""),
    )
    return _the_same(standing.counted_in, _cells(timeless), slot)


@lru_cache(maxsize=KNOWN)
def _cells(standing: Standing) -> tuple[str, ...]:
    return tuple(cells_of(standing))


_the_same = lru_cache(maxsize=KNOWN)(_Meaning)


def settled(messages: Iterable[RollMoved]) -> tuple[Moves, SlotMoves]:
    """What messages move, all together."""
    fold = RollFold()
    for message in messages:
        fold.add(message)
    return fold.moves()


def as_cells(slots: SlotMoves) -> Moves:
    """Write figures along time as cells, `sampled_at.SLOT` and `due.KIND.SLOT`."""
    return {
        (round_id, community, f"{cell}.{slot}"): n
        for (round_id, community, cell, slot), n in slots.items()
    }


def opened(message: RoundOpened) -> Moves:
    """Everybody of these communities enters the round, unaccounted."""
    return {
        (message.round, entry.community, cell): n
        for entry in message.communities
        for cell, n in _opening_cells(entry)
        if n
    }


def _opening_cells(entry: CommunityRoll) -> Iterator[tuple[str, int]]:
    for cell in cells_of(Standing()):
        yield cell, entry.roll
    for need, n in entry.needs.items():
        for cell in cells_of(Standing(needs=(need,))):
            if cell.startswith("need."):
                yield cell, n


def visits(messages: Iterable[VisitsChanged]) -> tuple[Moves, SlotMoves]:
    """Visits by status, what happened at the door by outcome (R16), and who waits for a team."""
    moves: Counter[tuple[str, str, str]] = Counter()
    slots: Counter[tuple[str, str, str, int]] = Counter()
    for message in messages:
        for change in message.visits:
            for waiting, sign in ((change.waited, -1), (change.waits, 1)):
                if waiting is not None:
                    slot = slot_of(waiting.since)
                    slots[message.round, change.community, WAITING, slot] += sign
                    for need in waiting.needs:
                        moves[message.round, change.community, f"{WAITING}.{need}"] += sign
            if change.before is not None:
                moves[message.round, change.community, f"status.{change.before}"] -= 1
            moves[message.round, change.community, f"status.{change.after}"] += 1
            if _tells_outcome(change):
                moves[message.round, change.community, f"outcome.{change.outcome}"] += 1
    return without_zeros(moves), without_zeros(slots)


def _tells_outcome(change: VisitChange) -> bool:
    """Say whether this is the change that brought the outcome.

    That is the finish; of a visit that was cancelled while the team stood at the door, it is the
    change that leaves it cancelled.
    """
    if change.outcome is None:
        return False
    return change.before != change.after or change.after == "cancelled"


def counted(messages: Iterable[RollCounted]) -> Moves:
    """Figures that registry counted, as moves from nothing."""
    return {
        (message.round, community, cell): n
        for message in messages
        for community, count in message.communities.items()
        for cell, n in count.cells.items()
    }


def counted_slots(messages: Iterable[RollCounted]) -> SlotMoves:
    """What registry counted along time, likewise."""
    return {
        (message.round, community, cell, slot): n
        for message in messages
        for community, count in message.communities.items()
        for cell, slots in _along_time(count)
        for slot, n in slots.items()
    }


def _along_time(count: CommunityCount) -> Iterator[tuple[str, dict[int, int]]]:
    yield SAMPLED_AT, count.series
    for kind, slots in count.due.items():
        yield f"{DUE}{kind}", slots


def counted_visits(messages: Iterable[VisitsCounted]) -> Moves:
    """Figures of visits that dispatch counted, likewise."""
    return {
        (message.round, community, cell): n
        for message in messages
        for community, cells in message.communities.items()
        for cell, n in cells.items()
    }


def counted_waiting(messages: Iterable[VisitsCounted]) -> SlotMoves:
    """Visits that wait by since when, as dispatch counted them, likewise."""
    return {
        (message.round, community, WAITING, slot): n
        for message in messages
        for community, slots in message.waiting.items()
        for slot, n in slots.items()
    }


def merged(parts: Iterable[Mapping[K, int]]) -> dict[K, int]:
    """Sum moves of several messages."""
    total: dict[K, int] = defaultdict(int)
    for part in parts:
        for key, n in part.items():
            total[key] += n
    return without_zeros(total)


def without_zeros(moves: Mapping[K, int]) -> dict[K, int]:
    """Leave out what cancelled out."""
    return {key: n for key, n in moves.items() if n}
