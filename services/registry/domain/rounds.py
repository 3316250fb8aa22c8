"""Rounds: one numbered pass over the population (轮次), and its clock."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, Self
from uuid import UUID

from services.registry.domain.areas import office_of
from services.registry.domain.errors import (
    ClockRunsForward,
    FromTheFuture,
    OutsideWindow,
    RoundNotOpen,
    WrongState,
)
from shared.contracts.vocabulary import RoundState

CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far a site's clock may run ahead of ours on a round with a wall clock."""

StepName = Literal["open", "close", "seal"]
"""A step from one state of a round to the next."""


@dataclass(frozen=True, slots=True)
class Round:
    """One numbered pass over the population (轮次): draft → open → closed → sealed.

    `clock_at` is the time of a manual clock; rounds on the wall clock have none.
    """

    id: UUID
    version: int
    campaign: str
    number: int
    name: str
    state: RoundState
    opens_at: datetime
    closes_at: datetime
    offices: tuple[str, ...]
    manual_clock: bool = False
    clock_at: datetime | None = None
    automatic: bool = False
    """Whether it opens, closes and is sealed by its clock, besides by hand."""
    opened_at: datetime | None = None
    closed_at: datetime | None = None
    sealed_at: datetime | None = None
    frozen_at: datetime | None = None
    """When it was closed by the wall clock; what was put on file later is not its business."""

    def time(self, now: datetime) -> datetime:
        """Tell the round's own time."""
        return self.clock_at or now

    def covers(self, community: str) -> bool:
        """Say whether a community's residents are on this round's roll."""
        return office_of(community) in self.offices

    def due(self, now: datetime, seal_after: timedelta) -> StepName | None:
        """Name the step whose time has come by the round's own clock.

        A draft whose whole window is past opens all the same, and closes at once: what was written
        on paper is entered then (R19).
        """
        if not self.automatic:
            return None
        time = self.time(now)
        if self.state == "draft" and time >= self.opens_at:
            return "open"
        if self.state == "open" and time >= self.closes_at:
            return "close"
        if self.state == "closed" and self.closed_at and time >= self.closed_at + seal_after:
            return "seal"
        return None

    def open(self, now: datetime) -> Self:
        """Open a draft; what is open already stays as it is.

        Raises:
            WrongState: it is over.

        """
        if self.state == "open":
            return self
        self._must_be("draft")
        return self._step(state="open", opened_at=self.time(now))

    def close(self, now: datetime, frozen_at: datetime) -> Self:
        """Close an open round: sampling time ends now, if it has not ended before.

        What is closed already stays as it is.

        Args:
            now: the time; a manual clock outranks it
            frozen_at: the moment from which on nobody joins, moves or leaves in this round

        Raises:
            WrongState: it is not open yet, or sealed.

        """
        if self.state == "closed":
            return self
        self._must_be("open")
        at = self.time(now)
        ends = max(self.opens_at, min(self.closes_at, at))
        return self._step(state="closed", closed_at=at, closes_at=ends, frozen_at=frozen_at)

    def seal(self, now: datetime) -> Self:
        """Seal a closed round: its account is final. What is sealed already stays as it is.

        Raises:
            WrongState: it is not closed yet.

        """
        if self.state == "sealed":
            return self
        self._must_be("closed")
        return self._step(state="sealed", sealed_at=self.time(now))

    def tick(self, clock_at: datetime) -> Self:
        """Move the manual clock on.

        Raises:
            ClockRunsForward: the round has no manual clock, or it stands later already.

        """
        if not self.manual_clock or self.clock_at is None:
            raise ClockRunsForward("this round runs on the wall clock")
        if clock_at < self.clock_at:
            raise ClockRunsForward("the clock stands later already")
        return replace(self, clock_at=clock_at)

    def check_sample(self, sampled_at: datetime, now: datetime) -> None:
        """Check that a sample of this time belongs here.

        Raises:
            RoundNotOpen: nothing is taken before the opening or after the sealing.
            OutsideWindow: taken before the round's opening or after its closing.
            FromTheFuture: taken later than the round's clock shows.

        """
        if self.state not in {"open", "closed"}:
            raise RoundNotOpen(f"round_id: the round is {self.state}")
        if not self.opens_at <= sampled_at <= self.closes_at:
            raise OutsideWindow("sampled_at: outside the round's window")
        self.check_past("sampled_at", sampled_at, now)

    def check_past(self, name: str, moment: datetime, now: datetime) -> None:
        """Check that a moment is not ahead of the round's clock.

        Raises:
            FromTheFuture: it is.

        """
        tolerance = timedelta() if self.manual_clock else CLOCK_TOLERANCE
        if moment > self.time(now) + tolerance:
            raise FromTheFuture(f"{name}: ahead of the round's clock")

    def _must_be(self, state: RoundState) -> None:
        if self.state != state:
            raise WrongState(f"the round is {self.state}, not {state}")

    def _step(self, **changes: object) -> Self:
        return replace(self, version=self.version + 1, **changes)  # type: ignore[arg-type]


def time_where(under_way: Iterable[Round], now: datetime) -> datetime:
    """Tell the time where these rounds are under way: that of the newest drill, or now.

    A drill runs on a manual clock; where a round on the wall clock is under way too, it is now.
    """
    clocks = [where.clock_at for where in under_way]
    real = [clock for clock in clocks if clock is not None]
    return now if len(real) < len(clocks) else max(real, default=now)


def drilled(under_way: Iterable[Round], now: datetime) -> dict[str, datetime]:
    """Tell the time of every office in which a drill is under way; elsewhere it is now."""
    by_office: dict[str, list[Round]] = defaultdict(list)
    for where in under_way:
        for office in where.offices:
            by_office[office].append(where)
    return {
        office: time_where(there, now)
        for office, there in by_office.items()
        if any(where.manual_clock for where in there)
    }
