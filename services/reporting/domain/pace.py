"""How fast a round is, and when it would be over at that pace."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.reporting.domain.rounds import Round
from services.reporting.domain.series import Point

PACE_OVER = timedelta(minutes=30)
"""The stretch of sampling time before now that the pace is taken from."""


def finishing(points: Sequence[Point], left: int, now: datetime) -> datetime | None:
    """Tell when so many people more will have been sampled at the present pace.

    The pace is the samples of the last half hour of sampling time. Nobody knows how many of those
    who are left will be excluded instead, so it is rather too late than too early.

    Returns:
        The time; `now` when nobody is left; None when nobody was sampled lately.

    """
    if left <= 0:
        return now
    recent = sum(point.sampled for point in points if now - PACE_OVER <= point.at <= now)
    return now + PACE_OVER * (left / recent) if recent else None


@dataclass(frozen=True, slots=True)
class Course:
    """A round's samples along sampling time, and how many people have to be sampled in it."""

    round: Round
    points: Sequence[Point]
    eligible: int

    def curve(self, longest: timedelta) -> "Curve":
        """Draw it, as far as so long after the opening; swabs from before count from there."""
        drawn = [(0.0, 0.0)]
        for point in self.points:
            since = max(timedelta(), point.at - self.round.opens_at)
            if since <= longest:
                share = point.cumulative / self.eligible if self.eligible > 0 else 0.0
                drawn.append((since / timedelta(hours=1), min(1.0, share)))
        return Curve(self.round.number, drawn)


@dataclass(frozen=True, slots=True)
class Pace:
    """The course of a round, and of those before it."""

    now: Course
    before: Sequence[Course]

    def curves(self, longest: timedelta) -> list["Curve"]:
        """Draw all of them, this round first."""
        return [course.curve(longest) for course in (self.now, *self.before)]


@dataclass(frozen=True, slots=True)
class Curve:
    """A round's coverage by hours since it opened: its number, and (hours, share) in order."""

    number: int
    points: Sequence[tuple[float, float]]

    def at(self, hours: float) -> float | None:
        """Coverage after so many hours; None after the last sample."""
        if hours > self.points[-1][0] + 1:
            return None
        return [share for hour, share in self.points if hour <= hours][-1]
