"""What is to be done and by whom: visits by state, hands by kind and what is past due of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias, get_args

from services.reporting.domain.cells import Cells, family
from services.reporting.domain.series import beginning
from shared.contracts.vocabulary import HandKind, Need, VisitOutcome, VisitStatus

DUE = "due."
"""Begins the cells of hands along time; the rest is the kind, and slots are of when one is due."""

WAITING = "waiting"
"""The cell of planned visits along time, by since when; `waiting.NEED` counts them by need."""

STATUSES: tuple[VisitStatus, ...] = get_args(VisitStatus)
KINDS: tuple[HandKind, ...] = get_args(HandKind)
_NEEDS: tuple[Need, ...] = get_args(Need)
_OUTCOMES: tuple[VisitOutcome, ...] = get_args(VisitOutcome)


@dataclass(frozen=True, slots=True)
class Along:
    """One cell along time: how many lie in slots that are over, and the first one with anybody."""

    past: int
    first: int | None

    def __add__(self, other: "Along") -> "Along":
        """Sum two places."""
        firsts = [each.first for each in (self, other) if each.first is not None]
        return Along(self.past + other.past, min(firsts, default=None))


AlongTime: TypeAlias = Mapping[str, Along]
"""Figures of one place along time, by cell."""


def along_all(places: Iterable[AlongTime]) -> AlongTime:
    """Sum figures of several places along time."""
    total: dict[str, Along] = {}
    for place in places:
        for cell, along in place.items():
            total[cell] = total[cell] + along if cell in total else along
    return total


@dataclass(frozen=True, slots=True)
class Hands:
    """People in one kind of hand. None: not counted along time yet, see `generations.FOLD`."""

    people: int
    past_due: int | None
    """The slot that their hand was due in is over."""
    first_due: datetime | None
    """Beginning of the five minutes in which the earliest is, or was, due."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Visits that wait for a team."""

    visits: int
    since: datetime | None
    """Beginning of the five minutes in which the one that waits longest began to."""
    by_need: Mapping[Need, int] | None
    """Of their residents, who may have several needs: these overlap."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done in one place: one row."""

    code: str
    name: str
    visits: Mapping[VisitStatus, int]
    outcomes: Mapping[VisitOutcome, int]
    waiting: Waiting
    hands: Mapping[HandKind, Hands]


def work_of(code: str, name: str, cells: Cells, visits: Cells, along: AlongTime | None) -> Work:
    """Read the work of one place from its figures; `along` None: not counted along time yet."""
    return Work(
        code=code,
        name=name,
        visits={status: visits.get(f"status.{status}", 0) for status in STATUSES},
        outcomes={
            outcome: n for outcome in _OUTCOMES if (n := visits.get(f"outcome.{outcome}", 0))
        },
        waiting=_waiting(visits, along),
        hands={kind: _hands(kind, cells, along) for kind in KINDS},
    )


def _waiting(visits: Cells, along: AlongTime | None) -> Waiting:
    planned = visits.get("status.planned", 0)
    if along is None:
        return Waiting(planned, None, None)
    needs = family(visits, f"{WAITING}.")
    by_need = {need: needs[need] for need in _NEEDS if need in needs}
    first = along[WAITING].first if WAITING in along else None
    return Waiting(planned, beginning(first) if planned and first is not None else None, by_need)


def _hands(kind: HandKind, cells: Cells, along: AlongTime | None) -> Hands:
    people = cells.get(f"in_hand.{kind}", 0)
    if along is None:
        return Hands(people, None, None)
    own = along.get(f"{DUE}{kind}", Along(0, None))
    return Hands(people, own.past, None if own.first is None else beginning(own.first))
