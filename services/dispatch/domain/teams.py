"""Teams (小组): who is in them, and when and where they work."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from services.dispatch.domain.policy import Policy

MemberRole = Literal[
    "medic", "community_cadre", "building_head", "registrar", "volunteer", "driver", "police"
]


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody in a team, by id, and what they may do."""

    id: str
    role: MemberRole


@dataclass(frozen=True, slots=True)
class Team:
    """People in the field who make visits together (小组), and when and where they work."""

    id: str
    name: str
    areas: tuple[str, ...]
    members: tuple[Member, ...]
    shift_from: datetime
    shift_until: datetime
    capacity: int
    """Visits it can take in one shift."""
    active: bool = True
    serves_quarantine: bool = False

    def serves(self, community: str) -> bool:
        """Tell whether a community lies within its areas."""
        return community.startswith(self.areas)

    def on_shift(self, now: datetime) -> bool:
        """Tell whether it works at this time."""
        return self.active and self.shift_from <= now < self.shift_until

    def takes(self, quarantined: bool, policy: Policy) -> bool:
        """Tell whether it serves such a home: by policy, quarantined ones have their own (R17)."""
        return policy.quarantine == "last" or self.serves_quarantine == quarantined
