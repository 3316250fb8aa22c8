"""Two records turn out to be one person: one absorbs the other, until that proves wrong."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Self
from uuid import UUID

from services.registry.domain.errors import CannotMerge
from services.registry.domain.residents import NeedSpan, Resident

_EVER, _NEVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Gain:
    """A need the kept record has by a merge: as it became, and as the record had it before."""

    became: NeedSpan
    was: NeedSpan | None


@dataclass(frozen=True, slots=True)
class Merge:
    """That `absorbed` is the same person as `kept`, who said so, and what undoing it takes."""

    id: UUID
    absorbed: UUID
    kept: UUID
    merged_by: str
    merged_at: datetime
    alive: bool = True
    """Whether the absorbed record was of somebody alive."""
    closed_rounds: Collection[UUID] = ()
    """Rounds that were closed by then, but not sealed; their membership was frozen before."""
    alive_rounds: Collection[UUID] = ()
    """Those of them whose frozen membership has the absorbed record alive."""
    gained: tuple[Gain, ...] = field(default=())
    undone_by: str | None = None
    undone_at: datetime | None = None

    def says_the_same(self, other: "Merge") -> bool:
        """Tell a repeat from another merge under the same id (R19)."""
        return (self.absorbed, self.kept) == (other.absorbed, other.kept)

    def revived_in(self, closed: Collection[UUID]) -> list[UUID]:
        """List the closed rounds whose frozen membership is to have the absorbed record alive.

        Those that were closed when it was absorbed say what they said then; those that closed
        since say what they would have said without the merge.
        """
        since = set(closed) - set(self.closed_rounds) if self.alive else set()
        return sorted(since | (set(closed) & set(self.alive_rounds)))

    def undo(self, who: str, now: datetime) -> Self:
        """Note that it was undone, and by whom."""
        return replace(self, undone_by=who, undone_at=now)


def check(absorbed: Resident, kept: Resident, *, has_absorbed: bool) -> None:
    """Check that one record may be merged into another; chains of merges would be hard to undo.

    Raises:
        CannotMerge: one of them was merged already, or absorbed others itself.

    """
    if absorbed.merged_into:
        raise CannotMerge("id: was merged into another record before")
    if kept.merged_into:
        raise CannotMerge("into: was merged into another record itself")
    if has_absorbed:
        raise CannotMerge("id: other records were merged into it")


def join(absorbed: Resident, kept: Resident, now: datetime) -> tuple[Resident, Resident]:
    """Let one record absorb the other: it keeps what it says, and has the needs of both."""
    ours = {need.code: need for need in kept.needs}
    for theirs in absorbed.needs:
        ours[theirs.code] = _union(ours.get(theirs.code), theirs, now)
    needs = tuple(sorted(ours.values(), key=lambda need: need.code))
    return absorbed.but(alive=False, merged_into=kept.id), kept.but(needs=needs)


def gains(before: Resident, after: Resident) -> tuple[Gain, ...]:
    """List what a record gained by a merge."""
    had = {need.code: need for need in before.needs}
    return tuple(
        Gain(need, had.get(need.code)) for need in after.needs if need != had.get(need.code)
    )


def part(absorbed: Resident, kept: Resident, merge: Merge) -> tuple[Resident, Resident]:
    """Undo a merge: needs that somebody changed since then are left as they are."""
    needs = {need.code: need for need in kept.needs}
    for gain in merge.gained:
        if needs.get(gain.became.code) == gain.became:
            del needs[gain.became.code]
            if gain.was:
                needs[gain.was.code] = gain.was
    return (
        absorbed.but(alive=merge.alive, merged_into=None),
        kept.but(needs=tuple(sorted(needs.values(), key=lambda need: need.code))),
    )


def _union(ours: NeedSpan | None, theirs: NeedSpan, now: datetime) -> NeedSpan:
    """Join two validities of one need into one that leaves nobody out.

    What is over adds nothing. Between two that are apart the need is taken to hold: one visit too
    many is better than one too few.
    """
    if ours is None:
        return theirs
    if _is_over(theirs, now):
        return ours
    if _is_over(ours, now):
        return theirs
    since = min(ours.since or _EVER, theirs.since or _EVER)
    until = max(ours.until or _NEVER, theirs.until or _NEVER)
    return NeedSpan(
        ours.code, None if since == _EVER else since, None if until == _NEVER else until
    )


def _is_over(need: NeedSpan, now: datetime) -> bool:
    return need.until is not None and need.until <= now
