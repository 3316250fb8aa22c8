"""Rounds (轮次) as registry tells of them, and their clock."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self
from uuid import UUID

from shared.contracts.vocabulary import RoundState

NIL = UUID(int=0)
"""The incarnation of what was never told, and the id before all others."""


@dataclass(frozen=True, slots=True)
class Round:
    """A round as registry last told it; `version` 0 is a stub of one not told of yet."""

    id: str
    incarnation: UUID = NIL
    version: int = 0
    campaign: str = ""
    number: int = 0
    name: str = ""
    state: RoundState = "draft"
    opens_at: datetime | None = None
    closes_at: datetime | None = None
    offices: tuple[str, ...] = ()
    manual_clock: bool = False
    clock_at: datetime | None = None

    def time(self, wall: datetime) -> datetime:
        """Tell the round's own time: its manual clock, or the wall's."""
        if not self.manual_clock:
            return wall
        return self.clock_at or self.opens_at or wall

    def cap(self, due: datetime) -> datetime:
        """Cap a due time at the round's closing."""
        return due if self.closes_at is None else min(due, self.closes_at)

    def runs(self, now: datetime) -> bool:
        """Tell whether work is handed out: open, and before its closing time.

        After that time nothing could be in anybody's hands, as all due times are capped at it.
        """
        return self.state == "open" and (self.closes_at is None or now < self.closes_at)

    def is_newer_than(self, known: Self) -> bool:
        """Order what registry said of one round: the newest version wins."""
        return (self.incarnation.int, self.version) > (known.incarnation.int, known.version)

    def ticked(self, clock_at: datetime) -> Self:
        """Move the manual clock on; never backwards."""
        if self.clock_at is not None and clock_at <= self.clock_at:
            return self
        return replace(self, clock_at=clock_at)
