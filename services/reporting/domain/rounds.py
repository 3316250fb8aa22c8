"""What people are counted in, and how much of it somebody sees."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Round:
    """One numbered pass over the population, as registry announced it last."""

    id: str
    campaign: str
    number: int
    name: str
    state: str
    opens_at: datetime
    closes_at: datetime
    offices: tuple[str, ...]
    clock_at: datetime | None
    changed_at: datetime
    """When registry recorded the last change of its state, in real time."""

    def time(self, wall: datetime) -> datetime:
        """Tell the time in the round: that of its manual clock, else of the one on the wall."""
        return self.clock_at or wall


@dataclass(frozen=True, slots=True)
class View:
    """A round as one caller sees it: in one life of the counters, limited to some areas."""

    generation: int
    round: Round
    areas: Sequence[str]
    """Prefixes of codes; the empty one is everywhere."""
