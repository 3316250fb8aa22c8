"""The numbers and choices of the field that an authority may set, all in one place."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, get_args

from shared.contracts.vocabulary import Need

NEEDS: frozenset[Need] = frozenset(get_args(Need))

QuarantinePolicy = Literal["last", "separate"]
"""Quarantined homes come last in the tour, or have teams of their own (R17)."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Which needs are worth a visit, how long hands last (R16), who serves whom (R17)."""

    worthy: frozenset[Need] = NEEDS
    revisit: timedelta = timedelta(hours=4)
    escalation: timedelta = timedelta(hours=24)
    grace: timedelta = timedelta(hours=1)
    quarantine: QuarantinePolicy = "last"
