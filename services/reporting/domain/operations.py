"""How the system itself is doing: who is behind, and what waits for a decision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.reporting.domain.throughput import Counted
from shared.contracts.envelope import PARTITIONS

FRESH = timedelta(seconds=5)
"""What comes after an event so young is no older: it need not be asked for."""

Place = tuple[str, int]
"""A topic and a partition."""


@dataclass(frozen=True, slots=True)
class At:
    """A position, and when its event was recorded; of a head or of what a consumer applied."""

    pos: int
    recorded_at: datetime | None


@dataclass(frozen=True, slots=True)
class Follower:
    """A service that follows a topic."""

    service: str
    topic: str
    behind: int
    """Events announced and not applied."""
    waiting_since: datetime | None
    """When the oldest of them was announced, or a little before; None: there is none."""
    parked: int


@dataclass(frozen=True, slots=True)
class Relay:
    """What of a topic is not on Kafka yet."""

    service: str
    topic: str
    records: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class Operations:
    """All of it, of one moment. A service that did not answer is in `silent`."""

    at: datetime
    followers: Sequence[Follower]
    relays: Sequence[Relay]
    silent: Sequence[str]
    rates: Sequence[Counted]
    """Counted a second, in slots, oldest first."""


def followed(
    service: str,
    applied: Mapping[Place, At],
    heads: Mapping[Place, At],
    parked: Mapping[str, int],
) -> list[Follower]:
    """Tell how far a service is behind with each topic whose heads are known."""
    found = []
    for topic in sorted({topic for topic, _ in applied}):
        places = [(topic, partition) for partition in range(PARTITIONS)]
        if not all(place in heads for place in places):
            continue
        behind = sum(_lag(applied, heads, place) for place in places)
        found.append(Follower(service, topic, behind, None, parked.get(topic, 0)))
    return found


def stuck(
    applied: Mapping[Place, At], heads: Mapping[Place, At], now: datetime
) -> list[tuple[Place, int]]:
    """List partitions whose next event may be old, and after which position it is."""
    return [
        (place, at.pos)
        for place, at in sorted(applied.items())
        if place in heads
        and _lag(applied, heads, place)
        and (at.recorded_at is None or at.recorded_at < now - FRESH)
    ]


def waiting(
    follower: Follower,
    applied: Mapping[Place, At],
    heads: Mapping[Place, At],
    nexts: Mapping[Place, datetime],
) -> Follower:
    """Say since when the oldest event waits.

    Where the next event was not asked for, it is younger than the one that was applied last.
    """
    times = [
        nexts.get(place, at.recorded_at)
        for place, at in applied.items()
        if place[0] == follower.topic and _lag(applied, heads, place)
    ]
    known = [time for time in times if time is not None]
    return replace(follower, waiting_since=min(known, default=None))


def _lag(applied: Mapping[Place, At], heads: Mapping[Place, At], place: Place) -> int:
    if place not in applied or place not in heads:
        return 0
    return max(0, heads[place].pos - applied[place].pos)
