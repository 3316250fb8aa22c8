"""How old figures are: everything recorded before is in them (R22)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.reporting.domain.rounds import View


@dataclass(frozen=True, slots=True)
class Applied:
    """How far one partition of a topic is counted; `recorded_at` is that of its last event."""

    topic: str
    partition: int
    pos: int
    recorded_at: datetime | None


@dataclass(frozen=True, slots=True)
class Producer:
    """What a producer said of its heads when it was asked last."""

    name: str
    asked_at: datetime
    heads: Mapping[str, Sequence[int]]
    """Positions by topic; the index is the partition."""
    hands_as_of: datetime | None = None
    """registry only: everything dispatch announced of hands before this is in its roll."""


@dataclass(frozen=True, slots=True)
class AsOf:
    """How old figures are: everything recorded before is in them (R22). None: not known yet."""

    time: datetime | None
    hands_as_of: datetime | None
    visits_as_of: datetime | None
    positions: Mapping[str, Sequence[int]]


def as_of(applied: Sequence[Applied], producers: Mapping[str, Producer]) -> AsOf:
    """Tell how old figures folded up to these positions are."""
    by_topic: dict[str, list[Applied]] = {}
    for position in sorted(applied, key=lambda each: (each.topic, each.partition)):
        by_topic.setdefault(position.topic, []).append(position)

    def until(name: str) -> datetime | None:
        producer = producers.get(name)
        if producer is None:
            return None
        return earliest(
            counted_until(heads, by_topic.get(topic, []), producer.asked_at)
            for topic, heads in producer.heads.items()
            if topic in by_topic
        )

    time = until("registry")
    hands = producers["registry"].hands_as_of if "registry" in producers else None
    return AsOf(
        time=time,
        hands_as_of=earliest([hands, time]),
        visits_as_of=until("dispatch"),
        positions={topic: [each.pos for each in own] for topic, own in by_topic.items()},
    )


def counted_until(
    heads: Sequence[int], applied: Sequence[Applied], asked_at: datetime
) -> datetime | None:
    """Tell until when everything announced on a topic is counted.

    Whoever reached every head knows everything up to the moment it was asked for. A partition that
    is behind is only known up to its last event: the next one is younger.
    """
    known = [asked_at]
    reached = {position.partition: position for position in applied}
    for partition, head in enumerate(heads):
        position = reached.get(partition)
        if position is not None and position.pos >= head:
            continue
        if position is None or position.recorded_at is None:
            return None
        known.append(position.recorded_at)
    return min(known)


def earliest(times: Iterable[datetime | None]) -> datetime | None:
    """The earliest of several times; None when one of them is not known."""
    known = list(times)
    return None if None in known or not known else min(time for time in known if time is not None)


@dataclass(frozen=True, slots=True)
class Edition:
    """What one answer is read from: a view, and how far its figures are."""

    view: View
    as_of: AsOf
    decisions: str
    """Tells apart what people decided on dead letters, which moves figures without a position."""
