"""The curve of a round: samples along sampling time (R1, R19)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate

from shared.contracts.cells import SLOT_SECONDS

SAMPLED_AT = "sampled_at"
"""The cell of the sampled along time; in the ledger it ends in a point and the number of a slot."""


@dataclass(frozen=True, slots=True)
class Point:
    """How many were sampled in one step of sampling time, and how many up to its end."""

    at: datetime
    sampled: int
    cumulative: int


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """The samples of one area along sampling time; steps without any are left out."""

    code: str
    name: str
    points: Sequence[Point]


def points(slots: Mapping[int, int]) -> Sequence[Point]:
    """Points of a series, from samples by slot of sampling time."""
    ordered = sorted(slots.items())
    so_far = accumulate(sampled for _, sampled in ordered)
    return [
        Point(beginning(slot), sampled, cumulative)
        for (slot, sampled), cumulative in zip(ordered, so_far, strict=True)
    ]


def beginning(slot: int) -> datetime:
    """When a slot of sampling time begins."""
    return datetime.fromtimestamp(slot * SLOT_SECONDS, UTC)
