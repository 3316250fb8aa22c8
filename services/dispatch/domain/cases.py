"""Cases: who has a visit-worthy need and is, or was, untested in an open round."""

from datetime import datetime
from typing import Literal, Self

import msgspec
from msgspec.structs import replace

CaseState = Literal["open", "closed"]
Closing = Literal["sampled", "excluded", "left", "died", "need_ended", "round_closed"]
"""Why a case closes, and with it a visit that has not been made.

`died`: registry does not count them as alive; that is also a record merged into another one's.
"""

PATIENT: frozenset[Closing] = frozenset({"need_ended", "round_closed"})
"""Reasons that let a team finish which is at the door already; the others call it back."""


class Case(msgspec.Struct, frozen=True):
    """A resident with a visit-worthy need who is, or was, untested in an open round."""

    state: CaseState
    opened_at: datetime
    closed_at: datetime | None = None
    reason: Closing | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether somebody has yet to see to it."""
        return self.state == "open"

    def closed(self, reason: Closing, at: datetime) -> Self:
        """Close it."""
        return replace(self, state="closed", closed_at=at, reason=reason)
