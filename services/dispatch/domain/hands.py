"""Hands: who answers for the next step of a person, and by when."""

from datetime import datetime
from typing import Self

import msgspec
from msgspec.structs import replace

from shared.contracts.vocabulary import HandKind


class Hand(msgspec.Struct, frozen=True):
    """Somebody is answerable for the next step: `kind`, by when, who.

    `ends_at` is when the clock ends it: at `due`, with an hour's grace for a started visit; None
    while a finished visit awaits registry's answer.
    """

    kind: HandKind
    due: datetime
    ends_at: datetime | None
    owner: str
    reason: str | None = None

    @classmethod
    def until(cls, due: datetime, kind: HandKind, owner: str, reason: str | None = None) -> Self:
        """Make a hand that the clock ends when it is due."""
        return cls(kind, due, due, owner, reason)

    @property
    def told(self) -> tuple[HandKind, datetime]:
        """What registry hears of it; who owns it is the office's own business."""
        return self.kind, self.due

    def due_at(self, due: datetime) -> Self:
        """Move its due time, and with it the time at which the clock ends it."""
        return replace(self, due=due, ends_at=self.ends_at and self.ends_at + (due - self.due))


class ToldHand(msgspec.Struct, frozen=True):
    """A hand as registry last heard it of us."""

    kind: HandKind | None
    due: datetime | None
    revision: int
