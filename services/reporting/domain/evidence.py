"""What each service says of one round's account, when it is asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from services.reporting.domain.cells import Cells
from shared.contracts.vocabulary import RoundState


@dataclass(frozen=True, slots=True)
class Head:
    """How far one partition is, and in which life of its producer's database."""

    pos: int
    incarnation: str


Heads: TypeAlias = Mapping[int, Head]
"""By partition."""


@dataclass(frozen=True, slots=True)
class Recount:
    """registry's own figures, counted from facts in one snapshot, and where it then was.

    `communities` holds what is told along time too, as cells `sampled_at.SLOT`, `due.KIND.SLOT`.
    """

    as_of: datetime
    state: RoundState
    roll_heads: Heads
    hands_applied: Mapping[int, int]
    """Position of dispatch's hands that registry had taken in, by partition."""
    communities: Mapping[str, Cells]
    hands: Cells
    tells_due: bool = True
    """A registry of an older version does not know by when hands are due."""


@dataclass(frozen=True, slots=True)
class OpenHands:
    """dispatch's open hands of a round by kind, and where its announcements then were."""

    heads: Mapping[int, int]
    hands: Cells


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the other services said when asked. None: that one did not answer."""

    recount: Recount | None
    open_hands: OpenHands | None
    parked: Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class Fold:
    """reporting's own figures at exactly the heads of a recount, and how far it had applied."""

    applied: Heads
    floor: Mapping[int, int]
    """Position by partition up to which single deltas are forgotten."""
    communities: Mapping[str, Cells]
    """With what is told along time, as cells `sampled_at.SLOT` and `due.KIND.SLOT`."""
    parked: int
    tells_due: bool = True
    """Counters that an older version has filled do not tell by when hands are due."""
