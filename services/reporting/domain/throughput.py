"""How much is counted, by five seconds of the clock on the wall."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

SLOT = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted in some seconds, or is counted in one of them."""

    results: float = 0
    changes: float = 0

    def __add__(self, other: "Counted") -> "Counted":
        return Counted(self.results + other.results, self.changes + other.changes)


class Tally:
    """Counts in memory; what a process that dies has not handed over is not drawn, and no more."""

    def __init__(self) -> None:
        self._slots: dict[datetime, Counted] = {}

    def add(self, counted: Counted, now: datetime) -> None:
        """Note what was committed now."""
        slot = slot_of(now)
        self._slots[slot] = self._slots.get(slot, Counted()) + counted

    def finished(self, now: datetime) -> dict[datetime, Counted]:
        """Tell the slots that are over."""
        return {slot: counted for slot, counted in self._slots.items() if slot < slot_of(now)}

    def forget(self, slots: Mapping[datetime, Counted]) -> None:
        """Let go of what is kept elsewhere."""
        for slot in slots:
            del self._slots[slot]


COUNTED = Tally()
"""Of this process."""


def slot_of(at: datetime) -> datetime:
    """Tell when the five seconds begin that a moment lies in."""
    return datetime.fromtimestamp(at.timestamp() // SLOT.seconds * SLOT.seconds, UTC)


def per_second(
    counted: Mapping[datetime, Counted], now: datetime, back: timedelta
) -> list[Counted]:
    """Tell the rate of each slot, oldest first; the last one is the last that all have told."""
    last = slot_of(now - SLOT) - SLOT
    slots = [last - SLOT * n for n in reversed(range(back // SLOT))]
    found = [counted.get(slot, Counted()) for slot in slots]
    return [Counted(each.results / SLOT.seconds, each.changes / SLOT.seconds) for each in found]
