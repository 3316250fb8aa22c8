"""Contracts ↔ domain: what an announced change moves in the figures.

The hot path. Standings are counted before they are taken apart: in a batch of a thousand changes
only a few dozen standings differ, so naming their cells costs next to nothing.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias, TypeVar

from services.reporting.domain.series import SAMPLED_AT
from shared.contracts.cells import SLOT_SECONDS, cells_of
from shared.contracts.dispatch import VisitChange, VisitsChanged, VisitsCounted
from shared.contracts.registry import (
    CommunityRoll,
    RollChanged,
    RollCounted,
    RoundOpened,
    Standing,
)

Moves: TypeAlias = dict[tuple[str, str, str], int]
"""By how much each figure moves: (round, community, cell) → n."""

SampleMoves: TypeAlias = dict[tuple[str, str, int], int]
"""By how much each slot of the series moves: (round, community, slot) → n."""

K = TypeVar("K")

_Kind: TypeAlias = tuple[object, ...]
"""Everything of a standing that decides which cells count it."""


class RollFold:
    """Adds up what roll changes move: +1 where a person stands now, -1 where they stood.

    No guard and no clamping: a repeated change is kept out by its position, not here.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], dict[_Kind, int]] = defaultdict(dict)
        self._examples: dict[_Kind, Standing] = {}
        self._samples: SampleMoves = defaultdict(int)

    def add(self, message: RollChanged) -> None:
        """Take one message in."""
        for community, changes in message.communities.items():
            place = (message.round, community)
            # The other half of a change that touches two communities folds the other side.
            own = ("", community)
            for change in changes:
                if change.before is not None and change.before.counted_in in own:
                    self._count(place, change.before, -1)
                if change.after.counted_in in own:
                    self._count(place, change.after, 1)

    def _count(self, place: tuple[str, str], standing: Standing, n: int) -> None:
        hand = standing.hand
        kind = (
            standing.klass,
            standing.needs,
            standing.reason,
            hand and hand.kind,
            standing.channel,
            standing.result,
        )
        counts = self._counts[place]
        if kind in counts:
            counts[kind] += n
        else:
            counts[kind] = n
            self._examples.setdefault(kind, standing)
        if standing.klass == "sampled" and standing.sampled_at is not None:
            slot = int(standing.sampled_at.timestamp() // SLOT_SECONDS)
            self._samples[*place, slot] += n

    def moves(self) -> Moves:
        """Name the cells that move, by how much; what cancelled out is left out."""
        cells = {kind: tuple(cells_of(standing)) for kind, standing in self._examples.items()}
        moves: Moves = defaultdict(int)
        for (round_id, community), counts in self._counts.items():
            for kind, n in counts.items():
                if n:
                    for cell in cells[kind]:
                        moves[round_id, community, cell] += n
        return without_zeros(moves)

    def sample_moves(self) -> SampleMoves:
        """Name the slots of sampling time that move, by how much."""
        return without_zeros(self._samples)


def settled(message: RollChanged) -> Moves:
    """What one message moves, for itself; the series too, as cells `sampled_at.SLOT`."""
    fold = RollFold()
    fold.add(message)
    return fold.moves() | {
        (round_id, community, f"{SAMPLED_AT}{slot}"): n
        for (round_id, community, slot), n in fold.sample_moves().items()
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


def visits(messages: Iterable[VisitsChanged]) -> Moves:
    """Visits by status, and what happened at the door by outcome (R16)."""
    moves: Counter[tuple[str, str, str]] = Counter()
    for message in messages:
        for change in message.visits:
            if change.before is not None:
                moves[message.round, change.community, f"status.{change.before}"] -= 1
            moves[message.round, change.community, f"status.{change.after}"] += 1
            if _tells_outcome(change):
                moves[message.round, change.community, f"outcome.{change.outcome}"] += 1
    return without_zeros(moves)


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


def counted_samples(messages: Iterable[RollCounted]) -> SampleMoves:
    """The series that registry counted, likewise."""
    return {
        (message.round, community, slot): n
        for message in messages
        for community, count in message.communities.items()
        for slot, n in count.series.items()
    }


def counted_visits(messages: Iterable[VisitsCounted]) -> Moves:
    """Figures of visits that dispatch counted, likewise."""
    return {
        (message.round, community, cell): n
        for message in messages
        for community, cells in message.communities.items()
        for cell, n in cells.items()
    }


def merged(parts: Iterable[Moves]) -> Moves:
    """Sum moves of several messages."""
    total: Moves = defaultdict(int)
    for part in parts:
        for key, n in part.items():
            total[key] += n
    return without_zeros(total)


def without_zeros(moves: Mapping[K, int]) -> dict[K, int]:
    """Leave out what cancelled out."""
    return {key: n for key, n in moves.items() if n}
